"""Streams of xAI's SDK: each way one can end, and whose it is however late its request is sent.

Run by tests/sdk/test_foreign.py, in an environment that has the SDK.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import grpc
import pytest
import xai_sdk

from callfare import AsyncCallfare, Callfare
from callfare.capture.xai import wrap
from callfare.devtools.stand_in import Fault, Pause
from tests.sdk.foreign.xai_kinds import USAGE, Kind, made


async def is_a_part(ticket):
    """Whether a stream was settled once, by the input that was told and what came of its text."""
    assert await asyncio.to_thread(ticket.ended.wait, 60)
    return ticket.is_estimated and ticket.usage["input_tokens"] == 2 and 0 < ticket.usage["output_tokens"] < 57


async def test_a_stream_that_is_closed_is_charged_for_what_came(kind, meter):
    stream = kind.chat().stream()
    for _ in range(5):
        await kind.next(stream)

    await kind.close(stream)
    gc.collect()

    assert await is_a_part(meter.ticket)


async def test_a_stream_that_is_dropped_is_charged_for_what_came(kind, meter, monkeypatch):
    # What OpenTelemetry says of a generator closed elsewhere is kept by pytest, with all that stood in its frames.
    monkeypatch.setattr(logging.getLogger("opentelemetry.context"), "disabled", True)
    stream = kind.chat().stream()
    for _ in range(5):
        await kind.next(stream)

    del stream
    gc.collect()

    assert await is_a_part(meter.ticket)


async def test_a_stream_that_breaks_is_charged_for_what_came(kind, server, meter):
    server.script(Fault(drop_after=5))

    with pytest.raises(grpc.RpcError):
        await kind.chunks()

    assert await is_a_part(meter.ticket)


async def test_a_stream_whose_server_dies_is_charged_for_what_came(kind, server, meter):
    pause = Pause(after=5)
    server.script(Fault(pause=pause))
    stream = kind.chat().stream()
    for _ in range(5):
        await kind.next(stream)

    killing = threading.Thread(target=server.stop)
    killing.start()
    with pytest.raises(grpc.RpcError):
        await kind.chunks(stream)
    pause.released.set()
    await asyncio.to_thread(killing.join)

    assert await is_a_part(meter.ticket)


async def test_a_loop_that_is_left_at_the_end_of_the_text_is_charged_exactly(kind, meter):
    stream = kind.chat().stream()
    while not (await kind.next(stream))[1].choices[0].finish_reason:
        pass
    await kind.close(stream)

    assert await asyncio.to_thread(meter.ticket.ended.wait, 60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)


async def test_a_stream_nobody_reads_is_not_sent(kind, server, meter):
    await kind.close(kind.chat().stream())

    assert (server.count, meter.tickets) == (0, [])


async def test_an_async_stream_that_is_cancelled_is_charged_for_what_came(server, meter):
    bare = made(xai_sdk.AsyncClient, server)
    pause, begun = Pause(after=5), asyncio.Event()
    server.script(Fault(pause=pause))

    async def read():
        async for _ in Kind(wrap(bare, meter)).chat().stream():
            begun.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pause.released.set()

    assert await asyncio.to_thread(meter.ticket.ended.wait, 60)
    assert meter.ticket.is_estimated
    await bare.close()


# Whose it is


def test_a_stream_is_its_askers_though_it_is_read_elsewhere(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.user("alice"):
            stream = Kind(fare.wrap(bare)).chat().stream()

        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        thread.join()

        assert fare.usage("alice").calls == 1


async def test_an_async_stream_is_its_askers_though_it_is_read_elsewhere(server):
    bare = made(xai_sdk.AsyncClient, server)
    async with AsyncCallfare("memory://") as fare:
        await fare.grant("alice", 2000, key="k")
        with fare.user("alice"):
            stream = Kind(fare.wrap(bare)).chat().stream()

        read = [chunk async for _, chunk in stream]

        assert read
        assert (await fare.usage("alice")).calls == 1
    await bare.close()
