"""An app on another machine that records calls through a server until it is killed. Each function is one process."""

from __future__ import annotations

import os
import sys
import threading

from callfare import Callfare
from callfare import spool as spooling
from callfare.errors import LedgerUnavailable

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
THREADS = 4


def record_until_killed(url: str, name: str, plant: str) -> None:
    """Record calls from several threads, and say the key of each once it was taken, and whether by the spool."""
    if plant == "acknowledge_without_writing":
        spooling.Spool.write = lambda _spool, _lines: True  # type: ignore[method-assign]
    fare = Callfare(url, deadline_s=2)
    run = _opened(fare, name)
    threads = [threading.Thread(target=_record, args=(fare, run, f"{name}-{number}")) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _opened(fare: Callfare, name: str):
    while True:
        try:
            return fare.open_run("story", user="alice", run_id=f"run-{name}", hold=10)
        except LedgerUnavailable:
            # A run is not opened while the server is away; whoever wants one asks again.
            continue


def _record(fare: Callfare, run, name: str) -> None:
    number = 0
    while True:
        key = f"{name}-{number}"
        target = run if number % 2 else fare
        named = {} if number % 2 else {"user": "alice"}
        charge = target.record(**IMAGE, key=key, **named)
        os.write(1, f"{key} {'kept' if charge.is_spooled else 'charged'}\n".encode())
        number += 1


def drain(url: str) -> None:
    """Deliver what was left, and say how much waits still."""
    with Callfare(url) as fare:
        fare.drain_spool()
        found = fare.spool()
        print(found.waiting, found.refused_count)
    sys.stdout.flush()
