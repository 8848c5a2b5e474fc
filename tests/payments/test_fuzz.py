"""Events of every type with whatever in them: taken or refused, and the ledger unchanged unless an order matches."""

from __future__ import annotations

import json
import random
import re

import pytest
from stripe import WebhookSignature
from stripe.params import WebhookEndpointCreateParams

from callfare.errors import InvalidInput
from callfare.ledger.rows import Entry, Transfer
from callfare.payments import events
from callfare.payments.desk import Desk
from callfare.payments.events import CHECKOUT, CUSTOMERS, INVOICES, MONEY, PLANS
from callfare.payments.stripe import StripeGateway
from callfare.payments.till import Till
from tests.support.serving import engine_on, served
from tests.support.shop import FOR_SALE, SECRET, config_of

OURS = (*CHECKOUT, *MONEY, *PLANS, *INVOICES, *CUSTOMERS)
# Every type that the pinned SDK knows, and one that it does not.
TYPES = (
    *re.findall(r"'([a-z0-9_.]+)'", str(WebhookEndpointCreateParams.__annotations__["enabled_events"])),
    "moon.risen",
)
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
        "type": chance.choice(TYPES if chance.random() < 0.5 else OURS),
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


def test_whatever_stripe_signs_is_answered_with_yes_or_no_over_http(fake, tmp_path):
    chance = random.Random(7)
    stamp = {"callfare_instance": "inst_x", "callfare_order": f"ord_{'0' * 12}1_{'0' * 16}", "callfare_account": "1"}
    engine = engine_on(f"sqlite:///{tmp_path}/shop.db")
    config = config_of(fake)
    till = Till(Desk(engine, StripeGateway(config.secret_key, api_url=config.api_url), config, FOR_SALE))
    with served(engine, till=till) as serving, serving.client(None) as stripe:
        statuses = [sent(stripe, drawn(chance, number, stamp), engine.clock.now_us()) for number in range(150)]
        unknown = sent(
            stripe, {"id": "evt_x", "object": "event", "type": "moon.risen", "created": 1, "livemode": False}, 0
        )

    assert set(statuses) == {200, 400}
    assert unknown == 400


def sent(stripe, event: dict[str, object], now_us: int) -> int:
    """Return the status that a signed event is answered with."""
    body = json.dumps(event)
    header = WebhookSignature.generate_signature_header(body, SECRET, now_us // 1_000_000)
    answer = stripe.post("/api/billing/webhook", content=body.encode(), headers={"Stripe-Signature": header})
    return answer.status_code


def test_the_types_that_are_drawn_from_are_all_there_are():
    assert len(TYPES) > 250
    assert set(OURS) <= set(TYPES)


def read_or_refused(body: bytes) -> object:
    try:
        return events.read_message(body)
    except InvalidInput as refused:
        return refused.param, refused.message


@pytest.mark.parametrize("seed", range(5))
def test_both_readers_of_messages_say_the_same(seed, monkeypatch):
    chance = random.Random(seed)
    stamp = {"callfare_instance": "inst_1", "callfare_order": "ord_1", "callfare_account": "1"}
    bodies = [json.dumps(drawn(chance, number, stamp)).encode() for number in range(400)]
    times = (b"1e3", b"1.0", b"-0", b"true", b"null", b'"1"', b"9" * 30, b"1.5")
    bodies += [bodies[0].replace(b'"created": 1', b'"created": ' + time) for time in times]
    bodies += [body[:cut] for body in bodies[:20] for cut in (1, 50, len(body) - 1)]

    fast = [read_or_refused(body) for body in bodies]
    monkeypatch.setattr(events, "_decode", _strict)
    slow = [read_or_refused(body) for body in bodies]

    assert fast == slow
    assert sum(isinstance(one, events.Message) for one in fast) > 200


def _strict(_: bytes) -> object:
    raise ValueError
