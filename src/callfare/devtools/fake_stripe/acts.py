"""What happens at Stripe without a request: payers, banks and time act. Each act is a name and its fields.

A test asks for them at `/_control/acts/{name}`; the hosted pages do the same things with a browser in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from callfare.devtools.fake_stripe.cards import Instrument, instrument
from callfare.devtools.fake_stripe.refusals import Json, invalid
from callfare.devtools.fake_stripe.resources import (
    checkout,
    checkout_paying,
    disputes,
    intents,
    invoices,
    methods,
    refunds,
    subscriptions,
)
from callfare.devtools.fake_stripe.world import World

_VISA: Final = "4242424242424242"


def _instrument(told: Json) -> Instrument:
    number = str(told.get("number", _VISA))
    found = instrument(number)
    if found is None:
        raise invalid(f"{number} is not one of the documented test numbers", param="number")
    return found


def pay_session(world: World, told: Json) -> Json:
    """Pay a session: `session`, and a test `number`, `email` and `name` of the payer if not the usual ones."""
    session = world.find("checkout.session", str(told["session"]), param="session")
    billing = {"email": told.get("email", "payer@example.com"), "name": told.get("name", "Jenny Rosen")}
    method = methods.made(world, _instrument(told), billing)
    return checkout_paying.pay(world, session, method)


def authenticate_session(world: World, told: Json) -> Json:
    """Let the payer of a `session` confirm the payment, or refuse to with `succeeds` false."""
    session = world.find("checkout.session", str(told["session"]), param="session")
    return checkout_paying.authenticate(world, session, succeeds=bool(told.get("succeeds", True)))


def renew_subscription(world: World, told: Json) -> Json:
    """End the present period of a `subscription` now: it is renewed, ended or paused, as it stands."""
    subscription = world.find("subscription", str(told["subscription"]), param="subscription")
    for item in subscription["items"]["data"]:
        item["current_period_end"] = world.now_s
    subscriptions.turn(world, subscription)
    return subscription


def collect_invoice(world: World, told: Json) -> Json:
    """Make a draft `invoice` final now and try to be paid, without the wait of about an hour."""
    invoice = invoices.found(world, str(told["invoice"]))
    if invoice["status"] == "draft":
        invoices.issue(world, invoice)
    invoices.try_quietly(world, invoice)
    return invoice


def end_subscription(world: World, told: Json) -> Json:
    """Cancel a `subscription` from the dashboard."""
    subscription = world.find("subscription", str(told["subscription"]), param="subscription")
    return subscriptions.end(world, subscription, reason="cancellation_requested")


def set_method(world: World, told: Json) -> Json:
    """Give a `customer` a card of a test `number` as the default for everything."""
    customer = world.find("customer", str(told["customer"]), param="customer")
    method = methods.made(world, _instrument(told))
    method["customer"] = customer["id"]
    world.emit("payment_method.attached", method)
    before = dict(customer["invoice_settings"])
    customer["invoice_settings"] = {**before, "default_payment_method": method["id"]}
    for subscription in world.all("subscription"):
        if subscription["customer"] == customer["id"] and subscription["default_payment_method"]:
            subscription["default_payment_method"] = method["id"]
    world.emit("customer.updated", customer, {"invoice_settings": before})
    return method


def expire_session(world: World, told: Json) -> Json:
    """Expire a `session`."""
    session = world.find("checkout.session", str(told["session"]), param="session")
    checkout.expired(world, session)
    return session


def settle_debit(world: World, told: Json) -> Json:
    """Let the debit of a `payment_intent` succeed, or fail with `succeeds` false."""
    intent = world.find("payment_intent", str(told["payment_intent"]), param="payment_intent")
    intents.settle(world, intent, succeeds=bool(told.get("succeeds", True)))
    return intent


def refund_charge(world: World, told: Json) -> Json:
    """Refund a `charge` from the dashboard: `amount`, and how it goes: "succeeds", "pending" or "fails"."""
    charge = world.find("charge", str(told["charge"]), param="charge")
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = int(told.get("amount", left))
    if not 0 < amount <= left:
        raise invalid(f"{amount} cannot be refunded of {left}", param="amount")
    return refunds.made(world, charge, amount, course=str(told.get("course", "succeeds")), metadata={})


def settle_refund(world: World, told: Json) -> Json:
    """Give a `refund` its `status`: succeeded, failed or canceled."""
    refund = world.find("refund", str(told["refund"]), param="refund")
    refunds.settle(world, refund, str(told["status"]))
    return refund


def dispute_charge(world: World, told: Json) -> Json:
    """Dispute a `charge`: `amount`, `reason`, and `is_inquiry` when the bank only asks."""
    charge = world.find("charge", str(told["charge"]), param="charge")
    return disputes.opened(
        world,
        charge,
        amount=told.get("amount"),
        reason=str(told.get("reason", "fraudulent")),
        is_inquiry=bool(told.get("is_inquiry", False)),
    )


def escalate_dispute(world: World, told: Json) -> Json:
    """Make a dispute of an inquiry: `dispute`; its money is withdrawn."""
    dispute = world.find("dispute", str(told["dispute"]), param="dispute")
    disputes.withdraw(world, dispute)
    return dispute


def reinstate_dispute(world: World, told: Json) -> Json:
    """Give the money of a `dispute` back while it is still open."""
    dispute = world.find("dispute", str(told["dispute"]), param="dispute")
    disputes.reinstate(world, dispute)
    return dispute


def decide_dispute(world: World, told: Json) -> Json:
    """End a `dispute` with a `status`: won, lost or warning_closed."""
    dispute = world.find("dispute", str(told["dispute"]), param="dispute")
    disputes.decide(world, dispute, str(told["status"]))
    return dispute


def roll_secret(world: World, told: Json) -> Json:
    """Give an `endpoint` a new secret beside the old one, or alone with `keep_old` false; tell it."""
    endpoint = world.find("webhook_endpoint", str(told["endpoint"]), param="endpoint")
    secret = world.new_id("whsec", 32)
    old = world.notes[endpoint["id"]]["secrets"] if told.get("keep_old", True) else []
    world.notes[endpoint["id"]]["secrets"] = [secret, *old]
    return {"secret": secret}


def emit_event(world: World, told: Json) -> Json:
    """Emit an event of a `type` about an `object` that need not exist: another application's, say."""
    found = told["object"]
    if not isinstance(found, dict):
        found = world.objects.get(str(found)) or {}
    return world.emit(str(told["type"]), found, told.get("previous_attributes"))


ACTS: Final[Mapping[str, Callable[[World, Json], Json]]] = {
    act.__name__: act
    for act in (
        pay_session,
        authenticate_session,
        renew_subscription,
        collect_invoice,
        end_subscription,
        set_method,
        expire_session,
        settle_debit,
        refund_charge,
        settle_refund,
        dispute_charge,
        escalate_dispute,
        reinstate_dispute,
        decide_dispute,
        roll_secret,
        emit_event,
    )
}
