"""Buying credits on every store: orders first, credits once, and back by the share of the money that went back."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from callfare.errors import Conflict, InvalidAmount, KeyConflict, NotFound
from callfare.ledger.rows import AuditRow, Grant, Hold, Transfer, User
from callfare.ledger.sale_rows import Delivery, Order, Sale
from callfare.ledger.verify import verify
from tests.support.books import Balance
from tests.support.commands import START_US, asked_by, close, grant, make_key, open_run, record
from tests.support.sale_commands import (
    HOUR_US,
    mirror,
    move_order,
    open_order,
    order_name,
    settle_sale,
    take,
)


@pytest.fixture(autouse=True)
def clean(books):
    yield
    assert verify(books.store.scan).faults == ()


def order(books, number: int = 1) -> Order:
    return next(row for row in books.rows(Order) if row.order_id == order_name(number=number))


def sale(books) -> Sale:
    return books.rows(Sale)[0]


def kinds(books) -> list[str]:
    return [row.kind for row in books.rows(Transfer)]


# Orders


def test_an_order_is_kept_before_anybody_is_asked_for_money(books):
    receipt = books.do(open_order())

    kept = order(books.reopened())
    assert (kept.nanocredits, kept.currency, kept.subtotal, kept.state, kept.attempt) == (
        2_000_000_000_000, "usd", 1800, "created", 1,
    )  # fmt: skip
    assert (receipt.order_id, receipt.version, receipt.is_replay) == (order_name(), 1, False)
    assert books.balance() == Balance("0", "0", "0")


def test_a_repeated_order_is_the_first_one(books):
    books.do(open_order())

    again = books.do(replace(open_order(), suffix="9" * 16))

    assert (again.order_id, again.is_replay) == (order_name(), True)
    assert len(books.rows(Order)) == 1


def test_another_order_under_the_same_key_is_a_conflict(books):
    books.do(open_order())

    with pytest.raises(KeyConflict):
        books.do(open_order(credits=500, subtotal=500))


def test_an_order_notes_the_email_of_its_buyer(books):
    books.do(open_order(email="a@example.com"))
    books.do(open_order(number=2, email="b@example.com"))

    assert [user.email for user in books.rows(User)] == ["b@example.com"]


def test_an_order_that_moved_meanwhile_is_left_as_it_is(books):
    books.do_all(open_order(), move_order("open", 1, session="cs_1"))

    late = books.do(move_order("expired", 1))

    assert (late.is_stale, late.state, order(books).state) == (True, "open", "open")


def test_an_order_keeps_what_it_is_not_told(books):
    books.do_all(
        open_order(),
        move_order("open", 1, session="cs_1", url="https://pay.example/1"),
        move_order("awaiting_payment", 2),
    )

    assert (order(books).session, order(books).url) == ("cs_1", "https://pay.example/1")


def test_asking_anew_counts_the_attempts(books):
    books.do_all(open_order(), move_order("created", 1, is_anew=True, request='{"anew":1}'))

    assert (order(books).attempt, order(books).request) == (2, '{"anew":1}')


def test_an_order_that_was_paid_for_moves_no_more(books):
    books.do_all(open_order(), settle_sale())

    with pytest.raises(Conflict):
        books.do(move_order("expired", 2))


def test_an_order_of_nobody_is_not_found(books):
    with pytest.raises(NotFound):
        books.do(move_order())


# Granting


def test_a_payment_grants_what_the_order_says_once(books):
    books.do(open_order())

    first = books.do(settle_sale())
    again = books.do(settle_sale(1, order_version=2))

    assert books.balance() == Balance("2000", "0", "2000")
    assert (first.is_replay, again.is_replay, again.version) == (False, True, 1)
    assert (order(books).state, kinds(books)) == ("paid", ["grant"])
    [lot] = books.rows(Grant)
    assert (lot.source, lot.paid_picousd, lot.reference) == ("purchase", 18_000_000_000_000, f"sale:{order_name()}")


def test_a_payment_learnt_from_before_it_moved_grants_nothing_again(books):
    books.do_all(open_order(), settle_sale())

    late = books.do(settle_sale())

    assert late.is_stale
    assert books.balance() == Balance("2000", "0", "2000")


def test_two_payments_in_one_batch_grant_once(books):
    books.do(open_order())

    first, second = books.batch(settle_sale(), settle_sale())

    assert (first.is_stale, second.is_stale) == (False, True)
    assert books.balance() == Balance("2000", "0", "2000")


def test_a_payment_repays_older_debt_first(books):
    books.do_all(record(30, user="alice"), open_order(), settle_sale())

    assert books.balance() == Balance("1970", "0", "1970")
    assert kinds(books) == ["charge", "grant", "repay"]


def test_a_payment_marks_its_message_done_with_its_effect(books):
    books.do_all(open_order(), take())

    books.do(settle_sale(message="evt_1"))

    assert books.store.facts().rows["inbox"] == 1
    assert [row.state for row in books.rows(Delivery)] == ["done"]


def test_who_asked_is_kept_with_the_payment(books):
    books.do_all(make_key("key00001"), open_order())

    books.do(asked_by(settle_sale(), "key00001", operation="stripe.settle"))

    [row] = books.rows(AuditRow)
    assert (row.object, row.operation) == (f"order:{order_name()}", "stripe.settle")
    assert json.loads(row.state_after)["granted_nanocredits"] == 2_000_000_000_000


# Paying back


def test_a_refund_takes_its_share_back_rounded_up(books):
    books.do_all(open_order(credits=10, subtotal=3), settle_sale(credits=10, captured=3))

    books.do(settle_sale(1, order_version=2, credits=10, captured=3, paid_back=1))

    assert books.balance() == Balance("6.666666666", "0", "6.666666666")
    assert sale(books).taken_back_nanocredits == 3_333_333_334


def test_what_was_spent_of_a_refunded_payment_becomes_debt(books):
    books.do_all(open_order(), settle_sale(), record(1500, user="alice"))

    books.do(settle_sale(1, order_version=2, paid_back=1800))

    assert books.balance() == Balance("0", "0", "0", debt="1500")


def test_only_the_difference_is_taken_back(books):
    books.do_all(open_order(), settle_sale())
    books.do(settle_sale(1, order_version=2, paid_back=450))

    books.do(settle_sale(2, order_version=2, paid_back=900))

    assert books.balance() == Balance("1000", "0", "1000")
    assert [row.amount_nanocredits for row in books.rows(Transfer)] == [
        2_000_000_000_000, 500_000_000_000, 500_000_000_000,
    ]  # fmt: skip


def test_a_refund_that_comes_before_its_grant_waits_for_it(books):
    books.do(open_order())
    books.do(settle_sale(credits=0, paid_back=900, state=None))

    before = books.balance()
    books.do(settle_sale(1, order_version=1, paid_back=900))

    assert before == Balance("0", "0", "0")
    assert books.balance() == Balance("1000", "0", "1000")


def test_a_refund_that_failed_gives_back_what_it_took(books):
    books.do_all(open_order(), settle_sale(), record(1500, user="alice"))
    books.do(settle_sale(1, order_version=2, paid_back=1800))

    books.do(settle_sale(2, order_version=2, paid_back=0))

    assert books.balance() == Balance("500", "0", "500")
    assert kinds(books) == ["grant", "charge", "refund", "reinstate", "repay"]


def test_money_that_went_back_and_forth_ends_where_it_began(books):
    books.do_all(open_order(), settle_sale())
    for version, cents in enumerate((1800, 0, 600, 0, 1800, 900), start=1):
        books.do(settle_sale(version, order_version=2, paid_back=cents))

    assert books.balance() == Balance("1000", "0", "1000")


def test_what_a_run_holds_is_not_taken_and_is_owed_until_it_comes_free(books):
    books.do_all(open_order(), settle_sale(), open_run("r1", hold=600))
    books.do(settle_sale(1, order_version=2, paid_back=1800))
    books.do(close("r1"))

    books.do(settle_sale(2, order_version=2, paid_back=0))

    assert books.balance() == Balance("2000", "0", "2000")


def test_more_paid_back_than_was_paid_is_refused(books):
    books.do(open_order())

    with pytest.raises(InvalidAmount):
        books.do(settle_sale(paid_back=1801))


def test_a_plans_credit_that_went_back_and_came_again_ends_when_it_would_have(books):
    line = {"sale": "il_1", "source": "plan", "state": None, "expires_at_us": START_US + HOUR_US}
    books.do_all(open_order(kind="plan"), settle_sale(**line), settle_sale(1, paid_back=900, **line))
    books.do(settle_sale(2, paid_back=0, **line))

    before = books.balance()
    books.advance(hours=2)

    assert (before, books.balance()) == (Balance("2000", "0", "2000"), Balance("0", "0", "0"))


def test_a_month_that_was_paid_for_when_it_was_over_leaves_nothing(books):
    books.do(open_order(kind="plan"))

    books.do(settle_sale(sale="il_1", source="plan", state=None, expires_at_us=START_US - HOUR_US))

    assert books.balance() == Balance("0", "0", "0")
    assert kinds(books) == ["grant", "breakage"]


# Disputes


def test_a_dispute_withholds_what_is_left_of_the_lot(books):
    books.do_all(grant("alice", 30), open_order(), settle_sale(), record(130, user="alice"))

    books.do(settle_sale(1, order_version=2, dispute="open"))

    assert books.balance() == Balance("1900", "1900", "0")
    assert [hold.amount_nanocredits for hold in books.rows(Hold)] == [1_900_000_000_000]


def test_a_dispute_that_was_won_lets_go_and_older_debt_is_paid(books):
    books.do_all(open_order(), settle_sale(), settle_sale(1, order_version=2, dispute="open"))
    books.do(record(40, user="alice"))

    books.do(settle_sale(2, order_version=2, dispute="won"))

    assert books.balance() == Balance("1960", "0", "1960")
    assert books.rows(Hold) == []


def test_money_that_a_dispute_took_takes_the_withheld_credit(books):
    books.do_all(open_order(), settle_sale(), settle_sale(1, order_version=2, dispute="open"))

    books.do(settle_sale(2, order_version=2, dispute="open", paid_back=1800))

    assert books.balance() == Balance("0", "0", "0")
    assert sale(books).withheld_nanocredits == 0


def test_a_dispute_of_a_part_withholds_what_the_rest_is_worth(books):
    books.do_all(open_order(), settle_sale(), settle_sale(1, order_version=2, dispute="open", paid_back=900))

    assert books.balance() == Balance("1000", "1000", "0")


def test_a_withheld_lot_that_ends_is_let_go_and_expires(books):
    line = {"sale": "il_1", "source": "plan", "state": None, "expires_at_us": START_US + HOUR_US}
    books.do_all(open_order(kind="plan"), settle_sale(**line), settle_sale(1, dispute="open", **line))
    books.advance(hours=2)

    books.do(settle_sale(2, dispute="won", **line))

    assert books.balance() == Balance("0", "0", "0")


# Plans


def test_a_plan_is_mirrored_and_grants_nothing(books):
    books.do(open_order(kind="plan"))

    first = books.do(mirror())
    same = books.do(mirror(1))
    changed = books.do(mirror(1, "past_due"))
    late = books.do(mirror(1, "active"))

    assert [(one.version, one.is_replay) for one in (first, same, changed)] == [(1, False), (1, True), (2, False)]
    assert (late.is_stale, late.status) == (True, "past_due")
    assert books.balance() == Balance("0", "0", "0")
