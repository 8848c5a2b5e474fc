"""Streams of Cohere's SDK: each way one can end, and whose it is however late its request is sent."""

from __future__ import annotations

import asyncio
import gc
import threading

import cohere
import httpx
import pytest

from callfare import AsyncCallfare, Callfare
from callfare.capture import leftovers
from callfare.capture.cohere import wrap
from callfare.devtools.fake_cohere import FakeCohere
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from tests.sdk.test_cohere import HELLO, MODEL, USAGE, closed, made

ASKED = {"model": MODEL, "messages": HELLO}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves a stream waits until it is settled, however busy the machine is."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


@pytest.fixture
def server():
    with FakeCohere() as fake:
        yield fake


@pytest.fixture
def client(server, meter):
    with made(cohere.ClientV2, server) as bare:
        yield wrap(bare, meter)


@pytest.fixture
async def async_client(server, meter):
    bare = made(cohere.AsyncClientV2, server)
    yield wrap(bare, meter)
    await closed(bare)


def is_a_part(ticket):
    """Whether a stream was settled once, by an estimate of what came of it."""
    assert ticket.ended.wait(60)
    return ticket.is_estimated and ticket.usage["input_tokens"] == 2 and 0 < ticket.usage["output_tokens"] < 57


def test_a_loop_that_is_left_is_charged_for_what_came(client, meter):
    for number, _ in enumerate(client.chat_stream(**ASKED)):
        if number == 4:
            break
    gc.collect()

    assert is_a_part(meter.ticket)


def test_a_loop_that_is_left_at_the_end_of_the_text_is_charged_exactly(client, meter):
    for event in client.chat_stream(**ASKED):
        if event.type == "content-end":
            break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)


def test_a_stream_that_is_closed_is_charged_for_what_came(client, meter):
    stream = client.chat_stream(**ASKED)
    for _ in range(5):
        next(stream)

    stream.close()

    assert is_a_part(meter.ticket)


def test_a_stream_that_is_dropped_is_charged_for_what_came(client, meter):
    stream = client.chat_stream(**ASKED)
    for _ in range(5):
        next(stream)

    del stream
    gc.collect()

    assert is_a_part(meter.ticket)


def test_a_stream_nobody_reads_is_not_sent(client, server, meter):
    stream = client.chat_stream(**ASKED)

    stream.close()

    assert (server.count, meter.tickets) == (0, [])


def test_a_stream_that_breaks_is_charged_for_what_came(client, server, meter):
    server.script(Fault(drop_after=5))

    with pytest.raises(httpx.RemoteProtocolError):
        list(client.chat_stream(**ASKED))

    assert is_a_part(meter.ticket)


def test_a_former_stream_that_breaks_is_charged_for_what_came(server, meter):
    server.script(Fault(drop_after=5))

    with made(cohere.Client, server) as bare, pytest.raises(httpx.RemoteProtocolError):
        list(wrap(bare, meter).chat_stream(model=MODEL, message="hi there"))

    assert is_a_part(meter.ticket)


def test_a_stream_without_a_count_is_an_estimate(client, server, meter):
    server.script(Fault(usage=None))

    list(client.chat_stream(**ASKED))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, True)


def test_a_stream_whose_count_cannot_be_true_is_an_estimate(client, server, meter):
    server.script(Fault(usage={"billed_units": {"input_tokens": 10**13, "output_tokens": 57}}))

    list(client.chat_stream(**ASKED))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, True)


def test_a_raw_stream_is_settled_however_it_is_left(client, meter):
    with client.with_raw_response.chat_stream(**ASKED) as reply:
        whole = list(reply.data)
    with client.with_raw_response.chat_stream(**ASKED) as reply:
        next(reply.data)
    with pytest.raises(KeyError), client.with_raw_response.chat_stream(**ASKED) as reply:
        raise KeyError

    read, begun, unread = meter.tickets
    assert (read.usage, read.is_estimated, whole[-1].type) == (USAGE, False, "message-end")
    assert (begun.is_estimated, unread.is_estimated) == (True, True)


async def test_an_async_loop_that_is_left_is_charged_for_what_came(async_client, meter):
    stream = async_client.chat_stream(**ASKED)
    for _ in range(5):
        await anext(stream)

    await stream.aclose()

    assert await asyncio.to_thread(is_a_part, meter.ticket)


async def test_an_async_stream_that_is_dropped_is_charged_for_what_came(async_client, meter):
    stream = async_client.chat_stream(**ASKED)
    for _ in range(5):
        await anext(stream)

    del stream
    gc.collect()

    assert await asyncio.to_thread(is_a_part, meter.ticket)


async def test_an_async_stream_that_breaks_is_charged_for_what_came(async_client, server, meter):
    server.script(Fault(drop_after=5))

    with pytest.raises(httpx.RemoteProtocolError):
        [event async for event in async_client.chat_stream(**ASKED)]

    assert is_a_part(meter.ticket)


async def test_an_async_stream_that_is_cancelled_is_charged_for_what_came(async_client, server, meter):
    pause = Pause(after=5)
    server.script(Fault(pause=pause))

    begun = asyncio.Event()

    async def read():
        async for event in async_client.chat_stream(**ASKED):
            if event.type == "content-delta":
                begun.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pause.released.set()

    assert await asyncio.to_thread(meter.ticket.ended.wait, 60)
    assert meter.ticket.is_estimated


async def test_a_raw_async_stream_is_settled_however_it_is_left(async_client, meter):
    async with async_client.with_raw_response.chat_stream(**ASKED) as reply:
        whole = [event async for event in reply.data]
    async with async_client.with_raw_response.chat_stream(**ASKED) as reply:
        await anext(reply.data)

    read, begun = meter.tickets
    assert (read.usage, read.is_estimated, whole[-1].type) == (USAGE, False, "message-end")
    assert begun.is_estimated


# Whose a stream is


def test_a_stream_is_its_askers_though_it_is_read_elsewhere(server):
    with made(cohere.ClientV2, server) as bare, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.user("alice"):
            stream = fare.wrap(bare).chat_stream(**ASKED)

        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        thread.join()

        assert fare.usage("alice").calls == 1


async def test_an_async_stream_is_its_askers_though_it_is_read_elsewhere(server):
    bare = made(cohere.AsyncClientV2, server)
    async with AsyncCallfare("memory://") as fare:
        await fare.grant("alice", 2000, key="k")
        with fare.user("alice"):
            stream = fare.wrap(bare).chat_stream(**ASKED)

        read = [event async for event in stream]

        assert read[-1].type == "message-end"
        assert (await fare.usage("alice")).calls == 1
    await closed(bare)


def test_a_refusal_of_a_stream_is_raised_before_it_is_sent(client, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        next(client.chat_stream(**ASKED))

    assert server.count == 0
