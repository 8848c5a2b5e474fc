"""The operator's side of the SQLite store. A file that is being filled has an application id of its own."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import apsw
from msgspec.structs import astuple

from callfare.errors import SchemaOlder
from callfare.ledger.rows import RAW_USAGE, TABLES, RawUsage, Retention, lowest_key, seal_of
from callfare.store import upkeep
from callfare.store.sqlite_file import APPLICATION_ID, FILLING_ID, SqliteFile, fault_of
from callfare.store.statements import load_migrations
from callfare.store.upkeep import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from callfare.ledger.rows import Pk, Row
    from callfare.store.protocol import R


class SqliteUpkeep:
    """What is done to a SQLite ledger as a whole."""

    def __init__(
        self,
        file: SqliteFile,
        sql: dict[str, str],
        *,
        pages: Callable[..., Iterator[Any]],
        occupied: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._file = file
        self._sql = sql
        self._pages = pages
        self._occupied = occupied

    @contextmanager
    def fill(self, source: str, *, is_anew: bool = False) -> Iterator[SqliteFilling]:
        """Give an empty ledger to fill, or the one that this source has begun to fill."""
        file = SqliteFile(str(self._file.path), is_filling=True)
        with self._occupied(), _faults_told(file):
            file.create()
            with closing(file.connect()) as connection:
                filling = SqliteFilling(file, self._sql, connection, self._pages)
                if is_anew:
                    filling.drop()
                filling.begin(source)
                yield filling

    def schema(self) -> Schema:
        """Return the ledger's schema, and the newest. Changes nothing."""
        newest = load_migrations("sqlite")[-1].number
        try:
            with self._occupied():
                SqliteFile(str(self._file.path), is_readonly=True).connect().close()
        except SchemaOlder as older:
            return Schema(older.found, newest)
        return Schema(newest, newest)

    def migrate(self) -> Schema:
        """Bring the schema up to date, which opening the file for writing does."""
        file = SqliteFile(str(self._file.path))
        with self._occupied():
            file.connect().close()
        newest = load_migrations("sqlite")[-1].number
        return Schema(newest if file.migrated_from is None else file.migrated_from, newest)

    def raw_times(self, after: tuple[int, str] | None = None) -> list[tuple[int, str, int]]:
        """Return when raw usage was recorded, a page after a key."""
        key = lowest_key(RawUsage) if after is None else after
        with self._open() as connection:
            return list(connection.execute(self._sql["raw_times"], key))

    def drop_raw(self, keys: Sequence[tuple[int, str]], *, before_us: int, now_us: int) -> int:
        """Remove raw usage recorded before an instant, and note that it may be missing."""
        with self._open() as connection, _transaction(connection):
            self._file.check_whole(connection)
            noted: list[Any] = connection.execute(self._sql["retention_of"], (RAW_USAGE,)).fetchall()
            row = upkeep.retained(Retention(*noted[0]) if noted else None, before_us, now_us)
            connection.execute(self._sql["put_retention"], (*astuple(row), seal_of(row)))
            before = connection.total_changes()
            connection.executemany(self._sql["drop_raw"], [(*key, before_us) for key in keys])
            return connection.total_changes() - before

    @contextmanager
    def _open(self) -> Iterator[apsw.Connection]:
        with self._occupied(), _faults_told(self._file), closing(self._file.connect()) as connection:
            yield connection


class SqliteFilling:
    """A SQLite ledger that takes rows as they are, on a connection of its own."""

    def __init__(
        self, file: SqliteFile, sql: dict[str, str], connection: apsw.Connection, pages: Callable[..., Iterator[Any]]
    ) -> None:
        self._file = file
        self._sql = sql
        self._connection = connection
        self._pages = pages
        self.mark = ""

    def begin(self, source: str) -> None:
        """Mark an empty ledger as being filled from a source, or find where that source has come to."""
        with _transaction(self._connection):
            if self._connection.pragma("application_id") == FILLING_ID:
                [[begun, mark]] = self._connection.execute(self._sql["load_filling"]).fetchall()
                if begun != source:
                    raise upkeep.other_source()
                self.mark = str(mark)
                return
            for table in TABLES:
                if self._connection.execute(self._sql[f"count_{table.table}"]).get:
                    raise upkeep.not_empty()
            self._connection.execute(self._sql["make_filling"])
            self._connection.execute(self._sql["begin_filling"], (source,))
            self._connection.pragma("application_id", FILLING_ID)

    def put(self, rows: Sequence[tuple[Row, int]], *, mark: str) -> None:
        """Add rows with their seals and note how far this has come."""
        by_table: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row, seal in rows:
            by_table[row.table].append((*astuple(row), seal))
        with self._transaction():
            for table, values in by_table.items():
                self._connection.executemany(self._sql[f"put_{table}"], values)
            self._connection.execute(self._sql["move_filling"], (mark,))
        self.mark = mark

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows that have been put."""
        return self._pages(self._connection, table, after)

    def finish(self) -> None:
        """Open the ledger to everyone."""
        with self._transaction():
            self._connection.execute(self._sql["end_filling"])
            self._connection.pragma("application_id", APPLICATION_ID)

    def drop(self) -> None:
        """Leave an empty ledger where one is being filled; do nothing to any other."""
        with _transaction(self._connection):
            if self._connection.pragma("application_id") == FILLING_ID:
                self._connection.execute(self._sql["end_filling"])
                self._connection.execute(self._sql["drop_schema"])
                for step in load_migrations("sqlite"):
                    self._connection.execute(step.sql)
                self._connection.pragma("user_version", load_migrations("sqlite")[-1].number)
                self._connection.pragma("application_id", APPLICATION_ID)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write under the lock of the file, having made sure that nobody else has meanwhile."""
        with _faults_told(self._file), _transaction(self._connection):
            found = self._connection.pragma("application_id")
            if found != FILLING_ID or self._connection.execute(self._sql["filling_mark"]).get != self.mark:
                raise upkeep.overtaken()
            yield


@contextmanager
def _faults_told(file: SqliteFile) -> Iterator[None]:
    """Have errors of the driver become ours."""
    try:
        yield
    except apsw.Error as error:
        raise fault_of(error, file.path) from error


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
