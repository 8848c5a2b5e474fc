"""The PostgreSQL store: schema `callfare`, rows locked in one order, sets of rows written at once.

A batch locks its runs by key, then its accounts by number; what it learns late is locked out of that order, and the
rare deadlock, like a key that two batches insert at once, is decided again. Every wait has a deadline on this side,
because a frozen server still answers TCP; a batch whose answer was lost is applied again, and its keys make that
harmless.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg import errors

from callfare.clock import elapsed_s
from callfare.errors import CallfareError, InvalidInput, LedgerCorrupt, LedgerNotFound, LedgerUnavailable
from callfare.ledger import rollups
from callfare.ledger.rows import TABLES, Event, Rollup, Row, digest_of, lowest_key
from callfare.mutexes import Turns
from callfare.store.answers import rows_of, seen
from callfare.store.batch import decide_all
from callfare.store.gate import Gate
from callfare.store.postgres_among import answers_to
from callfare.store.postgres_load import Loader
from callfare.store.postgres_server import (
    BoundedConnection,
    connect,
    keep_inherited,
    migrate,
    schema_version,
    told,
)
from callfare.store.postgres_upkeep import PostgresUpkeep
from callfare.store.postgres_writes import Writes
from callfare.store.protocol import Snapshot, StoreFacts
from callfare.store.statements import load_named_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk
    from callfare.ledger.verify import Scan
    from callfare.store.protocol import Look, Query, R, Seen

_TRIES = 6
# With less time than this left, no connection is opened any more.
_OPENING_S = 1
# How many connections are read on at once; whoever comes then waits. A server takes a hundred by default, from all.
_READERS_MAX = 16
# How many roll-ups are remembered, and for how many batches none is once another process has moved one.
_ROLLED_MAX = 8192
_DISTRUSTED_BATCHES = 64
_encode = msgspec.json.Encoder().encode


class PostgresStore:
    """A ledger in a PostgreSQL database. `url` is libpq's; `clock` replaces the server's when it is given.

    deadline_s: how long one batch or one read may take before the ledger counts as unavailable.
    """

    max_batch = 512

    def __init__(self, url: str, *, clock: Clock | None = None, deadline_s: int = 10) -> None:
        self._url = url
        self._clock = clock
        self._deadline_s = deadline_s
        self._sql: dict[str, Any] = load_named_statements("postgres")
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._gate = Gate()
        self._is_closing = False
        self._writer: BoundedConnection | None = None
        self._readers: list[BoundedConnection] = []
        # Those on which each statement stands by itself, without a transaction around it.
        self._lookers: list[BoundedConnection] = []
        self._batches = 0
        self._turns = Turns(_READERS_MAX)
        # Roll-ups as this process wrote them last, with their seals.
        self._rolled: dict[Pk, tuple[Rollup, int]] = {}
        self._distrust = 0

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            keep_inherited(self._writer, *self._readers, *self._lookers)
            self._start_afresh()

    def create(self) -> bool:
        """Make the schema where it is missing, or bring it up to date; return whether the ledger is new."""
        self._after_fork()
        with self._gate.passed():
            if self._writer is not None:
                return False
            connection = connect(self._url, self._deadline_s)
            try:
                with connection.within(self._deadline_s * 6):
                    return migrate(connection)
            except psycopg.Error as error:
                raise _fault_of(error) from error
            finally:
                connection.close()

    def close(self) -> None:
        """Close all connections. The store opens them again when it is used again.

        In the middle of a write of this thread they are closed when it has ended.
        """
        self._after_fork()
        if self._gate.is_mine():
            self._is_closing = True
            return
        with self._gate.passed():
            self._is_closing = False
            for connection in (self._writer, *self._readers, *self._lookers):
                if connection is not None:
                    connection.close()
            self._writer, self._readers, self._lookers = None, [], []

    def _open(self, ends_at_s: float, *, is_planned_once: bool = False) -> BoundedConnection:
        connection = connect(self._url, ends_at_s - elapsed_s(), is_planned_once=is_planned_once)
        try:
            with connection.within(ends_at_s - elapsed_s()):
                version = schema_version(connection)
            if version is None:
                raise LedgerNotFound("the database has no schema callfare; `callfare init` makes it")
        except psycopg.Error as error:
            connection.close()
            raise _fault_of(error) from error
        except CallfareError:
            connection.close()
            raise
        return connection

    def _open_reader(self, ends_at_s: float, *, is_single: bool = False) -> BoundedConnection:
        """Return a connection on which all statements of a read see the same instant; is_single: there is but one."""
        connection = self._open(ends_at_s, is_planned_once=is_single)
        connection.autocommit = is_single
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return connection

    # Writing

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Decide commands one after another in one transaction, and return an answer for each."""
        self._after_fork()
        try:
            with self._gate.passed():
                return self._apply_alone(commands)
        finally:
            if self._is_closing:
                self.close()

    def _apply_alone(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        ends_at_s = elapsed_s() + self._deadline_s
        for left in reversed(range(_TRIES)):
            try:
                return self._try(commands, ends_at_s, is_careful=left < _TRIES - 1)
            except (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure) as error:
                if not left:
                    raise _fault_of(error) from error
            except errors.DivisionByZero:
                # Another process has moved a roll-up: it is busy where this one is.
                self._rolled.clear()
                self._distrust = _DISTRUSTED_BATCHES
            except errors.UndefinedTable as error:
                # The ledger has gone, or is being filled: opening it anew tells, or finds that it is back.
                self._drop_writer()
                if not left:
                    raise _fault_of(error) from error
            except psycopg.OperationalError as error:
                self._drop_writer()
                if not left or not _is_lost(error) or elapsed_s() > ends_at_s - _OPENING_S:
                    raise _fault_of(error) from error
            except psycopg.Error as error:
                raise _fault_of(error) from error
        raise AssertionError(commands)

    def _try(self, commands: Sequence[Command], ends_at_s: float, *, is_careful: bool) -> list[Receipt | CallfareError]:
        """Apply a batch in one transaction.

        is_careful: what is all but certain is looked up too: that no event has a key which was made for it, and that
        roll-ups are as this process left them. The server refuses the batch where that turns out wrong.
        """
        if self._writer is None:
            self._writer = self._open(ends_at_s)
        connection = self._writer
        with connection.within(ends_at_s - elapsed_s()):
            try:
                self._renew_plans(connection)
                loader = Loader(connection, self._sql, self._clock, is_careful=is_careful)
                state = loader.load(commands)
                answers, changed = decide_all(state, commands, loader.now_us)
                if changed:
                    self._write(connection, changed.values(), state.found, is_careful=is_careful)
            finally:
                # Whatever was not committed, locks included, is given back.
                if not connection.closed:
                    connection.rollback()
            return answers

    def _renew_plans(self, connection: BoundedConnection) -> None:
        """Have statements planned for the tables as they are now, each time as many batches have come again."""
        self._batches += 1
        if self._batches.bit_count() == 1:
            connection.execute(self._sql["forget_plans"])

    def _write(
        self, connection: BoundedConnection, changed: Iterable[Row], found: dict[Pk, Row], *, is_careful: bool
    ) -> None:
        writes = Writes()
        events: list[Event] = []
        for row in changed:
            if isinstance(row, Event):
                events.append(row)
            # A row that another process has added meanwhile is not overwritten: the batch is decided again.
            writes.add(row, is_there=not row.is_history and row.pk in found)
        rolled = self._fold(connection, events, writes, is_careful=is_careful)
        with connection.pipeline():
            for name, values in writes.statements():
                connection.execute(self._sql[name], values)
            connection.commit()
        if len(self._rolled) + len(rolled) > _ROLLED_MAX:
            self._rolled.clear()
        self._rolled |= rolled

    def _fold(
        self, connection: BoundedConnection, events: list[Event], writes: Writes, *, is_careful: bool
    ) -> dict[Pk, tuple[Rollup, int]]:
        """Add events to their roll-ups, and return these as they will be.

        What this process wrote last is taken for what is there, and the server compares; else they are loaded, and
        locked in the order of their keys.
        """
        parts = rollups.fold(events)
        order = sorted(parts)
        is_trusted = not is_careful and not self._distrust and all(pk in self._rolled for pk in order)
        before = self._rolled
        if order and not is_trusted:
            keys = {"rows": _encode([pk[1:] for pk in order]).decode()}
            found = rows_of(connection.execute(self._sql["lock_rollups"], keys), Rollup)
            before = {row.pk: (row, 0) for row in found}
        after: dict[Pk, tuple[Rollup, int]] = {}
        for pk in order:
            row, seal = before.get(pk, (None, 0))
            rollup = parts[pk].added_to(row)
            encoded = _encode(rollup)
            after[pk] = rollup, digest_of(encoded)
            name = "replace_rollups" if is_trusted else "move_rollups" if row else "put_rollups"
            writes.add_told(name, b"%b,%d,%d]" % (encoded[:-1], after[pk][1], seal))
        self._distrust = max(0, self._distrust - 1)
        return after

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # Reading

    @contextmanager
    def _reader(self, idle: list[BoundedConnection] | None = None) -> Iterator[BoundedConnection]:
        """Yield a connection to read on, and put it back to the idle ones."""
        self._after_fork()
        idle = self._readers if idle is None else idle
        ends_at_s = elapsed_s() + self._deadline_s
        if not self._turns.take(self._deadline_s):
            raise LedgerUnavailable(f"{_READERS_MAX} reads at once, and none came to an end in time; retry")
        try:
            is_single = idle is self._lookers
            connection = _idle_reader(idle) or self._open_reader(ends_at_s, is_single=is_single)
            with self._read_on(connection, ends_at_s, idle):
                yield connection
        finally:
            self._turns.give_back()

    @contextmanager
    def _read_on(
        self, connection: BoundedConnection, ends_at_s: float, idle: list[BoundedConnection]
    ) -> Iterator[BoundedConnection]:
        try:
            with connection.within(ends_at_s - elapsed_s()):
                yield connection
                connection.rollback()
        except BaseException as error:
            # Whatever state it is in: it may have been cut off in the middle of an answer.
            connection.close()
            if isinstance(error, errors.UndefinedTable):
                self._open_reader(ends_at_s).close()
            if isinstance(error, psycopg.Error):
                raise _fault_of(error) from error
            raise
        idle.append(connection)

    def snapshot(self, user: str) -> Snapshot | None:
        """Return the user's account as of now, or None when there is none."""
        with self._reader() as connection:
            return Loader(connection, self._sql, self._clock).load_account_of(user)

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about as of now: one statement and one round trip for all of them."""
        values = {
            "key_ids": [one.key_id for one in asked],
            "users": [one.user for one in asked],
            "now_us": self._clock.now_us() if self._clock else None,
        }
        with self._reader(self._lookers) as connection:
            found = connection.execute(self._sql["look"], values).fetchall()
        return [seen(row, now_us, self.snapshot) for *row, now_us in found]

    def select(self, query: Query) -> list[Row]:
        """Return the rows a query asks for."""
        return self.select_all([query])[0]

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant."""
        with self._reader() as connection:
            return answers_to(connection, self._sql, queries)

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
        """Give a scan that sees every table as it stands now, on a connection of its own."""
        self._after_fork()
        connection = self._open_reader(elapsed_s() + self._deadline_s)
        try:
            yield partial(self._pages, connection)
        except psycopg.Error as error:
            raise _fault_of(error) from error
        finally:
            connection.close()

    def _pages(self, connection: BoundedConnection, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        key: tuple[str | int, ...] = after[1:] if after else lowest_key(table)
        while True:
            with connection.within(self._deadline_s):
                page = self._page(connection, table, key)
            if not page:
                return
            yield from page
            key = page[-1][0].pk[1:]

    def _page(self, connection: BoundedConnection, table: type[R], key: tuple[str | int, ...]) -> list[tuple[R, int]]:
        values = dict(zip(table.__struct_fields__, key, strict=False))
        rows = connection.execute(self._sql[f"scan_{table.table}"], values).fetchall()
        return [(table(*columns), seal) for *columns, seal in rows]

    def upkeep(self) -> PostgresUpkeep:
        """Return the operator's side of this store."""
        self._after_fork()
        return PostgresUpkeep(self._url, self._sql, pages=self._pages, fault_of=_fault_of, deadline_s=self._deadline_s)

    def facts(self) -> StoreFacts:
        """Return what this store is and how much it holds."""
        with self._reader() as connection:
            rows = {
                table.table: connection.execute(self._sql[f"count_{table.table}"]).fetchall()[0][0] for table in TABLES
            }
            info = connection.info
            return StoreFacts(
                url=f"postgresql://{info.host}:{info.port}/{info.dbname}",
                engine=f"PostgreSQL {info.server_version // 10000}.{info.server_version % 10000}",
                schema_version=schema_version(connection) or 0,
                rows=rows,
            )


def _idle_reader(idle: list[BoundedConnection]) -> BoundedConnection | None:
    """Return a connection that was read on before. Those that the server has ended meanwhile are closed."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            return None
        if not connection.was_ended():
            return connection
        connection.close()


def _is_lost(error: psycopg.OperationalError) -> bool:
    """Tell whether a batch may be applied again at once: the connection broke, the server did not merely refuse."""
    return error.sqlstate is None or error.sqlstate.startswith(("57P", "08", "25006"))


def _fault_of(error: psycopg.Error) -> CallfareError:
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
        return LedgerNotFound("the database has no schema callfare; `callfare init` makes it")
    if isinstance(error, errors.IntegrityError) and not isinstance(error, errors.UniqueViolation):
        return LedgerCorrupt(f"a rule of the ledger was broken, and nothing was written: {error}")
    if (error.sqlstate or "").startswith(("22", "54")):
        return InvalidInput(f"the database cannot hold this: {told(error)}")
    return LedgerUnavailable(f"PostgreSQL did not answer: {told(error)}")
