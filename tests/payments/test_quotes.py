"""What Stripe is asked to sell, and what it says it sold: discounts, taxes and other currencies change no credit."""

from __future__ import annotations

import dataclasses
import json

import pytest

from callfare.payments.gateway import Session, SessionLine
from callfare.payments.quoting import differences
from callfare.payments.stripe import StripeGateway
from tests.support.books import Balance


async def test_what_is_asked_for_leaves_no_room_for_another_price(shop):
    session = await shop.checkout()

    made, [order] = shop.fake.client().v1.checkout.sessions.retrieve(session), shop.orders()
    asked = json.loads(order.request)
    assert (made.adaptive_pricing.enabled, made.allow_promotion_codes, made.invoice_creation.enabled) == (
        False, None, True,
    )  # fmt: skip
    assert asked["metadata"] == asked["payment_intent_data"]["metadata"]
    assert asked["metadata"]["callfare_order"] == asked["client_reference_id"] == order.order_id


async def test_taxes_are_paid_on_top_and_a_refund_takes_its_share_of_the_whole(open_shop):
    async with open_shop(has_tax=True) as shop:
        shop.fake.settings(tax_percent=20)
        session = await shop.bought()
        await shop.tell_all()
        before = shop.balance().available
        total = shop.fake.client().v1.checkout.sessions.retrieve(session).amount_total
        shop.fake.act("refund_charge", charge=shop.charge_of(), amount=1080)
        await shop.tell_all()

        assert (total, before, shop.balance().available) == (2160, "2000", "1000")


DIFFERENT = {
    "reference": {"reference": "ord_other"},
    "instance": {"stamp": {"callfare_instance": "inst_other"}},
    "mode": {"mode": "live"},
    "kind": {"kind": "subscription"},
    "customer": {"customer": "cus_other"},
    "currency": {"currency": "jpy"},
    "subtotal": {"subtotal": 1799},
    "lines": {"lines": (SessionLine(quantity=2, subtotal=900),)},
}


@pytest.mark.parametrize("name", DIFFERENT)
async def test_each_figure_of_a_paid_checkout_that_differs_puts_it_aside(shop, monkeypatch, name):
    session = await shop.bought()
    found = dataclasses.replace(await shop.till.desk.gateway.session(session), **DIFFERENT[name])
    answered_by(monkeypatch, found)

    settled = await shop.till.settlement.order(shop.orders()[0].order_id)

    assert differences(shop.orders()[0], found) == [name]
    assert (settled.state, shop.balance()) == ("quarantined", Balance("0", "0", "0"))
    assert [item.reason for item in shop.quarantined()] == [name]


async def test_another_session_than_the_orders_is_none_of_it(shop, monkeypatch):
    first, _ = await shop.bought(), await shop.bought("credits_500")
    orders = {order.session: order for order in shop.orders()}

    found = await shop.till.desk.gateway.session(first)

    other = next(order for session, order in orders.items() if session != first)
    assert set(differences(other, found)) == {"session", "reference", "subtotal", "lines"}


async def test_what_was_given_away_at_stripe_is_not_granted(shop, monkeypatch):
    """A coupon of the dashboard for the whole price: nothing was paid, and the package is not free."""
    session = await shop.checkout()
    found = await shop.till.desk.gateway.session(session)
    answered_by(monkeypatch, dataclasses.replace(found, status="complete", payment_status="no_payment_required"))

    settled = await shop.till.come_back(session)

    assert (settled.state, shop.balance()) == ("awaiting_payment", Balance("0", "0", "0"))


def answered_by(monkeypatch, found: Session) -> None:
    """Have Stripe say this of every checkout."""

    async def told(self, name: str) -> Session:
        return found

    monkeypatch.setattr(StripeGateway, "session", told)
