"""A whole ledger goes from one store to another: every row, once, verified on both ends."""

from __future__ import annotations

import faulthandler
import itertools
import os
import sys

import pytest

from callfare.clock import ManualClock
from callfare.engine import moving, operations
from callfare.errors import Conflict, InvalidInput, LedgerCorrupt, LedgerIncomplete, LedgerNotEmpty
from callfare.ledger.rows import Account, seal_of
from callfare.ledger.verify import verify
from callfare.store.sqlite import SqliteStore
from tests.support.books import Books
from tests.support.commands import START, grant
from tests.support.fixtures import address, give_back, open_store
from tests.support.large import build
from tests.support.moved import ACCOUNTS, DIRECT, command, go_round
from tests.support.rich import write_rich_ledger

# CALLFARE_MOVED_EVENTS=100000 takes ten minutes and more on the bridge.
EVENTS = int(os.environ.get("CALLFARE_MOVED_EVENTS", "10000"))
# What a process that moves 2,000 events has, and half of it again: rows are never gathered.
PEAK_KB_MAX = 100 * 1024
KINDS = ("sqlite", "postgres", "convex")
PAIRS = [
    pytest.param(*pair, marks=[pytest.mark.all] if "convex" in pair else [])
    for pair in itertools.permutations(KINDS, 2)
]


@pytest.fixture
def make(tmp_path):
    """Makes empty ledgers, each of a kind."""
    made: list[Books] = []
    clock = ManualClock(START)

    def books(kind: str) -> Books:
        folder = tmp_path / f"ledger-{len(made)}"
        made.append(Books(open_store(kind, folder, clock), clock))
        return made[-1]

    yield books
    for each in made:
        each.store.close()
    give_back(tmp_path)


def stopping(after):
    """A listener that breaks a move off after so many steps of putting rows."""
    left = [after]

    def told(doing, _table, _count):
        left[0] -= doing == "moving"
        if left[0] < 0:
            raise KeyboardInterrupt

    return told


@pytest.mark.parametrize(("origin", "goal"), PAIRS)
def test_a_ledger_arrives_row_for_row_and_seal_for_seal(make, origin, goal):
    source, target = make(origin), make(goal)
    write_rich_ledger(source)
    before = source.all_rows()

    done = moving.move(source.store, target.store)

    assert target.all_rows() == before == source.all_rows()
    assert done.row_count == sum(len(rows) for rows in before.values())
    assert verify(target.store.scan).is_clean
    assert target.do(grant("zoe", 5, key="after")).nanocredits == 5_000_000_000


@pytest.mark.parametrize("goal", ["sqlite", "postgres", pytest.param("convex", marks=pytest.mark.all)])
def test_a_move_that_was_interrupted_goes_on_where_it_was(make, goal, monkeypatch):
    source, target = make("sqlite"), make(goal)
    write_rich_ledger(source)
    monkeypatch.setattr(operations, "_ROWS_PER_PUT", 20)

    with pytest.raises(KeyboardInterrupt):
        moving.move(source.store, target.store, progress=stopping(3))
    with pytest.raises(LedgerIncomplete):
        target.view()
    put: list[int] = []
    moving.move(source.store, target.store, progress=lambda doing, *_: put.append(1) if doing == "moving" else None)

    assert target.all_rows() == source.all_rows()
    rows = sum(len(rows) for rows in source.all_rows().values())
    assert len(put) == -(-(rows - 80) // 20)


def test_a_target_with_rows_is_refused_before_anything_is_read(make):
    source, target = make("sqlite"), make("sqlite")
    source.do(grant("alice", 100))
    target.do(grant("carol", 3))
    told: list[str] = []

    with pytest.raises(LedgerNotEmpty):
        moving.move(source.store, target.store, progress=lambda doing, *_: told.append(doing))

    assert told == []
    assert target.balance("carol").posted == "3"


def test_a_source_without_rows_is_refused(make):
    with pytest.raises(InvalidInput, match="nothing to move"):
        moving.move(make("sqlite").store, make("sqlite").store)


def test_what_is_written_to_the_source_meanwhile_is_not_left_behind_in_silence(make):
    source, target = make("sqlite"), make("sqlite")
    source.do(grant("alice", 100))

    def write_once(doing, *_):
        if doing == "moving":
            source.do(grant("alice", 1, key="meanwhile"))

    with pytest.raises(Conflict, match="written to while it was moved"):
        moving.move(source.store, target.store, progress=write_once)
    with pytest.raises(LedgerIncomplete):
        target.view()
    with pytest.raises(LedgerIncomplete, match="has changed since"):
        moving.move(source.store, target.store)
    moving.move(source.store, target.store, is_anew=True)

    assert target.balance().posted == "101"


def with_a_fault(books):
    """Alters an account behind the ledger's back, seal included."""
    [(account, _)] = list(books.store.scan(Account))
    altered = Account(account.account_id, 5, 0, 0, account.last_seq, account.opened_at_us)
    connection = books.store.file.connect()
    connection.execute("UPDATE accounts SET posted_nanocredits = 5, seal = ?", (seal_of(altered),))
    connection.close()


def test_a_ledger_with_faults_is_moved_only_as_it_is_when_that_is_asked_for(make):
    source, target = make("sqlite"), make("sqlite")
    source.do(grant("alice", 100))
    with_a_fault(source)

    with pytest.raises(LedgerCorrupt, match="nothing was moved"):
        moving.move(source.store, target.store)
    assert target.all_rows()["accounts"] == []
    done = moving.move(source.store, target.store, with_faults=True)

    assert done.fault_count > 0
    assert target.all_rows() == source.all_rows()


def test_a_row_that_is_altered_on_its_way_is_noticed(make, monkeypatch):
    """A fault planted in the move: one seal arrives as another."""
    source, target = make("sqlite"), make("sqlite")
    source.do(grant("alice", 100))
    real = operations.put_rows
    monkeypatch.setattr(
        moving, "put_rows", lambda rows, *rest: real(((row, seal ^ (row.table == "keys")) for row, seal in rows), *rest)
    )

    with pytest.raises(LedgerCorrupt, match="what arrived is not what was sent"):
        moving.move(source.store, target.store)
    assert isinstance(target.store, SqliteStore)


def test_the_memory_that_is_measured_is_the_commands_own(tmp_path):
    ballast = bytearray(2 * PEAK_KB_MAX * 1024)

    made = command("--db", address("sqlite", tmp_path), "init")

    assert 0 < made.peak_kb < PEAK_KB_MAX < len(ballast) // 1024


@pytest.mark.all
def test_a_large_ledger_goes_through_all_three_stores_and_verifies_on_each(tmp_path):
    """Round trip by the command line: SQLite, PostgreSQL, Convex, and back to SQLite, in bounded memory."""
    # In place of the limit for all tests: the bridge is slow, and nothing here waits for anything else.
    faulthandler.dump_traceback_later(3600, exit=True, file=sys.__stderr__)
    first = address("sqlite", tmp_path)
    places = [first, *(address(kind, tmp_path / kind) for kind in ("postgres", "convex", "sqlite"))]
    (tmp_path / "sqlite").mkdir()
    build(first, EVENTS, ACCOUNTS, DIRECT)

    ways = go_round(*places)

    assert [(moved.told["rows"]["events"], moved.told["fault_count"]) for moved, _ in ways] == [(EVENTS, 0)] * 3
    assert [(verified.told["is_clean"], verified.told["counted"]["events"]) for _, verified in ways] == [
        (True, EVENTS)
    ] * 3
    assert len({moved.told["digest"] for moved, _ in ways}) == 1
    assert max(way.peak_kb for pair in ways for way in pair) < PEAK_KB_MAX
    give_back(tmp_path)
