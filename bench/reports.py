"""The time of a usage report by the number of the user's events: it must not grow.

Three users of one ledger have so many events each, evenly spread over 360 days and five kinds of calls. A real ledger
records one call of each kind; these are copied in SQL under other keys and times, and their roll-ups multiplied.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import apsw
import psycopg
from msgspec.structs import astuple, replace

from bench.ledgers import CREDITS, HOLD, MODEL, NANOCREDITS, USAGE, quiet
from bench.rounds import Stage
from bench.table import Figure, Row, at_most
from callfare import Callfare
from callfare.clock import ManualClock
from callfare.ledger import rollups
from callfare.ledger.rows import Event, Rollup, seal_of
from callfare.store.protocol import EventsOfRun

_NOW = datetime(2026, 11, 22, 12, 7, 30, tzinfo=UTC)
_NOW_US = int(_NOW.timestamp()) * 1_000_000
_SPAN_US = 360 * 24 * 3600 * 1_000_000
_KINDS = ("chat", "embedding", "speech", "image", "video")
_REPORTS: dict[str, dict[str, Any]] = {
    "the last 30 days": {"period": "month"},
    "a whole month": {"since": datetime(2026, 10, 1, tzinfo=UTC), "until": datetime(2026, 11, 1, tzinfo=UTC)},
    "all time": {"period": "all"},
}

_COPY = """
WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + {step} FROM numbers WHERE n + {step} < {count})
INSERT INTO {schema}events ({columns})
SELECT {values} FROM numbers CROSS JOIN {schema}events AS e WHERE e.account_id = {account} AND e.key = '{key}'
"""


@dataclass
class _Side:
    """A ledger with a user for each size, the statements that fill it, and the times of its reports."""

    name: str
    fare: Callfare
    schema: str
    execute: Callable[[str], object]
    insert_rollups: Callable[[Iterable[tuple[Any, ...]]], object]
    times_ms: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def fill(self, user: str, count: int) -> None:
        """Give a user so many events in all."""
        with quiet():
            self.fare.grant(user, CREDITS, key="k")
        with self.fare.run("bench", user=user, hold=HOLD) as run:
            for kind in _KINDS:
                run.record(MODEL, USAGE, operation=kind)
        account_id = self.fare._engine.reports.account_of(user)
        assert account_id is not None
        ask = EventsOfRun(account_id=account_id, run_id=run.id, after_number=0, after_key="", limit=len(_KINDS))
        events: list[Any] = self.fare._engine.store.select(ask)
        # The calls that were really made stand for the newest of all.
        self._multiply(events, max(0, count - len(events)))

    def _multiply(self, events: list[Event], count: int) -> None:
        parts: Counter[tuple[int, str, int]] = Counter()
        for kind, event in enumerate(events):
            columns = (*Event.__struct_fields__, "seal")
            changed = {
                "key": "'copy-' || CAST(10000000 + n AS TEXT)",
                "at_us": f"{_NOW_US} - 1 - CAST(n AS BIGINT) * {_SPAN_US // count}",
            }
            self.execute(
                _COPY.format(
                    first=kind, step=len(events), count=count, schema=self.schema, columns=", ".join(columns),
                    values=", ".join(changed.get(name, f"e.{name}") for name in columns),
                    account=event.account_id, key=event.key,
                )
            )  # fmt: skip
            for number in range(kind, count, len(events)):
                at_us = _NOW_US - 1 - number * (_SPAN_US // count)
                for grain, width_us in rollups.GRAINS.items():
                    parts[kind, grain, at_us // width_us * width_us] += 1
        for kind, event in enumerate(events):
            # The roll-ups of the call that was really made are written anew, with it in them.
            for grain, width_us in rollups.GRAINS.items():
                parts[kind, grain, event.at_us // width_us * width_us] += 1
        alike: dict[tuple[int, str, int], Rollup] = {}
        rows = []
        for (kind, grain, start_us), calls in parts.items():
            if (kind, grain, calls) not in alike:
                alike[kind, grain, calls] = _rollup_of(events[kind], grain, calls)
            rows.append(replace(alike[kind, grain, calls], start_us=start_us))
        self.insert_rollups((*astuple(row), seal_of(row)) for row in rows)

    def time(self, name: str, count: int, times: int) -> None:
        """Take the median time of a report, and see that nothing is missing in it."""
        clock, usage, asked = time.perf_counter, self.fare.usage, _REPORTS[name]
        found = []
        gc.collect()
        for _ in range(times):
            begin = clock()
            report = usage(f"user-{count}", **asked)
            found.append(clock() - begin)
        if name == "all time":
            assert report.calls == count, (report.calls, count)
        assert report.credits.nanocredits == report.calls * NANOCREDITS > 0, report
        assert sum(share.calls for share in report.by_day) == report.calls
        self.times_ms.setdefault((name, count), []).append(median(found) * 1e3)

    def rows(self, sizes: tuple[int, ...]) -> list[Row]:
        """Return a row for each report and size."""
        found = []
        for name in _REPORTS:
            least = Figure(" ms", tuple(self.times_ms[name, sizes[0]]))
            for count in sizes:
                is_least, is_most = count == sizes[0], count == sizes[-1]
                found.append(
                    Row(
                        work=f"{self.name}, usage of {name}, {count:,} events",
                        figure=Figure(" ms", tuple(self.times_ms[name, count])),
                        against="" if is_least else f"{sizes[0]:,} events",
                        peer=None if is_least else least,
                        bar=at_most(1.3) if is_most else None,
                        series={"report": name, "events": count, "store": self.name},
                    )
                )
        return found


def _rollup_of(event: Event, grain: str, calls: int) -> Rollup:
    """Return the roll-up of so many calls that are all alike."""
    [part] = [part for pk, part in rollups.fold([event] * calls).items() if grain in pk]
    return part.added_to(None)


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of usage reports."""
    return await asyncio.to_thread(_rows, stage)


def _rows(stage: Stage) -> list[Row]:
    sizes = stage.size.events
    with ExitStack() as stack:
        sides = [_sqlite_side(stage, stack), _postgres_side(stage, stack)]
        for side in sides:
            for count in sizes:
                side.fill(f"user-{count}", count)
            side.execute("ANALYZE")
        for number in range(stage.size.rounds + 1):
            for name in _REPORTS:
                for side in sides:
                    for count in sizes:
                        side.time(name, count, stage.size.of(15))
            if not number:
                for side in sides:
                    side.times_ms.clear()
        return [row for side in sides for row in side.rows(sizes)]


def _sqlite_side(stage: Stage, stack: ExitStack) -> _Side:
    path = stage.folder / "reports.db"
    fare = stack.enter_context(Callfare(f"sqlite:///{path}", clock=ManualClock(_NOW)))
    fare._engine.store.create()
    file = apsw.Connection(str(path))
    stack.callback(file.close)

    def insert(values: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * (len(Rollup.__struct_fields__) + 1))
        with file:
            file.executemany(f"INSERT OR REPLACE INTO rollups VALUES ({marks})", values)  # noqa: S608 - question marks

    return _Side("SQLite", fare, "", file.execute, insert)


def _postgres_side(stage: Stage, stack: ExitStack) -> _Side:
    url = stage.server.new_database()
    fare = stack.enter_context(Callfare(url, clock=ManualClock(_NOW)))
    fare._engine.store.create()
    connection = stack.enter_context(psycopg.connect(url, autocommit=True))

    def insert(values: Iterable[tuple[Any, ...]]) -> None:
        # Copied beside, then put in place of what is there.
        connection.execute("CREATE TEMP TABLE beside (LIKE callfare.rollups)")
        with connection.cursor() as cursor, cursor.copy("COPY beside FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
        keys = ", ".join(Rollup.__struct_fields__[: Rollup.pk_columns])
        sql = f"DELETE FROM callfare.rollups WHERE ({keys}) IN (SELECT {keys} FROM beside)"  # noqa: S608 - our columns
        connection.execute(sql.encode())
        connection.execute("INSERT INTO callfare.rollups SELECT * FROM beside")
        connection.execute("DROP TABLE beside")

    return _Side("PostgreSQL", fare, "callfare.", lambda sql: connection.execute(sql.encode()), insert)
