"""The committer: commands that wait together are committed together, and nobody's fault is anybody else's."""

from __future__ import annotations

import asyncio

import pytest

from callfare import committer as lane
from callfare.committer import Committer
from callfare.errors import InsufficientCredit, LedgerCorrupt, LedgerUnavailable, Misconfigured
from callfare.ledger.receipts import Receipt
from tests.support.commands import open_run
from tests.support.slow_store import SlowStore, in_thread, until, waiting


@pytest.fixture
def slow():
    return SlowStore(is_slow=True)


def test_a_lone_caller_applies_its_command_itself():
    store = SlowStore()
    committer = Committer(store)

    receipt = committer.commit(open_run("replay"))

    assert receipt.is_replay
    assert committer._thread is None


def test_a_refusal_is_raised_to_its_caller():
    with pytest.raises(InsufficientCredit):
        Committer(SlowStore()).commit(open_run("poor"))


def test_callers_that_wait_together_are_committed_together(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    others = [in_thread(committer.commit, open_run(name)) for name in ("a", "b", "c")]
    waiting(committer, 3)

    slow.go_on.release(2)

    for thread, outcome in others:
        thread.join(60)
        assert outcome == [Receipt()]
    first.join(60)
    assert [sorted(batch) for batch in slow.batches] == [["first"], ["a", "b", "c"]]
    committer.close()


def test_a_batch_is_no_larger_than_the_store_takes(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    threads = [in_thread(committer.commit, open_run(f"r{number}"))[0] for number in range(10)]
    waiting(committer, 10)

    slow.go_on.release(20)

    for thread in (first, *threads):
        thread.join(60)
    assert [len(batch) for batch in slow.batches] == [1, 4, 4, 2]
    committer.close()


def test_one_refusal_fails_no_neighbour(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    poor, refused = in_thread(committer.commit, open_run("poor"))
    rich, accepted = in_thread(committer.commit, open_run("rich"))
    waiting(committer, 2)

    slow.go_on.release(2)

    for thread in (first, poor, rich):
        thread.join(60)
    assert isinstance(refused[0], InsufficientCredit)
    assert accepted == [Receipt()]
    committer.close()


@pytest.mark.parametrize(("name", "kind"), [("fault", ZeroDivisionError), ("corrupt", LedgerCorrupt)])
def test_a_command_that_breaks_a_batch_reaches_its_caller_alone(slow, name, kind):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    bad, refused = in_thread(committer.commit, open_run(name))
    good, accepted = in_thread(committer.commit, open_run("good"))
    waiting(committer, 2)

    slow.go_on.release(10)

    for thread in (first, bad, good):
        thread.join(60)
    assert isinstance(refused[0], kind)
    assert accepted == [Receipt()]
    committer.close()


def test_a_store_that_is_away_is_asked_once_for_a_batch_and_not_for_each(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    callers = [in_thread(committer.commit, open_run(name)) for name in ("away", "good")]
    waiting(committer, 2)

    slow.go_on.release(10)

    for thread, outcome in callers:
        thread.join(60)
        assert isinstance(outcome[0], LedgerUnavailable)
    first.join(60)
    assert len(slow.batches) == 2
    committer.close()


async def test_what_one_tick_of_a_loop_asks_for_is_committed_together():
    store = SlowStore()
    committer = Committer(store)

    await asyncio.gather(*(committer.commit_async(open_run(name)) for name in ("a", "b", "c")))

    assert store.batches == [["a", "b", "c"]]
    committer.close()


async def test_a_refusal_is_raised_to_the_task_that_asked():
    committer = Committer(SlowStore())

    answers = await asyncio.gather(
        committer.commit_async(open_run("poor")), committer.commit_async(open_run("rich")), return_exceptions=True
    )

    assert isinstance(answers[0], InsufficientCredit)
    assert answers[1] == Receipt()
    committer.close()


async def test_a_cancelled_caller_is_written_all_the_same_and_hurts_nobody(slow):
    committer = Committer(slow)
    cancelled = asyncio.create_task(committer.commit_async(open_run("cancelled")))
    neighbour = asyncio.create_task(committer.commit_async(open_run("neighbour")))
    await asyncio.to_thread(slow.began.acquire, timeout=60)

    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    slow.go_on.release(2)

    assert await neighbour == Receipt()
    assert slow.batches == [["cancelled", "neighbour"]]
    committer.close()


async def test_a_caller_cancelled_before_its_tick_ends_is_written_as_well():
    store = SlowStore()
    committer = Committer(store)
    task = asyncio.create_task(committer.commit_async(open_run("cancelled")))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await committer.commit_async(open_run("later"))

    assert [name for batch in store.batches for name in batch] == ["cancelled", "later"]
    committer.close()


def test_a_loop_that_closes_while_it_waits_leaves_the_lane_free(slow):
    committer = Committer(slow)
    loop = asyncio.new_event_loop()
    task = loop.create_task(committer.commit_async(open_run("left")))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert slow.began.acquire(timeout=60)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    slow.go_on.release(2)

    assert committer.commit(open_run("next")) == Receipt()
    assert slow.batches == [["left"], ["next"]]
    committer.close()


def test_two_loops_share_one_lane():
    store = SlowStore()
    committer = Committer(store)

    async def ask(name: str) -> Receipt:
        return await committer.commit_async(open_run(name))

    callers = [in_thread(asyncio.run, ask(name)) for name in ("one", "two")]

    for thread, outcome in callers:
        thread.join(60)
        assert outcome == [Receipt()]
    committer.close()


# The end


def test_closing_applies_what_waits(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    second, outcome = in_thread(committer.commit, open_run("second"))
    waiting(committer, 1)
    closing, _ = in_thread(committer.close)

    slow.go_on.release(2)

    for thread in (first, second, closing):
        thread.join(60)
    assert outcome == [Receipt()]


def test_what_comes_after_the_end_is_refused_and_not_written():
    store = SlowStore()
    committer = Committer(store)
    committer.close()

    with pytest.raises(LedgerUnavailable):
        committer.commit(open_run("late"))
    with pytest.raises(LedgerUnavailable):
        asyncio.run(committer.commit_async(open_run("late")))
    assert store.batches == []


def test_closing_twice_is_harmless():
    committer = Committer(SlowStore())
    asyncio.run(committer.commit_async(open_run("one")))

    committer.close()
    committer.close()


def test_what_waited_before_the_end_is_applied_even_when_others_come_after_it(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    second = lane._Waiter(open_run("second"))
    committer._hand_over(second)
    closing, _ = in_thread(committer.close)
    until(lambda: committer._is_closed)
    late, refused = in_thread(committer.commit, open_run("late"))
    late.join(1)

    slow.go_on.release(10)

    for thread in (first, closing, late):
        thread.join(60)
        assert not thread.is_alive()
    assert second.wait() == Receipt()
    assert isinstance(refused[0], LedgerUnavailable)
    assert slow.batches == [["first"], ["second"]]


def test_a_caller_that_is_handed_over_while_the_lane_closes_does_not_wait_for_ever(slow):
    committer = Committer(slow)
    first, _ = in_thread(committer.commit, open_run("first"))
    assert slow.began.acquire(timeout=60)
    asyncio_thread, outcome = in_thread(asyncio.run, committer.commit_async(open_run("second")))
    waiting(committer, 1)
    closing, _ = in_thread(committer.close)

    slow.go_on.release(10)

    for thread in (first, asyncio_thread, closing):
        thread.join(60)
        assert not thread.is_alive()
    # The end may have come before the second had quite been handed over: then it is refused, and not written.
    assert (outcome == [Receipt()]) == (slow.batches == [["first"], ["second"]])
    assert outcome == [Receipt()] or isinstance(outcome[0], LedgerUnavailable)


# Threads that cannot be had


@pytest.fixture
def without_threads(monkeypatch):
    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lane.threading.Thread, "start", refuse)


async def test_a_task_is_told_when_no_thread_can_be_started(without_threads):
    store = SlowStore()
    committer = Committer(store)

    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(committer.commit_async(open_run("one")), 60)

    assert not committer._queue
    assert store.batches == []


async def test_the_lane_recovers_when_threads_can_be_had_again(monkeypatch):
    committer = Committer(SlowStore())
    with monkeypatch.context() as patched:
        patched.setattr(lane.threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no")))
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(committer.commit_async(open_run("one")), 60)

    assert await asyncio.wait_for(committer.commit_async(open_run("two")), 60) == Receipt()
    committer.close()


async def test_a_task_is_told_when_gevent_came_too_late(monkeypatch):
    def refuse() -> None:
        raise Misconfigured("gevent patched threads after callfare was imported")

    monkeypatch.setattr(lane, "_refuse_late_gevent", refuse)
    committer = Committer(SlowStore())

    with pytest.raises(Misconfigured):
        await asyncio.wait_for(committer.commit_async(open_run("one")), 60)


async def test_commands_that_belong_together_are_committed_together_and_answered_one_by_one():
    store = SlowStore()
    committer = Committer(store)

    answers = await committer.commit_many_async([open_run("a"), open_run("poor"), open_run("replay")])

    assert [sorted(batch) for batch in store.batches] == [["a", "poor", "replay"]]
    assert answers[0] == Receipt()
    assert isinstance(answers[1], InsufficientCredit)
    assert isinstance(answers[2], Receipt)
    assert answers[2].is_replay
    committer.close()


async def test_a_caller_of_many_who_is_cancelled_is_written_all_the_same(slow):
    committer = Committer(slow)
    asked = asyncio.create_task(committer.commit_many_async([open_run("a"), open_run("b")]))
    await asyncio.to_thread(slow.began.acquire, timeout=60)

    asked.cancel()
    slow.go_on.release(2)
    await asyncio.to_thread(committer.close)

    assert [sorted(batch) for batch in slow.batches] == [["a", "b"]]
    assert asked.cancelled() or await asyncio.gather(asked, return_exceptions=True)
