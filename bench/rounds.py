"""Measures variants in turn, round after round, so that what the machine does meanwhile falls on all of them alike."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from bench.machine import Counts, used
from tests.support.postgres import Server


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds, what operations are multiplied by, how many users a spread load has.

    events: how many events the users of the reports have.
    callers_max: more tasks than this are not made, whatever a row is called; only where no figure counts.
    """

    rounds: int = 5
    factor: float = 1.0
    users: int = 10_000
    events: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    callers_max: int = 1024

    def of(self, count: int, least: int = 1) -> int:
        """Return a count at this size."""
        return max(least, round(count * self.factor))

    def callers(self, count: int) -> int:
        """Return how many tasks stand for so many callers."""
        return min(count, self.callers_max)


FULL = Size()
QUICK = Size(rounds=3, factor=0.1, users=500, events=(10_000, 30_000, 100_000))
TINY = Size(rounds=1, factor=0.004, users=8, events=(50, 500, 5000), callers_max=16)


@dataclass(frozen=True)
class Stage:
    """What measurements stand on: how much, a folder on the disk that is probed, and a PostgreSQL server."""

    size: Size
    folder: Path
    server: Server


@dataclass(frozen=True)
class Sample:
    """One variant in one round."""

    operations: int
    wall_s: float
    client_s: float
    server_s: float
    latencies_s: list[float] = field(repr=False)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.wall_s

    @property
    def p50_ms(self) -> float:
        """The median time of one operation."""
        return median(self.latencies_s) * 1e3

    @property
    def p99_ms(self) -> float:
        """The time that one operation in a hundred exceeds."""
        return (quantiles(self.latencies_s, n=100)[98] if len(self.latencies_s) > 1 else self.latencies_s[0]) * 1e3

    @property
    def client_us(self) -> float:
        """Processor time of this process for one operation."""
        return self.client_s / self.operations * 1e6

    @property
    def server_us(self) -> float:
        """Processor time of the database server for one operation."""
        return self.server_s / self.operations * 1e6


@dataclass
class Variant:
    """A way to do some work. `call` does the operation of a number; `check` raises when something was lost.

    prepare: does what is no part of the work, such as what others would do, for some numbers before they are measured.
    finish: waits until all that `call` has left to be done beside is done; the rate counts it, the latencies do not.
    """

    name: str
    callers: int
    operations: int
    call: Callable[[int], Awaitable[object]]
    check: Callable[[], Awaitable[None]]
    samples: list[Sample] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    done: int = 0
    prepare: Callable[[range], None] | None = None
    finish: Callable[[], Awaitable[None]] | None = None

    async def sample(self, server_pid: int | None = None, operations: int = 0) -> Sample:
        """Do the operations, in so many tasks, and return what they took."""
        each = max(1, (operations or self.operations) // self.callers)
        latencies: list[float] = []
        clock, call = time.perf_counter, self.call

        async def caller(number: int) -> None:
            for index in range(number, number + each):
                begin = clock()
                await call(index)
                latencies.append(clock() - begin)

        starts = [self.done + task * each for task in range(self.callers)]
        numbers = range(self.done, self.done + self.callers * each)
        self.done = numbers.stop
        if self.prepare is not None:
            self.prepare(numbers)
        gc.collect()
        before, begin = used(server_pid), clock()
        await asyncio.gather(*(caller(number) for number in starts))
        if self.finish is not None:
            await self.finish()
        wall_s = clock() - begin
        spent = used(server_pid).since(before)
        await self.check()
        return Sample(self.callers * each, wall_s, spent.client_s, spent.server_s, latencies)


async def interleave(variants: list[Variant], rounds: int, server_pid: int | None = None) -> None:
    """Give every variant a sample for each round; the first, in which everything is still cold, is not kept."""
    for variant in variants:
        await variant.sample(server_pid, max(variant.callers, variant.operations // 4))
    for number in range(rounds):
        # Every other round in the other order, so that no variant always follows the same one.
        for variant in variants if number % 2 == 0 else reversed(variants):
            variant.samples.append(await variant.sample(server_pid))
