"""Charges: a metered call is written once, drawn from its run's hold or taken directly."""

from __future__ import annotations

import pytest

from callfare.errors import KeyConflict, NotFound
from callfare.ledger.rows import Event, Hold, Key, RawUsage, Transfer
from tests.support.books import Balance, Books
from tests.support.commands import START_US, account_number, close, extend, grant, heard, open_run, record, step

OTHER_TOKENS = '{"input_tokens":"7"}'


@pytest.fixture(autouse=True)
def _granted(books: Books) -> None:
    books.do(grant("alice", 100))


def test_a_call_of_an_account_that_is_not_there_is_not_found(books: Books):
    before = books.all_rows()

    with pytest.raises(NotFound):
        books.do(record(15, account_id=account_number("nobody")))

    assert books.all_rows() == before


# In a run


def test_a_call_draws_its_runs_hold_down_and_moves_no_credit_yet(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(record(15, run_id="r1"))

    assert (receipt.nanocredits, receipt.debt_nanocredits) == (15_000_000_000, 0)
    assert (receipt.held_after_nanocredits, receipt.used_after_nanocredits) == (40_000_000_000, 15_000_000_000)
    assert books.balance() == Balance(posted="100", held="40", available="60", spent="15")
    assert len(books.rows(Transfer)) == 1


def test_a_call_above_the_hold_extends_it_from_available_credit(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(record(55, run_id="r1"))

    assert (receipt.held_after_nanocredits, receipt.debt_nanocredits) == (55_000_000_000, 0)
    assert books.balance() == Balance(posted="100", held="55", available="45", spent="55")


def test_what_nothing_covers_is_debt_at_once(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(record("100.5", run_id="r1"))

    assert receipt.debt_nanocredits == 500_000_000
    assert books.balance() == Balance(posted="100", held="100", available="0", debt="0.5", spent="100")


def test_a_run_in_debt_closes_with_both_parts_on_its_receipt(books: Books):
    books.do_all(open_run("r1", hold=40), record(130, run_id="r1"))

    receipt = books.do(close("r1"))

    assert (receipt.charged_nanocredits, receipt.captured_nanocredits, receipt.debt_nanocredits) == (
        130_000_000_000, 100_000_000_000, 30_000_000_000,
    )  # fmt: skip
    assert books.balance() == Balance(posted="0", held="0", available="0", debt="30")


def test_a_free_call_is_an_event_all_the_same(books: Books):
    books.do_all(open_run("r1", hold=0), record(0, run_id="r1"))

    assert books.run("r1").calls == 1
    assert books.event().nanocredits == 0


def test_an_unpriced_call_costs_nothing_and_is_counted_as_unpriced(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1", is_unpriced=True))

    assert (books.event().status, books.event().reason) == ("unpriced", "no entry")
    assert (books.run("r1").calls, books.run("r1").unpriced_calls) == (1, 1)


def test_the_calls_of_a_run_are_numbered(books: Books):
    books.do(open_run("r1"))

    books.do_all(record(1, run_id="r1", key="a"), record(1, run_id="r1", key="b"), record(1, run_id="r1", key="c"))

    assert [(row.key, row.call_number) for row in books.rows(Event)] == [("a", 1), ("b", 2), ("c", 3)]


def test_an_event_keeps_everything_it_was_charged_by(books: Books):
    books.do(open_run("r1", workflow="story"))

    books.do(record(15, run_id="r1", step="plan", raw='{"total_tokens":1200}', metadata='{"beat":1}', response_id="x"))

    event = books.event()
    assert (event.run_id, event.workflow, event.step, event.model) == ("r1", "story", "plan", "gpt-5-mini")
    assert (event.nanocredits, event.picousd, event.edition, event.markup) == (
        15_000_000_000, 150_000_000_000, "seed-2024+3f9a1c2b", "1",
    )  # fmt: skip
    assert (event.usage, event.metadata, event.response_id) == (
        '{"input_tokens":"1000","output_tokens":"200"}', '{"beat":1}', "x",
    )  # fmt: skip
    assert (event.at_us, event.recorded_at_us) == (START_US, START_US)
    assert [row.raw for row in books.rows(RawUsage)] == ['{"total_tokens":1200}']


# Outside a run


def test_a_call_outside_a_run_is_charged_directly(books: Books):
    receipt = books.do(record(15, user="alice"))

    assert (receipt.run_id, receipt.nanocredits) == (None, 15_000_000_000)
    assert books.balance() == Balance(posted="85", held="0", available="85")
    assert books.event().charge_seq == 2


def test_a_call_of_a_user_nobody_has_heard_of_is_recorded_as_debt(books: Books):
    books.do(record(15, user="newcomer"))

    assert books.balance("newcomer") == Balance(posted="0", held="0", available="0", debt="15")


def test_a_direct_call_leaves_what_runs_hold_alone(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(record(75, user="alice"))

    assert receipt.debt_nanocredits == 15_000_000_000
    assert books.balance() == Balance(posted="40", held="40", available="0", debt="15")


def test_a_free_direct_call_moves_nothing(books: Books):
    books.do(record(0, user="alice"))

    assert len(books.rows(Transfer)) == 1
    assert books.event().charge_seq is None


# After the end


def test_a_call_after_the_end_is_charged_directly_and_flagged_late(books: Books):
    books.do_all(open_run("r1"), record(5, run_id="r1", key="in time"), close("r1"))

    receipt = books.do(record(15, run_id="r1"))

    assert (receipt.flags, receipt.run_id) == ("late", "r1")
    assert books.balance() == Balance(posted="80", held="0", available="80")
    assert (books.run("r1").charged_nanocredits, books.run("r1").calls) == (20_000_000_000, 2)


def test_a_late_call_of_a_waived_run_is_on_the_house(books: Books):
    books.do_all(open_run("r1", on_failure="waive"), record(5, run_id="r1", key="in time"), close("r1", "failed"))

    receipt = books.do(record(15, run_id="r1"))

    assert (receipt.flags, receipt.nanocredits) == ("late waived", 0)
    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert books.sums() == {"customer": "100", "sales": "-100", "promo": "-20", "revenue": "20"}
    assert sum(row.nanocredits for row in books.rows(Event)) == 0


@pytest.mark.parametrize("first", [[], [record(5, run_id="r1", key="in time")]])
def test_a_late_call_that_costs_nothing_is_recorded(books: Books, first):
    books.do_all(open_run("r1"), *first, close("r1"))

    assert books.do(record(0, run_id="r1")).flags == "late"


def test_a_late_call_that_nothing_covers_is_debt(books: Books):
    books.do_all(open_run("r1"), close("r1"))

    receipt = books.do(record(130, run_id="r1"))

    assert receipt.debt_nanocredits == 30_000_000_000
    assert books.balance() == Balance(posted="0", held="0", available="0", debt="30")


# Once


def test_the_same_call_again_gets_the_first_answer(books: Books):
    books.do(open_run("r1"))
    first = books.do(record(15, run_id="r1", key="call-1"))
    before = books.all_rows()

    again = books.do(record(15, run_id="r1", key="call-1"))

    assert again.is_replay
    assert (again.nanocredits, again.key) == (first.nanocredits, "call-1")
    assert books.all_rows() == before


def test_the_same_call_again_after_the_end_is_no_late_call(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"), close("r1"))
    before = books.all_rows()

    assert books.do(record(15, run_id="r1")).is_replay
    assert books.all_rows() == before


def test_a_call_key_with_another_usage_is_a_conflict(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1", key="call-1"))
    before = books.all_rows()

    with pytest.raises(KeyConflict):
        books.do(record(15, run_id="r1", key="call-1", usage=OTHER_TOKENS))

    assert books.all_rows() == before


def test_a_call_under_a_key_that_stands_for_something_else_is_a_conflict(books: Books):
    before = books.all_rows()

    with pytest.raises(KeyConflict):
        books.do(record(15, user="alice", key="grant-1"))

    assert books.all_rows() == before


@pytest.mark.parametrize("other", [grant("alice", 5, key="call-1"), extend(key="call-1"), close(key="call-1")])
def test_the_key_of_a_call_is_a_conflict_for_anything_else(books: Books, other):
    books.do_all(open_run("r1"), record(15, run_id="r1", key="call-1"))
    before = books.all_rows()

    with pytest.raises(KeyConflict):
        books.do(other)

    assert books.all_rows() == before


def test_a_call_key_belongs_to_its_account(books: Books):
    books.do_all(record(15, user="alice", key="call-1"), record(16, user="bob", key="call-1"))

    assert books.balance("bob").debt == "16"


def test_a_response_that_is_reported_twice_is_charged_once(books: Books):
    books.do(open_run("r1"))
    books.do(heard(15, "resp_1", run_id="r1"))
    before = books.all_rows()

    assert books.do(heard(15, "resp_1", run_id="r1")).is_replay
    assert books.all_rows() == before


def test_the_same_response_with_other_usage_is_kept_flagged_and_not_charged(books: Books):
    books.do_all(open_run("r1"), heard(15, "resp_1", run_id="r1"))

    receipt = books.do(heard(99, "resp_1", run_id="r1", usage=OTHER_TOKENS))

    assert (receipt.flags, receipt.nanocredits) == ("duplicate", 0)
    assert books.run("r1").charged_nanocredits == 15_000_000_000
    assert sorted(row.usage for row in books.rows(Event)) == [
        '{"input_tokens":"1000","output_tokens":"200"}', '{"input_tokens":"7"}',
    ]  # fmt: skip


def test_a_flagged_duplicate_that_comes_again_is_kept_once(books: Books):
    books.do_all(open_run("r1"), heard(15, "resp_1", run_id="r1"), heard(9, "resp_1", run_id="r1", usage=OTHER_TOKENS))
    before = books.all_rows()

    assert books.do(heard(9, "resp_1", run_id="r1", usage=OTHER_TOKENS)).is_replay
    assert books.all_rows() == before


@pytest.mark.parametrize("second_run", ["r1", "r2"])
@pytest.mark.parametrize("is_step_first", [True, False])
def test_a_response_is_charged_once_with_and_without_a_step(books: Books, is_step_first, second_run):
    books.do_all(open_run("r1", hold=10), open_run("r2", hold=10))
    with_step = step(5, "plan", "resp_1", run_id="r1" if is_step_first else second_run)
    without = heard(5, "resp_1", run_id=second_run if is_step_first else "r1")

    books.do_all(*([with_step, without] if is_step_first else [without, with_step]))

    assert len(books.rows(Event)) == 1
    assert books.view().spent_nanocredits == 5_000_000_000


def test_a_response_under_two_explicit_keys_is_charged_once(books: Books):
    books.do(open_run("r1"))

    for key in ("one", "two"):
        books.do(record(5, run_id="r1", key=key, response_id="resp_1"))

    assert books.view().spent_nanocredits == 5_000_000_000


def test_a_response_id_of_another_account_is_another_response(books: Books):
    books.do_all(heard(5, "resp_1", user="alice"), heard(5, "resp_1", user="bob"))

    assert books.balance("alice").posted == "95"
    assert books.balance("bob").debt == "5"


def test_a_response_key_that_stands_for_something_else_loses_no_call(books: Books):
    books.do(grant("alice", 1, key="response:openai::resp_1"))

    books.do(step(5, "plan", "resp_1", user="alice"))

    assert books.balance().posted == "96"
    assert books.do(grant("alice", 1, key="response:openai::resp_1")).is_replay


# Steps


def test_a_retried_step_charges_once_and_keeps_its_attempts_with_their_cost(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"))

    second = books.do(step(17, "plan", "resp_2", run_id="r1"))
    third = books.do(step(13, "plan", "resp_3", run_id="r1"))

    assert (second.flags, second.nanocredits, second.picousd) == ("attempt", 0, 170_000_000_000)
    assert (third.flags, third.nanocredits, third.picousd) == ("attempt", 0, 130_000_000_000)
    run = books.run("r1")
    assert (run.charged_nanocredits, run.cost_picousd, run.calls) == (15_000_000_000, 450_000_000_000, 3)


def test_an_attempt_that_is_reported_again_is_kept_once(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"), step(17, "plan", "resp_2", run_id="r1"))
    before = books.all_rows()

    assert books.do(step(17, "plan", "resp_2", run_id="r1")).is_replay
    assert books.do(step(15, "plan", "resp_1", run_id="r1")).is_replay
    assert books.all_rows() == before


def test_an_attempt_without_a_response_id_is_told_by_its_usage(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", run_id="r1"))

    assert books.do(step(15, "plan", run_id="r1")).is_replay
    assert books.do(step(16, "plan", run_id="r1")).flags == "attempt"


def test_one_response_of_a_step_with_other_usage_is_kept_and_flagged(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"))

    receipt = books.do(step(99, "plan", "resp_1", run_id="r1", usage=OTHER_TOKENS))

    assert (receipt.flags, receipt.nanocredits) == ("duplicate", 0)
    assert books.run("r1").calls == 2


def test_an_attempts_response_is_not_charged_when_it_is_heard_without_its_step(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"), step(17, "plan", "resp_2", run_id="r1"))

    books.do(heard(17, "resp_2", run_id="r1"))

    assert books.run("r1").charged_nanocredits == 15_000_000_000


def test_an_attempt_whose_response_was_heard_without_its_step_is_that_response(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"), heard(17, "resp_2", run_id="r1"))
    before = books.all_rows()

    receipt = books.do(step(17, "plan", "resp_2", run_id="r1"))

    assert (receipt.is_replay, receipt.key) == (True, "response:openai::resp_2")
    assert books.all_rows() == before


def test_an_attempt_whose_response_was_heard_with_other_usage_is_kept_and_flagged(books: Books):
    books.do_all(open_run("r1"), step(15, "plan", "resp_1", run_id="r1"), heard(17, "resp_2", run_id="r1"))

    receipt = books.do(step(99, "plan", "resp_2", run_id="r1", usage=OTHER_TOKENS))

    assert (receipt.flags, receipt.nanocredits) == ("duplicate", 0)


def test_a_step_of_another_run_is_another_step(books: Books):
    books.do_all(open_run("r1", hold=20), open_run("r2", hold=20))

    books.do_all(step(15, "plan", "resp_1", run_id="r1"), step(15, "plan", "resp_2", run_id="r2"))

    assert books.view().spent_nanocredits == 30_000_000_000


# Lots


def test_a_hold_is_kept_lot_by_lot(books: Books):
    books.do_all(grant("alice", 50, key="second"), open_run("r1", hold=120))

    assert [(row.grant_id, row.amount_nanocredits) for row in books.rows(Hold)] == [
        (1, 100_000_000_000),
        (2, 20_000_000_000),
    ]


def test_a_key_row_stands_for_a_response_only_where_the_key_does_not(books: Books):
    books.do_all(heard(5, "resp_1", user="alice"), step(5, "plan", "resp_2", user="alice"))

    rows = [row for row in books.rows(Key) if row.kind == "response"]
    assert [(row.account_id, row.key, row.receipt) for row in rows] == [
        (account_number("alice"), "response:openai::resp_2", "step::plan:1")
    ]
