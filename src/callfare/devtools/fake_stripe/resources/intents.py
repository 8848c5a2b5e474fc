"""Payment intents: one wish to be paid, through declines, authentication and delays to its end.

Source of states: Stripe's pages "How PaymentIntents work" and "Payment status updates". A card that asks its bearer is
refused off-session with `authentication_required`; on-session the intent waits for the page, or for `authenticated`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from callfare.devtools.fake_stripe.cards import Instrument
from callfare.devtools.fake_stripe.refusals import Json, Refusal, card_error, invalid, missing_param, unexpected_state
from callfare.devtools.fake_stripe.resources import charges, disputes, methods
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, taken, updated

_SMALLEST: Final = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50}
_AUTHENTICATE: Final = (
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
_OPEN: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
_TAKEN: Final = ("description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor")


def create(world: World, call: Call) -> Json:
    """Make an intent, and confirm it when the request says so.

    Raises Refusal for an impossible amount, and when the payment fails.
    """
    params = call.params
    if params["amount"] < _SMALLEST.get(params["currency"].lower(), 1):
        least = _SMALLEST.get(params["currency"].lower(), 1)
        raise invalid(f"Amount must be at least {least} {params['currency']}", param="amount", code="amount_too_small")
    customer = params.get("customer")
    if customer is not None:
        world.find("customer", customer, param="customer")
    kinds = params.get("allowed_payment_method_types") or ["card"]
    method = _method_for(world, params, kinds)
    intent = made(
        world,
        amount=params["amount"],
        currency=params["currency"].lower(),
        customer=customer,
        capture_method=params.get("capture_method", "automatic_async"),
        confirmation_method=params.get("confirmation_method", "automatic"),
        metadata=merged_metadata({}, params),
        payment_method=method["id"] if method else None,
        payment_method_types=kinds,
        **taken(params, *_TAKEN),
    )
    if "allowed_payment_method_types" not in params:
        intent["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "always"}
    if method is not None:
        intent["status"] = "requires_confirmation"
    world.emit("payment_intent.created", intent)
    return _confirm_called(world, intent, params) if params.get("confirm") else intent


def made(world: World, **fields: object) -> Json:
    """Return a new intent that nobody has been told of."""
    intent = world.new(
        "payment_intent",
        "pi",
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        metadata={},
        capture_method="automatic_async",
        confirmation_method="automatic",
        payment_method_options={},
        status="requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{intent['id'][-12:]}"
    intent |= fields
    return intent


def _method_for(world: World, params: Json, kinds: list[str]) -> Json | None:
    if "payment_method" in params:
        method = methods.resolved(world, params["payment_method"])
    elif "payment_method_data" in params:
        method = methods.create(world, Call("/v1/payment_methods", params["payment_method_data"]))
    else:
        return None
    if method["type"] not in kinds:
        raise invalid(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent.",
            param="payment_method",
        )
    if method["customer"] is not None and method["customer"] != params.get("customer"):
        raise invalid(
            "The provided PaymentMethod is attached to a customer, and cannot be used without it.",
            param="payment_method",
        )
    return method


def confirm(world: World, call: Call) -> Json:
    """Confirm an intent that waits for it.

    Raises Refusal when it does not wait, or the payment fails.
    """
    intent = world.find("payment_intent", call.id(), param="intent")
    _must_be(intent, ("requires_payment_method", "requires_confirmation", "requires_action"), "confirm")
    method = _method_for(world, {**call.params, "customer": intent["customer"]}, intent["payment_method_types"])
    if method is not None:
        intent["payment_method"] = method["id"]
    return _confirm_called(world, intent, call.params)


def _confirm_called(world: World, intent: Json, params: Json) -> Json:
    if intent["payment_method"] is None:
        raise missing_param("payment_method")
    method = world.find("payment_method", intent["payment_method"], param="payment_method")
    is_off_session = params.get("off_session") not in {None, False}
    must_not_ask = bool(params.get("error_on_requires_action"))
    return attempt(world, intent, method, is_off_session=is_off_session, must_not_ask=must_not_ask)


def _must_be(intent: Json, states: tuple[str, ...], what: str) -> None:
    if intent["status"] not in states:
        raise unexpected_state(
            f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}.",
            f"{intent['object']}_unexpected_state",
            payment_intent=intent,
        )


def attempt(
    world: World, intent: Json, method: Json, *, is_off_session: bool = False, must_not_ask: bool = False
) -> Json:
    """Try to be paid by a payment method, and return the intent as that left it.

    Raises Refusal, a card error, when it is declined; the intent then waits for another method.
    """
    found = methods.instrument_of(world, method)
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    is_set_up = world.notes[method["id"]].get("is_set_up", False)
    asks = found.authenticates == "always" or (found.authenticates == "unless_set_up" and not is_set_up)
    if asks and (is_off_session or must_not_ask):
        return _decline(world, intent, method, _AUTHENTICATE)
    if asks:
        return _ask(world, intent)
    if found.is_delayed:
        return _begin_debit(world, intent, method, found)
    if found.decline is not None:
        return _decline(world, intent, method, found.decline)
    return _pay(world, intent, method, found)


def _ask(world: World, intent: Json) -> Json:
    page_url = f"{world.base_url}/authenticate/{intent['id']}"
    intent |= {
        "status": "requires_action",
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": page_url}},
    }
    world.emit("payment_intent.requires_action", intent)
    world.tell(intent)
    return intent


def authenticated(world: World, intent: Json, *, succeeds: bool) -> Json:
    """Go on with an intent whose payer has confirmed, or has refused to.

    Raises Refusal when it does not wait for that, or is declined in the end.
    """
    _must_be(intent, ("requires_action",), "authenticate")
    method = world.objects[intent["payment_method"]]
    found = methods.instrument_of(world, method)
    intent["next_action"] = None
    if not succeeds:
        code = "payment_intent_authentication_failure"
        message = "The provided PaymentMethod has failed authentication. Try another one."
        return _decline(world, intent, method, (code, "", message))
    if found.decline is not None:
        return _decline(world, intent, method, found.decline)
    world.notes[method["id"]]["is_set_up"] = True
    return _pay(world, intent, method, found)


def _decline(world: World, intent: Json, method: Json, why: tuple[str, str, str]) -> Json:
    code, decline_code, message = why
    charge = None
    if decline_code:
        charge = charges.made(world, intent, method)
        charges.failed(world, charge, code, decline_code, message)
    refusal = card_error(message, code, decline_code, charge=charge["id"] if charge else None)
    intent["status"] = "requires_payment_method"
    intent["last_payment_error"] = {**refusal.error, "payment_method": dict(method)}
    intent["payment_method"] = None
    world.emit("payment_intent.payment_failed", intent)
    world.tell(intent)
    refusal.error |= {"payment_intent": dict(intent), "payment_method": dict(method)}
    raise refusal


def _pay(world: World, intent: Json, method: Json, found: Instrument) -> Json:
    is_captured = intent["capture_method"] != "manual"
    charge = charges.made(world, intent, method)
    charges.succeeded(world, charge, is_captured=is_captured)
    if not is_captured:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        world.emit("payment_intent.amount_capturable_updated", intent)
        world.tell(intent)
        return intent
    _succeed(world, intent, method)
    if found.dispute:
        world.clock.at(world.now_s, partial(disputes.follow_card, world, charge, found))
    return intent


def _succeed(world: World, intent: Json, method: Json) -> None:
    intent |= {"status": "succeeded", "amount_received": intent["amount"], "processing": None}
    world.emit("payment_intent.succeeded", intent)
    customer = intent["customer"]
    if intent["setup_future_usage"] and customer is not None and method["customer"] is None:
        world.notes[method["id"]]["is_set_up"] = True
        methods.attach(world, method["id"], world.objects[customer])
    world.tell(intent)


def _begin_debit(world: World, intent: Json, method: Json, found: Instrument) -> Json:
    charge = charges.made(world, intent, method)
    world.emit("charge.pending", charge)
    intent["status"] = "processing"
    world.emit("payment_intent.processing", intent)
    world.tell(intent)
    after_s = world.settings.settle_after_s
    if after_s is not None:
        world.clock.at(world.now_s + after_s, partial(_settle_when_due, world, intent, succeeds=found.settles))
    return intent


def _settle_when_due(world: World, intent: Json, *, succeeds: bool) -> None:
    if intent["status"] == "processing":
        settle(world, intent, succeeds=succeeds)


def settle(world: World, intent: Json, *, succeeds: bool) -> None:
    """Let a debit that is under way succeed or fail.

    Raises Refusal when none is under way.
    """
    _must_be(intent, ("processing",), "settle")
    charge = world.objects[intent["latest_charge"]]
    method = world.objects[intent["payment_method"]]
    if succeeds:
        charges.succeeded(world, charge)
        _succeed(world, intent, method)
        return
    why = ("payment_method_provider_decline", "insufficient_funds", "The customer's account has insufficient funds.")
    charges.failed(world, charge, *why)
    error = card_error(why[2], why[0], why[1], charge=charge["id"]).error
    intent |= {
        "status": "requires_payment_method",
        "last_payment_error": {**error, "payment_method": dict(method)},
        "payment_method": None,
    }
    world.emit("payment_intent.payment_failed", intent)
    world.tell(intent)


def change(world: World, call: Call) -> Json:
    """Change an intent that is not under way."""
    intent = world.find("payment_intent", call.id(), param="intent")
    fields = taken(call.params, *_TAKEN, "customer")
    if fields.get("customer") is not None:
        world.find("customer", fields["customer"], param="customer")
    if "amount" in call.params:
        _must_be(intent, _OPEN, "change the amount of")
        fields["amount"] = call.params["amount"]
    return updated(world, intent, None, **fields, metadata=merged_metadata(intent, call.params))


def cancel(world: World, call: Call) -> Json:
    """Cancel an intent that is not paid.

    Raises Refusal when it is, or is under way.
    """
    intent = world.find("payment_intent", call.id(), param="intent")
    _must_be(intent, (*_OPEN, "requires_capture"), "cancel")
    return cancelled(world, intent, call.params.get("cancellation_reason"))


def cancelled(world: World, intent: Json, reason: str | None) -> Json:
    """Cancel an intent, and say so."""
    intent |= {
        "status": "canceled",
        "canceled_at": world.now_s,
        "cancellation_reason": reason,
        "amount_capturable": 0,
        "next_action": None,
    }
    world.emit("payment_intent.canceled", intent)
    world.tell(intent)
    return intent


def capture(world: World, call: Call) -> Json:
    """Capture an intent that was authorized only.

    Raises Refusal when it was not, or for more than that.
    """
    intent = world.find("payment_intent", call.id(), param="intent")
    _must_be(intent, ("requires_capture",), "capture")
    amount: int = call.params.get("amount_to_capture") or intent["amount"]
    if not 0 < amount <= intent["amount_capturable"]:
        raise invalid("The amount to capture is above what can be captured.", param="amount_to_capture")
    charges.captured(world, world.objects[intent["latest_charge"]], amount)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    world.emit("payment_intent.succeeded", intent)
    world.tell(intent)
    return intent


def retrieve(world: World, call: Call) -> Json:
    """Return an intent."""
    return world.find("payment_intent", call.id(), param="intent")


def several(world: World, call: Call) -> Json:
    """Return a page of intents, a customer's where one is given."""
    customer = call.params.get("customer")
    return page(call, [each for each in world.all("payment_intent") if customer in {None, each["customer"]}])


def is_decline(refusal: Refusal) -> bool:
    """Tell whether a refusal is a payment's, not a request's."""
    return bool(refusal.error["type"] == "card_error")


ROUTES = (
    Route("POST", "/v1/payment_intents", "PaymentIntentCreateParams", create),
    Route("GET", "/v1/payment_intents", "PaymentIntentListParams", several),
    Route("GET", "/v1/payment_intents/{id}", "PaymentIntentRetrieveParams", retrieve),
    Route("POST", "/v1/payment_intents/{id}", "PaymentIntentUpdateParams", change),
    Route("POST", "/v1/payment_intents/{id}/confirm", "PaymentIntentConfirmParams", confirm),
    Route("POST", "/v1/payment_intents/{id}/cancel", "PaymentIntentCancelParams", cancel),
    Route("POST", "/v1/payment_intents/{id}/capture", "PaymentIntentCaptureParams", capture),
)
