"""A ledger on the bridge for each test."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.store.open import open_store
from tests.support.books import Books
from tests.support.commands import START
from tests.support.convex import shared_bridge, why_missing


@pytest.fixture
def bridge():
    """The bridge that all tests share."""
    if reason := why_missing():
        pytest.skip(reason)
    return shared_bridge()


@pytest.fixture
def address(bridge):
    """The address of an empty ledger."""
    made = bridge.lend_ledger()
    yield made
    bridge.take_back(made)


@pytest.fixture
def opened(address):
    """Opens the ledger as one process more, each time it is called."""
    stores = []
    clock = ManualClock(START)

    def open_again() -> Books:
        stores.append(open_store(address, clock))
        return Books(stores[-1], clock)

    yield open_again
    for store in stores:
        store.close()


@pytest.fixture
def books(opened):
    """The ledger as one process opens it."""
    return opened()
