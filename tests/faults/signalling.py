"""Has writes interrupted by exceptions from a signal's handler.

Runs in a process of its own: a driver that is interrupted so leaves generators behind, whose complaints belong to no
other test.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from callfare import Callfare

USAGE = {"input_tokens": 1000}
INTERRUPTS = 60


class TimeLimit(Exception):
    """What the handler raises."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Have the block interrupted after some time, unless it has ended."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _raise(number: int, frame: object) -> None:
    raise TimeLimit


def interrupt_writes(url: str, spool: str) -> None:
    """Interrupt records at random moments, then write undisturbed; print what that came to."""
    sys.unraisablehook = lambda _: None
    signal.signal(signal.SIGALRM, _raise)
    chance = random.Random(20261122)
    interrupts = 0
    with Callfare(url, spool=spool) as fare:
        fare.grant("alice", 1000, key="k")
        run = fare.open_run("tweet", user="alice", hold=500)
        while interrupts < INTERRUPTS:
            try:
                with limited(chance.uniform(0.00005, 0.002)):
                    run.record("gpt-5-mini", USAGE)
            except TimeLimit:
                interrupts += 1
        with limited(120):
            after = run.record("gpt-5-mini", USAGE)
            fare.grant("alice", 1, key="another")
        print(after.status, fare.verify().is_clean, sep="\n")
