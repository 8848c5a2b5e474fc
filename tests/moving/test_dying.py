"""A move that is killed leaves a target that nobody can use, and the same command brings it to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from callfare.clock import ManualClock
from callfare.engine import moving, operations
from callfare.errors import Conflict, LedgerIncomplete
from callfare.ledger.rows import TABLES
from callfare.ledger.verify import verify
from callfare.store import convex_upkeep
from callfare.store.convex_http import ConvexClient
from callfare.store.open import open_store
from callfare.store.upkeep import Filling
from tests.support.books import Books
from tests.support.commands import START
from tests.support.fixtures import address, give_back
from tests.support.processes import start
from tests.support.rich import write_rich_ledger

KINDS = ("sqlite", "postgres", "convex")
STEPS = (("moving", 1), ("moving", 5), ("verifying the target", 3), ("reading the source again", 1))
# The default run has one of them.
DEATHS = [
    pytest.param(kind, *step, marks=[] if (kind, *step) == ("sqlite", "moving", 5) else [pytest.mark.all])
    for kind in KINDS
    for step in STEPS
]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def move_until(origin, goal, doing, count):
    """Move a ledger, and be killed at the so-many-th step of something. Runs in a process of its own."""
    operations._ROWS_PER_PUT = 20
    moving._ROWS_PER_STEP = 1
    left = {doing: int(count)}

    def told(now, *_):
        left[now] = left.get(now, 0) - 1
        if now == doing and not left[now]:
            die()

    moving.move(open_store(origin), open_store(goal), progress=told)


def move_until_written(origin, goal, count):
    """Move a ledger, and be killed when Convex has done so many writes, of which several make one step."""
    operations._ROWS_PER_PUT = 40
    convex_upkeep._ROWS_PER_PUT = 7
    left = [int(count)]
    real = ConvexClient.write

    def written(client, name, *rest):
        answer = real(client, name, *rest)
        left[0] -= name == "put"
        if not left[0]:
            die()
        return answer

    ConvexClient.write = written
    moving.move(open_store(origin), open_store(goal))


@pytest.fixture
def origin(tmp_path):
    """The address of a file with a row of every kind."""
    url = f"sqlite:///{tmp_path}/origin.db"
    clock = ManualClock(START)
    store = open_store(url, clock)
    store.create()
    write_rich_ledger(Books(store, clock))
    store.close()
    return url


def killed(function, *arguments):
    """Run a function in another process, which is to be killed."""
    process = start(__name__, function, *arguments)
    said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, said


def moved_on(origin, goal):
    """Give the same command again, as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "callfare", "migrate-store", origin, goal],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def everything(url):
    store = open_store(url)
    found = verify(store.scan)
    rows = {table.table: list(store.scan(table)) for table in TABLES}
    store.close()
    assert found.is_clean
    return rows


def is_refused_and_then_whole(origin, goal):
    unfinished = open_store(goal)
    with pytest.raises(LedgerIncomplete):
        unfinished.snapshot("alice")
    unfinished.close()

    done = moved_on(origin, goal)

    assert (done.returncode, done.stderr) == (0, "")
    assert "both ledgers are sound" in done.stdout
    return everything(goal) == everything(origin)


@pytest.mark.parametrize(("kind", "doing", "count"), DEATHS)
def test_a_move_that_is_killed_is_brought_to_its_end_by_the_same_command(origin, tmp_path, kind, doing, count):
    goal = address(kind, tmp_path)

    killed("move_until", origin, goal, doing, count)

    assert is_refused_and_then_whole(origin, goal)
    give_back(tmp_path)


@pytest.mark.all
@pytest.mark.parametrize("count", [1, 8, 17])
def test_a_move_that_is_killed_between_the_parts_of_a_step_goes_on_there(origin, tmp_path, count):
    goal = address("convex", tmp_path)

    killed("move_until_written", origin, goal, count)

    assert is_refused_and_then_whole(origin, goal)
    give_back(tmp_path)


@pytest.mark.all
def test_a_move_that_begins_again_where_another_has_put_rows_puts_none(origin, tmp_path, monkeypatch):
    """A fault planted in the move: it goes on as if nothing were there."""
    goal = address("sqlite", tmp_path)
    killed("move_until", origin, goal, "moving", 5)
    real = operations.put_rows

    def forgetful(rows, filling: Filling, told):
        filling.mark = ""
        real(rows, filling, told)

    monkeypatch.setattr(moving, "put_rows", forgetful)
    with pytest.raises(Conflict):
        moving.move(open_store(origin), open_store(goal))
