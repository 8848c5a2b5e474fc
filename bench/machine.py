"""The machine and its PostgreSQL: a server for benchmarks, what its processes have used, what it has counted."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import apsw
import psycopg

from tests.support.postgres import Server, running_server

# Durable, as the defaults are; the rest is what a small machine would set.
_SETTINGS = (
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=15min",
)
_COUNTING = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=none")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@contextmanager
def durable_server() -> Iterator[Server]:
    """Yield a server that is as durable as an installed one, and can count its statements where that is installed."""
    try:
        running = running_server(is_durable=True, settings=(*_SETTINGS, *_COUNTING))
        server = running.__enter__()
    except RuntimeError:
        running = running_server(is_durable=True, settings=_SETTINGS)
        server = running.__enter__()
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


@dataclass(frozen=True)
class Used:
    """Seconds of processor time, of this process and of the server's."""

    client_s: float
    server_s: float

    def since(self, before: Used) -> Used:
        """Return what was used between two looks."""
        return Used(self.client_s - before.client_s, self.server_s - before.server_s)


def used(server_pid: int | None = None) -> Used:
    """Return the processor time used so far. The server's counts in hundredths of a second, and only on Linux."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return Used(mine.ru_utime + mine.ru_stime, _tree_s(server_pid) if server_pid else 0.0)


def _tree_s(root: int) -> float:
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.parent.name) == root or int(fields[1]) == root:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


@dataclass
class Counts:
    """What some operations took. None where it cannot be counted."""

    commits: float | None = None
    statements: float | None = None
    flushes: float | None = None

    def each(self, operations: int) -> Counts:
        """Return what one of so many operations took."""
        found = (self.commits, self.statements, self.flushes)
        return Counts(*(None if count is None else count / operations for count in found))


class ServerCounts:
    """Counts the commits, statements and log flushes of one database while nobody else uses its server."""

    def __init__(self, url: str) -> None:
        self._admin = url.rpartition("/")[0] + "/postgres"
        self._name = url.rpartition("/")[2]

    @contextmanager
    def told(self, lines: int) -> Iterator[list[tuple[str, int, float]]]:
        """Yield a list, filled on leaving with the dearest statements, their calls and seconds on the server."""
        found: list[tuple[str, int, float]] = []
        with self.counted(), psycopg.connect(self._admin, autocommit=True) as watch:
            yield found
            if self._can_count(watch):
                found += watch.execute(
                    "SELECT query, calls, (total_exec_time + total_plan_time) / 1000 FROM pg_stat_statements s"
                    " JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s ORDER BY 3 DESC LIMIT %s",
                    (self._name, lines),
                ).fetchall()

    @staticmethod
    def _can_count(watch: psycopg.Connection) -> bool:
        return watch.execute("SHOW shared_preload_libraries").fetchone() != ("",)

    @contextmanager
    def counted(self) -> Iterator[Counts]:
        """Yield counts, filled on leaving. All sessions of the database must begin and end inside."""
        counts = Counts()
        with psycopg.connect(self._admin, autocommit=True) as watch:
            has_statements = self._can_count(watch)
            if has_statements:
                watch.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                watch.execute(f"ALTER DATABASE {self._name} SET pg_stat_statements.track = 'top'".encode())
                watch.execute("SELECT pg_stat_statements_reset()")
            before = self._now(watch)
            yield counts
            after = self._now(watch)
            counts.commits = after[0] - before[0]
            counts.flushes = after[1] - before[1]
            if has_statements:
                watch.execute(f"ALTER DATABASE {self._name} RESET pg_stat_statements.track".encode())
                [[counts.statements]] = watch.execute(
                    "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
                    " WHERE d.datname = %s",
                    (self._name,),
                ).fetchall()

    def _now(self, watch: psycopg.Connection) -> tuple[int, int]:
        """Return commits and flushes once every session has ended and told what it did."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            if watch.execute(query, (self._name,)).fetchone() == (0,):
                break
            time.sleep(0.02)
        [found] = watch.execute(
            "SELECT xact_commit, (SELECT wal_sync FROM pg_stat_wal) FROM pg_stat_database WHERE datname = %s",
            (self._name,),
        ).fetchall()
        return found


def fdatasync_s(folder: Path, count: int = 200) -> list[float]:
    """Return the times of writing 8 KiB and waiting until the disk has it."""
    block = b"\0" * 8192
    times = []
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, block * 64, 0)
        os.fsync(descriptor)
        for number in range(count):
            start = time.perf_counter()
            os.pwrite(descriptor, block, (number % 64) * len(block))
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
    return times


def told(folder: Path, server: Server | None) -> dict[str, str]:
    """Return what a reader must know of the machine; no names of hosts or folders."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": f"{apsw.sqlite_lib_version()}, WAL, synchronous=FULL",
        "fdatasync of 8 KiB": f"{median(fdatasync_s(folder)) * 1e3:.3f} ms at the median",
        "load": f"{os.getloadavg()[0]:.1f} at the end",
    }
    if server is not None:
        with psycopg.connect(server.url()) as connection:
            number = connection.info.server_version
        facts["PostgreSQL"] = f"{number // 10000}.{number % 10000}, {', '.join(_SETTINGS)}"
    return facts
