"""What the garbage collector or a signal runs in the middle of a write or a read, on the thread that does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.rows import Key
from callfare.store.protocol import Store
from tests.support.audit import faults
from tests.support.commands import START, grant
from tests.support.fixtures import STORES, open_store
from tests.support.processes import call

ACTORS = "tests.faults.interrupting"


class Interrupted:
    """A clock that has something run when it is next asked: in the middle of a write or of a read."""

    def __init__(self) -> None:
        self.deed: Callable[[], object] | None = None
        self.outcome: object = None

    def now_us(self) -> int:
        deed, self.deed = self.deed, None
        if deed is not None:
            try:
                self.outcome = deed()
            except CallfareError as error:
                self.outcome = error
        return int(START.timestamp()) * 1_000_000


@pytest.fixture
def clock() -> Interrupted:
    return Interrupted()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Interrupted) -> Iterator[Store]:
    store = open_store(request.param, tmp_path / "ledger", clock)
    store.apply([grant("alice", 100, key="first")])
    yield store
    assert faults(store) == []
    store.close()


def finished(deed: Callable[[], object]) -> None:
    """Run something in a thread; it must not hang."""
    thread = threading.Thread(target=deed, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def keys(store: Store) -> list[str]:
    return [row.key for row, _ in store.scan(Key)]


def test_a_write_in_the_middle_of_a_write_is_refused_and_not_written(store, clock):
    clock.deed = lambda: store.apply([grant("alice", 1, key="inner")])

    finished(lambda: store.apply([grant("alice", 1, key="outer")]))

    assert isinstance(clock.outcome, LedgerUnavailable)
    assert keys(store) == ["first", "outer"]
    store.apply([grant("alice", 1, key="inner")])
    assert keys(store) == ["first", "inner", "outer"]


def test_a_read_in_the_middle_of_a_write_is_answered(store, clock):
    clock.deed = lambda: store.snapshot("alice")

    finished(lambda: store.apply([grant("alice", 1, key="outer")]))

    assert clock.outcome is not None
    assert not isinstance(clock.outcome, CallfareError)
    assert keys(store) == ["first", "outer"]


def test_a_write_in_the_middle_of_a_read_is_written(store, clock):
    clock.deed = lambda: store.apply([grant("alice", 1, key="inner")])

    finished(lambda: store.snapshot("alice"))

    assert keys(store) == ["first", "inner"]


def test_closing_in_the_middle_of_a_write_lets_it_end(store, clock):
    clock.deed = store.close

    finished(lambda: store.apply([grant("alice", 1, key="outer")]))

    assert clock.outcome is None
    assert getattr(store, "_writer", None) is None
    assert keys(store) == ["first", "outer"]


def test_a_forgotten_generator_that_is_collected_in_the_middle_of_a_write_closes_its_run(tmp_path):
    assert call(ACTORS, "collect_runs_while_writing", tmp_path / "callfare.db") == ["40 runs, 0 open"]


def test_a_signal_handler_may_close_the_ledger_in_the_middle_of_a_write(tmp_path):
    assert call(ACTORS, "close_on_a_signal", tmp_path / "callfare.db") == ["closed", "1 2"]


def test_a_child_forked_in_the_middle_of_a_write_is_refused_and_its_parent_goes_on(tmp_path):
    said = call(ACTORS, "fork_inside_a_write", tmp_path / "callfare.db")

    assert said == ["child misconfigured", "parent wrote", "first outer after"]


def test_collections_in_the_middle_of_reads_from_memory_change_nothing_under_them():
    assert call(ACTORS, "collect_runs_while_reading_memory") == ["done"]
