"""The committer, asked from inside a write: by a destructor that the garbage collector runs, or by a signal handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from callfare import committer as lane
from callfare.committer import Committer
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.commands import Command
from callfare.ledger.receipts import Receipt
from tests.support.commands import open_run
from tests.support.slow_store import SlowStore, finished


class Interrupted(SlowStore):
    """Has something run in the middle of its first batch, on the thread that applies it."""

    def __init__(self, deed: Callable[[], object] | None) -> None:
        super().__init__()
        self.deed = deed
        self.outcome: object = None

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        answers = super().apply(commands)
        deed, self.deed = self.deed, None
        if deed is not None:
            try:
                self.outcome = deed()
            except CallfareError as error:
                self.outcome = error
        return answers


def test_a_command_from_inside_a_write_is_applied_after_it_and_not_waited_for():
    store = Interrupted(lambda: committer.commit(open_run("inner")))
    committer = Committer(store)

    assert finished(committer.commit, open_run("outer")) == Receipt()

    assert isinstance(store.outcome, LedgerUnavailable)
    assert "repeat with the same key" in store.outcome.message
    assert store.batches == [["outer"], ["inner"]]
    assert committer._thread is None


def test_a_command_from_inside_a_write_of_the_committers_thread_is_applied_after_it():
    store = Interrupted(lambda: committer.commit(open_run("inner")))
    committer = Committer(store)

    assert finished(asyncio.run, committer.commit_async(open_run("outer"))) == Receipt()
    finished(committer.close)

    assert isinstance(store.outcome, LedgerUnavailable)
    assert store.batches == [["outer"], ["inner"]]


def test_a_command_that_follows_one_from_inside_a_write_is_applied_after_both():
    store = Interrupted(lambda: committer.commit(open_run("inner")))
    committer = Committer(store)
    finished(committer.commit, open_run("outer"))

    assert finished(committer.commit, open_run("next")) == Receipt()

    assert store.batches == [["outer"], ["inner"], ["next"]]


def test_a_loop_that_runs_inside_a_write_is_not_left_waiting_for_it():
    store = Interrupted(lambda: asyncio.run(committer.commit_async(open_run("inner"))))
    committer = Committer(store)

    assert finished(committer.commit, open_run("outer")) == Receipt()

    assert isinstance(store.outcome, LedgerUnavailable)
    assert store.batches == [["outer"], ["inner"]]


def test_closing_from_inside_a_write_lets_the_write_end_and_refuses_the_next():
    store = Interrupted(None)
    committer = Committer(store)
    store.deed = committer.close

    assert finished(committer.commit, open_run("outer")) == Receipt()

    assert isinstance(finished(committer.commit, open_run("late")), LedgerUnavailable)
    assert store.batches == [["outer"]]


def test_closing_from_inside_a_write_of_the_committers_thread_ends_it():
    store = Interrupted(None)
    committer = Committer(store)
    store.deed = committer.close

    assert finished(asyncio.run, committer.commit_async(open_run("outer"))) == Receipt()

    assert committer._thread is not None
    committer._thread.join(60)
    assert not committer._thread.is_alive()


def test_a_command_left_behind_is_applied_though_the_ledger_is_closed_in_the_same_write():
    def deed() -> None:
        with pytest.raises(LedgerUnavailable):
            committer.commit(open_run("inner"))
        committer.close()

    store = Interrupted(deed)
    committer = Committer(store)

    finished(committer.commit, open_run("outer"))

    assert store.batches == [["outer"], ["inner"]]


def test_a_command_from_inside_the_start_of_the_thread_is_applied_and_not_waited_for(monkeypatch):
    store = SlowStore()
    committer = Committer(store)
    refusals: list[object] = []

    def interrupt() -> None:
        with pytest.raises(LedgerUnavailable) as caught:
            committer.commit(open_run("inner"))
        refusals.append(caught.value)

    monkeypatch.setattr(lane, "_refuse_late_gevent", interrupt)

    assert finished(asyncio.run, committer.commit_async(open_run("outer"))) == Receipt()
    finished(committer.close)

    assert len(refusals) == 1
    assert sorted(name for batch in store.batches for name in batch) == ["inner", "outer"]
