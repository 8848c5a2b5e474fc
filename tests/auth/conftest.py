"""Fixtures of the door: a ledger in memory with secrets of its own, and a clock that moves when told."""

from __future__ import annotations

import pytest

from callfare.auth.door import Door
from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL
from callfare.clock import ManualClock
from callfare.engine.engine import Engine
from callfare.ledger.receipts import KeyReceipt
from callfare.settings import Settings
from callfare.store.memory import MemoryStore
from tests.support.commands import START

AUDIENCE = "https://api.example.com"
HERE = "192.0.2.7"


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def engine(clock):
    made = Engine(MemoryStore(clock), Settings(), clock)
    yield made
    made.close()


@pytest.fixture
def door(engine):
    return Door(engine, audience=AUDIENCE)


@pytest.fixture
def make(engine):
    """Makes a key and returns how it is written."""
    requests = KeyRequests(engine.secrets, engine.clock)

    def make(label="a key", **facts):
        facts.setdefault("scopes", ["credits:grant", "credits:read"])
        command, text = requests.make(label, by=LOCAL_PRINCIPAL, **facts)
        engine.commit(command, KeyReceipt)
        return text.written

    return make
