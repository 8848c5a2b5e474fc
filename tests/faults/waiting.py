"""Waits for the writers of a fleet by what they note."""

from __future__ import annotations

import math
import time

from tests.faults.judge import recovered_s
from tests.faults.traffic import Traffic, attempts
from tests.support.lateness import Lateness


def answers(traffic: Traffic) -> int:
    """Return how many batches were answered so far."""
    return sum("answers" in line for writer in range(traffic.writers) for line in attempts(traffic.log(writer)))


def until_answered(traffic: Traffic, more: int = 20) -> None:
    """Return once so many more batches were answered."""
    wanted = answers(traffic) + more
    give_up = time.monotonic() + 60
    while answers(traffic) < wanted:
        assert time.monotonic() < give_up, "nothing is answered any more"
        time.sleep(0.02)


def until_all_are_answered(traffic: Traffic, since: float) -> float:
    """Return how many seconds after a moment every writer was answered again, but for those that others took away."""
    with Lateness() as lateness:
        begin, begin_s = time.monotonic(), lateness.elapsed_s()
        while (waited_s := recovered_s(traffic, since)) == math.inf:
            assert time.monotonic() < since + 60, "a writer is not answered any more"
            time.sleep(0.02)
        late_s = (time.monotonic() - begin) - (lateness.elapsed_s() - begin_s)
    return max(0.0, waited_s - late_s)


def pause(seconds: float) -> None:
    """Let so much time pass, not counting what other processes take of it."""
    with Lateness() as lateness:
        end_s = lateness.elapsed_s() + seconds
        while lateness.elapsed_s() < end_s:
            time.sleep(0.05)
