"""Tasks that stop waiting: what they asked for is written all the same, and the key makes a retry safe."""

from __future__ import annotations

import asyncio

import pytest

from callfare.committer import Committer
from callfare.errors import CallfareError, InsufficientCredit
from callfare.ledger.rows import Account, Event
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import close, grant, nano, open_run, record


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(str(tmp_path / "callfare.db"))
    store.create()
    yield store
    store.close()


async def test_cancelled_calls_are_charged_once_however_often_they_are_retried(store):
    committer = Committer(store)
    await committer.commit_async(grant("alice", 500))
    await committer.commit_async(open_run("r1", hold=200))
    calls = [record(1, run_id="r1", key=f"call-{number}") for number in range(100)]
    tasks = [asyncio.create_task(committer.commit_async(call)) for call in calls]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    retried = await asyncio.gather(*(committer.commit_async(call) for call in calls))

    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 50
    assert all(receipt.is_replay for receipt in retried)
    await committer.commit_async(close("r1"))
    ((account, _),) = store.scan(Account)
    assert account.posted_nanocredits == nano(400)
    assert faults(store) == []
    committer.close()


async def test_a_timeout_leaves_the_answer_to_the_retry(store):
    committer = Committer(store)
    waiting = committer.commit_async(grant("alice", 5, key="slow"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0)

    receipt = await committer.commit_async(grant("alice", 5, key="slow"))

    assert store.facts().rows["grants"] == 1
    assert receipt.nanocredits == nano(5)
    committer.close()


def test_a_loop_that_ends_in_the_middle_takes_nothing_along(store):
    committer = Committer(store)

    async def leave() -> None:
        tasks = [asyncio.create_task(committer.commit_async(grant("alice", 1, key=f"key-{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        assert len(tasks) == 50

    asyncio.run(leave())
    committer.close()

    assert store.facts().rows["keys"] == 50


def test_sync_and_async_callers_and_many_threads_share_one_account(store):
    committer = Committer(store)
    committer.commit(grant("alice", 100))

    async def spend(name: int) -> list[object]:
        asked = [committer.commit_async(open_run(f"{name}-{number}", hold=1)) for number in range(40)]
        return await asyncio.gather(*asked, return_exceptions=True)

    async def everybody() -> list[object]:
        loops = [asyncio.to_thread(asyncio.run, spend(name)) for name in range(4)]
        alone = [asyncio.to_thread(_open_or_refusal, committer, f"sync-{number}") for number in range(40)]
        return [answer for part in await asyncio.gather(*loops, *alone) for answer in part]

    answers = asyncio.run(everybody())
    committer.close()

    assert len(answers) == 200
    assert sum(isinstance(answer, InsufficientCredit) for answer in answers) == 100
    ((account, _),) = store.scan(Account)
    assert account.held_nanocredits == nano(100)
    assert len(list(store.scan(Event))) == 0
    assert faults(store) == []


def _open_or_refusal(committer: Committer, run_id: str) -> list[object]:
    try:
        return [committer.commit(open_run(run_id, hold=1))]
    except CallfareError as refusal:
        return [refusal]
