"""Lots and time: what is spent first, what expires, what a hold protects, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callfare.errors import InsufficientCredit, RunClosed
from callfare.ledger.rows import Hold, Run, Transfer
from tests.support.books import Balance, Books
from tests.support.commands import START, START_US, close, expire, extend, grant, open_run, record, refund, touch

SOON = START + timedelta(hours=1)
LATER = START + timedelta(hours=2)
HOUR_US = 3_600_000_000


# The order of lots


@pytest.mark.parametrize("backwards", [False, True])
def test_the_soonest_expiry_is_spent_first(books: Books, backwards):
    lots = [
        grant("alice", 10, key="never"),
        grant("alice", 10, key="later", expires_at=LATER),
        grant("alice", 10, key="soon", expires_at=SOON),
    ]
    books.do_all(*(reversed(lots) if backwards else lots))

    books.do(record(15, user="alice"))

    assert books.lots() == (["0", "5", "10"] if backwards else ["10", "5", "0"])


def test_promotional_credit_is_spent_before_paid(books: Books):
    books.do_all(
        grant("alice", 10, key="paid", source="purchase"),
        grant("alice", 10, key="plan", source="plan"),
        grant("alice", 10, key="gift", source="promo"),
    )

    books.do(record(15, user="alice"))

    assert books.lots() == ["5", "10", "0"]


def test_expiry_goes_before_being_promotional(books: Books):
    books.do_all(
        grant("alice", 10, key="paid", expires_at=SOON),
        grant("alice", 10, key="gift", source="promo", expires_at=LATER),
    )

    books.do(record(5, user="alice"))

    assert books.lots() == ["5", "10"]


def test_of_equals_the_oldest_is_spent_first(books: Books):
    books.do_all(grant("alice", 10, key="one"), grant("alice", 10, key="two"), grant("alice", 10, key="three"))

    books.do(record(15, user="alice"))

    assert books.lots() == ["0", "5", "10"]


def test_a_run_captures_in_the_same_order(books: Books):
    books.do_all(grant("alice", 10, key="paid"), grant("alice", 10, key="gift", source="promo"))
    books.do_all(open_run("r1", hold=20), record(15, run_id="r1"), close("r1"))

    assert books.lots() == ["5", "0"]


def test_credit_that_comes_during_a_run_does_not_change_what_it_holds(books: Books):
    books.do_all(grant("alice", 10, key="paid"), open_run("r1", hold=10))
    books.do(grant("alice", 10, key="soon", expires_at=SOON))

    books.do_all(record(10, run_id="r1"), close("r1"))

    assert books.lots() == ["0", "10"]


# Lots that expire


def test_what_expires_is_gone_for_a_reader_before_anyone_writes(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(hours=1)

    assert books.balance() == Balance(posted="0", held="0", available="0")
    assert [row.kind for row in books.rows(Transfer)] == ["grant"]


def test_credit_lives_until_the_instant_of_its_expiry(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(seconds=3599)

    assert books.balance().available == "100"
    books.do(record(1, user="alice"))
    assert books.balance().available == "99"


def test_at_the_instant_of_expiry_nothing_is_spent_any_more(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(hours=1)

    with pytest.raises(InsufficientCredit):
        books.do(open_run(hold=1))
    assert books.do(record(1, user="alice")).debt_nanocredits == 1_000_000_000


def test_what_expires_becomes_breakage_with_the_next_write(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(hours=5)

    books.do(grant("alice", 7, key="later"))

    assert books.sums() == {"customer": "7", "sales": "-107", "breakage": "100"}
    assert [(row.kind, row.at_us) for row in books.rows(Transfer)] == [
        ("grant", START_US),
        ("breakage", START_US + HOUR_US),
        ("grant", START_US + 5 * HOUR_US),
    ]


def test_settling_what_is_due_changes_no_balance_a_reader_saw(books: Books):
    books.do_all(grant("alice", 100, expires_at=SOON), grant("alice", 20, key="stays"), open_run("r1", hold=30))
    books.do(record(12, run_id="r1"))
    books.advance(hours=3)
    seen = books.balance()

    receipt = books.do(expire())

    assert receipt.changes > 0
    assert books.balance() == seen == Balance(posted="20", held="0", available="20")


def test_settling_twice_writes_nothing_the_second_time(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(hours=3)
    books.do(expire())
    before = books.all_rows()

    assert books.do(expire()).changes == 0
    assert books.all_rows() == before


def test_a_hold_keeps_its_lot_past_the_expiry(books: Books):
    books.do_all(grant("alice", 100, expires_at=SOON), open_run("r1", hold=40, ttl_s=7200))
    books.advance(hours=1)

    assert books.balance() == Balance(posted="40", held="40", available="0")
    books.do(record(40, run_id="r1"))
    receipt = books.do(close("r1"))

    assert (receipt.captured_nanocredits, receipt.debt_nanocredits) == (40_000_000_000, 0)
    assert books.sums() == {"sales": "-100", "breakage": "60", "revenue": "40"}


def test_what_a_hold_gives_back_after_the_expiry_becomes_breakage_at_once(books: Books):
    books.do_all(grant("alice", 100, expires_at=SOON), open_run("r1", hold=40, ttl_s=7200), record(15, run_id="r1"))
    books.advance(hours=1)

    books.do(close("r1"))

    assert books.balance() == Balance(posted="0", held="0", available="0")
    assert books.sums() == {"sales": "-100", "breakage": "85", "revenue": "15"}
    assert [row.kind for row in books.rows(Transfer)] == ["grant", "breakage", "capture", "breakage"]


def test_an_expired_lot_extends_no_hold(books: Books):
    books.do_all(grant("alice", 100, expires_at=SOON), open_run("r1", hold=40, ttl_s=7200))
    books.advance(hours=1)

    with pytest.raises(InsufficientCredit):
        books.do(extend("r1", 1))
    assert books.do(record(41, run_id="r1")).debt_nanocredits == 1_000_000_000


def test_a_refund_of_an_expired_lot_is_debt(books: Books):
    books.do(grant("alice", 100, expires_at=SOON))
    books.advance(hours=1)

    receipt = books.do(refund(100))

    assert (receipt.taken_nanocredits, receipt.debt_nanocredits) == (0, 100_000_000_000)


# Runs that are abandoned


def test_an_abandoned_run_pays_for_what_it_used_and_gives_the_rest_back(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600), record(15, run_id="r1"))
    books.advance(hours=1)

    assert books.balance() == Balance(posted="85", held="0", available="85")
    books.do(expire())
    run = books.run("r1")
    assert (run.status, run.closed_at_us) == ("expired", START_US + HOUR_US)
    assert books.rows(Hold) == []


def test_an_abandoned_run_frees_its_hold_for_the_next_without_any_job(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=90, ttl_s=3600))
    books.advance(hours=1)

    books.do(open_run("r2", hold=90))

    assert [run.status for run in books.rows(Run)] == ["expired", "open"]
    assert books.balance() == Balance(posted="100", held="90", available="10")


def test_a_run_is_open_until_the_instant_its_time_is_over(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600))
    books.advance(seconds=3599)

    assert books.do(record(1, run_id="r1")).flags == ""


def test_each_record_renews_the_time_to_live(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600))
    for key in ("one", "two", "three"):
        books.advance(seconds=3000)
        books.do(record(1, run_id="r1", key=key))

    assert books.run("r1").status == "open"


def test_a_call_after_the_time_is_over_is_late(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600))
    books.advance(hours=1)

    receipt = books.do(record(15, run_id="r1"))

    assert receipt.flags == "late"
    assert books.run("r1").status == "expired"
    assert books.balance() == Balance(posted="85", held="0", available="85")


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_closing_an_expired_run_returns_the_receipt_of_its_expiry(books: Books, outcome):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600), record(15, run_id="r1"))
    books.advance(hours=2)

    receipt = books.do(close("r1", outcome))

    assert (receipt.is_replay, receipt.outcome, receipt.captured_nanocredits) == (True, "expired", 15_000_000_000)
    assert receipt.closed_at_us == START_US + HOUR_US


def test_an_expired_run_of_a_waiving_workflow_pays_for_what_it_used(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", on_failure="waive", ttl_s=3600), record(15, run_id="r1"))
    books.advance(hours=2)

    books.do(close("r1", "failed"))

    assert books.balance().posted == "85"


def test_an_expired_run_is_neither_extended_nor_touched(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", ttl_s=3600))
    books.advance(hours=1)

    for command in (extend("r1"), touch("r1")):
        with pytest.raises(RunClosed) as caught:
            books.do(command)
        assert caught.value.outcome == "expired"


def test_what_is_due_is_settled_in_the_order_in_which_the_times_came(books: Books):
    books.do(grant("alice", 100, expires_at=START + timedelta(hours=2)))
    books.do_all(open_run("r1", hold=30, ttl_s=3600), open_run("r2", hold=30, ttl_s=3 * 3600))
    books.do_all(record(10, run_id="r1", key="one"), record(10, run_id="r2", key="two"))
    books.advance(hours=9)

    books.do(expire())

    assert [(row.kind, row.amount_nanocredits, row.at_us) for row in books.rows(Transfer)] == [
        ("grant", 100_000_000_000, START_US),
        ("capture", 10_000_000_000, START_US + HOUR_US),
        ("breakage", 60_000_000_000, START_US + 2 * HOUR_US),
        ("capture", 10_000_000_000, START_US + 3 * HOUR_US),
        ("breakage", 20_000_000_000, START_US + 3 * HOUR_US),
    ]


def test_a_run_and_a_lot_that_end_at_the_same_instant_lose_nothing(books: Books):
    books.do_all(grant("alice", 100, expires_at=SOON), open_run("r1", hold=40, ttl_s=3600), record(15, run_id="r1"))
    books.advance(hours=1)

    books.do(expire())

    assert books.sums() == {"sales": "-100", "revenue": "15", "breakage": "85"}


def test_what_an_abandoned_run_gives_back_pays_debt_first(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=100, ttl_s=3600), record(30, user="alice"))
    books.advance(hours=1)

    assert books.balance() == Balance(posted="70", held="0", available="70", debt="0")
    books.do(expire())
    assert books.balance() == Balance(posted="70", held="0", available="70", debt="0")


def test_settling_an_account_that_is_not_there_is_harmless(books: Books):
    assert books.do(expire("nobody")).changes == 0
