"""Async streams that are cancelled, timed out, or dropped with their event loop are settled all the same."""

from __future__ import annotations

import asyncio
import gc
import threading

import openai
import pytest

from callfare.capture import leftovers
from callfare.capture.openai import wrap
from callfare.devtools.stand_in import Fault, Pause

HELLO = [{"role": "user", "content": "hi there"}]
FOUR_EVENTS = {"input_tokens": 2, "output_tokens": 4}


async def chat(client):
    return await client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True)


async def read(client, has_four):
    number = 0
    async for _ in await chat(client):
        number += 1
        if number == 4:
            has_four.set()


async def test_a_cancelled_stream_is_settled_by_what_was_received(async_client, meter, fake):
    pause = Pause(after=4)
    fake.script(Fault(pause=pause))
    has_four = asyncio.Event()
    reading = asyncio.create_task(read(async_client, has_four))
    await has_four.wait()

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    pause.released.set()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_stream_that_times_out_is_settled_by_what_was_received(async_client, meter, fake):
    pause = Pause(after=4)
    fake.script(Fault(pause=pause))
    stream = await chat(async_client)
    for _ in range(4):
        await anext(stream)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), timeout=0.01)
    pause.released.set()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_second_cancellation_does_not_undo_the_settlement(async_client, meter, fake):
    pause = Pause(after=4)
    fake.script(Fault(pause=pause))
    stream = await chat(async_client)
    for _ in range(4):
        await anext(stream)
    [ticket] = meter.tickets
    settle = ticket.settle_async
    is_settling, may_settle = asyncio.Event(), asyncio.Event()

    async def settle_slowly(reading, *, estimated=False):
        is_settling.set()
        await may_settle.wait()
        await settle(reading, estimated=estimated)

    ticket.settle_async = settle_slowly
    going_on = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    going_on.cancel()
    await is_settling.wait()
    going_on.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going_on
    may_settle.set()
    await asyncio.to_thread(ticket.ended.wait, 60)
    pause.released.set()

    assert (ticket.usage, ticket.is_estimated) == (FOUR_EVENTS, True)


def test_a_stream_left_with_its_event_loop_is_settled(fake, meter):
    async def leave():
        async with openai.AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
            number = 0
            async for _ in await chat(wrap(bare, meter)):
                number += 1
                if number == 4:
                    return

    asyncio.run(leave())

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_an_async_iterator_closed_by_another_task_is_settled(async_client, meter):
    stream = await chat(async_client)
    events = aiter(stream)
    for _ in range(4):
        await anext(events)

    await asyncio.create_task(events.aclose())

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)
    await stream.close()
    assert len(meter.ticket.settled) == 1


async def test_the_event_loop_is_not_held_up_by_a_stream_that_is_dropped(async_client, meter, monkeypatch):
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)
    stream = await chat(async_client)
    await anext(stream)
    inner = stream._inner
    [ticket] = meter.tickets
    may_settle = threading.Event()
    settle = ticket.settle

    def settle_when_told(reading, *, estimated=False):
        may_settle.wait(60)
        settle(reading, estimated=estimated)

    ticket.settle = settle_when_told

    del stream
    gc.collect()

    assert ticket.settled == []
    may_settle.set()
    await inner.close()
    assert await asyncio.to_thread(ticket.ended.wait, 60)
    assert ticket.is_estimated
