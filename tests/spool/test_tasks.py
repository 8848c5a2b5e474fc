"""Asyncio during an outage: many tasks at once, and cancelled ones, whose calls are kept all the same."""

from __future__ import annotations

import asyncio

import pytest

from callfare import AsyncCallfare, Credits
from tests.spool.away import MovedFile

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


async def kept(fare: AsyncCallfare, count: int) -> None:
    """Return once so many calls wait in the spool."""
    async with asyncio.timeout(60):
        while (await fare.spool()).waiting < count:  # noqa: ASYNC110 - nobody tells whoever was cancelled
            await asyncio.sleep(0)


async def test_many_tasks_go_on_without_their_ledger(tmp_path, asked, patient):
    away = MovedFile(tmp_path / "ledger.db")
    async with AsyncCallfare(away.url) as fare:
        await fare.grant("alice", 1000, key="k")
        async with fare.run("tweet", user="alice", hold=500) as run:
            away.begin()
            del asked[:]
            charges = await asyncio.gather(*(run.record(**IMAGE) for _ in range(100)))
        waiting = (await fare.spool()).waiting
        away.end()
        done = await fare.drain_spool()

        assert {charge.is_spooled for charge in charges} == {True}
        assert (waiting, done.delivered) == (101, 101)
        assert (await fare.balance("alice")).available == Credits(600)
        assert (await fare.verify()).is_clean


@pytest.mark.parametrize("is_known", [False, True], ids=["the first", "behind another"])
async def test_a_cancelled_caller_loses_no_call(tmp_path, patient, is_known):
    away = MovedFile(tmp_path / "ledger.db")
    async with AsyncCallfare(away.url) as fare:
        await fare.grant("alice", 1000, key="k")
        away.begin()
        if is_known:
            await fare.record(**IMAGE, user="alice", key="before")
        task = asyncio.ensure_future(fare.record(**IMAGE, user="alice", key="mine"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await kept(fare, 1 + is_known)

        away.end()
        await fare.drain_spool()

        assert (await fare.record(**IMAGE, user="alice", key="mine")).is_replay


async def test_a_cancelled_caller_whose_call_need_not_wait_any_more_loses_nothing_either(tmp_path, patient):
    away = MovedFile(tmp_path / "ledger.db")
    async with AsyncCallfare(away.url) as fare:
        await fare.grant("alice", 1000, key="k")
        delivery = fare._engine.delivery
        away.begin()
        await fare.record(**IMAGE, user="alice", key="before")
        away.end()
        with delivery.spool._gate.passed():
            task = asyncio.ensure_future(fare.record(**IMAGE, user="alice", key="mine"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # Delivered meanwhile: nothing waits that it could stand behind.
            delivery.spool.done(delivery.spool._own[0])
        await kept(fare, 1)
        await fare.drain_spool()

        assert (await fare.record(**IMAGE, user="alice", key="mine")).is_replay
