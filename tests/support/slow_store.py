"""A store that is as slow as a test wants it, and the threads that use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from callfare.clock import elapsed_s
from callfare.committer import Committer
from callfare.errors import CallfareError, InsufficientCredit, LedgerCorrupt, LedgerUnavailable
from callfare.ledger.commands import Command, OpenRun
from callfare.ledger.receipts import Receipt
from callfare.money import Credits


class SlowStore:
    """Answers each command with its run id, and stops before each batch until it is told to go on."""

    max_batch = 4

    def __init__(self, *, is_slow: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.is_slow = is_slow

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        names = [command.run_id for command in commands if isinstance(command, OpenRun)]
        self.batches.append(names)
        self.began.release()
        if self.is_slow:
            assert self.go_on.acquire(timeout=60)
        return [self.answer(name) for name in names]

    def answer(self, name: str) -> Receipt | CallfareError:
        if name == "poor":
            return InsufficientCredit("alice", needed=Credits(2), available=Credits(1))
        if name == "fault":
            raise ZeroDivisionError(name)
        if name == "corrupt":
            raise LedgerCorrupt(name)
        if name == "away":
            raise LedgerUnavailable(name)
        return Receipt(is_replay=name == "replay")


def in_thread(function, *arguments):
    """Start a function in a thread; `outcome` tells what it returned or raised."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def waiting(committer: Committer, count: int) -> None:
    """Return once so many callers stand in the queue."""
    until(lambda: len(committer._queue) >= count)


def until(is_so: Callable[[], bool]) -> None:
    """Return once it is so, which must not take for ever."""
    give_up_s = elapsed_s() + 60
    while not is_so():
        assert elapsed_s() < give_up_s, "it never came to be so"
        threading.Event().wait(0.001)


def finished(function, *arguments):
    """Return what a function returned or raised in a thread, which must not hang."""
    thread, outcome = in_thread(function, *arguments)
    thread.join(60)
    assert not thread.is_alive()
    return outcome[0]
