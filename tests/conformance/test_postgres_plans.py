"""A look at a key and a balance is asked many times a second: PostgreSQL plans it once, and not each time."""

from __future__ import annotations

import pytest

from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Look
from tests.support.fixtures import address, give_back


@pytest.fixture
def store(tmp_path):
    """An empty ledger on PostgreSQL."""
    store = PostgresStore(address("postgres", tmp_path))
    store.create()
    yield store
    store.close()
    give_back(tmp_path)


def test_a_look_keeps_its_plan(store):
    for number in range(12):
        store.look([Look(user=f"user-{number}")])

    (connection,) = store._lookers
    with connection.within(10):
        (planned,) = connection.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements").fetchall()

    # The first are asked before the driver has the server prepare them.
    assert planned[0] >= 9
    assert planned[1] == 0
