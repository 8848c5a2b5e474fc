"""Two processes in the middle of each other's batch, on PostgreSQL: what one added, the other does not overwrite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from callfare.ledger.receipts import ChargeReceipt, OpenReceipt
from callfare.ledger.rows import Account, Hold, Rollup, Row, Run
from callfare.ledger.verify import verify
from callfare.store import postgres, postgres_load
from callfare.store.postgres import PostgresStore
from tests.support.audit import faults
from tests.support.commands import account_number, grant, nano, open_run, pend, record
from tests.support.fixtures import address, give_back


@pytest.fixture
def pair(tmp_path):
    """Two stores on one ledger in which alice has 100 credits; at the end it must be without a fault."""
    one, other = (PostgresStore(address("postgres", tmp_path)) for _ in range(2))
    one.apply([grant("alice", 100)])
    yield one, other
    found = [*faults(one), *verify(one.scan).faults]
    one.close()
    other.close()
    give_back(tmp_path)
    assert found == []


def just_before(monkeypatch: pytest.MonkeyPatch, table: type[Row], deed: Callable[[], object]) -> None:
    """Have something done once, just before rows of a table that were asked for are looked at."""
    waiting = [deed]
    real = postgres_load.rows_of

    def rows_of(cursor: Any, of: Any) -> Any:
        if of is table and waiting:
            waiting.pop()()
        return real(cursor, of)

    monkeypatch.setattr(postgres, "rows_of", rows_of)
    monkeypatch.setattr(postgres_load, "rows_of", rows_of)


def test_two_runs_make_the_same_roll_up_at_once(pair, monkeypatch):
    one, other = pair
    one.apply([open_run("r1"), open_run("r2")])
    just_before(monkeypatch, Rollup, lambda: other.apply([record(5, run_id="r2", key="theirs")]))

    one.apply([record(3, run_id="r1", key="mine")])

    assert {row.nanocredits for row, _ in one.scan(Rollup)} == {nano(8)}


def test_one_run_is_opened_by_two_at_once(pair, monkeypatch):
    one, other = pair
    just_before(monkeypatch, Run, lambda: other.apply([open_run("r1", hold=40)]))

    (answer,) = one.apply([open_run("r1", hold=40)])

    assert isinstance(answer, OpenReceipt)
    assert [row.held_nanocredits for row, _ in one.scan(Account)] == [nano(40)]
    assert [row.amount_nanocredits for row, _ in one.scan(Hold)] == [nano(40)]


def test_one_job_is_begun_by_two_at_once(pair, monkeypatch):
    one, other = pair
    just_before(monkeypatch, Run, lambda: other.apply([pend(30, user="alice")]))

    one.apply([pend(30, user="alice")])

    assert [row.held_nanocredits for row, _ in one.scan(Account)] == [nano(30)]


def test_one_call_is_recorded_by_two_at_once(pair, monkeypatch):
    one, other = pair
    one.apply([open_run("r1")])
    just_before(monkeypatch, Run, lambda: other.apply([record(3, user="alice", key="same")]))

    (answer,) = one.apply([record(3, user="alice", key="same")])

    assert isinstance(answer, ChargeReceipt)
    assert answer.is_replay
    assert [row.posted_nanocredits for row, _ in one.scan(Account)] == [nano(97)]


def test_a_new_user_is_named_by_two_at_once(pair, monkeypatch):
    one, other = pair
    just_before(monkeypatch, Run, lambda: other.apply([grant("bob", 5, key="theirs")]))

    one.apply([grant("bob", 7, key="mine")])

    assert sorted(row.posted_nanocredits for row, _ in one.scan(Account)) == [nano(12), nano(100)]


def test_a_roll_up_that_another_process_has_moved_is_loaded_again(pair):
    ours, theirs = pair
    ours.apply([open_run("r1", hold=20), open_run("r2", hold=20)])
    ours.apply([record(1, run_id="r1", key="first")])
    theirs.apply([record(2, run_id="r2", key="second")])

    ours.apply([record(4, run_id="r1", key="third")])
    ours.apply([record(8, run_id="r1", key="fourth")])

    assert [(row.calls, row.nanocredits) for row, _ in ours.scan(Rollup)] == [(4, nano(15))] * 2


def test_a_key_that_was_made_for_a_call_and_is_there_is_found_after_all(pair):
    ours, _ = pair
    call = replace(record(2, run_id="r1", key="call_1"), repeat="never", account_id=account_number("alice"), user="")
    ours.apply([open_run("r1", hold=20), record(1, run_id="r1", key="first")])
    ours.apply([call])

    [again, fresh] = ours.apply([call, replace(call, key="call_2")])

    assert (again.is_replay, fresh.is_replay) == (True, False)
    assert [(row.calls, row.nanocredits) for row, _ in ours.scan(Rollup)] == [(3, nano(5))] * 2
