"""Reports while others write: a closed window stays what it is, whatever is written outside it meanwhile."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from callfare import Callfare
from callfare.clock import ManualClock
from callfare.engine import usage_report
from tests.support.commands import START
from tests.support.fixtures import address, give_back

USAGE = {"input_tokens": 1000}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The address of an empty ledger."""
    yield address(request.param, tmp_path)
    give_back(tmp_path)


@pytest.fixture
def fare(url):
    """A façade of a user who has made three calls in a window of today that is closed."""
    with Callfare(url, clock=ManualClock(START)) as fare:
        fare.grant("alice", 1000, key="k")
        for _ in range(3):
            fare.record("gpt-5-mini", USAGE, user="alice", at=START - timedelta(minutes=40))
        yield fare


def calls_in_the_window(fare):
    since, until = START - timedelta(minutes=70, seconds=7), START - timedelta(minutes=10, seconds=3)
    return fare.usage("alice", since=since, until=until).calls


def test_a_closed_window_does_not_move_while_others_write(url, fare):
    is_enough = threading.Event()

    def write():
        with Callfare(url, clock=ManualClock(START)) as other:
            while not is_enough.is_set():
                other.record("gpt-5-mini", USAGE, user="alice")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = {calls_in_the_window(fare) for _ in range(60)}
    finally:
        is_enough.set()
        writer.join()

    assert found == {3}


def test_a_report_read_bit_by_bit_is_noticed(url, fare, monkeypatch):
    class BitByBit:
        def __init__(self, store):
            self._store = store

        def select_all(self, queries):
            first = self._store.select(queries[0])
            with Callfare(url, clock=ManualClock(START)) as other:
                other.record("gpt-5-mini", USAGE, user="alice")
            return [first, *(self._store.select(query) for query in queries[1:])]

    real = usage_report.usage_report
    monkeypatch.setattr("callfare.engine.reports.usage_report", lambda store, **window: real(BitByBit(store), **window))

    assert calls_in_the_window(fare) != 3
