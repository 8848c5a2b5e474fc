"""The operator's side of the PostgreSQL store. A ledger that is being filled has a schema of another name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg

from callfare.errors import LedgerNotFound, SchemaOlder
from callfare.ledger.rows import RAW_USAGE, TABLES, RawUsage, Retention, lowest_key, seal_of
from callfare.store import upkeep
from callfare.store.postgres_server import (
    BoundedConnection,
    apply_steps,
    connect,
    lock_schema,
    refuse_incomplete,
    schema_version,
)
from callfare.store.statements import load_migrations
from callfare.store.upkeep import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callfare.errors import CallfareError
    from callfare.ledger.rows import Pk, Row
    from callfare.store.protocol import R

# Locks wait for batches under way, and a schema is moved or dropped as a whole.
_STEP_DEADLINES = 6
_encode = msgspec.json.Encoder().encode


class PostgresUpkeep:
    """What is done to a PostgreSQL ledger as a whole."""

    def __init__(
        self,
        url: str,
        sql: dict[str, Any],
        *,
        pages: Callable[..., Iterator[Any]],
        fault_of: Callable[[psycopg.Error], CallfareError],
        deadline_s: int,
    ) -> None:
        self.url = url
        self.sql = sql
        self.pages = pages
        self.fault_of = fault_of
        self.deadline_s = deadline_s

    @contextmanager
    def fill(self, source: str, *, is_anew: bool = False) -> Iterator[PostgresFilling]:
        """Give an empty ledger to fill, or the one that this source has begun to fill."""
        connection = connect(self.url, self.deadline_s)
        try:
            filling = PostgresFilling(self, connection)
            filling.begin(source, is_anew=is_anew)
            yield filling
        except psycopg.Error as error:
            raise self.fault_of(error) from error
        finally:
            connection.close()

    def schema(self) -> Schema:
        """Return the ledger's schema, and the newest. Changes nothing."""
        newest = load_migrations("postgres")[-1].number
        with self._connected() as connection:
            try:
                found = schema_version(connection)
            except SchemaOlder as older:
                return Schema(older.found, newest)
        if found is None:
            raise LedgerNotFound("the database has no schema callfare; `callfare init` makes it")
        return Schema(found, newest)

    def migrate(self) -> Schema:
        """Bring the schema up to date."""
        newest = self.schema().newest
        with self._connected(_STEP_DEADLINES) as connection, connection.transaction():
            lock_schema(connection)
            refuse_incomplete(connection)
            return Schema(apply_steps(connection) or newest, newest)

    def raw_times(self, after: tuple[int, str] | None = None) -> list[tuple[int, str, int]]:
        """Return when raw usage was recorded, a page after a key."""
        account_id, key = lowest_key(RawUsage) if after is None else after
        with self._connected() as connection:
            return connection.execute(self.sql["raw_times"], {"account_id": account_id, "key": key}).fetchall()

    def drop_raw(self, keys: Sequence[tuple[int, str]], *, before_us: int, now_us: int) -> int:
        """Remove raw usage recorded before an instant, and note that it may be missing."""
        named = {"accounts": [key[0] for key in keys], "keys": [key[1] for key in keys], "before_us": before_us}
        with self._connected() as connection:
            noted = connection.execute(self.sql["lock_retention"], {"kind": RAW_USAGE}).fetchall()
            row = upkeep.retained(Retention(*noted[0]) if noted else None, before_us, now_us)
            sealed = b"[%b,%d]]" % (_encode(row)[:-1], seal_of(row))
            connection.execute(self.sql["put_retention"], {"rows": sealed.decode()})
            dropped = connection.execute(self.sql["drop_raw"], named).rowcount
            connection.commit()
            return dropped

    @contextmanager
    def _connected(self, deadlines: int = 1) -> Iterator[BoundedConnection]:
        connection = connect(self.url, self.deadline_s)
        try:
            with connection.within(self.deadline_s * deadlines):
                yield connection
        except psycopg.Error as error:
            raise self.fault_of(error) from error
        finally:
            connection.close()


class PostgresFilling:
    """A PostgreSQL ledger that takes rows as they are, on a connection of its own."""

    def __init__(self, store: PostgresUpkeep, connection: BoundedConnection) -> None:
        self._store = store
        self._sql = store.sql
        self._connection = connection
        self.mark = ""

    def begin(self, source: str, *, is_anew: bool) -> None:
        """Move an empty ledger out of everyone's way, or find where a source has come to that did so before."""
        with self._step(_STEP_DEADLINES):
            lock_schema(self._connection)
            is_begun = self._connection.execute(self._sql["find_filling"]).fetchall() != [(None,)]
            if is_begun and is_anew:
                self._connection.execute(self._sql["drop_filling"])
            if is_begun and not is_anew:
                [[begun, mark]] = self._connection.execute(self._sql["load_filling"]).fetchall()
                [[number]] = self._connection.execute(self._sql["filling_version"]).fetchall()
                if begun != source or number != load_migrations("postgres")[-1].number:
                    raise upkeep.other_source()
                self.mark = mark
            else:
                self._set_out(source)
        with self._step():
            self._connection.execute(self._sql["use_filling"])

    def _set_out(self, source: str) -> None:
        apply_steps(self._connection)
        # Batches under way end first; those that come after find no ledger, and look again.
        self._connection.execute(self._sql["lock_tables"])
        for table in TABLES:
            if self._connection.execute(self._sql[f"count_{table.table}"]).fetchall() != [(0,)]:
                raise upkeep.not_empty()
        self._connection.execute(self._sql["move_schema_away"])
        self._connection.execute(self._sql["make_filling"])
        self._connection.execute(self._sql["begin_filling"], {"source": source})

    def put(self, rows: Sequence[tuple[Row, int]], *, mark: str) -> None:
        """Add rows with their seals and note how far this has come."""
        by_table: dict[str, list[bytes]] = {}
        for row, seal in rows:
            by_table.setdefault(row.table, []).append(b"%b,%d]" % (_encode(row)[:-1], seal))
        with self._step():
            self._check_mine()
            for table, values in by_table.items():
                parameters = {"rows": (b"[" + b",".join(values) + b"]").decode()}
                self._connection.execute(self._sql[f"put_{table}"], parameters)
            self._connection.execute(self._sql["move_filling"], {"mark": mark})
        self.mark = mark

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows that have been put."""
        return self._store.pages(self._connection, table, after)

    def finish(self) -> None:
        """Open the ledger to everyone."""
        with self._step(_STEP_DEADLINES):
            lock_schema(self._connection)
            self._check_mine()
            self._connection.execute(self._sql["end_filling"])
            self._connection.execute(self._sql["move_schema_back"])

    def _check_mine(self) -> None:
        """Return when nobody else has put rows, under a lock that keeps it so until this is committed."""
        try:
            found = self._connection.execute(self._sql["filling_mark"]).fetchall()
        except psycopg.errors.UndefinedTable:
            found = []
        if found != [(self.mark,)]:
            raise upkeep.overtaken()

    @contextmanager
    def _step(self, deadlines: int = 1) -> Iterator[None]:
        """One transaction, with a deadline on this side."""
        try:
            with self._connection.within(self._store.deadline_s * deadlines):
                try:
                    yield
                    self._connection.commit()
                finally:
                    if not self._connection.closed:
                        self._connection.rollback()
        except psycopg.Error as error:
            raise self._store.fault_of(error) from error
