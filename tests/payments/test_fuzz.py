"""Events of every type with whatever in them: taken or refused, and the ledger unchanged unless an order matches."""

from __future__ import annotations

import json
import random

import pytest

from callfare.errors import InvalidInput
from callfare.ledger.rows import Entry, Transfer
from callfare.payments.events import CHECKOUT, CUSTOMERS, INVOICES, MONEY, PLANS

TYPES = (*CHECKOUT, *MONEY, *PLANS, *INVOICES, *CUSTOMERS, "moon.risen", "customer.updated", "payout.paid")
VALUES = (
    None, "", "x", "pi_unknown", "cs_test_unknown", "in_unknown", "sub_unknown", "cus_unknown", 0, -1, 2**31, 2**63,
    True, [], {}, {"id": "pi_unknown"}, {"id": 7}, "\U0001f680", "ord_1", "a" * 300, "NaN",
    "0001", {"callfare_order": "x"},
)  # fmt: skip
FIELDS = (
    "id", "object", "amount", "amount_subtotal", "charge", "client_reference_id", "currency", "customer", "invoice",
    "livemode", "metadata", "mode", "payment_intent", "payment_status", "status", "subscription",
)  # fmt: skip


def drawn(chance: random.Random, number: int, stamp: dict[str, str]) -> dict[str, object]:
    """Return an event by chance, some of them with the stamp of ours, or with an id that is there."""
    told = {name: chance.choice(VALUES) for name in FIELDS if chance.random() < 0.7}
    if chance.random() < 0.5:
        told["metadata"] = stamp | {"credits": "999999"}
    if chance.random() < 0.3:
        told["client_reference_id"] = stamp["callfare_order"]
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "type": chance.choice(TYPES),
        "created": chance.choice([0, 1, 2**31, -1, "1"]) if chance.random() < 0.1 else 1,
        "livemode": chance.random() < 0.1,
        "api_version": chance.choice([None, "2020-08-27", "2026-10-28.endive"]),
        "data": chance.choice([{"object": told}] * 8 + [{}, None, []]),
    }
    if chance.random() < 0.05:
        event[chance.choice(["id", "type", "object", "data"])] = chance.choice(VALUES)
    return event


@pytest.mark.parametrize("seed", range(5))
async def test_no_event_moves_credit_that_no_payment_stands_behind(shop, seed):
    chance = random.Random(seed)
    await shop.bought()
    await shop.tell_all("checkout.session.completed")
    await shop.checkout(user="bob")
    bobs = next(order for order in shop.orders() if order.state == "open")
    stamp = {"callfare_instance": bobs.instance, "callfare_order": bobs.order_id, "callfare_account": "1"}
    before = shop.books.rows(Transfer), shop.books.rows(Entry), shop.state()

    for number in range(60):
        try:
            await shop.bring(json.dumps(drawn(chance, number, stamp)).encode())
        except InvalidInput:
            continue

    assert (shop.books.rows(Transfer), shop.books.rows(Entry), shop.state()) == before
