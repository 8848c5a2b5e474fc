"""Processes that spend one account as fast as they can, and one that watches."""

from __future__ import annotations

import sys
import threading

from callfare.committer import Committer
from callfare.errors import InsufficientCredit
from callfare.ledger.view import balance_of
from callfare.store.sqlite import SqliteStore
from tests.support.commands import close, open_run, record

THREADS = 2


def spend(path: str, name: str, attempts: str) -> None:
    """Try to run so often what costs one credit; print how often it was accepted and refused."""
    committer = Committer(SqliteStore(path))
    counts = [[0, 0] for _ in range(THREADS)]

    def work(thread: int) -> None:
        for number in range(int(attempts) // THREADS):
            run_id = f"{name}-{thread}-{number}"
            try:
                committer.commit(open_run(run_id, "alice", hold=1))
            except InsufficientCredit:
                counts[thread][1] += 1
                continue
            committer.commit(record(1, run_id=run_id, key=f"call of {run_id}"))
            committer.commit(close(run_id))
            counts[thread][0] += 1

    print("ready")
    sys.stdin.readline()
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    committer.close()
    print(sum(accepted for accepted, _ in counts), sum(refused for _, refused in counts))


def watch(path: str) -> None:
    """Read the balance until told to stop; print the least that was available and whether it was ever out of order."""
    store = SqliteStore(path, is_readonly=True)
    seen: list[int] = []
    wrong = 0
    stop = threading.Event()

    def read() -> None:
        nonlocal wrong
        while not stop.is_set() or len(seen) <= 10:
            snapshot = store.snapshot("alice")
            assert snapshot is not None
            view = balance_of(snapshot.state, snapshot.account_id, snapshot.spent_nanocredits, snapshot.now_us)
            seen.append(view.available_nanocredits)
            is_sum = view.available_nanocredits == view.posted_nanocredits - view.held_nanocredits
            wrong += not is_sum or view.debt_nanocredits != 0 or view.available_nanocredits < 0

    reader = threading.Thread(target=read)
    reader.start()
    print("ready")
    sys.stdin.readline()
    stop.set()
    reader.join()
    print(min(seen), wrong, len(seen) > 10)
