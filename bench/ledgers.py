"""The ledgers that are measured: made, filled with users and their runs, asked whether everything is there."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, redirect_stderr
from itertools import accumulate
from pathlib import Path

import apsw

from bench.machine import Counts, ServerCounts
from bench.rounds import Variant
from callfare import AsyncCallfare
from callfare.aio import AsyncRun
from tests.support.postgres import Server

MODEL = "gpt-5-mini"
USAGE = {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
# What USAGE costs in billionths of a credit at the seed's rates; the naive side comes to the same.
NANOCREDITS = 39_000_000
CREDITS = 1_000_000
HOLD = 500_000
_AT_ONCE = 512
_PICKS = 1 << 16


def zipf(users: int, exponent: float = 1.1, seed: int = 1) -> list[int]:
    """Return whose call each one is: the user of rank k calls k to the power of -1.1 times as often as the first."""
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(users)))
    return random.Random(seed).choices(range(users), cum_weights=weights, k=_PICKS)


def quiet() -> AbstractContextManager[object]:
    """Return a block in which nobody hears that a ledger was made."""
    return redirect_stderr(io.StringIO())


class Ledger:
    """An open ledger with users, each with one open run, and the count of what was acknowledged."""

    def __init__(self, fare: AsyncCallfare, url: str, counts: ServerCounts | None = None) -> None:
        self.fare = fare
        self.url = url
        self.server = counts
        self.runs: list[AsyncRun] = []
        self._picks = [0]
        self._recorded = 0
        self._ended = 0

    async def add_users(self, users: int) -> None:
        """Give each user credit and an open run."""
        with quiet():
            await self.fare.grant("user-0", CREDITS, key="k")
        for first in range(0, users, _AT_ONCE):
            numbers = range(first, min(users, first + _AT_ONCE))
            await asyncio.gather(*(self.fare.grant(f"user-{number}", CREDITS, key="k") for number in numbers))
            self.runs += await asyncio.gather(
                *(self.fare.open_run("bench", user=f"user-{number}", hold=HOLD) for number in numbers)
            )
        self._picks = zipf(users)

    async def record_spread(self, index: int) -> None:
        """Record a call of one of many users."""
        await self.runs[self._picks[index % _PICKS]].record(MODEL, USAGE)
        self._recorded += 1

    async def record_in_one(self, _: int) -> None:
        """Record a call of the first user's run."""
        await self.runs[0].record(MODEL, USAGE)
        self._recorded += 1

    async def open_and_close(self, _: int) -> None:
        """Open a run of the first user, and close it."""
        run = await self.fare.open_run("bench", user="user-0", hold=10)
        await run.close()
        self._ended += 1

    async def check(self) -> None:
        """Assert that what was acknowledged is present, no more and no less."""
        rows = (await asyncio.to_thread(self.fare._engine.store.facts)).rows
        assert rows["events"] == self._recorded, (rows, self._recorded)
        assert rows["runs"] == self._ended + len(self.runs), (rows, self._ended)

    async def check_whole(self) -> None:
        """Assert that the ledger recomputes, that every ended run holds nothing any more."""
        await self.check()
        verification = await self.fare.verify()
        assert verification.is_clean, verification
        assert (await self.fare.balance("user-0")).held.nanocredits == HOLD * 10**9

    def release(self) -> None:
        """Close the connections, so that what they counted is told; the next use opens them again."""
        self.fare._engine.store.close()

    @contextmanager
    def counted(self) -> Iterator[Counts]:
        """Yield the counts of what is done inside."""
        self.release()
        with self.server.counted() if self.server else sqlite_counted() as counts:
            yield counts
            self.release()


async def count_all(variants: Iterable[Variant], ledger: Ledger) -> None:
    """Count what an operation of each variant takes, in a pass of its own that is not timed."""
    for variant in variants:
        operations = max(variant.callers, variant.operations // 4)
        with ledger.counted() as counts:
            sample = await variant.sample(operations=operations)
        variant.counts = counts.each(sample.operations)


@contextmanager
def sqlite_counted() -> Iterator[Counts]:
    """Yield the statements and commits of all connections that are opened inside; a commit is a flush of the log."""
    seen = [0, 0]

    def trace(_: apsw.Cursor, sql: str, __: object) -> bool:
        seen[0] += 1
        seen[1] += sql.startswith("COMMIT")
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    counts = Counts()
    apsw.connection_hooks.append(hook)
    try:
        yield counts
    finally:
        apsw.connection_hooks.remove(hook)
    counts.statements, counts.commits, counts.flushes = seen[0], seen[1], seen[1]


@contextmanager
def told_by_server(ledger: Ledger, lines: int) -> Iterator[list[tuple[str, int, float]]]:
    """Yield the dearest statements of what is done inside, with their calls and seconds; none on SQLite."""
    if ledger.server is None:
        yield []
        return
    ledger.release()
    with ledger.server.told(lines) as found:
        yield found
        ledger.release()


@asynccontextmanager
async def postgres_ledger(server: Server, users: int) -> AsyncIterator[Ledger]:
    """Yield a ledger in a new database, and verify it at the end."""
    url = server.new_database()
    async with AsyncCallfare(url) as fare:
        ledger = Ledger(fare, url, ServerCounts(url))
        await ledger.add_users(users)
        yield ledger
        await ledger.check_whole()


@asynccontextmanager
async def sqlite_ledger(path: Path, users: int) -> AsyncIterator[Ledger]:
    """Yield a ledger in a new file, and verify it at the end."""
    url = f"sqlite:///{path}"
    async with AsyncCallfare(url) as fare:
        ledger = Ledger(fare, url)
        await ledger.add_users(users)
        yield ledger
        await ledger.check_whole()
