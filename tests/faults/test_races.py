"""Two processes in the middle of each other's batch, on PostgreSQL: what one added, the other does not overwrite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from callfare.ledger.receipts import ChargeReceipt, OpenReceipt
from callfare.ledger.rows import Account, Hold, Rollup, Row, Run
from callfare.ledger.verify import verify
from callfare.store import postgres, postgres_load
from callfare.store.postgres import PostgresStore
from tests.support.audit import faults
from tests.support.commands import grant, nano, open_run, pend, record
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
