"""Backups: from any store to any store, whole or not at all, and what came after is told again without loss."""

from __future__ import annotations

import gzip
import random

import pytest

from callfare.clock import ManualClock
from callfare.engine import operations
from callfare.errors import BackupInvalid, LedgerCorrupt, LedgerIncomplete, LedgerNotEmpty, Misconfigured
from callfare.ledger.rows import Account, Event
from callfare.ledger.verify import verify
from callfare.store.memory import MemoryStore
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.commands import START, close, extend, grant, open_run, record
from tests.support.rich import write_rich_ledger


@pytest.fixture
def sqlite(tmp_path):
    """A new SQLite ledger that is not there yet."""
    clock = ManualClock(START)
    return Books(SqliteStore(str(tmp_path / "other.db"), clock=clock), clock)


@pytest.fixture
def rich(tmp_path):
    """A backup of a ledger with something of everything in it, and that ledger's rows."""
    clock = ManualClock(START)
    source = Books(MemoryStore(clock), clock)
    write_rich_ledger(source)
    operations.backup(source.store, clock, tmp_path / "rich.callfare")
    return tmp_path / "rich.callfare", source.all_rows()


def test_a_backup_of_any_store_is_restored_into_sqlite(books: Books, sqlite, tmp_path):
    write_rich_ledger(books)

    made = operations.backup(books.store, books.clock, tmp_path / "ledger.callfare")
    done = operations.restore(sqlite.store, tmp_path / "ledger.callfare")

    assert sqlite.all_rows() == books.all_rows()
    assert (done.digest, done.row_count, done.fault_count) == (made.digest, made.row_count, 0)
    assert done.taken_at == made.taken_at
    assert faults(sqlite.store) == []


def test_a_backup_is_restored_into_any_store(books: Books, rich):
    path, rows = rich

    operations.restore(books.store, path)

    assert books.all_rows() == rows
    assert verify(books.store.scan).is_clean


def test_a_backup_sees_one_instant_while_others_write(books: Books, sqlite, tmp_path):
    books.do_all(grant("alice", 100), open_run("r1", hold=40))

    def meanwhile(doing: str, table: str, rows: int) -> None:
        if table == "accounts":
            books.do_all(record(5, run_id="r1", key="meanwhile"), grant("bob", 10))

    operations.backup(books.store, books.clock, tmp_path / "ledger.callfare", meanwhile)
    operations.restore(sqlite.store, tmp_path / "ledger.callfare")

    assert sqlite.balance().held == "40"
    assert (sqlite.rows(Event), len(sqlite.rows(Account)), len(books.rows(Account))) == ([], 1, 2)


def test_commands_told_again_after_an_older_backup_apply_exactly_what_is_missing(books: Books, sqlite, tmp_path):
    commands = [
        grant("alice", 100, key="welcome"),
        open_run("r1", hold=40),
        record(5, run_id="r1", key="call-1"),
        extend("r1", 3, key="more"),
        record(7, run_id="r1", key="call-2"),
        close("r1", key="end"),
        record(2, user="alice", key="direct"),
        grant("bob", 9, key="bob"),
    ]
    books.do_all(*commands[:4])
    operations.backup(books.store, books.clock, tmp_path / "older.callfare")
    books.do_all(*commands[4:])

    operations.restore(sqlite.store, tmp_path / "older.callfare")
    answers = sqlite.do_all(*commands)

    assert [answer.is_replay for answer in answers] == [True] * 4 + [False] * 4
    assert {table: [row for row, _ in rows] for table, rows in sqlite.all_rows().items()} == {
        table: [row for row, _ in rows] for table, rows in books.all_rows().items()
    }
    assert sqlite.balance().posted == "86"


def test_two_backups_of_one_ledger_are_the_same_bytes(books: Books, tmp_path):
    write_rich_ledger(books)

    operations.backup(books.store, books.clock, tmp_path / "first")
    operations.backup(books.store, books.clock, tmp_path / "second")

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_not_written_over(books: Books, tmp_path):
    books.do(grant("alice", 1))
    (tmp_path / "precious").write_text("mine")

    with pytest.raises(Misconfigured, match="precious cannot be written: file exists; name another file"):
        operations.backup(books.store, books.clock, tmp_path / "precious")

    assert (tmp_path / "precious").read_text() == "mine"


def test_a_backup_that_fails_leaves_no_file(books: Books, tmp_path):
    books.do(grant("alice", 1))
    folder = tmp_path / "backups"
    folder.mkdir()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operations.backup(books.store, books.clock, folder / "ledger", fail)

    assert list(folder.iterdir()) == []


def test_a_backup_is_not_restored_over_rows(books: Books, rich):
    books.do(grant("alice", 1))

    with pytest.raises(LedgerNotEmpty):
        operations.restore(books.store, rich[0])

    assert books.balance().posted == "1"


def test_a_torn_backup_is_refused_and_nothing_is_made(sqlite, rich):
    path, _ = rich
    whole = path.read_bytes()

    for length in [0, 1, 10, 20, *range(100, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(BackupInvalid, match="is no whole backup"):
            operations.restore(sqlite.store, path)

    assert not sqlite.store.file.exists()


def test_an_altered_backup_is_refused_whichever_byte_was_changed(sqlite, rich, seed):
    path, _ = rich
    chance = random.Random(seed)
    text = bytearray(gzip.decompress(path.read_bytes()))

    for _ in range(100):
        place = chance.randrange(len(text))
        altered = bytearray(text)
        altered[place] ^= 1 << chance.randrange(7)
        path.write_bytes(gzip.compress(altered, 1))
        with pytest.raises((BackupInvalid, Misconfigured)):
            operations.restore(sqlite.store, path)

    assert not sqlite.store.file.exists()


def test_a_row_left_out_of_a_backup_is_missed(sqlite, rich):
    path, _ = rich
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    row = next(number for number, line in enumerate(lines) if line.startswith(b"["))

    path.write_bytes(gzip.compress(b"".join(lines[:row] + lines[row + 1 :]), 1))

    with pytest.raises(BackupInvalid, match="it was altered: its digest is another"):
        operations.restore(sqlite.store, path)


def test_what_is_no_backup_is_refused(sqlite, tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "packed").write_bytes(gzip.compress(b'{"hello":1}\n'))

    for name in ("text", "packed"):
        with pytest.raises(BackupInvalid, match=f"{name} is no whole backup"):
            operations.restore(sqlite.store, tmp_path / name)
    with pytest.raises(Misconfigured, match="cannot be read: no such file"):
        operations.restore(sqlite.store, tmp_path / "nowhere")


def test_a_backup_of_a_newer_callfare_is_refused(sqlite, rich):
    path, _ = rich
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text.replace(b'"callfare_backup":1', b'"callfare_backup":2')))

    with pytest.raises(Misconfigured, match="is a backup of format 2, this callfare knows 1; upgrade callfare"):
        operations.restore(sqlite.store, path)


def test_a_ledger_that_was_altered_before_is_restored_as_it_was_only_on_request(sqlite, tmp_path):
    clock = ManualClock(START)
    source = SqliteStore(str(tmp_path / "source.db"), clock=clock)
    source.create()
    books = Books(source, clock)
    books.do_all(grant("alice", 100), grant("bob", 5, key="bob"))
    with source._reader() as connection:
        connection.execute("UPDATE accounts SET posted_nanocredits = 7 WHERE posted_nanocredits = 5000000000")
    operations.backup(source, clock, tmp_path / "ledger")

    with pytest.raises(LedgerCorrupt, match="holds a ledger with 2 faults, the first: accounts "):
        operations.restore(sqlite.store, tmp_path / "ledger")
    with pytest.raises(LedgerIncomplete):
        sqlite.store.snapshot("alice")
    done = operations.restore(sqlite.store, tmp_path / "ledger", with_faults=True)

    assert done.fault_count == 2
    assert sqlite.all_rows() == books.all_rows()


def test_a_restore_that_was_interrupted_goes_on_where_it_was(books: Books, rich, monkeypatch):
    path, rows = rich
    monkeypatch.setattr(operations, "_ROWS_PER_PUT", 10)
    told: list[int] = []

    def interrupt(doing: str, table: str, count: int) -> None:
        told.append(count)
        if doing == "restoring" and len(told) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operations.restore(books.store, path, progress=interrupt)
    with pytest.raises(LedgerIncomplete):
        books.store.facts()
    monkeypatch.setattr(operations, "_ROWS_PER_PUT", 7)
    operations.restore(books.store, path)

    assert books.all_rows() == rows
