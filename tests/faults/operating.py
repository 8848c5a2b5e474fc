"""What processes do in test_operating.py: an operator's work that is killed by kill -9, and goes on."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from callfare.clock import ManualClock
from callfare.committer import Committer
from callfare.engine import exporting, operations
from callfare.engine.exporting import Export, export_file
from callfare.errors import LedgerIncomplete, LedgerNotFound
from callfare.ledger.commands import Command
from callfare.ledger.rows import TABLES, RawUsage
from callfare.ledger.verify import verify
from callfare.store import postgres_server, sqlite_file
from callfare.store.open import open_store
from callfare.store.protocol import Store
from tests.faults.crashing import command_of
from tests.support.audit import faults
from tests.support.commands import START

WRITERS = 3
_LATER = ManualClock(START.replace(year=2027, month=6))


def died(work: Callable[[], object]) -> bool:
    """Do some work in a process of its own, and return whether it was killed on the way."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 - a child must not return
            print(f"{type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    return status != 0


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """Kills its process when it has been called so often, as progress or before one of the calls it stands before."""

    def __init__(self, left: int) -> None:
        self._left = left

    def __call__(self, *_: object) -> None:
        if self._left == 0:
            die()
        self._left -= 1

    def stand_before(self, owner: Any, name: str) -> None:
        """Count every call of a function too, before it is made."""
        real = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self()
            return real(*arguments, **named)

        setattr(owner, name, counted)


def die_before_statement(left: int) -> None:
    """Have the connections that this process opens kill it before their statement of this number."""
    real = apsw.Connection
    deadly = Deadly(left)

    def trace(cursor: object, sql: str, bindings: object) -> bool:
        deadly()
        return True

    def connect(*arguments: Any, **named: Any) -> apsw.Connection:
        connection = real(*arguments, **named)
        connection.exec_trace = trace
        return connection

    sqlite_file.apsw.Connection = connect  # type: ignore[misc, assignment]


def rows_of(url: str) -> dict[str, list[Any]]:
    """Return every row of a ledger with its seal."""
    store = open_store(url)
    found = {table.table: list(store.scan(table)) for table in TABLES}
    store.close()
    return found


# Each of the following prints what it found wrong, which is nothing, and how often it was killed.


def kill_backups(url: str, folder: str) -> None:
    """Kill a backup at every step; its name stands for a whole one or for none."""
    wrong: list[str] = []
    kills = 0

    def work(path: Path, left: int) -> None:
        deadly = Deadly(left)
        deadly.stand_before(os, "fsync")
        deadly.stand_before(Path, "rename")
        operations.backup(open_store(url), _LATER, path, deadly)

    while died(partial(work, Path(folder) / f"backup-{kills}", kills)):
        if (path := Path(folder) / f"backup-{kills}").exists():
            # Killed after it had its name: it must be whole.
            operations.Archive(path).check()
            if kills < len(TABLES):
                wrong.append(f"backup {kills} has its name too early")
        kills += 1
    print(kills, *wrong, sep="\n")


def kill_restores(path: str, url: str, wanted: str) -> None:
    """Kill restores into one ledger, each a step later; between them nobody can use it; at the end it is whole."""
    operations._ROWS_PER_PUT = 20
    wrong: list[str] = []
    kills = 0

    def work(left: int) -> None:
        operations.restore(open_store(url), path, progress=Deadly(left))

    # Each gets some steps further than the one before, through the verification at the end.
    while died(partial(work, kills)):
        kills += 1
        if not _is_unusable(url):
            wrong.append(f"the ledger could be used after kill {kills}")
    print(kills, *wrong, *(["other rows"] if rows_of(url) != rows_of(wanted) else []), sep="\n")


def _is_unusable(url: str) -> bool:
    store = open_store(url)
    try:
        store.facts()
    except (LedgerIncomplete, LedgerNotFound):
        return True
    finally:
        store.close()
    # It was killed after the last step: then it is whole.
    return verify(open_store(url).scan).is_clean and bool(rows_of(url)["events"])


def kill_restores_at_statements(path: str, folder: str, wanted: str) -> None:
    """Kill a restore into a new file before one statement after another, and end it in another process."""
    operations._ROWS_PER_PUT = 40
    rows = rows_of(wanted)
    wrong: list[str] = []
    kills = point = 0
    is_over = False
    while not is_over:
        url = f"sqlite:///{folder}/restored-{point}.db"

        def work(at: str = url, left: int = point) -> None:
            die_before_statement(left)
            operations.restore(open_store(at), path)

        is_over = not died(work)
        kills += not is_over
        operations.restore(open_store(url), path) if not is_over and not _is_whole(url, rows) else None
        if rows_of(url) != rows:
            wrong.append(f"other rows after statement {point}")
        # Every statement of the beginning, then every so many rows.
        point += 1 if point < 12 else 23
    print(kills, *wrong, sep="\n")


def _is_whole(url: str, rows: dict[str, list[Any]]) -> bool:
    store = open_store(url)
    try:
        store.facts()
    except (LedgerIncomplete, LedgerNotFound):
        return False
    finally:
        store.close()
    return rows_of(url) == rows


def kill_exports(url: str, path: str) -> None:
    """Kill an export again and again, each going on with the file; at the end it has every line once."""
    exporting._LINES_PER_WRITE = 3
    kills = 0
    whole = Path(f"{path}.whole")
    export_file(whole, open_store(url), Export("entries"))

    def work() -> None:
        export_file(path, open_store(url), Export("entries"), is_resumed=True, progress=Deadly(2))

    while died(work):
        kills += 1
        # Tear the last line, as a full disk or a power cut would.
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) - kills % 7])
    is_same = Path(path).read_bytes() == whole.read_bytes()
    print(kills, *([] if is_same else ["other lines"]), sep="\n")


def kill_prunes(url: str) -> None:
    """Kill a prune at every step; the ledger stays clean, and the next one removes the rest."""
    wrong: list[str] = []
    kills = 0

    def work(left: int) -> None:
        store = open_store(url)
        deadly = Deadly(left)
        upkeep = type(store.upkeep())
        for name in ("raw_times", "drop_raw"):
            deadly.stand_before(upkeep, name)
        if url.startswith("sqlite"):
            die_before_statement(left)
        operations.prune_raw(store, _LATER, "2027-05", progress=deadly)

    while died(partial(work, kills)):
        kills += 1
        found = verify(open_store(url).scan)
        wrong += [f"after kill {kills}: {fault}" for fault in found.faults]
    left = len(list(open_store(url).scan(RawUsage)))
    print(kills, *wrong, *([f"{left} left"] if left else []), sep="\n")


def hold_a_migration(url: str) -> None:
    """Migrate a PostgreSQL ledger up to the point of committing, say so, and wait to be killed."""
    connection = postgres_server.connect(url, 10)
    with connection.within(60), connection.transaction():
        postgres_server.lock_schema(connection)
        postgres_server.apply_steps(connection)
        print("ready", flush=True)
        sys.stdin.readline()


def migrate(url: str) -> None:
    """Migrate, and say from where to where."""
    print("ready", flush=True)
    sys.stdin.readline()
    done = operations.migrate(open_store(url))
    print(f"{done.before} to {done.after}")


def kill_migrations(source: str, folder: str) -> None:
    """Kill a migration of a copy of a SQLite file before every statement; the next one ends it."""
    kills = 0
    wrong: list[str] = []
    while True:
        path = Path(folder) / f"copy-{kills}.db"
        path.write_bytes(Path(source).read_bytes())

        def work(at: Path = path, left: int = kills) -> None:
            die_before_statement(left)
            operations.migrate(open_store(f"sqlite:///{at}"))

        is_over = not died(work)
        done = operations.migrate(open_store(f"sqlite:///{path}"))
        if done.before not in {1, done.newest} or (is_over and done.before != done.newest):
            wrong.append(f"after kill {kills}: {done}")
        wrong += [f"after kill {kills}: {fault}" for fault in verify(open_store(f"sqlite:///{path}").scan).faults]
        if is_over:
            break
        kills += 1
    print(kills, *wrong, sep="\n")


# Under load


def _write(url: str, writer: int, pipe: int) -> None:
    committer = Committer(open_store(url))
    number = 0
    while True:
        committer.commit(command_of(writer, number)[0])
        os.write(pipe, b"\n")
        number += 1


def back_up_under_load(url: str, folder: str, before: str) -> None:
    """Back a ledger up while others write to it, restore it, and compare it with what had been answered.

    Prints how many answers there were when the backup began, when it had ended, and how many are in it.
    """
    open_store(url).create()
    pipes, children = [], []
    for writer in range(WRITERS):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _write(url, writer, writing)
        os.close(writing)
        pipes.append(reading)
        children.append(child)
    answered = [0] * WRITERS
    while min(answered) < int(before):
        _hear(pipes, answered)
    begun = list(answered)
    path = f"{folder}/under-load"
    assert not died(lambda: operations.backup(open_store(url), _LATER, path))
    _hear(pipes, answered)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    restored = open_store(f"sqlite:///{folder}/restored.db")
    operations.restore(restored, path)
    wrong = [*faults(restored), *map(str, verify(restored.scan).faults)]
    kept = [_kept(restored, writer, answered[writer] + 50, wrong) for writer in range(WRITERS)]
    wrong += [f"writer {n} lost {begun[n] - kept[n]}" for n in range(WRITERS) if kept[n] < begun[n]]
    print(f"{sum(begun)} {sum(answered)} {sum(kept)}", *wrong, *map(str, verify(restored.scan).faults), sep="\n")


def _hear(pipes: list[int], answered: list[int]) -> None:
    for ready in select.select(pipes, [], [], 10)[0]:
        answered[pipes.index(ready)] += len(os.read(ready, 1 << 16))


def _kept(store: Store, writer: int, upto: int, wrong: list[str]) -> int:
    """Send all of a writer's commands again, and return how many were there: the first ones, and no other."""
    sent: list[Command] = [command_of(writer, number)[0] for number in range(upto)]
    answers = [answer for start in range(0, upto, 500) for answer in store.apply(sent[start : start + 500])]
    replayed = [bool(getattr(answer, "is_replay", False)) for answer in answers]
    kept = replayed.index(False) if False in replayed else upto
    if any(replayed[kept:]):
        wrong.append(f"writer {writer} has a gap after {kept}")
    return kept
