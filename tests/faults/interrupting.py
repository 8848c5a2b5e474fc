"""What processes do in test_inside.py: each function is the whole of one process."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

from callfare import Callfare
from callfare.clock import SystemClock
from callfare.errors import CallfareError
from callfare.ledger.rows import Key, Run
from callfare.store.sqlite import SqliteStore
from tests.support.commands import grant

_ROUNDS = 40


def _streamed(fare: Callfare, holder: dict[str, object]) -> Iterator[int]:
    with fare.run("chat", user="alice", hold=1):
        while holder:
            yield 1


def _forget_a_run(fare: Callfare) -> None:
    """Open a run in a generator that only a collection can close."""
    holder: dict[str, object] = {}
    holder["generator"] = generator = _streamed(fare, holder)
    next(generator)


def _collect_often() -> None:
    gc.collect()
    gc.set_threshold(50, 2, 2)


def collect_runs_while_writing(path: str) -> None:
    """Forget runs, and write until collections have closed them in the middle of writes."""
    fare = Callfare(f"sqlite:///{path}")
    fare.grant("alice", 1000, key="first")
    _collect_often()
    for _ in range(_ROUNDS):
        _forget_a_run(fare)
        fare.record("gpt-5-mini", {"input_tokens": 10}, user="alice")
    gc.collect()
    fare.close()
    runs = [row for row, _ in SqliteStore(path).scan(Run)]
    print(f"{len(runs)} runs, {sum(run.status == 'open' for run in runs)} open")


def collect_runs_while_reading_memory() -> None:
    """Forget runs, and read until collections have closed them in the middle of reads."""
    fare = Callfare("memory://")
    fare.grant("alice", 1000, key="first")
    _collect_often()
    for _ in range(_ROUNDS):
        _forget_a_run(fare)
        for _ in range(5):
            fare.balance("alice")
    assert fare.verify().faults == ()
    fare.close()
    print("done")


def fork_inside_a_write(path: str) -> None:
    """Fork in the middle of a write, as a signal handler may; parent and child both come back from it."""
    clock = SystemClock()
    now_us = clock.now_us
    store = SqliteStore(path, clock=clock)
    store.create()
    store.apply([grant("alice", 1, key="first")])
    child = -1

    def fork() -> int:
        nonlocal child
        clock.now_us = now_us  # type: ignore[method-assign]
        child = os.fork()
        return now_us()

    clock.now_us = fork  # type: ignore[method-assign]
    try:
        store.apply([grant("alice", 1, key="outer")])
    except CallfareError as error:
        os.write(1, f"child {error.code}\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
    print("parent wrote")
    store.apply([grant("alice", 1, key="after")])
    rows = sorted((row for row, _ in store.scan(Key)), key=lambda row: row.at_us)
    print(*(row.key for row in rows))


def close_on_a_signal(path: str) -> None:
    """Close the ledger in a signal handler that strikes in the middle of a write, then see what was written."""
    fare = Callfare(f"sqlite:///{path}")
    fare.grant("alice", 1000, key="first")

    def stop(*_: object) -> None:
        fare.close()
        print("closed")

    signal.signal(signal.SIGTERM, stop)
    clock = fare._engine.store._clock
    now_us = clock.now_us
    clock.now_us = lambda: (os.kill(os.getpid(), signal.SIGTERM), now_us())[1]
    fare.record("gpt-5-mini", {"input_tokens": 10}, user="alice")
    clock.now_us = now_us
    again = SqliteStore(path)
    again.apply([grant("alice", 1, key="after")])
    rows = again.facts().rows
    print(rows["events"], rows["keys"])
