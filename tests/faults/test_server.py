"""A PostgreSQL server that dies, stops, freezes: calls end within their deadline, and go on when it is back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from callfare.ledger.receipts import GrantReceipt
from callfare.store.postgres import PostgresStore
from tests.faults.fleet import Fleet
from tests.faults.traffic import Traffic
from tests.faults.waiting import pause, until_all_are_answered, until_answered
from tests.support.commands import grant
from tests.support.postgres import Server, running_server

DEADLINE_S = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that keeps what it has committed."""
    # Without this its recovery begins by syncing every file there is, one after another.
    with running_server(is_durable=True, settings=("recovery_init_sync_method=syncfs",)) as server:
        yield server


@pytest.fixture
def traffic(server, tmp_path, seed) -> Iterator[Traffic]:
    """Traffic without an end to a new ledger."""
    url = server.new_ledger()
    yield Traffic(
        url=url, folder=str(tmp_path), seed=seed, writers=4, users=3, batches=10**6, deadline_s=DEADLINE_S,
        begin_us=time.time_ns() // 1000,
    )  # fmt: skip
    server.drop_database(url)


def a_backend(traffic: Traffic) -> int:
    """Return the process that serves one of the writers."""
    with psycopg.connect(traffic.url) as connection:
        [[pid]] = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'callfare' AND datname = current_database()"
            " ORDER BY random() LIMIT 1"
        ).fetchall()
    return int(pid)


def test_backends_are_killed_and_the_server_restarts_them_all(traffic, rounds):
    fleet = Fleet(traffic)
    recoveries = []
    for _ in range(3 * rounds):
        until_answered(traffic)
        os.kill(a_backend(traffic), signal.SIGKILL)
        recoveries.append(until_all_are_answered(traffic, time.monotonic()))
    verdict = fleet.end()

    print(f"recovery after kill -9 of a backend: at most {max(recoveries):.2f} s")
    assert verdict.faults == []
    assert verdict.failed > 0
    assert max(recoveries) < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_the_server_is_stopped_and_started_again(server, traffic, number):
    fleet = Fleet(traffic)
    until_answered(traffic)
    server.stop(number)
    time.sleep(0.5)
    server.start()
    recovery_s = until_all_are_answered(traffic, time.monotonic())
    verdict = fleet.end()

    print(f"recovery after a restart: {recovery_s:.2f} s")
    assert verdict.faults == []
    assert verdict.failed > 0
    assert recovery_s < 5


def test_whoever_was_idle_meanwhile_does_not_notice(server, traffic):
    store = PostgresStore(traffic.url)
    store.apply([grant("alice", 5)])
    store.snapshot("alice")

    server.stop(signal.SIGINT)
    server.start()

    assert store.snapshot("alice") is not None
    assert isinstance(store.apply([grant("alice", 5)])[0], GrantReceipt)
    store.close()


def test_a_frozen_server_holds_no_call_beyond_its_deadline(server, traffic):
    fleet = Fleet(traffic)
    until_answered(traffic)
    server.send(signal.SIGSTOP)
    pause(DEADLINE_S * 2)
    server.send(signal.SIGCONT)
    recovery_s = until_all_are_answered(traffic, time.monotonic())
    verdict = fleet.end()

    print(f"recovery after the thaw: {recovery_s:.2f} s")
    assert verdict.faults == []
    assert verdict.failed >= traffic.writers
    assert recovery_s < 5


def test_a_wait_without_a_deadline_is_noticed(server, traffic):
    fleet = Fleet(replace(traffic, plant="wait_for_ever"))
    until_answered(traffic)
    server.send(signal.SIGSTOP)
    pause(DEADLINE_S + 3)
    server.send(signal.SIGCONT)
    until_all_are_answered(traffic, time.monotonic())
    verdict = fleet.end()

    assert [fault for fault in verdict.faults if fault.startswith("a call took")] != []
