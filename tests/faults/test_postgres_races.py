"""Two processes write what neither found: on PostgreSQL a batch is decided again, and neither overwrites the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.ledger.rows import Account, Rollup, User
from callfare.ledger.verify import verify
from callfare.store import postgres
from callfare.store.postgres import PostgresStore
from tests.support.audit import faults
from tests.support.commands import START, account_number, grant, open_run, record
from tests.support.postgres import shared_server


@pytest.fixture
def two() -> Iterator[tuple[PostgresStore, PostgresStore]]:
    """Two stores on one ledger, as two processes have them."""
    url = shared_server().new_database()
    clock = ManualClock(START)
    stores = (PostgresStore(url, clock=clock), PostgresStore(url, clock=clock))
    stores[0].create()
    yield stores
    assert faults(stores[0]) == []
    assert verify(stores[0].scan).is_clean
    for store in stores:
        store.close()
    shared_server().drop_database(url)


def once_it_has_loaded(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Have something done by the other process once, when the next batch has loaded and not yet written."""
    real = postgres.decide_all

    def decide_all(*args: Any) -> Any:
        monkeypatch.setattr(postgres, "decide_all", real)
        meanwhile()
        return real(*args)

    monkeypatch.setattr(postgres, "decide_all", decide_all)


def test_two_processes_that_make_the_same_user_make_one_account(two, monkeypatch):
    ours, theirs = two
    once_it_has_loaded(
        monkeypatch, lambda: theirs.apply([replace(grant("alice", 100, key="theirs"), new_account_id=7)])
    )

    ours.apply([replace(grant("alice", 200, key="ours"), new_account_id=8)])

    [(user, _)] = ours.scan(User)
    [(account, _)] = ours.scan(Account)
    assert (user.account_id, account.account_id) == (7, 7)
    assert account.posted_nanocredits == 300_000_000_000


def test_two_processes_that_begin_the_same_roll_up_both_count(two, monkeypatch):
    ours, theirs = two
    ours.apply([grant("alice", 100), open_run("r1", hold=20), open_run("r2", hold=20)])
    once_it_has_loaded(monkeypatch, lambda: theirs.apply([record(5, run_id="r2", key="theirs")]))

    ours.apply([record(4, run_id="r1", key="ours")])

    assert [(row.grain, row.calls, row.nanocredits) for row, _ in ours.scan(Rollup)] == [
        ("day", 2, 9_000_000_000),
        ("quarter", 2, 9_000_000_000),
    ]


def test_a_roll_up_that_another_process_has_moved_is_loaded_again(two):
    ours, theirs = two
    ours.apply([grant("alice", 100), open_run("r1", hold=20), open_run("r2", hold=20)])
    ours.apply([record(1, run_id="r1", key="first")])
    theirs.apply([record(2, run_id="r2", key="second")])

    ours.apply([record(4, run_id="r1", key="third")])
    ours.apply([record(8, run_id="r1", key="fourth")])

    assert [(row.calls, row.nanocredits) for row, _ in ours.scan(Rollup)] == [(4, 15_000_000_000)] * 2


def test_a_batch_that_was_refused_by_the_server_leaves_nothing_to_trust(two):
    ours, _ = two
    ours.apply([grant("alice", 100), open_run("r1", hold=20), record(1, run_id="r1", key="first")])
    call = replace(record(2, run_id="r1", key="call_1"), repeat="never", account_id=account_number("alice"), user="")
    ours.apply([call])

    [again, fresh] = ours.apply([call, replace(call, key="call_2")])

    assert (again.is_replay, fresh.is_replay) == (True, False)
    assert [(row.calls, row.nanocredits) for row, _ in ours.scan(Rollup)] == [(3, 5_000_000_000)] * 2
