"""The range of the ledger: 64 bits, about 9.2 billion credits. Beyond it is an error, never a wrap."""

from __future__ import annotations

import pytest

from callfare.errors import AmountOutOfRange, InsufficientCredit
from tests.support.books import Balance, Books
from tests.support.commands import adjust, close, extend, grant, open_run, pend, record, settle

ALL_THERE_IS = "9223372036.854775807"


def test_the_whole_range_can_be_granted_held_spent_and_granted_again(books: Books):
    books.do_all(grant("alice", ALL_THERE_IS), open_run("r1", hold=ALL_THERE_IS))
    assert books.balance() == Balance(posted=ALL_THERE_IS, held=ALL_THERE_IS, available="0")

    books.do(record("922337203.685477580", run_id="r1"))
    books.do(close("r1"))

    assert books.balance().posted == "8301034833.169298227"


def test_a_debt_beyond_the_range_is_refused_and_nothing_is_written(books: Books):
    books.do(record("922337203.685477580", user="alice", key="first"))
    for number in range(9):
        books.do(record("922337203.685477580", user="alice", key=f"more-{number}"))
    books.do(record("0.000000007", user="alice", key="to the brim"))
    before = books.all_rows()

    with pytest.raises(AmountOutOfRange):
        books.do(record("0.000000001", user="alice", key="last"))

    assert books.all_rows() == before


def test_a_hold_as_large_as_the_range_beside_a_debt_is_refused_in_words(books: Books):
    books.do(record(5, user="alice"))

    with pytest.raises((InsufficientCredit, AmountOutOfRange)):
        books.do(open_run("r1", hold=ALL_THERE_IS))


def test_an_extension_as_large_as_the_range_is_refused_in_words(books: Books):
    books.do_all(grant("alice", 5), open_run("r1", hold=1))

    with pytest.raises(InsufficientCredit):
        books.do(extend("r1", ALL_THERE_IS))


def test_a_run_whose_cost_would_leave_the_range_is_refused_that_call_alone(books: Books):
    books.do_all(grant("alice", ALL_THERE_IS), open_run("r1", hold=0))
    books.do(record("922337203", run_id="r1", key="first"))

    answers = books.batch(
        record("922337203", run_id="r1", key="too much"), record(1, user="bob", key="neighbour")
    )  # fmt: skip

    assert isinstance(answers[0], AmountOutOfRange)
    assert not isinstance(answers[1], Exception)
    assert books.run("r1").calls == 1


def test_spending_more_than_the_range_in_one_day_is_an_error_in_words(books: Books):
    books.do(grant("alice", ALL_THERE_IS, key="first"))
    for part in range(10):
        books.do(record("922337203.685477580", user="alice", key=f"call-{part}"))
    books.do(grant("alice", 100, key="second"))
    before = books.all_rows()

    with pytest.raises(AmountOutOfRange):
        books.do(record(100, user="alice", key="too much"))

    assert books.all_rows() == before


def test_a_job_beyond_the_range_is_held_for_what_there_is(books: Books):
    books.do(grant("alice", 5))

    books.do(pend("922337203.685477580", user="alice"))

    assert books.balance() == Balance(posted="5", held="5", available="0")
    books.do(settle())
    assert books.balance().debt == "922337198.68547758"


def test_a_correction_beyond_the_range_is_refused_and_leaves_the_call(books: Books):
    books.do_all(grant("alice", 1), record(1, user="alice"), grant("alice", ALL_THERE_IS, key="all"))
    before = books.all_rows()

    with pytest.raises(AmountOutOfRange):
        books.do(adjust(0))

    assert books.all_rows() == before


@pytest.mark.parametrize("amount", ["0.000000001", "0.000000002", "0.999999999"])
def test_a_nanocredit_is_neither_lost_nor_made(books: Books, amount):
    books.do_all(grant("alice", 1), open_run("r1", hold=amount), record(amount, run_id="r1"), close("r1"))

    assert books.sums()["revenue"] == amount
