"""An exception from a signal at any moment of a write, as a soft time limit has it: the next write goes on."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from callfare import Callfare
from tests.support.fixtures import address, give_back

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


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The address of an empty ledger."""
    yield address(request.param, tmp_path)
    give_back(tmp_path)


@pytest.fixture
def _raising():
    def handler(number: int, frame: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_raising")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_write_that_a_signal_interrupts_leaves_the_next_one_free(url, tmp_path):
    chance = random.Random(20261122)
    interrupts = 0
    with Callfare(url, spool=tmp_path / "spool") as fare:
        fare.grant("alice", 1000, key="k")
        run = fare.open_run("tweet", user="alice", hold=500)
        while interrupts < INTERRUPTS:
            try:
                with limited(chance.uniform(0.00005, 0.002)):
                    run.record("gpt-5-mini", USAGE)
            except TimeLimit:
                interrupts += 1

        with limited(20):
            after = run.record("gpt-5-mini", USAGE)
            fare.grant("alice", 1, key="another")

        assert after.status == "priced"
        assert fare.verify().is_clean
