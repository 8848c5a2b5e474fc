"""Over HTTP, from another process: balance reads beside the server's trivial answer, and intake of usage in batches.

The client is plain sockets that stay open, so that what is measured is the server. What was answered is counted in the
ledger afterwards, once the server has stopped, and the ledger is verified.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from statistics import quantiles

from bench.ledgers import CREDITS, MODEL, USAGE, quiet
from bench.machine import used
from bench.rounds import Stage
from bench.table import Bar, Figure, Row, at_least, at_most
from callfare import Callfare
from callfare.engine.on_behalf import OnBehalf, Told
from callfare.engine.requests import Call

_CALLERS = 8
_SENDERS = 4
_USERS = 50
_READS = 300
_BATCHES = {100: 12, 1000: 4}
_BALANCE = "/api/billing/balance?userId=user-{}"
_INTAKE = Bar(10_000, is_least=True, aims=(25_000,), unit="/s")


class Line:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of an answer that must be a success."""
        head = f"{method} {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
        self._writer.write(head + self._head + body)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        said = await self._reader.readexactly(length)
        assert answered.startswith(b"HTTP/1.1 200 "), (answered, said[:500])
        return said

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


class Served:
    """A server in another process, on one ledger, with users who have a run each."""

    def __init__(self, host: str, port: int, key: str, pid: int) -> None:
        self._host, self._port, self._pid = host, port, pid
        self._head = (
            f"Host: {host}:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\r\n"
        ).encode()
        self._batches = {size: cycle([_batch(size, first) for first in range(_USERS)]) for size in _BATCHES}
        self.recorded = 0

    def used_s(self) -> float:
        """Return the processor time that the server has used so far."""
        return used(self._pid).server_s

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """Yield a connection."""
        line = Line(*await asyncio.open_connection(self._host, self._port, limit=1 << 22), self._head)
        try:
            yield line
        finally:
            line.close()

    async def read(self, path: str, each: int) -> list[float]:
        """Ask for a path by some callers at once, and return the time of each answer, and of all, the last.

        path: with the number of its caller in it, where callers ask about users of their own.
        """
        times: list[float] = []

        async def caller(number: int) -> None:
            asked = path.format(number)
            async with self.line() as line:
                for _ in range(each):
                    begin = time.perf_counter()
                    await line.ask("GET", asked)
                    times.append(time.perf_counter() - begin)

        begin = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(_CALLERS)))
        return [*times, time.perf_counter() - begin]

    async def send(self, size: int, batches: int) -> float:
        """Send events in batches by some senders at once, and return how many a second were durable."""

        async def sender() -> None:
            async with self.line() as line:
                for _ in range(batches):
                    said = json.loads(await line.ask("POST", "/api/billing/events", next(self._batches[size])))
                    assert said["recorded"] == size, said["results"][0]
                    self.recorded += size

        begin = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(_SENDERS)))
        return size * batches * _SENDERS / (time.perf_counter() - begin)


def _batch(size: int, first: int) -> bytes:
    events = [{"runId": f"run-{(first + number) % _USERS}", "model": MODEL, "usage": USAGE} for number in range(size)]
    return json.dumps(events).encode()


@asynccontextmanager
async def served(url: str, folder: Path) -> AsyncIterator[Served]:
    """Yield a server over a ledger, and count and verify afterwards what it has acknowledged."""
    fill(url)
    log = (folder / "server.log").open("w", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "callfare", "serve", "--port", "0", "--db", url, "--json",
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=log,
    )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(await process.stdout.readuntil(b"\n}\n"))
    host, _, port = told["url"].removeprefix("http://").rpartition(":")
    server = Served(host, int(port), told["key"], process.pid)
    try:
        yield server
    finally:
        process.terminate()
        assert await process.wait() == 0
        log.close()
    await asyncio.to_thread(check, url, server.recorded)


def fill(url: str) -> None:
    """Give users credit and a run each."""
    with quiet(), Callfare(url) as fare:
        for number in range(_USERS):
            fare.grant(f"user-{number}", CREDITS, key="k")
            fare.open_run("bench", user=f"user-{number}", run_id=f"run-{number}", hold=CREDITS // 2, ttl_s=24 * 3600)


def check(url: str, recorded: int) -> None:
    """Assert that everything acknowledged is there, and that the ledger recomputes."""
    with Callfare(url) as fare:
        assert sum(fare.usage(f"user-{number}", "all").calls for number in range(_USERS)) == recorded
        assert fare.verify().is_clean


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of the server."""
    found: list[Row] = []
    for name, url in (
        ("SQLite", f"sqlite:///{stage.folder}/http.db"),
        ("PostgreSQL", stage.server.new_database()),
    ):
        async with served(url, stage.folder) as server:
            found.append(await _balances(name, server, stage))
            direct = await _direct(f"{stage.folder}/direct-{name}.db" if name == "SQLite" else "", stage)
            found += [await _intake(name, server, stage, size, direct) for size in _BATCHES]
            found.append(await _beside(name, server, stage))
    return found


async def _balances(name: str, server: Served, stage: Stage) -> Row:
    each = stage.size.of(_READS)
    rates: dict[str, list[float]] = {"/healthz": [], _BALANCE: []}
    latencies: list[float] = []
    spent_s = 0.0
    for number in range(stage.size.rounds + 1):
        for path, found in rates.items():
            before_s = server.used_s()
            *times, wall_s = await server.read(path, each)
            if number:
                found.append(len(times) / wall_s)
            if number and path is _BALANCE:
                latencies += times
                spent_s += server.used_s() - before_s
    return Row(
        work=f"{name} over HTTP, balance read",
        figure=Figure("/s", tuple(rates[_BALANCE])),
        against="the server's trivial answer",
        peer=Figure("/s", tuple(rates["/healthz"])),
        bar=at_least(0.5, 0.8),
        p50_ms=_share(latencies, 50) * 1e3,
        p99_ms=_share(latencies, 99) * 1e3,
        client_us=spent_s / len(latencies) * 1e6,
    )


def _share(times: list[float], percent: int) -> float:
    return quantiles(times, n=100)[percent - 1]


async def _direct(file: str, stage: Stage) -> list[float]:
    """Return how many events a second one process takes without a server, on SQLite; none elsewhere."""
    if not file:
        return []
    url = f"sqlite:///{file}"
    await asyncio.to_thread(fill, url)
    found = []
    with Callfare(url) as fare:
        behalf = OnBehalf(fare._engine)
        told = [Told(call=Call(model=MODEL, usage=USAGE), run_id=f"run-{n % _USERS}") for n in range(1000)]
        count = stage.size.of(_BATCHES[1000])
        for number in range(stage.size.rounds + 1):
            begin = time.perf_counter()
            for _ in range(count):
                await behalf.record(told, None)
            found += [1000 * count / (time.perf_counter() - begin)] if number else []
    return found


async def _intake(name: str, server: Served, stage: Stage, size: int, direct: list[float]) -> Row:
    batches = stage.size.of(_BATCHES[size])
    await server.send(size, batches)
    before_s, recorded = server.used_s(), server.recorded
    rates = [await server.send(size, batches) for _ in range(stage.size.rounds)]
    return Row(
        work=f"{name} over HTTP, events in batches of {size:,}",
        figure=Figure("/s", tuple(rates)),
        against="the same in one process" if direct else "itself",
        peer=Figure("/s", tuple(direct or rates)),
        bar=_INTAKE,
        client_us=(server.used_s() - before_s) / (server.recorded - recorded) * 1e6,
    )


async def _beside(name: str, server: Served, stage: Stage) -> Row:
    """Return the row of balance reads of one caller while events come in as fast as they are taken."""
    busy, idle = [], []
    path = "/api/billing/balance?userId=user-7"
    for number in range(stage.size.rounds + 1):
        alone = await _reads(server, path, stage.size.of(200), None)
        intake = asyncio.create_task(server.send(1000, stage.size.of(_BATCHES[1000] * 2)))
        during = await _reads(server, path, 1_000_000, intake)
        await intake
        if number and len(during) > 1:
            idle.append(_share(alone, 99) * 1e3)
            busy.append(_share(during, 99) * 1e3)
    return Row(
        work=f"{name} over HTTP, p99 of a balance read during intake",
        figure=Figure(" ms", tuple(busy)),
        against="without intake",
        peer=Figure(" ms", tuple(idle)),
        bar=at_most(50, unit=" ms"),
    )


async def _reads(server: Served, path: str, count: int, until: asyncio.Task[float] | None) -> list[float]:
    times: list[float] = []
    async with server.line() as line:
        while len(times) < max(count, 2) and not (until is not None and until.done() and len(times) > 1):
            begin = time.perf_counter()
            await line.ask("GET", path)
            times.append(time.perf_counter() - begin)
    return times
