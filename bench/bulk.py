"""Many calls recorded at once, beside the bare rows that come of them: COPY on PostgreSQL, executemany on SQLite.

The bare side writes the very rows of `events` that the ledger has just written, every column, in one transaction, into
a table without keys, indexes or checks: no rating, no charge, no roll-ups, no answer for each call.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace
from typing import Any

import apsw
import psycopg

from bench.ledgers import Ledger, count_all, postgres_ledger, sqlite_ledger
from bench.rounds import Stage, Variant
from bench.table import Figure, Row, at_least, rate_row

_EVENTS = 100_000
_USERS = 1000
# A round is long enough to be steady by itself, and five would take as long as all other rows together.
_ROUNDS_MAX = 3


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of bulk records."""
    users = min(_USERS, stage.size.users)
    found = []
    path = stage.folder / "bulk.db"
    async with sqlite_ledger(path, users) as ledger:
        found.append(await _row("SQLite", "executemany", ledger, stage, _File(str(path)), None))
    async with postgres_ledger(stage.server, users) as ledger:
        found.append(await _row("PostgreSQL", "COPY", ledger, stage, _Server(ledger.url), stage.server.pid))
    return found


class _File:
    """The bare side on SQLite."""

    def __init__(self, path: str) -> None:
        self._connection = apsw.Connection(path)
        self._path = path
        self.begin = self.end = 0.0

    def rows(self, count: int) -> list[tuple[Any, ...]]:
        """Return so many rows that the ledger has written."""
        return self._connection.execute("SELECT * FROM events ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()

    def write(self, values: list[tuple[Any, ...]]) -> int:
        """Write rows into an empty table, and return how many are in it."""
        bare = apsw.Connection(self._path + "-bare")
        bare.pragma("journal_mode", "wal")
        bare.pragma("synchronous", "full")
        bare.execute(
            f"DROP TABLE IF EXISTS bare; CREATE TABLE bare ({', '.join(f'c{n}' for n in range(len(values[0])))})"
        )
        marks = ", ".join("?" * len(values[0]))
        self.begin = time.perf_counter()
        with bare:
            bare.executemany(f"INSERT INTO bare VALUES ({marks})", values)  # noqa: S608 - question marks
        self.end = time.perf_counter()
        found = bare.execute("SELECT count(*) FROM bare").get
        bare.close()
        return int(found)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _Server:
    """The bare side on PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self.begin = self.end = 0.0

    def rows(self, count: int) -> list[tuple[Any, ...]]:
        """Return so many rows that the ledger has written."""
        return self._connection.execute("SELECT * FROM callfare.events LIMIT %s", (count,)).fetchall()

    def write(self, values: list[tuple[Any, ...]]) -> int:
        """Write rows into an empty table, and return how many are in it."""
        self._connection.execute("DROP TABLE IF EXISTS bare")
        self._connection.execute("CREATE TABLE bare AS SELECT * FROM callfare.events LIMIT 0")
        self.begin = time.perf_counter()
        with (
            self._connection.transaction(),
            self._connection.cursor() as cursor,
            cursor.copy("COPY bare FROM STDIN") as copy,
        ):
            for row in values:
                copy.write_row(row)
        self.end = time.perf_counter()
        [[found]] = self._connection.execute("SELECT count(*) FROM bare").fetchall()
        return int(found)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def _row(
    name: str, peer: str, ledger: Ledger, stage: Stage, bare: _File | _Server, server_pid: int | None
) -> Row:
    count = stage.size.of(_EVENTS, 50)
    variant = Variant(f"{name}, {count:,} records at once", count, count, ledger.record_spread, ledger.check)
    rates = []
    await variant.sample(server_pid, count // 10)
    for _ in range(min(stage.size.rounds, _ROUNDS_MAX)):
        variant.samples.append(await variant.sample(server_pid))
        values = bare.rows(count)
        gc.collect()
        assert await asyncio.to_thread(bare.write, values) == len(values)
        rates.append(len(values) / (bare.end - bare.begin))
    bare.close()
    await count_all([variant], ledger)
    row = rate_row(variant, bar=at_least(0.2, 0.4), against=f"bare {peer} of the rows")
    return replace(row, peer=Figure(" rows/s", tuple(rates)), p50_ms=None, p99_ms=None)
