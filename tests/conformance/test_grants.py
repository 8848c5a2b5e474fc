"""Grants: credit arrives in lots, once, and what was bought can be refunded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callfare.errors import AmountOutOfRange, InvalidAmount, InvalidTime, KeyConflict, NotFound
from callfare.ledger.rows import Account, Entry, Grant, Key, Transfer, User
from tests.support.books import Balance, Books
from tests.support.commands import START, START_US, account_number, close, grant, open_run, record, refund


def test_a_grant_can_be_spent_at_once(books: Books):
    receipt = books.do(grant("alice", 500))

    assert (receipt.nanocredits, receipt.repaid_nanocredits, receipt.is_replay) == (500_000_000_000, 0, False)
    assert books.balance("alice") == Balance(posted="500", held="0", available="500")


def test_a_grant_stands_on_both_sides_of_the_books(books: Books):
    books.do(grant("alice", 500, source="purchase"))
    books.do(grant("alice", 20, key="welcome", source="promo"))

    assert books.sums("alice") == {"customer": "520", "sales": "-500", "promo": "-20"}
    assert [(row.kind, row.amount_nanocredits, row.entry_count) for row in books.rows(Transfer)] == [
        ("grant", 500_000_000_000, 2),
        ("grant", 20_000_000_000, 2),
    ]


@pytest.mark.parametrize(
    ("source", "house"), [("purchase", "sales"), ("plan", "sales"), ("promo", "promo"), ("adjustment", "promo")]
)
def test_every_source_has_its_account_of_the_house(books: Books, source, house):
    books.do(grant("alice", 1, source=source))

    assert [(row.account_kind, row.amount_nanocredits) for row in books.rows(Entry)] == [
        (house, -1_000_000_000),
        ("customer", 1_000_000_000),
    ]


def test_the_same_grant_again_gets_the_first_answer_and_writes_nothing(books: Books):
    first = books.do(grant("alice", 500, key="welcome"))
    before = books.all_rows()

    again = books.do(grant("alice", 500, key="welcome"))

    assert again.is_replay
    assert (again.grant_id, again.nanocredits) == (first.grant_id, first.nanocredits)
    assert books.all_rows() == before


def test_a_replayed_grant_answers_as_it_did_then_not_as_things_stand_now(books: Books):
    books.do(grant("alice", 500, key="welcome"))
    books.do(grant("alice", 70, key="later"))

    again = books.do(grant("alice", 500, key="welcome"))

    assert again.available_nanocredits == 500_000_000_000


def test_the_same_key_with_another_amount_is_a_conflict(books: Books):
    books.do(grant("alice", 500, key="welcome"))
    before = books.all_rows()

    with pytest.raises(KeyConflict) as caught:
        books.do(grant("alice", 501, key="welcome"))

    assert caught.value.key == "welcome"
    assert books.all_rows() == before


def test_a_key_belongs_to_its_account(books: Books):
    books.do(grant("alice", 500, key="welcome"))

    receipt = books.do(grant("bob", 30, key="welcome"))

    assert not receipt.is_replay
    assert books.balance("alice").posted == "500"
    assert books.balance("bob").posted == "30"


def test_a_user_who_was_granted_has_one_account_for_ever(books: Books):
    books.do(grant("alice", 1, key="one"))
    books.do(grant("alice", 2, key="two"))

    assert [(row.user, row.account_id) for row in books.rows(User)] == [("alice", account_number("alice"))]
    assert [(row.posted_nanocredits, row.last_seq) for row in books.rows(Account)] == [(3_000_000_000, 2)]


def test_a_lot_says_where_it_came_from(books: Books):
    expires_at = START + timedelta(days=30)

    books.do(grant("alice", 500, key="pi_1", expires_at=expires_at, paid_picousd=5_000_000_000_000))

    (lot,) = books.rows(Grant)
    assert lot == Grant(
        account_number("alice"), 1, "purchase", 500_000_000_000, 500_000_000_000, 0, 5_000_000_000_000, "pi_1",
        START_US, START_US + 30 * 24 * 3600 * 1_000_000,
    )  # fmt: skip


@pytest.mark.parametrize("seconds", [3600, 3601])
def test_credit_whose_time_is_over_is_not_granted(books: Books, seconds):
    books.do(grant("alice", 1))
    books.advance(seconds=seconds)
    before = books.all_rows()

    with pytest.raises(InvalidTime):
        books.do(grant("alice", 5, key="too late", expires_at=START + timedelta(hours=1)))

    assert books.all_rows() == before


def test_a_grant_is_answered_again_after_its_time_is_over(books: Books):
    books.do(grant("alice", 5, expires_at=START + timedelta(hours=1)))
    books.advance(hours=2)

    assert books.do(grant("alice", 5, expires_at=START + timedelta(hours=1))).is_replay


def test_a_grant_pays_older_debt_first(books: Books):
    books.do_all(grant("alice", 10), record(25, user="alice"))

    receipt = books.do(grant("alice", 40, key="top-up"))

    assert (receipt.repaid_nanocredits, receipt.available_nanocredits) == (15_000_000_000, 25_000_000_000)
    assert books.balance("alice") == Balance(posted="25", held="0", available="25", debt="0")


def test_a_grant_smaller_than_the_debt_is_swallowed_whole(books: Books):
    books.do(record(25, user="alice"))

    books.do(grant("alice", 10, key="top-up", source="promo"))

    assert books.balance("alice") == Balance(posted="0", held="0", available="0", debt="15")


def test_a_total_beyond_64_bits_is_refused_and_leaves_no_trace(books: Books):
    books.do(grant("alice", "9223372036.854775807", key="all-there-is"))
    before = books.all_rows()

    with pytest.raises(AmountOutOfRange):
        books.do(grant("alice", "0.000000001", key="one-more"))

    assert books.all_rows() == before


def test_a_refused_grant_does_not_use_its_key_up(books: Books):
    books.do(grant("alice", "9223372036.854775807", key="all-there-is"))
    with pytest.raises(AmountOutOfRange):
        books.do(grant("alice", 1, key="one-more"))
    books.do(record(5, user="alice"))

    receipt = books.do(grant("alice", 1, key="one-more"))

    assert not receipt.is_replay


def test_a_refund_takes_what_is_left_of_its_lot(books: Books):
    books.do_all(grant("alice", 100), record(30, user="alice"))

    receipt = books.do(refund(70))

    assert (receipt.taken_nanocredits, receipt.debt_nanocredits) == (70_000_000_000, 0)
    assert books.balance("alice") == Balance(posted="0", held="0", available="0")
    assert books.sums("alice") == {"sales": "-30", "revenue": "30"}


def test_what_was_spent_of_a_refunded_lot_becomes_debt(books: Books):
    books.do_all(grant("alice", 100), record(30, user="alice"))

    receipt = books.do(refund(100))

    assert (receipt.taken_nanocredits, receipt.debt_nanocredits) == (70_000_000_000, 30_000_000_000)
    assert books.balance("alice") == Balance(posted="0", held="0", available="0", debt="30")


def test_a_refund_spares_what_is_held_and_other_lots_pay_the_rest(books: Books):
    books.do_all(grant("alice", 100), open_run(hold=60), grant("alice", 50, key="other"))

    receipt = books.do(refund(100))

    assert (receipt.taken_nanocredits, receipt.debt_nanocredits) == (40_000_000_000, 60_000_000_000)
    assert books.balance("alice") == Balance(posted="60", held="60", available="0", debt="10")


def test_what_a_run_gives_back_pays_the_debt_of_a_refund(books: Books):
    books.do_all(grant("alice", 100), open_run(hold=60), refund(100))

    books.do(close())

    assert books.balance("alice") == Balance(posted="0", held="0", available="0", debt="0")


def test_a_refund_takes_what_an_abandoned_run_gives_back(books: Books):
    books.do_all(grant("alice", 100), open_run(hold=100, ttl_s=3600))
    books.advance(hours=1)

    assert books.do(refund(100)).taken_nanocredits == 100_000_000_000


def test_a_lot_that_was_spent_to_the_last_can_still_be_refunded(books: Books):
    books.do_all(grant("alice", 100), record(100, user="alice"))

    receipt = books.do(refund(100))

    assert (receipt.taken_nanocredits, receipt.debt_nanocredits) == (0, 100_000_000_000)


def test_the_same_refund_again_gets_the_first_answer(books: Books):
    books.do_all(grant("alice", 100), refund(40))
    before = books.all_rows()

    again = books.do(refund(40))

    assert again.is_replay
    assert books.all_rows() == before


def test_the_same_refund_key_with_another_amount_is_a_conflict(books: Books):
    books.do_all(grant("alice", 100), refund(40))

    with pytest.raises(KeyConflict):
        books.do(refund(41))


def test_refunds_of_one_grant_together_never_exceed_it(books: Books):
    books.do_all(grant("alice", 100), refund(60, key="first"))
    before = books.all_rows()

    with pytest.raises(InvalidAmount, match=r"^40 credits of the grant 'grant-1' are left to refund$"):
        books.do(refund(41, key="second"))

    assert books.all_rows() == before
    assert books.do(refund(40, key="third")).taken_nanocredits == 40_000_000_000


def test_a_refund_of_more_than_was_granted_is_refused(books: Books):
    books.do(grant("alice", 100))

    with pytest.raises(InvalidAmount):
        books.do(refund("100.000000001"))


@pytest.mark.parametrize("source", ["promo", "adjustment"])
def test_what_nobody_paid_for_is_not_refunded(books: Books, source):
    books.do(grant("alice", 100, source=source))
    before = books.all_rows()

    with pytest.raises(NotFound):
        books.do(refund(100))

    assert books.all_rows() == before


@pytest.mark.parametrize("stranger", [{"user": "nobody"}, {"grant_key": "never"}, {"grant_key": "close-1"}])
def test_a_refund_of_no_grant_is_not_found(books: Books, stranger):
    books.do_all(grant("alice", 100), open_run(), close(key="close-1"))
    before = books.all_rows()

    with pytest.raises(NotFound):
        books.do(refund(1, **stranger))

    assert books.all_rows() == before
    assert len(books.rows(Key)) == 2
