"""The time of one record that nobody shares a commit with, beside one write of 8 KiB that waits for the disk."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.ledgers import CREDITS, HOLD, MODEL, USAGE, quiet
from bench.machine import Used, fdatasync_s, used
from bench.rounds import Stage
from bench.table import Bar, Figure, Row, at_most
from callfare import Callfare
from callfare.callfare import Run

_BLOCKS = 8
_EACH = 60


class _Timed:
    """One run of one ledger, and the times of its records, round by round."""

    def __init__(self, name: str, fare: Callfare, server_pid: int | None, bar: Bar | None) -> None:
        self.name, self.fare, self.bar = name, fare, bar
        self._server_pid = server_pid
        with quiet():
            fare.grant("user", CREDITS, key="k")
        self.run: Run = fare.open_run("bench", user="user", hold=HOLD)
        self.recorded = 0
        self.rounds: list[list[float]] = []
        self.probes: list[list[float]] = []
        self.spent: list[tuple[Used, int]] = []

    def record(self, count: int) -> list[float]:
        """Record so many calls, and return the time of each."""
        clock, record = time.perf_counter, self.run.record
        times = []
        before = used(self._server_pid)
        for _ in range(count):
            begin = clock()
            record(MODEL, USAGE)
            times.append(clock() - begin)
        self.spent.append((used(self._server_pid).since(before), count))
        self.recorded += count
        return times

    def check(self) -> None:
        """Assert that every record is there, and that the ledger recomputes."""
        assert self.fare.usage("user", "all").calls == self.recorded, self.recorded
        assert self.fare.verify().is_clean

    def row(self) -> Row:
        """Return the row."""
        operations = sum(count for _, count in self.spent)
        server_s = sum(spent.server_s for spent, _ in self.spent)
        return Row(
            work=f"{self.name}, one sync record",
            figure=Figure(" ms", tuple(median(times) * 1e3 for times in self.rounds)),
            against="fdatasync of 8 KiB",
            peer=Figure(" ms", tuple(median(times) * 1e3 for times in self.probes)),
            bar=self.bar,
            client_us=sum(spent.client_s for spent, _ in self.spent) / operations * 1e6,
            server_us=server_s / operations * 1e6 if server_s else None,
        )


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of one record at a time."""
    return await asyncio.to_thread(_rows, stage)


def _rows(stage: Stage) -> list[Row]:
    with ExitStack() as stack:
        addresses: tuple[tuple[str, str, int | None, Bar | None], ...] = (
            ("SQLite", f"sqlite:///{stage.folder}/single.db", None, at_most(2, 1.5)),
            ("PostgreSQL", stage.server.new_database(), stage.server.pid, None),
        )
        sides = [
            _Timed(name, stack.enter_context(Callfare(url)), server_pid, bar)
            for name, url, server_pid, bar in addresses
        ]
        for side in sides:
            # The log has its full size, and every statement is prepared, before the first time is taken.
            side.record(stage.size.of(1000))
            side.spent.clear()
        for _ in range(stage.size.rounds):
            for side in sides:
                _one_round(side, stage.folder, stage.size.of(_EACH))
        for side in sides:
            side.check()
        return [side.row() for side in sides]


def _one_round(side: _Timed, folder: Path, each: int) -> None:
    times: list[float] = []
    probes: list[float] = []
    gc.collect()
    for _ in range(_BLOCKS):
        probes += fdatasync_s(folder, each)
        times += side.record(each)
    side.rounds.append(times)
    side.probes.append(probes)
