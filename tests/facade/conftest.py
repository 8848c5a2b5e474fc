"""Fixtures: one ledger on each store behind each façade; when a test is over its books must balance."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.ledger.verify import verify
from tests.facade.doors import KINDS, START, Ledger
from tests.support.audit import faults


def pytest_configure(config):
    config.addinivalue_line("markers", "here(reason): not through a server, and why")


def pytest_collection_modifyitems(config, items):
    """Leave out what a server cannot do: few tests, each with its reason."""
    left = [item for item in items if item.get_closest_marker("here") and "remote" in item.name]
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left)


@pytest.fixture
def clock() -> ManualClock:
    """A clock at noon of 23 November 2026, UTC."""
    return ManualClock(START)


@pytest.fixture(params=KINDS, ids="-".join)
async def ledger(request, tmp_path, clock):
    """An empty ledger on each store, behind each façade."""
    store, door = request.param
    ledger = Ledger(store, door, tmp_path, clock)
    yield ledger
    if ledger.is_there():
        store = ledger.store()
        assert verify(store.scan).faults == ()
        assert faults(store) == []
    await ledger.close()


@pytest.fixture
def fare(ledger):
    """A façade on an empty ledger."""
    return ledger.open()


@pytest.fixture
async def alice(fare):
    """A façade on a ledger in which alice has 100 credits."""
    await fare.grant("alice", 100, key="welcome")
    return fare
