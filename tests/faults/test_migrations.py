"""Making a ledger: by many processes at once, and by one that is killed midway."""

from __future__ import annotations

import threading

import apsw
import pytest

from callfare.errors import LedgerUnavailable, Misconfigured
from callfare.store import sqlite_file
from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import nano
from tests.support.postgres import shared_server
from tests.support.processes import call, start

ACTORS = "tests.faults.filing"


@pytest.fixture
def new_place(tmp_path):
    """Says where a ledger of a kind is to be made, and opens it."""

    def place(kind: str) -> tuple[str, Store]:
        path = str(tmp_path / "callfare.db") if kind == "sqlite" else shared_server().new_database()
        return path, PostgresStore(path) if kind == "postgres" else SqliteStore(path)

    return place


@pytest.mark.parametrize(("kind", "attempt"), [("sqlite", 1), ("sqlite", 2), ("postgres", 1)])
def test_four_processes_make_one_ledger_at_the_same_moment(new_place, kind, attempt):
    path, store = new_place(kind)
    makers = [start(ACTORS, "create_at_the_same_moment", path, f"maker-{number}") for number in range(4)]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"

    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    said = [maker.communicate(timeout=120) for maker in makers]

    assert sorted(out for out, _ in said) == ["new\n", "there\n", "there\n", "there\n"], said
    snapshot = store.snapshot("alice")
    assert snapshot is not None
    assert snapshot.state.rows["accounts", snapshot.account_id].posted_nanocredits == nano(4)
    assert faults(store) == []
    store.close()


@pytest.mark.parametrize(("kind", "delay_ms"), [("sqlite", 5), ("postgres", 5), ("postgres", 30)])
def test_one_of_four_makers_is_killed_and_the_others_finish(new_place, kind, delay_ms):
    path, store = new_place(kind)
    makers = [start(ACTORS, "create_at_the_same_moment", path, f"maker-{number}") for number in range(4)]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()

    # Whichever statement this falls on: the others must end well.
    threading.Event().wait(delay_ms / 1000)
    makers[0].kill()
    said = [maker.communicate(timeout=120) for maker in makers]

    assert [maker.returncode for maker in makers[1:]] == [0, 0, 0], said
    assert sum(out == "new\n" for out, _ in said) <= 1
    assert store.facts().rows["keys"] in {3, 4}
    assert faults(store) == []
    store.close()


def test_a_process_killed_before_any_statement_of_the_schema_leaves_what_the_next_one_can_finish(tmp_path):
    assert call(ACTORS, "be_killed_at_every_statement", tmp_path, timeout_s=200) == ["True"]


def test_a_maker_waits_for_whoever_looks_at_the_file_just_then(tmp_path, monkeypatch):
    path = tmp_path / "callfare.db"
    path.touch()
    other = apsw.Connection(str(path))
    other.execute("BEGIN; SELECT * FROM sqlite_schema").fetchall()

    # Waiting is when the other one goes away.
    monkeypatch.setattr(sqlite_file, "_wait_a_little", lambda: other.execute("ROLLBACK"))

    assert SqliteStore(str(path)).create()


def test_a_maker_does_not_wait_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "callfare.db"
    path.touch()
    other = apsw.Connection(str(path))
    other.execute("BEGIN; SELECT * FROM sqlite_schema").fetchall()
    monkeypatch.setattr(sqlite_file, "_BUSY_TIMEOUT_MS", 40)

    with pytest.raises(LedgerUnavailable, match="retry with the same key"):
        SqliteStore(str(path)).create()


def test_a_file_that_cannot_keep_a_log_is_refused(tmp_path, monkeypatch):
    real = apsw.Connection.pragma
    monkeypatch.setattr(
        sqlite_file.apsw,
        "Connection",
        type(
            "Without",
            (apsw.Connection,),
            {"pragma": lambda self, name, *value: "delete" if value == ("wal",) else real(self, name, *value)},
        ),
    )

    with pytest.raises(Misconfigured, match="write-ahead log"):
        SqliteStore(str(tmp_path / "callfare.db")).create()
