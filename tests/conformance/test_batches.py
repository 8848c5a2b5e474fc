"""Batches: commands given together are decided one after another, in one transaction, and do not fail each other."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from callfare.errors import CallfareError, InsufficientCredit, KeyConflict, RunClosed, RunNotFound
from callfare.ledger import decide as door
from callfare.ledger.commands import Command
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import Account, Event, Grant, Run, Transfer, User
from tests.support.books import Balance, Books
from tests.support.commands import (
    account_number,
    adjust,
    close,
    expire,
    extend,
    grant,
    heard,
    open_run,
    pend,
    record,
    refund,
    settle,
    step,
    touch,
)


def told(answers: list[Receipt | CallfareError]) -> list[str]:
    """Return "ok", or the code of the refusal, for each answer."""
    return [answer.code if isinstance(answer, CallfareError) else "ok" for answer in answers]


def some_command(chance: random.Random) -> Command:
    """Return a command on a few users, runs, keys and jobs, so that they meet."""
    user = chance.choice(["alice", "bob"])
    run_id, key = f"r{chance.randrange(6)}", f"key-{chance.randrange(30)}"
    amount = chance.randrange(1, 15)
    return chance.choice([
        grant(user, amount, key=key, source=chance.choice(["purchase", "promo"])),
        open_run(run_id, user, hold=amount, on_failure=chance.choice(["charge", "waive"])),
        record(amount, run_id=run_id, key=key),
        record(amount, run_id=run_id, key=key, is_estimated=True),
        record(amount, user=user, key=key),
        heard(amount, f"resp_{chance.randrange(9)}", run_id=run_id),
        step(amount, "plan", f"resp_{chance.randrange(9)}", run_id=run_id),
        extend(run_id, amount, key=key),
        close(run_id, chance.choice(["completed", "failed"])),
        pend(amount, run_id=run_id, job_id=f"job-{chance.randrange(5)}"),
        settle(f"job-{chance.randrange(5)}", chance.choice(["completed", "failed"])),
        adjust(amount, key=key, user=user),
        refund(amount, user=user, key=f"refund {key}", grant_key=key),
    ])  # fmt: skip


def test_an_empty_batch_is_answered_with_nothing(books: Books):
    assert books.batch() == []


def test_later_commands_see_what_earlier_ones_did(books: Books):
    answers = books.batch(
        grant("alice", 100),
        open_run("r1", hold=40),
        record(15, run_id="r1"),
        extend("r1", 5),
        touch("r1"),
        pend(20, run_id="r1"),
        settle("video-1"),
        adjust(16),
        close("r1"),
        refund(10),
        expire(),
    )

    assert told(answers) == ["ok"] * 11
    assert books.balance() == Balance(posted="54", held="0", available="54")


def test_one_refusal_fails_no_neighbour(books: Books):
    answers = books.batch(
        grant("alice", 100),
        open_run("r1", hold=101),
        grant("alice", 100),
        grant("alice", 99),
        open_run("r2", hold=60),
        open_run("r3", hold=60),
        record(1, run_id="ghost"),
        close("r2"),
        close("r2", "failed"),
    )

    assert told(answers) == [
        "ok", "insufficient_credit", "ok", "key_conflict", "ok", "insufficient_credit", "run_not_found",
        "ok", "run_closed",
    ]  # fmt: skip
    assert isinstance(answers[1], InsufficientCredit)
    assert isinstance(answers[3], KeyConflict)
    assert isinstance(answers[6], RunNotFound)
    assert isinstance(answers[8], RunClosed)


def test_a_refusal_in_a_batch_leaves_no_row_behind(books: Books):
    books.batch(grant("alice", 100), open_run("r1", "bob", hold=1), open_run("r2", hold=101))

    assert [row.user for row in books.rows(User)] == ["alice"]
    assert books.rows(Run) == []


def test_a_batch_of_refusals_writes_nothing(books: Books):
    books.do(grant("alice", 100))
    before = books.all_rows()

    books.batch(open_run("r1", hold=101), record(1, run_id="ghost"), grant("alice", 7))

    assert books.all_rows() == before


def test_a_key_given_twice_in_a_batch_is_answered_once_and_replayed(books: Books):
    answers = books.batch(grant("alice", 100), grant("alice", 100), record(5, user="alice"), record(5, user="alice"))

    assert [answer.is_replay for answer in answers if isinstance(answer, Receipt)] == [False, True, False, True]
    assert books.balance().posted == "95"


def test_a_response_heard_twice_in_a_batch_is_charged_once(books: Books):
    books.do_all(grant("alice", 100), open_run("r1"))

    books.batch(heard(5, "resp_1", run_id="r1"), heard(5, "resp_1", run_id="r1"))

    assert len(books.rows(Event)) == 1


@pytest.mark.parametrize(
    "later",
    [
        record(5, run_id="r1", key="call-1"),
        close("r1", key="grant-1"),
        extend("r1", 5, key="grant-1"),
        record(5, run_id="r1", key="grant-1"),
    ],
    ids=["record", "close", "extend", "record under a grant's key"],
)
def test_keys_are_found_for_a_run_that_the_same_batch_opens(books: Books, later):
    books.do_all(grant("alice", 100), record(5, user="alice", key="call-1"))

    opened, answer, neighbour = books.batch(open_run("r1"), later, grant("bob", 5))

    assert told([opened, neighbour]) == ["ok", "ok"]
    assert isinstance(answer, KeyConflict) or answer.is_replay


def test_events_are_found_for_a_job_that_the_same_batch_begins(books: Books):
    books.do_all(grant("alice", 100), record(5, user="alice", key="call-1"), adjust(6))

    answers = books.batch(
        open_run("r1"), pend(20, run_id="r1"), settle("video-1"), pend(5, run_id="r1", job_id="call-1")
    )

    assert told(answers) == ["ok", "ok", "ok", "key_conflict"]


def test_a_newcomer_named_twice_in_a_batch_gets_one_account(books: Books):
    books.batch(grant("alice", 1, key="a"), record(5, user="alice"), grant("alice", 1, key="b"))

    assert len(books.rows(User)) == len(books.rows(Account)) == 1


def test_runs_opened_together_never_hold_more_than_there_is(books: Books):
    books.do(grant("alice", 100))

    answers = books.batch(*(open_run(f"r{number}", hold=15) for number in range(10)))

    assert told(answers) == ["ok"] * 6 + ["insufficient_credit"] * 4
    assert books.balance() == Balance(posted="100", held="90", available="10")


def test_calls_of_one_run_given_together_share_its_hold(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=10))

    books.batch(*(record(4, run_id="r1", key=f"call-{number}") for number in range(5)))

    assert books.balance() == Balance(posted="100", held="20", available="80", spent="20")


def test_calls_that_fit_one_by_one_and_not_together_extend_the_hold(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=10), open_run("r2", hold=10))

    books.batch(
        record(6, run_id="r1", key="a"), record(6, run_id="r2", key="b"),
        record(6, run_id="r1", key="c"), record(6, run_id="r2", key="d"),
    )  # fmt: skip

    assert books.balance() == Balance(posted="100", held="24", available="76", spent="24")


def test_a_batch_of_many_users_keeps_them_apart(books: Books):
    names = [f"user-{number}" for number in range(50)]

    books.batch(*(grant(name, 10) for name in names))
    books.batch(*(record(3, user=name) for name in names))

    assert {books.balance(name).posted for name in names} == {"7"}


def test_a_run_that_is_over_is_settled_once_for_a_whole_batch(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40, ttl_s=3600), record(15, run_id="r1", key="in time"))
    books.advance(hours=1)

    answers = books.batch(
        record(1, run_id="r1", key="late-1"), record(1, run_id="r1", key="late-2"), close("r1"), expire(), touch("r1")
    )

    assert told(answers) == ["ok", "ok", "ok", "ok", "run_closed"]
    assert [row.kind for row in books.rows(Transfer)] == ["grant", "capture", "charge", "charge"]
    assert books.balance().posted == "83"


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_leaves_the_same_rows_as_its_commands_one_by_one(make_books, seed):
    together, alone = make_books(), make_books()
    chance = random.Random(seed)
    commands = [some_command(chance) for _ in range(150)]

    answers = together.batch(*commands)

    assert [repr(answer) for answer in answers] == [repr(alone.batch(command)[0]) for command in commands]
    assert together.all_rows() == alone.all_rows()


def test_a_batch_larger_than_the_store_asks_for_is_taken_all_the_same(books: Books):
    size = books.store.max_batch + 100
    books.do_all(grant("alice", 5000), open_run("r1", hold=2000))

    answers = books.batch(*(record(1, run_id="r1", key=f"call-{number}") for number in range(size)))

    assert told(answers) == ["ok"] * size
    assert books.run("r1").calls == size


def test_a_fault_of_ours_leaves_nothing_of_its_batch_behind(books: Books, monkeypatch):
    books.do(grant("alice", 100))
    before = books.all_rows()

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(door.grants, "refund_grant", broken)
    with pytest.raises(ZeroDivisionError):
        books.batch(grant("alice", 7, key="other"), refund(1), grant("bob", 7))

    assert books.all_rows() == before
    monkeypatch.undo()
    assert told(books.batch(grant("alice", 7, key="other"), refund(1))) == ["ok", "ok"]
    assert len(books.rows(Grant)) == 2


def test_everything_is_still_there_when_another_process_looks(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40), record(15, run_id="r1"))
    before = books.all_rows()

    again = books.reopened()

    assert again.all_rows() == before
    assert again.do(record(15, run_id="r1")).is_replay


def test_a_key_that_was_made_for_one_call_is_found_when_that_call_is_repeated(books: Books):
    call = replace(record(5, run_id="r1", key="call_1"), repeat="never", account_id=account_number("alice"), user="")
    books.do_all(grant("alice", 100), open_run("r1", hold=20))

    first = books.do(call)
    again = books.batch(call, replace(call, key="call_2"), call)

    assert [answer.is_replay for answer in (first, *again)] == [False, True, False, True]
    assert books.balance() == Balance(posted="100", held="20", available="80", debt="0", spent="10")


def test_a_key_that_was_made_for_one_call_is_a_conflict_for_another(books: Books):
    call = replace(record(5, run_id="r1", key="call_1"), repeat="never", account_id=account_number("alice"), user="")
    books.do_all(grant("alice", 100), open_run("r1", hold=20), call)

    answers = books.batch(replace(call, fingerprint=1), replace(call, key="call_2"))

    assert told(answers) == ["key_conflict", "ok"]
    assert books.balance() == Balance(posted="100", held="20", available="80", debt="0", spent="10")
