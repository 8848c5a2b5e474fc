"""Payment methods: a card or an account, and the customer it is attached to. The number stays in the notes."""

from __future__ import annotations

from callfare.devtools.fake_stripe.cards import INSTRUMENTS, Instrument, instrument, named
from callfare.devtools.fake_stripe.refusals import Json, Refusal, card_error, invalid, missing, unexpected_state
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, cleaned, merged_metadata, updated

_NOBODY: Json = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
_NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def create(world: World, call: Call) -> Json:
    """Make a payment method of a documented test number or token."""
    params = call.params
    return made(world, _given(params), params.get("billing_details"), merged_metadata({}, params))


def _given(params: Json) -> Instrument:
    match params.get("type", "card"):
        case "card":
            card = params.get("card", {})
            found = named(card["token"]) if "token" in card else instrument(str(card.get("number", "")))
            param = "card[number]"
        case "sepa_debit":
            found, param = instrument(params.get("sepa_debit", {}).get("iban", "")), "sepa_debit[iban]"
        case "us_bank_account":
            found = instrument(params.get("us_bank_account", {}).get("account_number", ""))
            param = "us_bank_account[account_number]"
        case kind:
            raise invalid(f"The stand-in has no payment methods of type {kind}.", param="type")
    if found is None or found.kind != params.get("type", "card"):
        if param == "card[number]":
            raise Refusal(402, "card_error", "Your card number is incorrect.", code="incorrect_number", param=param)
        raise invalid("The number is not one of the documented test numbers.", param=param)
    return found


def made(world: World, found: Instrument, billing: Json | None = None, metadata: Json | None = None) -> Json:
    """Return a new payment method, attached to nobody."""
    details = _billing(_NOBODY, billing or {})
    method = world.new(
        "payment_method",
        "pm",
        allow_redisplay="unspecified",
        billing_details=details,
        metadata=metadata or {},
        type=found.kind,
    )
    method[found.kind] = _details(found)
    world.notes[method["id"]]["number"] = found.number
    return method


def _billing(known: Json, told: Json) -> Json:
    details = {**known, **cleaned(told)}
    details["address"] = {**_NO_ADDRESS, **(details["address"] or {})}
    return details


def _details(found: Instrument) -> Json:
    if found.kind == "sepa_debit":
        return {
            "bank_code": found.number[4:9],
            "branch_code": "",
            "country": found.number[:2],
            "fingerprint": _fingerprint(found),
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": found.last4,
        }
    if found.kind == "us_bank_account":
        return {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None,
            "fingerprint": _fingerprint(found),
            "last4": found.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]},
            "routing_number": "110000000",
            "status_details": {},
        }
    return {
        **shown_card(found),
        "display_brand": found.brand,
        "generated_from": None,
        "networks": {"available": [found.brand], "preferred": None},
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
        "regulated_status": "unregulated",
    }


def shown_card(found: Instrument) -> Json:
    """Return what methods and charges both tell of a card."""
    return {
        "brand": found.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": _fingerprint(found),
        "funding": "credit",
        "last4": found.last4,
    }


def _fingerprint(found: Instrument) -> str:
    # The same number has the same fingerprint in one account.
    return f"Fp{sum(ord(letter) * place for place, letter in enumerate(found.number, 1)):014d}"


def instrument_of(world: World, method: Json) -> Instrument:
    """Return what a payment method pays with."""
    return INSTRUMENTS[world.notes[method["id"]]["number"]]


def resolved(world: World, id: str, *, param: str = "payment_method") -> Json:
    """Return a payment method; a test id such as `pm_card_visa` makes a new one, as at Stripe.

    Raises Refusal when there is none.
    """
    found = named(id) if id.startswith("pm_card_") else None
    return made(world, found) if found is not None else world.find("payment_method", id, param=param)


def attach(world: World, id: str, customer: Json) -> Json:
    """Attach a payment method to a customer, and say so.

    Raises Refusal when it belongs to another, or its bank declines.
    """
    method = resolved(world, id)
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None:
        raise unexpected_state("The payment method you provided has already been attached to a customer.", "")
    found = instrument_of(world, method)
    if found.decline is not None and not found.attaches:
        raise card_error(found.decline[2], found.decline[0], found.decline[1])
    method["customer"] = customer["id"]
    world.emit("payment_method.attached", method)
    return method


def attached(world: World, id: str, customer: Json) -> Json:
    """Return a payment method that a customer has; a test id is attached first.

    Raises Refusal when it is not attached to this customer.
    """
    if named(id) is not None:
        return next(
            (each for each in of_customer(world, customer["id"], "card") if named(id) == instrument_of(world, each)),
            None,
        ) or attach(world, id, customer)
    method = resolved(world, id)
    if method["customer"] != customer["id"]:
        raise invalid(
            f"The customer does not have a payment method with the ID {id}."
            " The payment method must be attached to the customer.",
            param="payment_method",
            code="resource_missing",
        )
    return method


def of_customer(world: World, customer: str, kind: str | None) -> list[Json]:
    """Return a customer's payment methods, the newest first, those of one type where it is given."""
    found = (each for each in world.all("payment_method") if each["customer"] == customer)
    return [each for each in found if kind in {None, each["type"]}]


def retrieve(world: World, call: Call) -> Json:
    """Return a payment method."""
    return world.find("payment_method", call.id())


def change(world: World, call: Call) -> Json:
    """Change a payment method's details."""
    method = world.find("payment_method", call.id())
    billing = _billing(method["billing_details"], call.params.get("billing_details") or {})
    metadata = merged_metadata(method, call.params)
    return updated(world, method, "payment_method.updated", billing_details=billing, metadata=metadata)


def attach_called(world: World, call: Call) -> Json:
    """Attach a payment method to the customer that a request names."""
    if "customer" not in call.params:
        raise invalid("Missing required param: customer.", param="customer", code="parameter_missing")
    return attach(world, call.id(), world.find("customer", call.params["customer"], param="customer"))


def detach(world: World, call: Call) -> Json:
    """Take a payment method away from its customer, for good."""
    method = world.find("payment_method", call.id())
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = world.objects[method["customer"]]
    previous, method["customer"] = method["customer"], None
    settings = customer.get("invoice_settings", {})
    if settings.get("default_payment_method") == method["id"]:
        settings["default_payment_method"] = None
    world.emit("payment_method.detached", method, {"customer": previous})
    return method


def several(world: World, call: Call) -> Json:
    """Return a page of a customer's payment methods."""
    customer = call.params.get("customer")
    if customer is None:
        raise missing("customer", "", param="customer")
    return page(call, of_customer(world, customer, call.params.get("type")))


ROUTES = (
    Route("POST", "/v1/payment_methods", "PaymentMethodCreateParams", create),
    Route("GET", "/v1/payment_methods", "PaymentMethodListParams", several),
    Route("GET", "/v1/payment_methods/{id}", "PaymentMethodRetrieveParams", retrieve),
    Route("POST", "/v1/payment_methods/{id}", "PaymentMethodUpdateParams", change),
    Route("POST", "/v1/payment_methods/{id}/attach", "PaymentMethodAttachParams", attach_called),
    Route("POST", "/v1/payment_methods/{id}/detach", "PaymentMethodDetachParams", detach),
)
