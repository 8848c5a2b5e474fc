"""Odd callers of good sense: subclasses of text and numbers, totals near the range, calls cancelled halfway."""

from __future__ import annotations

import asyncio
from enum import IntEnum, StrEnum

import pytest

from callfare import AsyncCallfare, AsyncRun, Callfare, Credits
from callfare.clock import ManualClock
from callfare.errors import AmountOutOfRange
from tests.facade.doors import START, balance, chat, image, status
from tests.support.fixtures import address, give_back


class Person(StrEnum):
    """Users as some apps write them."""

    ALICE = "alice"


class Id(str):
    """An id as some apps write them."""

    __slots__ = ()


class Amount(IntEnum):
    """Amounts as some apps write them."""

    TEN = 10


async def test_text_and_numbers_of_ones_own_kind_are_what_they_say(fare):
    await fare.grant(Person.ALICE, Amount.TEN, key=Id("welcome"), source=Id("promo"))
    async with fare.run(
        Id("opera"), user=Id("alice"), run_id=Id("r1"), hold=Amount.TEN, input={Id("a"): Amount.TEN}
    ) as run:
        with run.step(Id("cover")):
            await chat(run, Amount.TEN, operation=Id("chat"), provider=Id("openai"), response_id=Id("resp_1"))
    await run.record(
        Id("gpt-5-mini"),
        {Id("input_tokens"): Amount.TEN},
        metadata={"a": Person.ALICE},
        attributes={Id("size"): Id("x")},
    )

    assert (await fare.grant("alice", 10, key="welcome", source="promo")).is_replay
    assert await status(fare) == "completed"
    (_, late) = (await fare.calls("r1")).items
    assert (late.model, late.metadata, dict(late.usage)) == ("gpt-5-mini", {"a": "alice"}, {"input_tokens": 10})
    assert await balance(fare, Person.ALICE) == ("9.9877", "0", "0", "9.9877", "0")


# Ten to the eighth seconds of video are 8 * 10^8 credits; the range ends after about 9.2 * 10^9.
GREAT = {"model": "sora-2", "usage": {"video_seconds": 10**8}, "attributes": {"resolution": "1080p"}}


async def test_a_debt_beyond_the_range_is_refused_and_nothing_is_written(fare, ledger):
    await fare.grant("alice", 1, key="welcome")
    for _ in range(11):
        await fare.record(**GREAT, user="alice")
    before = ledger.rows()

    with pytest.raises(AmountOutOfRange):
        await fare.record(**GREAT, user="alice")

    assert ledger.rows() == before
    assert (await fare.balance("alice")).debt == Credits("8799999999")


@pytest.mark.here("it grants more than the ledger counts of one key in a day")
async def test_usage_of_one_quarter_of_an_hour_beyond_the_range_is_refused_and_nothing_is_written(fare, ledger):
    await fare.grant("alice", "8800000000", key="one")
    for _ in range(11):
        await fare.record(**GREAT, user="alice")
    await fare.grant("alice", "800000000", key="two")
    before = ledger.rows()

    with pytest.raises(AmountOutOfRange):
        await fare.record(**GREAT, user="alice")

    assert ledger.rows() == before
    assert (await fare.usage("alice")).credits == Credits("8800000000")


async def test_a_refusal_does_not_harm_those_who_wait_together_with_it(ledger):
    fare = ledger.open()
    await fare.grant("alice", 100, key="welcome")
    run = await fare.open_run("story", user="alice", hold=50)

    answers = await asyncio.gather(
        image(run), fare.grant("alice", 7, key="welcome"), image(run), fare.open_run("story", user="bob", hold=1),
        fare.close_run("ghost"), image(run), return_exceptions=True,
    )  # fmt: skip

    assert [getattr(answer, "code", "done") for answer in answers] == [
        "done", "key_conflict", "done", "insufficient_credit", "run_not_found", "done",
    ]  # fmt: skip
    assert (await fare.balance("alice")).spent == Credits(24)


async def test_a_verification_says_what_it_read_and_how_far_it_is(fare):
    await fare.grant("alice", 100, key="welcome")
    await image(fare, user="alice")
    heard = []

    found = await fare.verify(lambda table, count: heard.append(table))

    assert (found.is_clean, found.faults, found.fault_count) == (True, (), 0)
    assert (found.counted["grants"], found.counted["events"], found.counted["transfers"]) == (1, 1, 2)
    assert {"grants", "events", "transfers"} <= set(heard)
    assert sum(found.totals_nanocredits.values()) == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres", pytest.param("convex", marks=pytest.mark.all)])
def test_both_kinds_of_facade_share_one_ledger(tmp_path, kind):
    url = address(kind, tmp_path)

    async def middle():
        async with AsyncCallfare(url) as fare:
            run = await fare.open_run("story", user="alice", run_id="r1", hold=50)
            await image(run)
            return run.left

    with Callfare(url) as fare:
        fare.grant("alice", 100, key="welcome")
        left = asyncio.run(middle())
        again = fare.open_run("story", user="alice", run_id="r1", hold=50)
        receipt = fare.close_run("r1")

        assert (left, again.left, receipt.charged) == (Credits(42), Credits(42), Credits(8))
        assert fare.verify().is_clean
    give_back(tmp_path)


def test_one_async_facade_serves_one_loop_after_another():
    fare = AsyncCallfare("memory://")

    asyncio.run(fare.grant("alice", 100, key="welcome"))
    asyncio.run(image(fare, user="alice"))

    assert asyncio.run(balance(fare)) == ("92", "0", "0", "92", "0")
    asyncio.run(fare.close())


# Cancelled awaits, of the async façade alone


@pytest.fixture(params=["memory", "sqlite", "postgres", pytest.param("convex", marks=pytest.mark.all)])
async def waits(request, tmp_path):
    """An async façade on each store, on a ledger in which alice has 100 credits."""
    async with AsyncCallfare(address(request.param, tmp_path), clock=ManualClock(START)) as fare:
        await fare.grant("alice", 100, key="welcome")
        yield fare
    give_back(tmp_path)


async def cancelled(coroutine, ticks):
    """Start something, cancel it after so many turns of the loop, and return how it ended."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancelled_call_is_charged_once_when_it_is_repeated(waits, ticks):
    run = await waits.open_run("story", user="alice", hold=50)

    await cancelled(image(run, key="one"), ticks)
    await image(run, key="one")

    assert (await waits.balance("alice")).spent == Credits(8)


@pytest.mark.parametrize("ticks", range(6))
async def test_a_run_cancelled_while_it_is_opened_keeps_no_credit(waits, ticks):
    async def work():
        async with waits.run("story", user="alice", run_id="r1", hold=50):
            await asyncio.Event().wait()

    await cancelled(work(), ticks)
    # Whatever the cancelled task had handed over is settled before what comes after it.
    await waits.grant("alice", 1, key="more")

    assert (await waits.balance("alice")).held == Credits(0)


@pytest.mark.parametrize("ticks", range(6))
async def test_a_run_without_an_id_is_open_only_where_its_handle_was_returned(waits, ticks):
    answer = await cancelled(waits.open_run("story", user="alice", hold=50), ticks)
    await waits.grant("alice", 1, key="more")

    runs = (await waits.history("alice")).items
    assert [run.status for run in runs].count("open") == isinstance(answer, AsyncRun)


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancelled_close_can_be_repeated(waits, ticks):
    run = await waits.open_run("story", user="alice", run_id="r1", hold=50)
    await image(run)

    await cancelled(run.close(), ticks)
    receipt = await run.close()

    assert receipt.charged == Credits(8)
    assert await balance(waits) == ("92", "0", "0", "92", "0")
