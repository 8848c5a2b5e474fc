"""Verification of what was bought: what was altered and sealed again contradicts the order, the lot or the history."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.ledger.rows import Grant, Hold, Key
from callfare.ledger.sale_rows import Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import START
from tests.support.rich import write_rich_ledger
from tests.support.sale_commands import order_name
from tests.support.tables import changed, find, key_of, places, rows_of, verified, with_row


@pytest.fixture(scope="module")
def rich():
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return rows_of(books)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("product", "credits_15000"),
        ("nanocredits", 15_000_000_000_000),
        ("currency", "jpy"),
        ("subtotal", 1),
        ("edition", "another"),
        ("mode", "live"),
        ("state", "expired"),
        ("order_id", "ord_of_nobody"),
    ],
)
def test_an_order_cannot_be_altered_and_sealed_again(rich, column, value):
    paid = find(rich, Order, order_id=order_name())

    assert places(changed(rich, paid, **{column: value}))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("order_id", "ord_of_nobody"),
        ("nanocredits", 1_999_000_000_000),
        ("taken_back_nanocredits", 0),
        ("withheld_nanocredits", 1),
        ("captured", 3600),
        ("reversed", 451),
        ("grant_id", 1),
        ("grant_id", None),
        ("currency", "eur"),
        ("mode", "live"),
    ],
)
def test_a_payment_cannot_be_altered_and_sealed_again(rich, column, value):
    paid = find(rich, Sale, sale_id=order_name())

    assert places(changed(rich, paid, **{column: value}))


def test_a_dispute_cannot_be_closed_while_credit_is_withheld(rich):
    disputed = find(rich, Sale, sale_id=order_name(number=2))

    assert places(changed(rich, disputed, dispute="won")) == [("sales", key_of(disputed), "dispute")]


def test_a_payment_that_is_gone_is_missed(rich):
    paid = find(rich, Sale, sale_id=order_name())

    assert ("sales", (str(paid.account_id), f"sale:{paid.sale_id}, lot {paid.grant_id}"), None) in places(
        verified(with_row(rich, paid, None))
    )


def test_an_order_that_is_gone_is_missed(rich):
    order = find(rich, Order, order_id=order_name(number=4))

    assert [table for table, _, _ in places(verified(with_row(rich, order, None)))] == ["keys"]


def test_an_order_that_nobody_opened_is_found(rich):
    opened = find(rich, Key, kind="order", key="order-4")

    assert [table for table, _, _ in places(verified(with_row(rich, opened, None)))] == ["orders"]


def test_a_withheld_part_that_is_gone_is_missed(rich):
    held = next(row for row, _ in rich[Hold] if row.hold_id.startswith("dispute"))

    assert "withheld_nanocredits" in {column for _, _, column in places(verified(with_row(rich, held, None)))}


def test_credit_that_was_given_back_cannot_be_made_more_than_was_taken(rich):
    lot = find(rich, Grant, reference=f"sale:{order_name()}", paid_picousd=None)

    assert places(changed(rich, lot, amount_nanocredits=lot.amount_nanocredits + 1))
    assert places(changed(rich, lot, paid_picousd=1))
    assert places(changed(rich, lot, source="promo"))


def test_a_plan_belongs_to_an_order_of_a_plan(rich):
    plan = rich[Subscription][0][0]

    assert places(changed(rich, plan, order_id=order_name()))


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (Delivery, "settled_at_us", None),
        (Delivery, "account_id", 5),
        (Quarantined, "claimed_by", "key:other"),
        (Installation, "account_id", 5),
    ],
)
def test_the_houses_rows_hold_together(rich, table, column, value):
    row = next(row for row, _ in rich[table] if not hasattr(row, "claimed_at_us") or row.claimed_at_us is None)

    assert places(changed(rich, row, **{column: value}))
