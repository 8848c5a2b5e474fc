"""Adjustments: a real count for an estimate, a price for an unpriced call; the difference is charged or given back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callfare.errors import ChargeNotFound
from callfare.ledger.rows import Event, RawUsage, Rollup
from tests.support.books import Balance, Books
from tests.support.commands import START, adjust, close, expire, grant, open_run, record, step

MORE_TOKENS = '{"input_tokens":"1000","output_tokens":"350"}'


@pytest.fixture(autouse=True)
def _granted(books: Books) -> None:
    books.do(grant("alice", 100))


def spent(books: Books) -> int:
    return sum(event.nanocredits for event in books.rows(Event))


def test_a_higher_count_draws_more_of_an_open_run(books: Books):
    books.do_all(open_run("r1", hold=40), record(15, run_id="r1", is_estimated=True))

    receipt = books.do(adjust(18))

    assert receipt.nanocredits == 3_000_000_000
    assert (books.run("r1").used_nanocredits, books.run("r1").charged_nanocredits) == (18_000_000_000, 18_000_000_000)
    assert books.balance() == Balance(posted="100", held="40", available="60", spent="18")


def test_a_lower_count_leaves_more_of_an_open_run(books: Books):
    books.do_all(open_run("r1", hold=40), record(15, run_id="r1", is_estimated=True))

    receipt = books.do(adjust(11))

    assert receipt.nanocredits == -4_000_000_000
    assert books.balance() == Balance(posted="100", held="40", available="60", spent="11")


def test_a_higher_count_than_the_hold_extends_it_and_owes_the_rest(books: Books):
    books.do_all(open_run("r1", hold=40), record(15, run_id="r1", is_estimated=True))

    receipt = books.do(adjust(103))

    assert receipt.debt_nanocredits == 3_000_000_000
    assert books.balance() == Balance(posted="100", held="100", available="0", debt="3", spent="100")


def test_a_higher_count_after_the_end_is_charged_directly(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"), close("r1"))

    books.do(adjust(18))

    assert books.balance() == Balance(posted="82", held="0", available="82")
    assert books.run("r1").charged_nanocredits == 18_000_000_000


def test_a_lower_count_after_the_end_is_given_back_as_a_lot(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"), close("r1"))

    books.do(adjust(11))

    assert books.balance() == Balance(posted="89", held="0", available="89")
    assert books.lots() == ["85", "4"]
    assert books.sums() == {"customer": "89", "sales": "-100", "revenue": "11"}


def test_what_is_given_back_pays_debt_first(books: Books):
    books.do_all(open_run("r1"), record(130, run_id="r1"), close("r1"))

    books.do(adjust(90))

    assert books.balance() == Balance(posted="10", held="0", available="10", debt="0")


def test_a_lower_count_of_a_run_in_debt_gives_back_its_hold_before_its_debt(books: Books):
    books.do_all(open_run("r1", hold=100), record(130, run_id="r1", is_estimated=True))

    books.do(adjust(20))

    assert books.balance() == Balance(posted="100", held="100", available="0", debt="20", spent="0")
    books.do(close("r1"))
    assert books.balance() == Balance(posted="80", held="0", available="80", debt="0")


def test_a_waived_run_that_was_corrected_beside_another_debt_balances(books: Books):
    books.do_all(open_run("r1", hold=100, on_failure="waive"), record(130, run_id="r1", is_estimated=True))
    books.do_all(adjust(20), record(50, user="alice", key="other"))

    books.do(close("r1", "failed"))

    assert books.balance() == Balance(posted="50", held="0", available="50", debt="0")
    assert spent(books) == 50_000_000_000


def test_a_waived_run_that_went_on_after_its_correction_balances_as_well(books: Books):
    books.do_all(open_run("r1", hold=100, on_failure="waive"), record(130, run_id="r1", is_estimated=True))
    books.do_all(adjust(20), record(15, run_id="r1", key="later"), record(50, user="alice", key="other"))

    receipt = books.do(close("r1", "failed"))

    assert receipt.waived_nanocredits == 35_000_000_000
    assert books.balance() == Balance(posted="50", held="0", available="50", debt="0")


def test_a_correction_outside_a_run_is_charged_or_given_back(books: Books):
    books.do_all(record(15, user="alice", key="up"), record(15, user="alice", key="down"))

    books.do_all(adjust(18, key="up"), adjust(11, key="down"))

    assert books.balance().posted == "71"
    assert spent(books) == 29_000_000_000


def test_a_correction_to_nothing_gives_everything_back(books: Books):
    books.do(record(15, user="alice"))

    books.do(adjust(0, usage="{}"))

    assert books.balance().posted == "100"
    assert spent(books) == 0


def test_an_adjustment_of_no_difference_moves_nothing(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1", is_estimated=True), close("r1"))
    before = books.sums()

    receipt = books.do(adjust(15))

    assert (receipt.nanocredits, books.sums()) == (0, before)


def test_the_same_correction_again_gets_the_first_answer(books: Books):
    books.do_all(record(15, user="alice"), adjust(18))
    before = books.all_rows()

    assert books.do(adjust(18)).is_replay
    assert books.all_rows() == before


def test_a_second_correction_changes_nothing_any_more(books: Books):
    books.do_all(record(15, user="alice"), adjust(18))

    assert books.do(adjust(25)).nanocredits == 3_000_000_000
    assert spent(books) == 18_000_000_000


def test_history_keeps_the_estimate_beside_its_correction(books: Books):
    books.do(record(15, user="alice", is_estimated=True))

    books.do(adjust(18, usage=MORE_TOKENS, raw='{"total_tokens":1350}'))

    first, second = books.rows(Event)
    assert (first.kind, first.flags, first.usage) == (
        "usage",
        "estimated",
        '{"input_tokens":"1000","output_tokens":"200"}',
    )
    assert (second.kind, second.corrects, second.usage) == ("correction", "call-1", MORE_TOKENS)
    assert second.counted == '{"output_tokens":"150"}'
    assert [row.raw for row in books.rows(RawUsage)] == ['{"total_tokens":1350}']


def test_a_correction_counts_units_once_and_calls_not_at_all(books: Books):
    books.do_all(record(15, user="alice", is_estimated=True), adjust(18, usage=MORE_TOKENS))

    assert [(row.grain, row.calls, row.nanocredits, row.units) for row in books.rows(Rollup)] == [
        ("day", 1, 18_000_000_000, '{"input_tokens":"1000","output_tokens":"350"}'),
        ("quarter", 1, 18_000_000_000, '{"input_tokens":"1000","output_tokens":"350"}'),
    ]


def test_a_call_without_a_price_is_charged_once_it_has_one(books: Books):
    books.do_all(open_run("r1"), record(0, run_id="r1", is_unpriced=True))

    books.do(adjust(12, kind="reprice"))

    run = books.run("r1")
    assert (run.charged_nanocredits, run.unpriced_calls, run.calls) == (12_000_000_000, 0, 1)
    assert [row.unpriced_calls for row in books.rows(Rollup)] == [0, 0]


def test_an_unpriced_estimate_is_corrected_and_repriced_in_either_order(books: Books):
    for key in ("one", "two"):
        books.do(record(0, user="alice", key=key, is_unpriced=True, is_estimated=True))

    books.do_all(
        adjust(0, key="one", usage=MORE_TOKENS, is_unpriced=True),
        adjust(18, key="one", kind="reprice", usage=MORE_TOKENS),
    )
    books.do_all(adjust(15, key="two", kind="reprice"), adjust(18, key="two", usage=MORE_TOKENS))

    assert spent(books) == 36_000_000_000
    assert {(row.calls, row.unpriced_calls, row.units) for row in books.rows(Rollup)} == {
        (2, 0, '{"input_tokens":"2000","output_tokens":"700"}')
    }


def test_a_correction_that_brings_the_price_clears_the_call_too(books: Books):
    books.do_all(open_run("r1"), record(0, run_id="r1", is_unpriced=True, is_estimated=True))

    books.do(adjust(18, usage=MORE_TOKENS))

    assert books.run("r1").unpriced_calls == 0
    assert [row.unpriced_calls for row in books.rows(Rollup)] == [0, 0]


def test_a_correction_that_takes_the_price_away_counts_the_call_as_unpriced(books: Books):
    books.do_all(open_run("r1"), record(18, run_id="r1", is_estimated=True))

    books.do(adjust(0, is_unpriced=True))

    assert (books.run("r1").unpriced_calls, books.run("r1").charged_nanocredits) == (1, 0)
    assert [row.unpriced_calls for row in books.rows(Rollup)] == [1, 1]


def test_an_attempt_stays_free_when_it_is_corrected(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"), step(17, "plan", "resp_2", run_id="r1"))

    receipt = books.do(adjust(21, key="step:r1:plan:1#resp_2"))

    assert (receipt.nanocredits, receipt.picousd) == (0, 40_000_000_000)
    assert books.run("r1").charged_nanocredits == 15_000_000_000


@pytest.mark.parametrize("amount", [18, 11])
def test_a_correction_of_a_waived_run_is_on_the_house(books: Books, amount):
    books.do_all(open_run("r1", on_failure="waive"), record(15, run_id="r1", is_estimated=True), close("r1", "failed"))

    books.do(adjust(amount))

    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert spent(books) == 0


def test_a_correction_settles_what_is_due_first(books: Books):
    books.do_all(
        grant("alice", 50, key="soon", expires_at=START + timedelta(hours=1)),
        open_run("r1", hold=40, ttl_s=3600),
        record(15, run_id="r1", is_estimated=True),
    )
    books.advance(hours=2)

    books.do(adjust(18))

    assert books.run("r1").status == "expired"
    assert books.balance() == Balance(posted="97", held="0", available="97")
    books.do(expire())


@pytest.mark.parametrize("stranger", [{"key": "never"}, {"user": "nobody"}, {"key": "grant-1"}])
def test_an_adjustment_of_no_call_is_not_found(books: Books, stranger):
    books.do(record(15, user="alice"))
    before = books.all_rows()

    with pytest.raises(ChargeNotFound):
        books.do(adjust(18, **stranger))

    assert books.all_rows() == before
