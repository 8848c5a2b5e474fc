"""The SQLite store: one file, WAL, synchronous FULL, one writer at a time, readers beside it.

A batch is one BEGIN IMMEDIATE transaction: load what it touches, decide, check, write, commit.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import defaultdict
from contextlib import contextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import apsw
from msgspec.structs import asdict, astuple

from callfare.clock import SystemClock
from callfare.errors import CallfareError, LedgerCorrupt, Misconfigured
from callfare.ledger import rollups
from callfare.ledger.rows import (
    TABLES,
    Event,
    Hold,
    Rollup,
    Row,
    Run,
    lowest_key,
    seal_of,
)
from callfare.store.answers import ANSWERS, rows_of, seen
from callfare.store.batch import decide_all
from callfare.store.gate import Gate
from callfare.store.protocol import Snapshot, StoreFacts
from callfare.store.sqlite_file import SqliteFile, fault_of
from callfare.store.sqlite_load import Loader
from callfare.store.sqlite_upkeep import SqliteUpkeep
from callfare.store.statements import load_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk
    from callfare.ledger.verify import Scan
    from callfare.store.protocol import Look, Query, R, Seen


class SqliteStore:
    """A ledger in one SQLite file. `path` is a file name; `clock` tells when things expire."""

    max_batch = 512

    def __init__(self, path: str, *, clock: Clock | None = None, is_readonly: bool = False) -> None:
        self.file = SqliteFile(path, is_readonly=is_readonly)
        self._clock = clock or SystemClock()
        self._sql = load_statements("sqlite")
        self._start_afresh()

        _STORES.add(self)

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._gate = Gate()
        self._is_closing = False
        self._door = threading.Condition()
        self._writer: apsw.Connection | None = None
        self._readers: list[apsw.Connection] = []
        self._reading = 0
        self._is_torn = False

    # Forking. SQLite remembers per process which locks it has on a file. A child that inherits this believes it has
    # the locks of its parent, and a third process may drop the log under it. So nothing is open while a process forks.

    def pause(self) -> None:
        """Wait until nobody writes or reads, close all connections, and let nobody begin until `resume`.

        Whoever reads for longer than some seconds is not waited for: then the child may not use the ledger.
        """
        self._gate.hold()
        self._door.acquire()
        self._door.wait_for(lambda: not self._reading, _FORK_WAIT_S)
        with suppress(apsw.Error):
            self._close_connections()

    def is_writing_here(self) -> bool:
        """Return whether this very thread is in the middle of a write, and so cannot pause."""
        return self._gate.is_mine()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._door.release()
        self._gate.let_go()

    def restart(self) -> None:
        """Go on in a child, where the threads that held the locks are not."""
        was_reading = bool(self._reading)
        self._start_afresh()
        self._is_torn = was_reading

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            was_open = self._writer is not None or bool(self._readers) or bool(self._reading)
            # Kept, unused: to close them here could take the log away from the parent.
            self._inherited = (self._writer, *self._readers)
            self._start_afresh()
            self._is_torn = was_open
        if self._is_torn:
            raise Misconfigured(
                "this process was forked while the ledger was in use, so its locks cannot be trusted here; "
                "fork with os.fork or multiprocessing while nobody reads for long, or close the ledger before"
            )

    def create(self) -> bool:
        """Make the file and its schema where they are missing; return whether the ledger is new."""
        self._check_process()
        return self._writer is None and self.file.create()

    def close(self) -> None:
        """Close all connections. The store opens them again when it is used again.

        In the middle of a write of this thread they are closed when it has ended.
        """
        self._check_process()
        if self._gate.is_mine():
            self._is_closing = True
            return
        with self._gate.passed(), self._door:
            self._is_closing = False
            self._close_connections()

    def _close_connections(self) -> None:
        for connection in (self._writer, *self._readers):
            if connection is not None:
                connection.close()
        self._writer, self._readers = None, []

    # Writing

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Decide commands one after another in one transaction, and return an answer for each."""
        self._check_process()
        try:
            with self._gate.passed():
                return self._apply_alone(commands)
        finally:
            if self._is_closing:
                self.close()

    def _apply_alone(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        if self._writer is None:
            self._writer = self.file.connect()
        writer = self._writer
        self.file.check_same()
        try:
            try:
                return self._try(writer, commands, is_careful=False)
            except apsw.ConstraintError:
                return self._try(writer, commands, is_careful=True)
        except apsw.Error as error:
            raise fault_of(error, self.file.path) from error

    def _try(
        self, writer: apsw.Connection, commands: Sequence[Command], *, is_careful: bool
    ) -> list[Receipt | CallfareError]:
        try:
            return self._apply(writer, commands, is_careful=is_careful)
        finally:
            # In a child that was forked in the middle of this, the transaction is its parent's.
            if self._writer is writer and writer.in_transaction:
                writer.execute("ROLLBACK")

    def _apply(
        self, connection: apsw.Connection, commands: Sequence[Command], *, is_careful: bool = True
    ) -> list[Receipt | CallfareError]:
        """Apply a batch in one transaction.

        is_careful: it is looked up that no event has a key which was made for it; else the file refuses the second.
        """
        connection.execute("BEGIN IMMEDIATE")
        self.file.check_whole(connection)
        now_us = self._clock.now_us()
        state = Loader(connection, self._sql, now_us, is_careful=is_careful).load(commands)
        answers, changed = decide_all(state, commands, now_us)
        if not changed:
            connection.execute("ROLLBACK")
            return answers
        self._write(connection, changed.values(), state.found)
        self._check_process()
        connection.execute("COMMIT")
        return answers

    def _write(self, connection: apsw.Connection, rows: Iterable[Row], found: dict[Pk, Row]) -> None:
        by_statement: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        events = []
        for row in rows:
            if isinstance(row, Hold) and not row.amount_nanocredits:
                connection.execute(self._sql["drop_hold"], row.pk[1:])
            elif isinstance(row, Run) and _is_only_drawn(row, found.get(row.pk)):
                by_statement["draw_runs"].append((*_drawn(row), seal_of(row), row.account_id, row.run_id))
            else:
                by_statement[_PUT[type(row)]].append((*astuple(row), seal_of(row)))
            if isinstance(row, Event):
                events.append(row)
        for pk, part in rollups.fold(events).items():
            before = rows_of(connection.execute(self._sql["load_rollup"], pk[1:]), Rollup)
            rollup = part.added_to(before[0] if before else None)
            by_statement["put_rollups"].append((*astuple(rollup), seal_of(rollup)))
        for name, values in by_statement.items():
            connection.executemany(self._sql[name], values)

    # Reading

    @contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        self._check_process()
        with self._door:
            self._reading += 1
            connection = self._readers.pop() if self._readers else None
        try:
            if connection is None:
                connection = self.file.connect()
            self.file.check_same()
            self.file.check_whole(connection)
            yield connection
        except apsw.Error as error:
            raise fault_of(error, self.file.path) from error
        finally:
            with self._door:
                self._reading -= 1
                if connection is not None and not self.file.is_still():
                    self._readers.append(connection)
                self._door.notify_all()

    def snapshot(self, user: str) -> Snapshot | None:
        """Return the user's account as of now, or None when there is none."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                now_us = self._clock.now_us()
                loader = Loader(connection, self._sql, now_us)
                account_id = loader.user(user)
                if account_id is None:
                    return None
                loader.account(account_id)
                spent = connection.execute(self._sql["spent_in_open_runs"], (account_id, now_us)).get
                return Snapshot(account_id=account_id, state=loader.state, spent_nanocredits=spent, now_us=now_us)
            finally:
                connection.execute("COMMIT")

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about as of now."""
        found: list[tuple[tuple[Any, ...], int]] = []
        with self._reader() as connection:
            for one in asked:
                now_us = self._clock.now_us()
                values = {"key_id": one.key_id, "user": one.user, "now_us": now_us}
                [row] = connection.execute(self._sql["look"], values)
                found.append((row, now_us))
        return [seen(values, now_us, self.snapshot) for values, now_us in found]

    def select(self, query: Query) -> list[Row]:
        """Return the rows a query asks for."""
        return self.select_all([query])[0]

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant."""
        with self._reader() as connection, _instant(connection, is_needed=len(queries) > 1):
            answers = []
            for query in queries:
                name, table = ANSWERS[type(query)]
                answers.append(rows_of(connection.execute(self._sql[name], asdict(query)), table))
            return answers

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table with their seals, in the order of their primary key, a page at a time."""
        key = after[1:] if after else lowest_key(table)
        while True:
            with self._reader() as connection:
                page = self._page(connection, table, key)
            if not page:
                return
            yield from page
            key = page[-1][0].pk[1:]

    @contextmanager
    def one_instant(self) -> Iterator[Scan]:
        """Give a scan that sees every table as it stands now. The log grows until it is done."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                yield partial(self._pages, connection)
            finally:
                connection.execute("COMMIT")

    def _pages(self, connection: apsw.Connection, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        key: tuple[str | int, ...] = after[1:] if after else lowest_key(table)
        while page := self._page(connection, table, key):
            yield from page
            key = page[-1][0].pk[1:]

    def _page(self, connection: apsw.Connection, table: type[R], key: tuple[str | int, ...]) -> list[tuple[R, int]]:
        page: list[tuple[R, int]] = []
        try:
            for *values, seal in connection.execute(self._sql[f"scan_{table.table}"], key):
                page.append((table(*values), cast("int", seal)))
        except UnicodeDecodeError as error:
            last = page[-1][0].pk[1:] if page else key
            raise LedgerCorrupt(f"{table.table} holds text that cannot be read, in the row after {last}") from error
        return page

    @contextmanager
    def _occupied(self) -> Iterator[None]:
        """Have whoever forks wait for this block, as for a read."""
        self._check_process()
        with self._door:
            self._reading += 1
        try:
            yield
        finally:
            with self._door:
                self._reading -= 1
                self._door.notify_all()

    def upkeep(self) -> SqliteUpkeep:
        """Return the operator's side of this store."""
        return SqliteUpkeep(self.file, self._sql, pages=self._pages, occupied=self._occupied)

    def facts(self) -> StoreFacts:
        """Return what this store is and how much it holds."""
        with self._reader() as connection:
            rows = {table.table: connection.execute(self._sql[f"count_{table.table}"]).get for table in TABLES}
            return StoreFacts(
                url=self.file.address,
                engine=f"SQLite {apsw.sqlite_lib_version()}, {connection.pragma('journal_mode')}",
                schema_version=connection.pragma("user_version"),
                rows=rows,
            )


_PUT = {table: f"put_{table.table}" for table in TABLES}
# What usage moves in a run that stays open and need not be renewed. No index of runs has any of it.
_DRAWN = (
    "held_nanocredits",
    "used_nanocredits",
    "debt_nanocredits",
    "charged_nanocredits",
    "cost_picousd",
    "calls",
    "unpriced_calls",
)
_drawn = attrgetter(*_DRAWN)


@contextmanager
def _instant(connection: apsw.Connection, *, is_needed: bool) -> Iterator[None]:
    """Have all that is read inside read as of one instant; a single statement needs no help for that."""
    if not is_needed:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _is_only_drawn(row: Run, before: Row | None) -> bool:
    return isinstance(before, Run) and (row.status, row.expires_at_us) == (before.status, before.expires_at_us)


_FORK_WAIT_S = 10
_STORES: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class _Paused(threading.local):
    """The stores that the thread which forks has paused."""

    def __init__(self) -> None:
        self.stores: list[SqliteStore] = []


_PAUSED = _Paused()


def _before_fork() -> None:
    # In one order everywhere, so that two threads that fork can never wait for each other.
    for store in sorted(_STORES, key=id):
        # A signal handler that forks in the middle of a write: the child is refused when it uses the ledger.
        if not store.is_writing_here():
            store.pause()
            _PAUSED.stores.append(store)


def _after_fork_in_parent() -> None:
    while _PAUSED.stores:
        _PAUSED.stores.pop().resume()


def _after_fork_in_child() -> None:
    while _PAUSED.stores:
        _PAUSED.stores.pop().restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
