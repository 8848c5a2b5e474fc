"""What verification makes of the house's keys of batches."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.ledger.rows import HOUSE, Key
from callfare.ledger.verify import verify
from callfare.store.memory import MemoryStore
from tests.support.commands import START, account_number, claim, grant

ALICE = account_number("alice")


@pytest.fixture
def store():
    store = MemoryStore(ManualClock(START))
    store.apply([grant("alice"), claim("b1")])
    return store


def test_a_batch_that_belongs_to_an_account_is_sound(store):
    assert verify(store.scan).faults == ()


@pytest.mark.parametrize(
    "receipt",
    [
        f'{{"account_id":{ALICE + 1},"run_id":null,"is_own":false}}',
        f'{{"account_id":{ALICE}}}',
        "[]",
        "no receipt",
        "",
    ],
)
def test_a_batch_that_belongs_to_nobody_is_found(store, receipt):
    store._state.put(Key(HOUSE, "batch:openai::b2", "batch", 1, receipt, 1))

    [fault] = verify(store.scan).faults

    assert (fault.table, fault.key, fault.column) == ("keys", (str(HOUSE), "batch:openai::b2"), "receipt")
