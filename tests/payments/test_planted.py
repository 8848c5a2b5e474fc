"""Each hazard that these tests are for, planted: with the fault in, what a test asserts no longer holds."""

from __future__ import annotations

import dataclasses
import json

import pytest
from msgspec.structs import replace

from callfare.ledger import sales
from callfare.payments import inbox, quoting, settlement
from callfare.payments.desk import Desk
from callfare.payments.gateway import Session
from callfare.payments.stripe import StripeGateway
from tests.payments.test_money import DEBIT_THAT_PAYS
from tests.support.books import Balance
from tests.support.shop import opened_shop


@pytest.fixture
async def shop(fake):
    """A shop on a ledger in memory, whose rows can be dropped once a planted fault has spoilt them."""
    async with opened_shop(fake) as shop:
        yield shop


async def test_without_the_look_at_the_payment_a_debit_grants_at_once(shop, monkeypatch):
    monkeypatch.setattr(settlement, "_is_paid", lambda order, session: session.status == "complete")

    await shop.bought(number=DEBIT_THAT_PAYS)
    await shop.tell_all("checkout.session.completed")

    assert shop.balance().available == "2000"


async def test_with_credits_from_the_metadata_whoever_writes_it_decides(shop, monkeypatch):
    true = settlement.Settlement._settle_sale

    async def trusting(self, bought, *rest):
        trusted = replace(bought.order, nanocredits=999_000_000_000_000)
        return await true(self, dataclasses.replace(bought, order=trusted), *rest)

    monkeypatch.setattr(settlement.Settlement, "_settle_sale", trusting)
    faults = ()
    try:
        await shop.bought()
        await shop.tell_all("checkout.session.completed")
        faults = shop.engine.verify().faults
    finally:
        assert shop.balance().available == "999000"
        assert any(fault.table == "sales" for fault in faults)
        shop.engine.store.drop_rows()


async def test_without_a_comparison_a_cheaper_checkout_buys_the_package(shop, monkeypatch):
    monkeypatch.setattr(settlement, "differences", lambda order, session: [])
    session = await shop.checkout()
    found = await shop.till.desk.gateway.session(session)
    cheaper = dataclasses.replace(found, subtotal=1, payment_status="paid", status="complete")

    async def told(self, name: str) -> Session:
        return cheaper

    monkeypatch.setattr(StripeGateway, "session", told)
    await shop.till.come_back(session)

    assert shop.balance().available == "2000"
    assert quoting.differences(shop.orders()[0], cheaper) == ["subtotal"]


async def test_without_versions_an_answer_that_was_late_undoes_a_newer_one(shop, monkeypatch):
    await shop.bought()
    await shop.tell_all("checkout.session.completed")
    shop.fake.act("refund_charge", charge=shop.charge_of())
    await shop.tell_all("charge.refunded")
    [sale], [order] = shop.sales(), shop.orders()
    late = _settled(sale, order)

    kept = shop.books.do(late)
    undone = shop.books.do(replace(late, seen_version=sale.version, seen_order_version=order.version))

    assert (kept.is_stale, undone.taken_back_nanocredits) == (True, 0)


def _settled(sale, order):
    from callfare.ledger.sale_commands import SettleSale  # noqa: PLC0415 - for this test alone

    return SettleSale(
        user="alice", order_id=order.order_id, sale_id=sale.sale_id, seen_version=1, seen_order_version=order.version,
        source="purchase", mode="test", currency="usd", nanocredits=order.nanocredits, paid_picousd=1,
        expires_at_us=None, invoice=None, payment=sale.payment, captured=1800, reversed=0, dispute=None,
    )  # fmt: skip


async def test_by_the_events_id_alone_two_events_of_one_payment_grant_twice(shop, monkeypatch):
    """The key of a grant is made of the message here, as it must not be."""
    await shop.bought()
    await shop.tell_all("checkout.session.completed")
    [sale], [order] = shop.sales(), shop.orders()
    by_event = replace(_settled(sale, order), sale_id="evt_2", seen_version=0)

    shop.books.do(by_event)

    assert shop.balance().available == "4000"
    shop.engine.store.drop_rows()


async def test_marked_done_before_its_effect_a_message_that_was_cut_off_is_lost(shop, monkeypatch):
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    message = await shop.till.inbox.keep(json.dumps(event).encode())
    await shop.till.inbox._say(message.id, "done", None)

    shop.clock.advance(7200)
    await shop.tell(event)
    await shop.till.work_due()

    assert shop.balance() == Balance("0", "0", "0")


async def test_without_the_stamp_two_installations_take_each_others_payments_for_lost(fake, monkeypatch):
    async with opened_shop(fake) as other, opened_shop(fake) as shop:
        await other.bought()

        async def the_same(self: Desk) -> str:
            return other.orders()[0].instance

        monkeypatch.setattr(Desk, "instance", the_same)
        await shop.tell_all("checkout.session.completed")

        assert shop.messages() == {"checkout.session.completed": "waiting"}


async def test_in_cents_and_not_in_shares_a_refund_takes_too_little(shop, monkeypatch):
    monkeypatch.setattr(
        sales, "share_taken_back", lambda nanocredits, *, reversed_units, captured_units: reversed_units * 10**9
    )
    await shop.bought()
    shop.fake.act("refund_charge", charge=shop.charge_of(), amount=900)

    await shop.tell_all()

    assert shop.balance().available == "1100"
    monkeypatch.undo()
    assert shop.engine.verify().faults
    shop.engine.store.drop_rows()


async def test_without_the_bound_ahead_a_stamp_of_the_future_never_grows_old(shop, monkeypatch):
    monkeypatch.setattr(inbox, "abs", lambda difference: -difference, raising=False)
    now_s = shop.clock.now_us() // 1_000_000

    await shop.bring(
        b'{"id":"evt_1","object":"event","type":"a.b","created":1,"livemode":false}', stamp_s=now_s + 10**6
    )

    assert shop.messages() == {"a.b": "ignored"}


@pytest.mark.parametrize("is_planted", [False, True])
async def test_a_proration_is_no_month(shop, monkeypatch, is_planted):
    from callfare.payments.gateway import Invoice, InvoiceLine  # noqa: PLC0415 - for this test alone

    line = InvoiceLine(id="il_1", amount=900, quantity=1, is_proration=True, is_plan=True, ends_at_s=0)
    invoice = Invoice(
        id="in_1", mode="test", is_paid=True, reason="subscription_update", customer=None, currency="usd",
        subscription="sub_1", payment=None, paid_at_s=1, lines=(line,),
    )  # fmt: skip
    if is_planted:
        invoice = dataclasses.replace(
            invoice, reason="subscription_cycle", lines=(dataclasses.replace(line, is_proration=False),)
        )

    assert bool(settlement._months(invoice)) is is_planted
