"""The write path on SQLite: one caller against one fdatasync, and 256 callers against the same calls one by one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from benchmarks.probe import fdatasync_s
from benchmarks.table import Row
from callfare import AsyncCallfare, Callfare

USAGE = {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
ROUNDS = 3
CALLERS = 256


def one_caller(folder: Path) -> tuple[float, float]:
    """Return the median times of a recorded call and of an fdatasync, taken in turn."""
    with Callfare(f"sqlite:///{folder}/one.db") as fare:
        fare.grant("user", 1_000_000, key="k")
        records, probes = [], []
        with fare.run("bench", user="user", hold=500_000) as run:
            for _ in range(ROUNDS):
                probes.append(fdatasync_s(folder))
                for _ in range(300):
                    start = time.perf_counter()
                    run.record("gpt-5-mini", USAGE)
                    records.append(time.perf_counter() - start)
        assert fare.verify().is_clean
    return median(records), median(probes)


async def many_callers(folder: Path, *, callers: int, runs: int, each: int) -> float:
    """Return the recorded calls a second of so many tasks, spread over so many runs of as many users."""
    async with AsyncCallfare(f"sqlite:///{folder}/many-{callers}-{runs}.db") as fare:
        handles = []
        for number in range(runs):
            await fare.grant(f"user-{number}", 1_000_000, key="k")
            handles.append(await fare.open_run("bench", user=f"user-{number}", hold=500_000))

        async def caller(number: int) -> None:
            for _ in range(each):
                await handles[number % runs].record("gpt-5-mini", USAGE)

        start = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(callers)))
        elapsed = time.perf_counter() - start
        found = (await fare.usage("user-0", "day")).calls
        assert found == callers * each // runs, found
        assert (await fare.verify()).is_clean
    return callers * each / elapsed


async def open_and_close(folder: Path, *, callers: int, each: int) -> float:
    """Return the runs a second that so many tasks open and close on one account."""
    async with AsyncCallfare(f"sqlite:///{folder}/runs-{callers}.db") as fare:
        await fare.grant("user", 1_000_000, key="k")

        async def caller() -> None:
            for _ in range(each):
                run = await fare.open_run("bench", user="user", hold=10)
                await run.close()

        start = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        elapsed = time.perf_counter() - start
        assert (await fare.balance("user")).held.nanocredits == 0
    return callers * each / elapsed


def rows(folder: Path) -> list[Row]:
    """Return the table rows of the write path."""
    record_s, probe_s = one_caller(folder)
    alone = asyncio.run(many_callers(folder, callers=1, runs=1, each=300))
    hot = asyncio.run(many_callers(folder, callers=CALLERS, runs=1, each=40))
    spread = asyncio.run(many_callers(folder, callers=CALLERS, runs=CALLERS, each=40))
    runs_alone = asyncio.run(open_and_close(folder, callers=1, each=150))
    runs_hot = asyncio.run(open_and_close(folder, callers=CALLERS, each=10))
    return [
        Row(
            "record, one sync caller, p50",
            f"{record_s * 1e3:.2f} ms",
            "one fdatasync",
            f"{probe_s * 1e3:.2f} ms",
            record_s / probe_s,
        ),
        Row("record, 256 tasks in one run", f"{hot:,.0f}/s", "one task", f"{alone:,.0f}/s", hot / alone),
        Row("record, 256 tasks in 256 runs", f"{spread:,.0f}/s", "256 tasks in one run", f"{hot:,.0f}/s", spread / hot),
        Row(
            "open + close, 256 tasks, one account",
            f"{runs_hot:,.0f}/s",
            "one task",
            f"{runs_alone:,.0f}/s",
            runs_hot / runs_alone,
        ),
    ]
