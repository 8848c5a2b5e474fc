"""A fault for each law, planted in a fleet of processes; the judge must notice each of them."""

from __future__ import annotations

import psycopg
import pytest

from tests.faults.fleet import run
from tests.faults.traffic import wrong_with
from tests.support.commands import grant


@pytest.mark.parametrize(
    ("plant", "kills", "noticed"),
    [
        ("answer_before_the_commit", 0, "is lost"),
        ("retry_with_another_key", 40, "happened 2 times"),
        ("forget_the_keys", 0, "is_replay=False"),
        ("lock_nothing", 0, "is recomputed as"),
    ],
)
def test_a_planted_fault_is_noticed(new_traffic, plant, kills, noticed):
    # Chance decides whether a round meets the fault at all; none of several is no chance any more.
    faults: list[str] = []
    for _ in range(6):
        traffic = new_traffic("postgres", users=1, batches=10**6 if kills else 40, writers=8, kills=kills, plant=plant)
        faults += [fault for fault in run(traffic).faults if noticed in fault]
        if faults:
            break

    assert faults != []


def test_a_balance_below_zero_is_noticed_by_a_reader(new_traffic):
    traffic = new_traffic("postgres", users=1)
    store = traffic.store()
    store.apply([grant("user-0", 5)])
    with psycopg.connect(traffic.url, options="-c search_path=callfare") as connection:
        for (rule,) in connection.execute("SELECT conname FROM pg_constraint WHERE conrelid = 'accounts'::REGCLASS"):
            connection.execute(f"ALTER TABLE accounts DROP CONSTRAINT {rule}".encode())
        connection.execute("UPDATE accounts SET held_nanocredits = 5000000001")

    assert "available_nanocredits=-1" in wrong_with(store, "user-0")
    store.close()
