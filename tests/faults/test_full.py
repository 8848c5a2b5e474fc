"""A PostgreSQL server without space, without connections, without patience: refused in time, and well again after."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.rows import Key
from callfare.ledger.verify import verify
from callfare.store.postgres import PostgresStore
from tests.support.audit import faults
from tests.support.commands import grant
from tests.support.lateness import Lateness
from tests.support.postgres import Server, owner, running_server

DEADLINE_S = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that takes twelve connections."""
    with running_server(settings=("max_connections=12", "deadlock_timeout=20ms")) as server:
        yield server


@pytest.fixture
def store(server) -> Iterator[PostgresStore]:
    """A ledger in which alice has a grant; at the end it must be without a fault."""
    store = PostgresStore(server.new_ledger(), deadline_s=DEADLINE_S)
    store.apply([grant("alice", 100)])
    yield store
    found = [*faults(store), *verify(store.scan).faults]
    store.close()
    assert found == []


def test_without_a_free_connection_calls_are_refused_in_time_and_go_on_later(server, store):
    store.close()
    others = [_connected(server) for _ in range(12)]
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        psycopg.connect(server.url())

    with Lateness() as lateness:
        begin = lateness.elapsed_s()
        with pytest.raises(LedgerUnavailable, match="retry with the same key"):
            store.apply([grant("alice", 1, key="refused")])
        with pytest.raises(LedgerUnavailable):
            store.snapshot("alice")
        waited_s = lateness.elapsed_s() - begin
    for other in others:
        other.close()

    assert waited_s < 2 * (DEADLINE_S + 1)
    assert not isinstance(store.apply([grant("alice", 1, key="refused")])[0], CallfareError)


def _connected(server: Server) -> psycopg.Connection[tuple[str]]:
    """Return a connection, once whoever was connected before has quite gone."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(server.url())
        except psycopg.OperationalError:
            if time.monotonic() > give_up:
                raise


def test_more_readers_than_connections_are_answered_or_refused_in_time(store):
    outcomes: list[object] = []
    took_s: list[float] = []
    begin_together = threading.Barrier(64)

    def read() -> None:
        begin_together.wait()
        begin = lateness.elapsed_s()
        try:
            outcomes.append(store.snapshot("alice") is not None)
        except LedgerUnavailable:
            outcomes.append("refused")
        took_s.append(lateness.elapsed_s() - begin)

    threads = [threading.Thread(target=read) for _ in range(64)]
    with Lateness() as lateness:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    store.close()

    assert len(outcomes) == 64
    assert max(took_s) < DEADLINE_S + 1
    assert True in outcomes
    assert store.snapshot("alice") is not None


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk in memory, of 100 MB, that belongs to whom servers run as."""
    disk = Path("/tmp") / f"callfare-disk-{os.getpid()}"  # noqa: S108 - a folder of its own, for another user
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "small", str(disk)], check=True)
    shutil.chown(disk, owner())
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
    disk.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_refuses_writes_serves_reads_and_recovers_without_repair(server, small_disk):
    server.ask(f"CREATE TABLESPACE small_{os.getpid()} LOCATION '{small_disk}'")
    url = server.new_database()
    server.ask(f"ALTER DATABASE {url.rpartition('/')[2]} SET TABLESPACE small_{os.getpid()}")
    store = PostgresStore(url, deadline_s=10)
    store.create()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1_000_000))
    written = 0
    while _is_taken(store, written):
        written += 200
    refused = f"key-{written}-0"

    snapshot = store.snapshot("alice")
    assert snapshot is not None
    assert sum(1 for _ in store.scan(Key)) == written
    ballast.unlink()
    store.apply([grant("alice", 1, key=refused)])
    assert sum(1 for _ in store.scan(Key)) == written + 1
    assert [*faults(store), *verify(store.scan).faults] == []
    store.close()
    server.drop_database(url)
    server.ask(f"DROP TABLESPACE small_{os.getpid()}")


def _is_taken(store: PostgresStore, written: int) -> bool:
    try:
        store.apply([grant("alice", 1, key=f"key-{written}-{number}") for number in range(200)])
    except LedgerUnavailable:
        return False
    return True


def test_batches_in_opposite_orders_do_not_wait_for_each_other(server, store):
    assert _crossing(server, PostgresStore(store._url), PostgresStore(store._url)) == 0


def test_without_one_order_of_locks_they_do_and_are_decided_again(server, store):
    one, other = PostgresStore(store._url), PostgresStore(store._url)
    # Some time between one lock and the next, so that the two meet; on a busy machine not each time.
    slowly = "opened_at_us\nFROM accounts", "opened_at_us + length(pg_sleep(0.1)::TEXT)\nFROM accounts"
    upside_down = "ORDER BY account_id\nFOR", "ORDER BY account_id DESC\nFOR"
    one._sql = {name: sql.replace(*slowly) for name, sql in one._sql.items()}
    other._sql = {name: sql.replace(*slowly).replace(*upside_down) for name, sql in other._sql.items()}

    assert any(_crossing(server, one, other, 5, attempt) for attempt in range(40))


def _crossing(server: Server, store: PostgresStore, other: PostgresStore, batches: int = 150, attempt: int = 0) -> int:
    """Write to two accounts from two stores in opposite orders; return how many deadlocks the server broke."""
    log = server.folder / "log"
    before = log.read_text().count("deadlock detected"), sum(1 for _ in store.scan(Key))
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def work(one: PostgresStore, users: tuple[str, str]) -> None:
        try:
            for number in range(batches):
                together.wait(120)
                one.apply([grant(user, 1, key=f"{users} {attempt} {number}") for user in users])
        except BaseException as failure:  # noqa: BLE001 - the test looks at it
            failures.append(failure)
            together.abort()

    there = threading.Thread(target=work, args=(store, ("alice", "bob")))
    back = threading.Thread(target=work, args=(other, ("bob", "alice")))
    there.start()
    back.start()
    there.join()
    back.join()
    written = sum(1 for _ in store.scan(Key)) - before[1]
    store.close()
    other.close()
    assert failures == []
    assert written == 4 * batches
    return log.read_text().count("deadlock detected") - before[0]
