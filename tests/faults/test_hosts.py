"""Several hosts in one address: writes go to the one that takes them, and on to the other when that takes its place."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from callfare.errors import LedgerUnavailable
from callfare.store.postgres import PostgresStore
from tests.faults.fleet import Fleet
from tests.faults.traffic import Traffic
from tests.faults.waiting import until_all_are_answered, until_answered
from tests.support.commands import grant
from tests.support.fixtures import address, give_back
from tests.support.ports import held_port
from tests.support.postgres import Server, new_folder, owner, running_server


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A server, and another that follows it: nothing is answered before both have it."""
    with running_server(is_durable=True) as primary, new_folder() as folder, held_port() as port:
        copy = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", "callfare", "-D", folder / "data", "-R", "-c", "fast"]
        subprocess.run(
            [primary.programs / "pg_basebackup", *copy], check=True, capture_output=True, user=owner(), cwd="/"
        )
        standby = Server(primary.programs, folder, port)
        standby.start()
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.ask("SELECT pg_reload_conf()")
        try:
            yield primary, standby
        finally:
            standby.stop()


def both(url: str, first: Server, second: Server) -> str:
    """Return an address of a database with two hosts."""
    database = url.rpartition("/")[2]
    return f"postgresql://callfare@127.0.0.1:{first.port},127.0.0.1:{second.port}/{database}"


def test_a_host_that_is_down_is_passed_over(tmp_path):
    url = address("postgres", tmp_path)
    with held_port() as nobodys:
        store = PostgresStore(url.replace("@", f"@127.0.0.1:{nobodys},"))

        store.apply([grant("alice", 5)])

        assert store.snapshot("alice") is not None
        store.close()
    give_back(tmp_path)


def test_the_standby_takes_over_and_nothing_that_was_answered_is_lost(pair, tmp_path, seed):
    primary, standby = pair
    url = both(primary.new_ledger(), standby, primary)
    begin_us = time.time_ns() // 1000
    traffic = Traffic(url=url, folder=str(tmp_path), seed=seed, writers=4, users=3, batches=10**6, begin_us=begin_us)
    fleet = Fleet(traffic)
    until_answered(traffic)

    primary.stop(signal.SIGQUIT)
    standby.ask("SELECT pg_promote()")
    recovery_s = until_all_are_answered(traffic, time.monotonic())
    verdict = fleet.end()

    print(f"recovery after the standby took over: {recovery_s:.2f} s")
    assert verdict.faults == []
    assert recovery_s < 5


def test_without_waiting_for_the_standby_the_judge_misses_what_it_had_not_heard(pair, tmp_path, seed):
    primary, standby = pair
    url = both(primary.new_ledger(), standby, primary)
    begin_us = time.time_ns() // 1000
    traffic = Traffic(url=url, folder=str(tmp_path), seed=seed, writers=4, users=3, batches=10**6, begin_us=begin_us)
    primary.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
    primary.ask("SELECT pg_reload_conf()")
    fleet = Fleet(traffic)
    until_answered(traffic)

    standby.stop()
    until_answered(traffic, 40)
    primary.stop(signal.SIGQUIT)
    standby.start()
    standby.ask("SELECT pg_promote()")
    until_all_are_answered(traffic, time.monotonic())
    verdict = fleet.end()

    assert [fault for fault in verdict.faults if "is lost" in fault] != []


def test_a_standby_alone_takes_no_writes(pair):
    _, standby = pair

    with pytest.raises(LedgerUnavailable, match="read-only"):
        PostgresStore(standby.url()).create()
