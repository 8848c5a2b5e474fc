"""Faults planted in the stand-in itself are told as violations: what the tests rely on cannot rot unseen."""

from __future__ import annotations

import httpx
import pytest

from callfare.devtools.fake_stripe import world as worlds
from callfare.devtools.fake_stripe.app import application
from callfare.devtools.fake_stripe.resources import charges, customers, intents, invoices, refunds
from callfare.devtools.fake_stripe.standin import Standin

PAID = {"amount": "900", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true"}


async def told_of(*calls):
    """Return what is violated by some calls to a new stand-in within this process."""
    standin = Standin("http://fake", seed="planted")
    over = httpx.ASGITransport(application(standin))
    headers = {"Authorization": "Bearer sk_test_any"}
    async with httpx.AsyncClient(transport=over, base_url="http://fake", headers=headers) as asking:
        made = {}
        for path, fields in calls:
            answer = await asking.post(
                f"/v1/{path}", data={name: made.get(text, text) for name, text in fields.items()}
            )
            assert answer.status_code == 200, answer.text
            made[f"${answer.json()['object']}"] = answer.json()["id"]
    await standin.deliveries.close()
    return standin.world.violations


def changed(real, change):
    """Return a function that does what a real one does, and then something wrong to what it returned."""

    def wrong(*arguments, **named):
        made = real(*arguments, **named)
        change(made)
        return made

    return wrong


BUYING = (("payment_intents", PAID),)
REFUNDING = (*BUYING, ("refunds", {"payment_intent": "$payment_intent"}))
BILLING = (
    ("customers", {}),
    ("invoiceitems", {"customer": "$customer", "amount": "5", "currency": "usd"}),
    ("invoices", {"customer": "$customer", "pending_invoice_items_behavior": "include"}),
)
DISPUTING = (("payment_intents", PAID | {"payment_method": "pm_card_createDispute"}),)


@pytest.mark.parametrize("calls", [BUYING, REFUNDING, BILLING, DISPUTING])
async def test_without_a_plant_nothing_is_violated(calls):
    assert await told_of(*calls) == []


@pytest.mark.parametrize(
    ("module", "name", "change", "calls", "told"),
    [
        (intents, "made", lambda made: made.update(charges=[]), BUYING, "payment_intent.charges: the SDK has no such"),
        (charges, "made", lambda made: made.pop("billing_details"), BUYING, "charge.billing_details: missing"),
        (charges, "made", lambda made: made.update(receipt_email=5), BUYING, "charge.receipt_email: 5"),
        (refunds, "made", lambda made: made.update(reason="regret"), REFUNDING, "refund.reason: 'regret'"),
        (refunds, "made", lambda made: made.update(status="refunded"), REFUNDING, None),
        (invoices, "made", lambda made: made.update(subscription="sub_1"), BILLING, "invoice.subscription: the SDK"),
        (invoices, "made", lambda made: made["lines"].pop("has_more"), BILLING, "invoice.lines.has_more: missing"),
        (customers, "made", lambda made: made.update(created=1.5), BILLING, "customer.created: 1.5 is no integer"),
    ],
)
async def test_an_object_made_wrong_is_told(monkeypatch, module, name, change, calls, told):
    monkeypatch.setattr(module, name, changed(getattr(module, name), change))

    violations = await told_of(*calls)

    if told is not None:
        assert any(told in violation for violation in violations), violations
    else:
        # The SDK types it as any text, so no type can tell: the table of behaviour has to.
        assert violations == []


async def test_an_event_of_an_unknown_type_is_told(monkeypatch):
    real = worlds.World.emit

    def wrong(world, kind, *more):
        return real(world, "charge.paid" if kind == "charge.succeeded" else kind, *more)

    monkeypatch.setattr(worlds.World, "emit", wrong)

    assert any("'charge.paid' is not among" in told for told in await told_of(*BUYING))


async def test_an_event_about_the_wrong_object_is_told(monkeypatch):
    real = worlds.World.emit

    def wrong(world, kind, found, *more):
        is_dispute = kind == "charge.dispute.created"
        return real(world, kind, world.objects[found["charge"]] if is_dispute else found, *more)

    monkeypatch.setattr(worlds.World, "emit", wrong)

    assert any("carries a charge, not a dispute" in told for told in await told_of(*DISPUTING))


async def test_a_handler_that_breaks_is_told_and_answers_as_stripe_does(monkeypatch):
    monkeypatch.setattr(customers, "made", lambda *_arguments, **_named: 1 // 0)

    with pytest.raises(AssertionError, match='"type": "api_error"'):
        await told_of(("customers", {}))


async def test_a_parameter_that_no_handler_knows_is_no_violation_but_a_refusal():
    with pytest.raises(AssertionError, match="parameter_unknown"):
        await told_of(("customers", {"surprise": "1"}))
