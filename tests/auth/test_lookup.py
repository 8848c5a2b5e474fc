"""Many requests share a look-up, and none of them ever gets an answer from before it asked."""

from __future__ import annotations

import asyncio
import threading

import pytest

from callfare.auth.keys import KeyRequests
from callfare.auth.lookup import Lookup
from callfare.auth.principal import LOCAL_PRINCIPAL
from callfare.errors import LedgerUnavailable
from callfare.ledger.receipts import KeyReceipt
from callfare.store.protocol import Look
from tests.auth.test_door_keys import id_of


class SlowStore:
    """Stands before a store: each read waits until it is let go, and is counted."""

    def __init__(self, store):
        self._store = store
        self.reads = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.error = None

    def look(self, asked):
        self.reads += 1
        found = self._store.look(asked)
        self.begun.set()
        self.go_on.wait(60)
        if self.error is not None:
            raise self.error
        return found

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.fixture
def slow(engine):
    engine.store = SlowStore(engine.store)
    yield engine.store
    engine.store.go_on.set()


async def begun(slow):
    assert await asyncio.to_thread(slow.begun.wait, 60)


async def test_a_hundred_requests_with_one_key_share_their_look_ups(engine, make, slow):
    key_id = id_of(make())
    lookup = Lookup(engine)
    first = asyncio.create_task(lookup.look(Look(key_id=key_id)))
    await begun(slow)

    others = [asyncio.create_task(lookup.look(Look(key_id=key_id))) for _ in range(99)]
    await asyncio.sleep(0)
    slow.go_on.set()
    found = await asyncio.gather(first, *others)

    assert {seen.key.key_id for seen in found} == {key_id}
    assert slow.reads == 2


async def test_who_asks_after_a_key_was_revoked_is_not_answered_by_a_look_up_from_before(engine, make, slow):
    key_id = id_of(make())
    lookup = Lookup(engine)
    before = asyncio.create_task(lookup.look(Look(key_id=key_id)))
    await begun(slow)
    engine.commit(KeyRequests.revoke(key_id, by=LOCAL_PRINCIPAL), KeyReceipt)

    after = asyncio.create_task(lookup.look(Look(key_id=key_id)))
    await asyncio.sleep(0)
    slow.go_on.set()

    assert (await before).key.revoked_at_us is None
    assert (await after).key.revoked_at_us is not None


async def test_a_cancelled_request_takes_nobody_with_it(engine, make, slow):
    key_id = id_of(make())
    lookup = Lookup(engine)
    gone = asyncio.create_task(lookup.look(Look(key_id=key_id)))
    await begun(slow)
    stays = asyncio.create_task(lookup.look(Look(key_id=key_id)))
    await asyncio.sleep(0)

    gone.cancel()
    slow.go_on.set()

    assert (await stays).key.key_id == key_id
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_ledger_that_is_away_is_told_to_all_and_asked_again(engine, make, slow):
    key_id = id_of(make())
    lookup = Lookup(engine)
    slow.error = LedgerUnavailable("away")
    slow.go_on.set()

    results = await asyncio.gather(*(lookup.look(Look(key_id=key_id)) for _ in range(5)), return_exceptions=True)
    slow.error = None

    assert {type(result) for result in results} == {LedgerUnavailable}
    assert (await lookup.look(Look(key_id=key_id))).key.key_id == key_id
