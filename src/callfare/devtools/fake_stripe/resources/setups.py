"""Setup intents: a payment method is saved for later without a payment.

Source: Stripe's page "The Setup Intents API".
"""

from __future__ import annotations

from typing import Final

from callfare.devtools.fake_stripe.refusals import Json, card_error, invalid, missing_param, unexpected_state
from callfare.devtools.fake_stripe.resources import methods
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, taken, updated

_OPEN: Final = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(world: World, call: Call) -> Json:
    """Make a setup intent, and confirm it when the request says so.

    Raises Refusal when the method cannot be saved.
    """
    params = call.params
    customer = params.get("customer")
    if customer is not None:
        world.find("customer", customer, param="customer")
    told = params.get("payment_method")
    method = methods.resolved(world, told) if told else None
    intent = made(
        world,
        customer=customer,
        description=params.get("description"),
        metadata=merged_metadata({}, params),
        payment_method=method["id"] if method else None,
        payment_method_types=params.get("allowed_payment_method_types") or ["card"],
        usage=params.get("usage", "off_session"),
    )
    if method is not None:
        intent["status"] = "requires_confirmation"
    world.emit("setup_intent.created", intent)
    return attempt(world, intent, _method(world, intent)) if params.get("confirm") else intent


def made(world: World, **fields: object) -> Json:
    """Return a new setup intent that nobody has been told of."""
    intent = world.new("setup_intent", "seti", payment_method_options={}, status="requires_payment_method")
    intent |= {"client_secret": f"{intent['id']}_secret_{intent['id'][-12:]}", "metadata": {}, "usage": "off_session"}
    intent |= {"payment_method_types": ["card"], **fields}
    return intent


def _method(world: World, intent: Json) -> Json:
    if intent["payment_method"] is None:
        raise missing_param("payment_method")
    return world.find("payment_method", intent["payment_method"], param="payment_method")


def attempt(world: World, intent: Json, method: Json) -> Json:
    """Try to save a payment method, and return the intent as that left it.

    Raises Refusal, a card error, when its bank declines.
    """
    found = methods.instrument_of(world, method)
    intent |= {"payment_method": method["id"], "last_setup_error": None}
    if found.authenticates != "never":
        page_url = f"{world.base_url}/authenticate/{intent['id']}"
        intent |= {
            "next_action": {"redirect_to_url": {"return_url": None, "url": page_url}, "type": "redirect_to_url"},
            "status": "requires_action",
        }
        world.emit("setup_intent.requires_action", intent)
        world.tell(intent)
        return intent
    if found.decline is not None and not found.attaches:
        _decline(world, intent, method, found.decline)
    return _succeed(world, intent, method)


def _decline(world: World, intent: Json, method: Json, why: tuple[str, str, str]) -> None:
    code, decline_code, message = why
    refusal = card_error(message, code, decline_code)
    intent |= {
        "last_setup_error": {**refusal.error, "payment_method": dict(method)},
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    world.emit("setup_intent.setup_failed", intent)
    world.tell(intent)
    refusal.error |= {"setup_intent": dict(intent), "payment_method": dict(method)}
    raise refusal


def _succeed(world: World, intent: Json, method: Json) -> Json:
    world.notes[method["id"]]["is_set_up"] = True
    if intent["customer"] is not None and method["customer"] is None:
        methods.attach(world, method["id"], world.objects[intent["customer"]])
    intent |= {"next_action": None, "status": "succeeded"}
    world.emit("setup_intent.succeeded", intent)
    world.tell(intent)
    return intent


def authenticated(world: World, intent: Json, *, succeeds: bool) -> Json:
    """Go on with an intent whose payer has confirmed, or has refused to.

    Raises Refusal when it does not wait for that, or fails.
    """
    _must_be(intent, ("requires_action",), "authenticate")
    method = _method(world, intent)
    if not succeeds:
        message = "The provided PaymentMethod has failed authentication. Try another one."
        _decline(world, intent, method, ("setup_intent_authentication_failure", "", message))
    return _succeed(world, intent, method)


def _must_be(intent: Json, states: tuple[str, ...], what: str) -> None:
    if intent["status"] not in states:
        raise unexpected_state(
            f"You cannot {what} this SetupIntent because it has a status of {intent['status']}.",
            "setup_intent_unexpected_state",
            setup_intent=intent,
        )


def confirm(world: World, call: Call) -> Json:
    """Confirm a setup intent that waits for it."""
    intent = world.find("setup_intent", call.id(), param="intent")
    _must_be(intent, _OPEN, "confirm")
    told = call.params.get("payment_method")
    return attempt(world, intent, methods.resolved(world, told) if told else _method(world, intent))


def cancel(world: World, call: Call) -> Json:
    """Cancel a setup intent that has not succeeded."""
    intent = world.find("setup_intent", call.id(), param="intent")
    _must_be(intent, _OPEN, "cancel")
    intent |= {
        "cancellation_reason": call.params.get("cancellation_reason"),
        "next_action": None,
        "status": "canceled",
    }
    world.emit("setup_intent.canceled", intent)
    return intent


def change(world: World, call: Call) -> Json:
    """Change a setup intent's customer, description or metadata."""
    intent = world.find("setup_intent", call.id(), param="intent")
    fields = taken(call.params, "customer", "description")
    if fields.get("customer") is not None:
        world.find("customer", fields["customer"], param="customer")
    if intent["status"] == "succeeded" and "customer" in fields:
        raise invalid("A succeeded SetupIntent keeps its customer.", param="customer")
    return updated(world, intent, None, **fields, metadata=merged_metadata(intent, call.params))


def retrieve(world: World, call: Call) -> Json:
    """Return a setup intent."""
    return world.find("setup_intent", call.id(), param="intent")


def several(world: World, call: Call) -> Json:
    """Return a page of setup intents, by customer or method where given."""
    wanted = {name: call.params[name] for name in ("customer", "payment_method") if name in call.params}
    found = [each for each in world.all("setup_intent") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


ROUTES = (
    Route("POST", "/v1/setup_intents", "SetupIntentCreateParams", create),
    Route("GET", "/v1/setup_intents", "SetupIntentListParams", several),
    Route("GET", "/v1/setup_intents/{id}", "SetupIntentRetrieveParams", retrieve),
    Route("POST", "/v1/setup_intents/{id}", "SetupIntentUpdateParams", change),
    Route("POST", "/v1/setup_intents/{id}/confirm", "SetupIntentConfirmParams", confirm),
    Route("POST", "/v1/setup_intents/{id}/cancel", "SetupIntentCancelParams", cancel),
)
