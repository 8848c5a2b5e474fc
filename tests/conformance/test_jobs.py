"""Long jobs: held at creation, charged when somebody sees the end, given back when they fail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callfare.errors import JobSettled, KeyConflict, NotFound, RunNotFound
from callfare.ledger.rows import Event, Hold, Job, RawUsage, Transfer
from tests.support.books import Balance, Books
from tests.support.commands import (
    START,
    START_US,
    account_number,
    close,
    expire,
    grant,
    open_run,
    pend,
    record,
    settle,
)

DAY_US = 24 * 3_600_000_000


@pytest.fixture(autouse=True)
def _granted(books: Books) -> None:
    books.do(grant("alice", 100))


def test_a_job_takes_its_hold_out_of_its_runs(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(pend(30, run_id="r1"))

    assert (receipt.status, receipt.held_nanocredits) == ("pending", 30_000_000_000)
    assert books.run("r1").held_nanocredits == 10_000_000_000
    assert books.balance() == Balance(posted="100", held="40", available="60")


def test_a_job_tells_what_it_has_taken_from_its_run_and_what_it_has_charged(books: Books):
    books.do_all(open_run("r1", hold=40), record(5, run_id="r1"))

    pending = books.do(pend(30, run_id="r1"))
    settled = books.do(settle())
    again = books.do(settle())

    assert (pending.run_id, pending.run_held_nanocredits, pending.run_used_nanocredits) == (
        "r1", 10_000_000_000, 5_000_000_000,
    )  # fmt: skip
    for receipt in (settled, again):
        assert (receipt.run_held_nanocredits, receipt.run_used_nanocredits) == (10_000_000_000, 5_000_000_000)


def test_what_the_runs_hold_lacks_comes_from_available_credit(books: Books):
    books.do_all(open_run("r1", hold=40), record(25, run_id="r1"))

    receipt = books.do(pend(30, run_id="r1"))

    assert receipt.held_nanocredits == 30_000_000_000
    assert books.run("r1").held_nanocredits == 25_000_000_000
    assert books.balance() == Balance(posted="100", held="55", available="45", spent="25")


def test_a_job_is_held_from_what_an_abandoned_run_gives_back(books: Books):
    books.do_all(open_run("r1", hold=100, ttl_s=3600))
    books.advance(hours=1)

    receipt = books.do(pend(30, user="alice"))

    assert receipt.held_nanocredits == 30_000_000_000
    assert books.run("r1").status == "expired"


def test_a_job_is_not_held_from_credit_that_has_expired(books: Books):
    books.do_all(
        record(100, user="alice", key="all"), grant("alice", 50, key="soon", expires_at=START + timedelta(hours=1))
    )
    books.advance(hours=1)

    assert books.do(pend(30, user="alice")).held_nanocredits == 0


def test_a_job_of_an_abandoned_run_is_held_outside_it(books: Books):
    books.do_all(open_run("r1", hold=40, ttl_s=3600))
    books.advance(hours=1)

    receipt = books.do(pend(30, run_id="r1"))

    assert (receipt.held_nanocredits, receipt.run_held_nanocredits) == (30_000_000_000, 0)


def test_a_job_that_nothing_covers_is_no_refusal(books: Books):
    books.do(open_run("r1", hold=40))

    receipt = books.do(pend(130, run_id="r1"))

    assert receipt.held_nanocredits == 100_000_000_000
    assert books.balance() == Balance(posted="100", held="100", available="0")


def test_a_job_outlives_its_run(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"), close("r1"))

    assert books.balance() == Balance(posted="100", held="30", available="70")
    books.do(settle())
    assert books.balance() == Balance(posted="70", held="0", available="70")


def test_a_completed_job_is_charged_what_it_was_held_for(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"))

    receipt = books.do(settle("video-1", "completed"))

    assert (receipt.status, receipt.held_nanocredits) == ("completed", 0)
    assert books.balance() == Balance(posted="70", held="10", available="60")
    event = books.event("video-1")
    assert (event.run_id, event.nanocredits, event.flags) == ("r1", 30_000_000_000, "")
    run = books.run("r1")
    assert (run.charged_nanocredits, run.calls, run.cost_picousd) == (30_000_000_000, 1, 300_000_000_000)


def test_a_completed_job_is_charged_what_it_really_cost(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"))

    books.do(settle("video-1", "completed", record(22, run_id="r1", key="video-1")))

    assert books.balance() == Balance(posted="78", held="10", available="68")


def test_a_job_that_cost_more_takes_what_is_available_and_owes_the_rest(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"))

    books.do(settle("video-1", "completed", record(95, run_id="r1", key="video-1")))

    assert books.event("video-1").debt_nanocredits == 5_000_000_000
    assert books.balance() == Balance(posted="10", held="10", available="0", debt="5")


def test_a_failed_job_gives_everything_back(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"))

    receipt = books.do(settle("video-1", "failed"))

    assert (receipt.status, receipt.held_nanocredits) == ("failed", 0)
    assert books.balance() == Balance(posted="100", held="10", available="90")
    assert books.rows(Event) == []


def test_a_job_outside_a_run_is_held_and_charged_as_well(books: Books):
    books.do(pend(30, user="alice"))
    assert books.balance() == Balance(posted="100", held="30", available="70")

    books.do(settle())

    assert books.balance() == Balance(posted="70", held="0", available="70")


def test_a_job_whose_end_nobody_saw_is_charged_as_estimated(books: Books):
    books.do(pend(30, user="alice", ttl_s=24 * 3600))
    books.advance(hours=24)

    assert books.balance() == Balance(posted="70", held="0", available="70")
    books.do(expire())
    event = books.event("video-1")
    assert (event.flags, event.nanocredits, event.recorded_at_us) == ("estimated", 30_000_000_000, START_US + DAY_US)
    assert [job.status for job in books.rows(Job)] == ["expired"]


def test_an_expired_job_is_corrected_when_its_end_is_seen_after_all(books: Books):
    books.do(pend(30, user="alice", ttl_s=3600))
    books.advance(hours=2)

    receipt = books.do(settle("video-1", "completed", record(22, user="alice", key="video-1")))

    assert receipt.status == "completed"
    assert books.balance() == Balance(posted="78", held="0", available="78")
    assert sum(event.nanocredits for event in books.rows(Event)) == 22_000_000_000


def test_what_the_provider_says_at_the_end_of_an_expired_job_is_kept(books: Books):
    books.do(pend(30, user="alice", ttl_s=3600))
    books.advance(hours=2)

    books.do(settle("video-1", "completed", record(22, user="alice", key="video-1", raw='{"seconds":8}')))

    assert [(row.key, row.raw) for row in books.rows(RawUsage)] == [("video-1#correction", '{"seconds":8}')]


def test_an_expired_job_that_had_failed_is_given_back_when_that_is_learnt(books: Books):
    books.do(pend(30, user="alice", ttl_s=3600))
    books.advance(hours=2)

    books.do(settle("video-1", "failed"))

    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert sum(event.picousd for event in books.rows(Event)) == 0


def test_an_expired_job_of_an_open_run_is_given_back_to_the_run(books: Books):
    books.do_all(open_run("r1", hold=40, ttl_s=9 * 3600), pend(30, run_id="r1", ttl_s=3600))
    books.advance(hours=2)
    receipt = books.do(settle("video-1", "failed"))

    books.do(close("r1"))

    assert (receipt.run_id, receipt.run_held_nanocredits) == ("r1", 10_000_000_000)

    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert books.run("r1").charged_nanocredits == 0


def test_the_end_of_a_job_is_reported_once(books: Books):
    books.do_all(pend(30, user="alice"), settle("video-1", "completed"))
    before = books.all_rows()

    again = books.do(settle("video-1", "completed"))

    assert again.is_replay
    assert books.all_rows() == before


@pytest.mark.parametrize(("first", "second"), [("completed", "failed"), ("failed", "completed")])
def test_another_end_of_a_job_is_refused(books: Books, first, second):
    books.do_all(pend(30, user="alice"), settle("video-1", first))
    before = books.all_rows()

    with pytest.raises(JobSettled):
        books.do(settle("video-1", second))

    assert books.all_rows() == before


def test_another_end_of_a_corrected_job_is_refused(books: Books):
    books.do(pend(30, user="alice", ttl_s=3600))
    books.advance(hours=2)
    books.do(settle("video-1", "failed"))

    assert books.do(settle("video-1", "failed")).is_replay
    with pytest.raises(JobSettled):
        books.do(settle("video-1", "completed"))


def test_creating_the_same_job_again_holds_nothing_more(books: Books):
    books.do_all(open_run("r1", hold=40), pend(30, run_id="r1"))
    before = books.all_rows()

    assert books.do(pend(30, run_id="r1")).is_replay
    assert books.all_rows() == before


def test_creating_a_job_id_for_another_request_is_a_conflict(books: Books):
    books.do(pend(30, user="alice"))

    with pytest.raises(KeyConflict):
        books.do(pend(31, user="alice"))


def test_a_job_id_that_stands_for_a_call_is_a_conflict(books: Books):
    books.do(record(1, user="alice", key="video-1"))
    before = books.all_rows()

    with pytest.raises(KeyConflict):
        books.do(pend(30, user="alice", job_id="video-1"))

    assert books.all_rows() == before


def test_a_job_nobody_created_is_not_found(books: Books):
    for command in (settle("ghost"), settle("ghost", account_id=account_number("alice"))):
        with pytest.raises(NotFound):
            books.do(command)


def test_a_job_of_a_run_nobody_opened_is_not_found(books: Books):
    with pytest.raises(RunNotFound):
        books.do(pend(30, run_id="ghost"))


def test_two_users_may_have_a_job_of_the_same_id(books: Books):
    books.do(grant("bob", 50))
    books.do_all(pend(30, user="alice"), pend(20, user="bob"))

    books.do(settle("video-1", "failed", account_id=account_number("bob")))

    assert books.balance("alice") == Balance(posted="100", held="30", available="70")
    assert books.balance("bob") == Balance(posted="50", held="0", available="50")


def test_a_job_id_that_two_users_have_is_not_settled_for_the_wrong_one(books: Books):
    books.do(grant("bob", 50))
    books.do_all(pend(30, user="alice"), pend(20, user="bob"))
    before = books.all_rows()

    with pytest.raises(NotFound):
        books.do(settle("video-1", "failed"))

    assert books.all_rows() == before


def test_a_job_after_the_end_of_its_run_is_held_from_available_credit(books: Books):
    books.do_all(open_run("r1", hold=40), close("r1"))

    books.do(pend(30, run_id="r1"))

    assert books.balance() == Balance(posted="100", held="30", available="70")


def test_a_job_of_a_failed_waiving_run_is_on_the_house(books: Books):
    books.do_all(open_run("r1", hold=40, on_failure="waive"), pend(30, run_id="r1"), close("r1", "failed"))

    books.do(settle())

    assert books.balance() == Balance(posted="100", held="0", available="100")
    assert sum(event.nanocredits for event in books.rows(Event)) == 0


def test_a_job_that_ended_before_its_run_failed_is_waived_with_it(books: Books):
    books.do_all(open_run("r1", hold=40, on_failure="waive"), pend(30, run_id="r1"), settle())

    receipt = books.do(close("r1", "failed"))

    assert receipt.waived_nanocredits == 30_000_000_000
    assert books.balance() == Balance(posted="100", held="0", available="100")


def test_what_a_failed_job_gives_back_of_an_expired_lot_becomes_breakage(books: Books):
    books.do(record(100, user="alice", key="all"))
    books.do(grant("alice", 50, key="soon", expires_at=START + timedelta(hours=1)))
    books.do(pend(30, user="alice"))
    books.advance(hours=2)

    books.do(settle("video-1", "failed"))

    assert books.balance() == Balance(posted="0", held="0", available="0")
    assert [(row.kind, row.amount_nanocredits) for row in books.rows(Transfer)][-2:] == [
        ("breakage", 20_000_000_000),
        ("breakage", 30_000_000_000),
    ]


def test_what_a_failed_job_gives_back_pays_debt_first(books: Books):
    books.do_all(pend(100, user="alice"), record(25, user="alice"))

    books.do(settle("video-1", "failed"))

    assert books.balance() == Balance(posted="75", held="0", available="75", debt="0")


def test_a_pending_job_keeps_its_lots_apart_from_its_runs(books: Books):
    books.do(grant("alice", 50, key="second"))
    books.do_all(open_run("r1", hold=120), pend(110, run_id="r1"))

    assert [(row.hold_id, row.grant_id, row.amount_nanocredits) for row in books.rows(Hold)] == [
        ("job\x1fvideo-1", 1, 100_000_000_000),
        ("job\x1fvideo-1", 2, 10_000_000_000),
        ("r1", 2, 10_000_000_000),
    ]
