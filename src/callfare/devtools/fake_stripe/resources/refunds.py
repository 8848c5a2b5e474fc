"""Refunds: money that goes back, at once, later, or not after all.

Source of states and events: Stripe's page "Refund and cancel payments". A failed refund's money returns to the
account's balance, and the charge no longer counts it as refunded.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from callfare.devtools.fake_stripe.refusals import Json, invalid, missing_param, unexpected_state
from callfare.devtools.fake_stripe.resources import charges, methods
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, updated

_GONE: Final = ("failed", "canceled")


def create(world: World, call: Call) -> Json:
    """Refund a charge, all of what is left of it unless an amount is given.

    Raises Refusal when nothing is left, too much is asked for, or the charge is disputed.
    """
    params = call.params
    charge = _charge_of(world, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if not charge["paid"]:
        raise unexpected_state(f"Charge {charge['id']} has not been paid.", "charge_not_refundable")
    if charge["disputed"] and _is_open_dispute(world, charge):
        raise unexpected_state(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", "charge_disputed"
        )
    if left == 0:
        raise unexpected_state(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
    if amount < 1:
        raise invalid("Invalid positive integer", param="amount", code="parameter_invalid_integer")
    if amount > left:
        raise invalid(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount")
    found = methods.instrument_of(world, world.objects[charge["payment_method"]])
    return made(
        world,
        charge,
        amount,
        course=found.refund,
        reason=params.get("reason"),
        metadata=merged_metadata({}, params),
    )


def _charge_of(world: World, params: Json) -> Json:
    if "charge" in params:
        return world.find("charge", params["charge"], param="charge")
    if "payment_intent" not in params:
        raise missing_param("payment_intent")
    intent = world.find("payment_intent", params["payment_intent"], param="payment_intent")
    if intent["latest_charge"] is None:
        raise unexpected_state(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            "payment_intent_unexpected_state",
        )
    return world.find("charge", intent["latest_charge"])


def _is_open_dispute(world: World, charge: Json) -> bool:
    return any(
        each["charge"] == charge["id"] and not each["is_charge_refundable"] and each["status"] != "won"
        for each in world.all("dispute")
    )


def made(
    world: World, charge: Json, amount: int, *, course: str = "succeeds", reason: str | None = None, metadata: Json
) -> Json:
    """Return a new refund, told to everyone; `course` is how it goes: "succeeds", "pending" first, or "fails" later."""
    refund = world.new(
        "refund",
        "re",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details={"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        reason=reason,
        status="pending" if course == "pending" else "succeeded",
    )
    if charge["payment_method_details"]["type"] != "card":
        refund["destination_details"] = {"type": charge["payment_method_details"]["type"]}
    moved = charges.balance_transaction(world, amount=-amount, fee=0, type="refund", source=refund, description=None)
    refund["balance_transaction"] = moved["id"]
    world.emit("refund.created", refund)
    _recount(world, charge)
    world.emit("charge.refunded", charge)
    after_s = world.settings.refund_after_s
    if course != "succeeds" and after_s is not None:
        status = "succeeded" if course == "pending" else "failed"
        world.clock.at(world.now_s + after_s, partial(_when_due, world, refund, status, refund["status"]))
    return refund


def _recount(world: World, charge: Json) -> None:
    refunded = sum(each["amount"] for each in charges.refunds_of(world, charge) if each["status"] not in _GONE)
    charge |= {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}


def _when_due(world: World, refund: Json, status: str, expected: str) -> None:
    if refund["status"] == expected:
        settle(world, refund, status)


def settle(world: World, refund: Json, status: str) -> None:
    """Let a refund succeed, fail or be cancelled, and say so under each name of the event."""
    charge = world.objects[refund["charge"]]
    previous = {"status": refund["status"]}
    refund["status"] = status
    if status in _GONE:
        returned = charges.balance_transaction(
            world, amount=refund["amount"], fee=0, type="refund_failure", source=refund, description=None
        )
        refund |= {"failure_balance_transaction": returned["id"]}
        if status == "failed":
            refund["failure_reason"] = "expired_or_canceled_card"
        _recount(world, charge)
    world.emit("refund.updated", refund, previous)
    if status == "failed":
        world.emit("refund.failed", refund)
    world.emit("charge.refund.updated", refund, previous)


def change(world: World, call: Call) -> Json:
    """Change a refund's metadata."""
    refund = world.find("refund", call.id())
    before = dict(refund["metadata"])
    updated(world, refund, "refund.updated", metadata=merged_metadata(refund, call.params))
    if before != refund["metadata"]:
        world.emit("charge.refund.updated", refund, {"metadata": before})
    return refund


def cancel(world: World, call: Call) -> Json:
    """Cancel a refund that waits for its receiver.

    Raises Refusal for any other.
    """
    refund = world.find("refund", call.id())
    if refund["status"] not in {"requires_action", "pending"}:
        raise unexpected_state("Only refunds that require action can be canceled.", "")
    settle(world, refund, "canceled")
    return refund


def retrieve(world: World, call: Call) -> Json:
    """Return a refund."""
    return world.find("refund", call.id())


def several(world: World, call: Call) -> Json:
    """Return a page of refunds, of one charge or intent where given."""
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in world.all("refund") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


ROUTES = (
    Route("POST", "/v1/refunds", "RefundCreateParams", create),
    Route("GET", "/v1/refunds", "RefundListParams", several),
    Route("GET", "/v1/refunds/{id}", "RefundRetrieveParams", retrieve),
    Route("POST", "/v1/refunds/{id}", "RefundUpdateParams", change),
    Route("POST", "/v1/refunds/{id}/cancel", "RefundCancelParams", cancel),
)
