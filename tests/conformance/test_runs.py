"""Runs: opened under a committed hold, extended and renewed, closed once."""

from __future__ import annotations

import pytest

from callfare.errors import InsufficientCredit, KeyConflict, RunClosed, RunNotFound
from callfare.ledger.rows import Entry, Hold, Run, Transfer
from callfare.money import Credits
from tests.support.books import Balance, Books
from tests.support.commands import (
    START_US,
    account_number,
    adjust,
    close,
    extend,
    grant,
    open_run,
    pend,
    record,
    step,
    touch,
)

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def _granted(books: Books) -> None:
    books.do(grant("alice", 100))


def test_opening_holds_credit_and_moves_none(books: Books):
    receipt = books.do(open_run("r1", hold=40))

    assert (receipt.held_nanocredits, receipt.used_nanocredits, receipt.status) == (40_000_000_000, 0, "open")
    assert receipt.expires_at_us == START_US + HOUR_US
    assert books.balance() == Balance(posted="100", held="40", available="60")
    assert len(books.rows(Transfer)) == 1


def test_a_run_may_hold_everything_there_is(books: Books):
    books.do(open_run(hold=100))

    assert books.balance() == Balance(posted="100", held="100", available="0")


def test_a_run_may_hold_nothing(books: Books):
    books.do(open_run(hold=0))

    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert books.rows(Hold) == []


def test_a_hold_of_a_nanocredit_too_much_is_refused_with_the_numbers(books: Books):
    before = books.all_rows()

    with pytest.raises(InsufficientCredit) as caught:
        books.do(open_run(hold="100.000000001"))

    assert caught.value.facts() == {
        "code": "insufficient_credit",
        "message": (
            "alice needs 100.000000001 credits and has 100 available, 0.000000001 short; "
            "grant more with `callfare grant alice 0.000000001`"
        ),
        "param": None,
        "user": "alice",
        "needed": "100.000000001",
        "available": "100",
        "shortfall": "0.000000001",
    }
    assert books.all_rows() == before


def test_a_refused_run_can_be_opened_after_a_grant_under_the_same_id(books: Books):
    with pytest.raises(InsufficientCredit):
        books.do(open_run("r1", hold=120))
    books.do(grant("alice", 20, key="top-up"))

    receipt = books.do(open_run("r1", hold=120))

    assert not receipt.is_replay


def test_a_user_nobody_has_heard_of_cannot_open_a_run_and_gets_no_account(books: Books):
    before = books.all_rows()

    with pytest.raises(InsufficientCredit):
        books.do(open_run("r1", "mallory", hold=1))

    assert books.all_rows() == before


def test_a_debt_stands_in_the_way_of_a_run_without_a_hold(books: Books):
    books.do(record(130, user="alice"))

    with pytest.raises(InsufficientCredit) as caught:
        books.do(open_run(hold=0))

    assert caught.value.shortfall == Credits(30)


def test_two_runs_share_what_is_available(books: Books):
    books.do(open_run("r1", hold=60))

    with pytest.raises(InsufficientCredit) as caught:
        books.do(open_run("r2", hold=60))

    assert (caught.value.needed, caught.value.available) == (Credits(60), Credits(40))


def test_opening_the_same_run_again_returns_it_as_it_is_now(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"))
    before = books.all_rows()

    again = books.do(open_run("r1"))

    assert (again.is_replay, again.used_nanocredits) == (True, 15_000_000_000)
    assert books.all_rows() == before


def test_opening_a_run_id_for_another_request_is_a_conflict(books: Books):
    books.do(open_run("r1", hold=40))

    with pytest.raises(KeyConflict):
        books.do(open_run("r1", hold=41))


def test_opening_a_run_that_has_ended_says_so(books: Books):
    books.do_all(open_run("r1"), close("r1"))

    again = books.do(open_run("r1"))

    assert (again.is_replay, again.status) == (True, "completed")
    assert books.balance().held == "0"


def test_two_users_may_have_a_run_of_the_same_id(books: Books):
    books.do(grant("bob", 50))
    books.do_all(open_run("r1", "alice", hold=40), open_run("r1", "bob", hold=10))

    books.do(record(7, run_id="r1", account_id=account_number("bob")))
    books.do(close("r1", account_id=account_number("bob")))

    assert books.balance("alice") == Balance(posted="100", held="40", available="60")
    assert books.balance("bob") == Balance(posted="43", held="0", available="43")


def test_a_run_id_that_two_users_have_is_not_found_without_saying_whose(books: Books):
    books.do(grant("bob", 50))
    books.do_all(open_run("r1", "alice"), open_run("r1", "bob"))

    for command in (close("r1"), touch("r1"), extend("r1"), record(1, run_id="r1")):
        with pytest.raises(RunNotFound):
            books.do(command)


def test_a_user_cannot_reach_the_run_of_another(books: Books):
    books.do(grant("bob", 50))
    books.do(open_run("r1", "alice"))
    before = books.all_rows()

    for command in (
        close("r1", account_id=account_number("bob")),
        touch("r1", account_id=account_number("bob")),
        extend("r1", account_id=account_number("bob")),
        record(1, run_id="r1", account_id=account_number("bob")),
        record(1, run_id="r1", user="bob"),
        record(1, run_id="r1", user="mallory"),
    ):
        with pytest.raises(RunNotFound):
            books.do(command)

    assert books.all_rows() == before


def test_a_run_that_nobody_opened_is_not_found(books: Books):
    before = books.all_rows()

    for command in (close("ghost"), touch("ghost"), extend("ghost"), record(1, run_id="ghost")):
        with pytest.raises(RunNotFound) as caught:
            books.do(command)
        assert caught.value.run_id == "ghost"

    assert books.all_rows() == before


# Extending and renewing


def test_extending_holds_more(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(extend("r1", 25))

    assert receipt.held_nanocredits == 65_000_000_000
    assert books.balance() == Balance(posted="100", held="65", available="35")


def test_extending_by_all_there_is_is_no_refusal(books: Books):
    books.do(open_run("r1", hold=40))

    books.do(extend("r1", 60))

    assert books.balance() == Balance(posted="100", held="100", available="0")


def test_extending_beyond_what_is_available_is_refused_and_names_the_user(books: Books):
    books.do(open_run("r1", hold=40))
    before = books.all_rows()

    with pytest.raises(InsufficientCredit) as caught:
        books.do(extend("r1", 61))

    assert (caught.value.user, caught.value.needed, caught.value.available) == ("alice", Credits(61), Credits(60))
    assert "callfare grant alice 1`" in caught.value.message
    assert books.all_rows() == before


def test_a_refused_extension_does_not_use_its_key_up(books: Books):
    books.do(open_run("r1", hold=40))
    with pytest.raises(InsufficientCredit):
        books.do(extend("r1", 61, key="more"))
    books.do(grant("alice", 10, key="top-up"))

    receipt = books.do(extend("r1", 61, key="more"))

    assert (receipt.is_replay, receipt.held_nanocredits) == (False, 101_000_000_000)


def test_the_same_extension_again_gets_the_first_answer(books: Books):
    books.do_all(open_run("r1", hold=40), extend("r1", 25, key="more"), extend("r1", 5, key="even more"))
    before = books.all_rows()

    again = books.do(extend("r1", 25, key="more"))

    assert (again.is_replay, again.held_nanocredits) == (True, 65_000_000_000)
    assert books.all_rows() == before


def test_the_same_extension_after_the_end_still_gets_the_first_answer(books: Books):
    books.do_all(open_run("r1", hold=40), extend("r1", 25, key="more"), close("r1"))

    assert books.do(extend("r1", 25, key="more")).is_replay


@pytest.mark.parametrize("other", [extend("r1", 26, key="more"), extend("r2", 25, key="more")])
def test_an_extension_key_with_another_request_is_a_conflict(books: Books, other):
    books.do_all(open_run("r1", hold=10), open_run("r2", hold=10), extend("r1", 25, key="more"))

    with pytest.raises(KeyConflict):
        books.do(other)


def test_touching_renews_the_time_to_live(books: Books):
    books.do(open_run("r1", ttl_s=3600))
    books.advance(seconds=1800)

    receipt = books.do(touch("r1"))

    assert receipt.expires_at_us == START_US + 5400 * 1_000_000
    assert books.run("r1").status == "open"


def test_a_clock_that_steps_back_shortens_no_hold(books: Books):
    books.do(open_run("r1", ttl_s=3600))
    books.advance(hours=-1)

    books.do_all(touch("r1"), record(1, run_id="r1"), extend("r1"))

    # Two of them change what is held, and each moves the expiry on.
    assert books.run("r1").expires_at_us == START_US + HOUR_US + 2


# Closing


def test_closing_below_the_hold_gives_the_rest_back(books: Books):
    books.do_all(open_run("r1", hold=40), record("15.00003", run_id="r1"))

    receipt = books.do(close("r1"))

    assert (receipt.captured_nanocredits, receipt.given_back_nanocredits) == (15_000_030_000, 24_999_970_000)
    assert (receipt.charged_nanocredits, receipt.debt_nanocredits, receipt.calls) == (15_000_030_000, 0, 1)
    assert books.balance() == Balance(posted="84.99997", held="0", available="84.99997")


def test_a_run_of_many_calls_costs_the_ledger_one_transfer(books: Books):
    books.do(open_run("r1", hold=40))
    books.do_all(*(record(1, run_id="r1", key=f"call-{number}") for number in range(30)))

    books.do(close("r1"))

    assert [(row.kind, row.amount_nanocredits) for row in books.rows(Transfer)] == [
        ("grant", 100_000_000_000),
        ("capture", 30_000_000_000),
    ]
    assert len(books.rows(Entry)) == 4


def test_closing_a_run_without_calls_moves_nothing(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(close("r1", "cancelled"))

    assert (receipt.captured_nanocredits, receipt.given_back_nanocredits) == (0, 40_000_000_000)
    assert [row.kind for row in books.rows(Transfer)] == ["grant"]
    assert books.balance() == Balance(posted="100", held="0", available="100")


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
def test_every_outcome_pays_for_what_was_used(books: Books, outcome):
    books.do_all(open_run("r1", hold=40), record(15, run_id="r1"))

    receipt = books.do(close("r1", outcome))

    assert (receipt.outcome, receipt.charged_nanocredits) == (outcome, 15_000_000_000)
    assert books.balance().posted == "85"
    assert books.run("r1").status == outcome


def test_closing_again_with_the_same_outcome_returns_the_first_receipt(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"))
    first = books.do(close("r1"))
    before = books.all_rows()

    again = books.do(close("r1"))

    assert again.is_replay
    assert again.captured_nanocredits == first.captured_nanocredits
    assert books.all_rows() == before


def test_closing_again_with_another_outcome_is_refused(books: Books):
    books.do_all(open_run("r1"), close("r1", "completed"))

    with pytest.raises(RunClosed) as caught:
        books.do(close("r1", "failed"))

    assert (caught.value.run_id, caught.value.outcome) == ("r1", "completed")


def test_a_close_key_is_answered_once_and_for_one_request(books: Books):
    books.do_all(open_run("r1", hold=10), open_run("r2", hold=10), close("r1", key="end"))

    assert books.do(close("r1", key="end")).is_replay
    for other in (close("r2", key="end"), close("r1", "failed", key="end")):
        with pytest.raises(KeyConflict):
            books.do(other)


def test_a_refused_close_does_not_use_its_key_up(books: Books):
    books.do_all(open_run("r1", hold=10), open_run("r2", hold=10), close("r1", "completed"))
    with pytest.raises(RunClosed):
        books.do(close("r1", "failed", key="end"))

    assert books.do(close("r2", "failed", key="end")).is_replay is False


def test_what_has_ended_is_neither_extended_nor_touched(books: Books):
    books.do_all(open_run("r1"), close("r1"))

    for command in (extend("r1"), touch("r1")):
        with pytest.raises(RunClosed):
            books.do(command)


def test_a_failed_run_of_a_waiving_workflow_costs_its_user_nothing(books: Books):
    books.do_all(open_run("r1", hold=40, on_failure="waive"), record(15, run_id="r1"))

    receipt = books.do(close("r1", "failed"))

    assert (receipt.waived_nanocredits, receipt.charged_nanocredits, receipt.captured_nanocredits) == (
        15_000_000_000, 0, 0,
    )  # fmt: skip
    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert books.sums() == {"customer": "100", "sales": "-100", "promo": "-15", "revenue": "15"}


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
def test_a_waiving_workflow_is_paid_for_when_it_did_not_fail(books: Books, outcome):
    books.do_all(open_run("r1", hold=40, on_failure="waive"), record(15, run_id="r1"))

    books.do(close("r1", outcome))

    assert books.balance().posted == "85"


def test_waiving_a_run_strikes_its_debt(books: Books):
    books.do_all(open_run("r1", hold=100, on_failure="waive"), record(130, run_id="r1"))

    receipt = books.do(close("r1", "failed"))

    assert receipt.waived_nanocredits == 130_000_000_000
    assert books.balance() == Balance(posted="100", held="0", available="100", debt="0")


def test_waiving_a_run_gives_back_what_a_grant_has_paid_of_its_debt(books: Books):
    books.do_all(open_run("r1", hold=100, on_failure="waive"), record(130, run_id="r1"))
    books.do(grant("alice", 50, key="top-up"))

    books.do(close("r1", "failed"))

    assert books.balance() == Balance(posted="150", held="0", available="150", debt="0")


def test_waiving_a_run_spares_the_debt_of_another(books: Books):
    books.do_all(open_run("r1", hold=50, on_failure="waive"), open_run("r2", hold=50))
    books.do_all(record(60, run_id="r1", key="one"), record(55, run_id="r2", key="two"))

    books.do(close("r1", "failed"))

    assert books.balance() == Balance(posted="95", held="50", available="45", debt="0", spent="50")


def test_the_history_of_a_run_is_kept_in_its_row(books: Books):
    books.do_all(open_run("r1"), record(15, run_id="r1"), close("r1"))

    (run,) = books.rows(Run)
    assert (run.status, run.held_nanocredits, run.used_nanocredits) == ("completed", 0, 15_000_000_000)
    assert (run.calls, run.cost_picousd, run.close_seq) == (1, 150_000_000_000, 2)
    assert run.closed_at_us == START_US


def test_an_attempt_renews_the_time_to_live_as_a_call_does(books: Books):
    books.do_all(open_run("r1", ttl_s=3600), step(1, "plan", "resp_1", run_id="r1"))
    books.advance(seconds=1800)

    books.do(step(1, "plan", "resp_2", run_id="r1"))

    assert books.run("r1").expires_at_us == START_US + 5_456_250_000


def test_a_call_renews_with_some_to_spare_so_that_the_next_leaves_the_expiry_alone(books: Books):
    books.do_all(open_run("r1", ttl_s=3600), record(1, run_id="r1", key="one"))
    assert books.run("r1").expires_at_us == START_US + 3_600_000_000
    books.advance(seconds=100)

    books.do(record(1, run_id="r1", key="two"))
    assert books.run("r1").expires_at_us == START_US + 3_756_250_000
    books.advance(seconds=56)

    books.do(record(1, run_id="r1", key="three"))
    assert books.run("r1").expires_at_us == START_US + 3_756_250_000


def test_what_gives_hold_back_moves_the_expiry_on_so_that_it_is_seen_to_be_the_later(books: Books):
    books.do_all(open_run("r1", hold=20), record(5, run_id="r1", key="one"))
    after_the_call = books.run("r1")

    books.do(adjust(3, key="one"))
    after_the_correction = books.run("r1")
    books.do(pend(4, run_id="r1"))

    assert after_the_call.expires_at_us == START_US + HOUR_US
    assert (after_the_correction.used_nanocredits, after_the_correction.expires_at_us) == (
        3_000_000_000,
        START_US + HOUR_US + 1,
    )
    assert books.run("r1").expires_at_us == START_US + HOUR_US + 2
