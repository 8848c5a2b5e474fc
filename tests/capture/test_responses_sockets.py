"""Responses over a web socket: each request is admitted as if it were posted, and charged by its last event."""

from __future__ import annotations

import asyncio

import pytest

from callfare.capture.recent import RECENT
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from tests.capture.realtime import counted, entered, hear, said

ASK = {"model": "gpt-5-mini", "input": "hi there"}
# Five tokens, of which one is cached; 121 come back, 64 of them thought.
ANSWER = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64}


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


def settled(meter):
    """What was settled, in order."""
    return [(counted(reading.usage), estimated) for one in meter.tickets for reading, estimated in one.settled]


async def test_each_response_over_a_socket_is_admitted_and_charged(either, meter, fake):
    connection = await entered(either.client.responses.connect())
    for _ in range(2):
        await said(connection.response.create(**ASK, max_output_tokens=500))
        event = await hear(connection, "response.completed")
    await said(connection.close())

    assert settled(meter) == [(ANSWER, False), (ANSWER, False)]
    asked = [ticket for ticket in meter.tickets if ticket.settled]
    assert [dict(ticket.intent.usage) for ticket in asked] == [{"input_tokens": 2, "output_tokens": 500}] * 2
    assert asked[0].settled[0][0].model == event.response.model == "gpt-5-mini-2025-08-07"
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_a_response_that_is_refused_is_not_sent_and_the_next_one_may_be(either, meter, fake):
    connection = await entered(either.client.responses.connect())
    meter.refusal = InsufficientCredit("alice", needed=Credits(1), available=Credits(0))
    with pytest.raises(InsufficientCredit):
        await said(connection.response.create(**ASK))
    meter.refusal = None

    await said(connection.response.create(**ASK))
    await hear(connection, "response.completed")
    await said(connection.close())

    assert settled(meter) == [(ANSWER, False)]


async def test_lanes_are_told_apart(either, meter):
    connection = await entered(either.client.responses.connect())
    for lane, limit in (("a", 30), ("b", 20)):
        await said(connection.send({"type": "response.create", "stream_id": lane, "max_output_tokens": limit, **ASK}))

    for _ in range(2):
        await hear(connection, "response.incomplete")
    await said(connection.close())

    assert [usage["output_tokens"] for usage, _ in settled(meter)] == [30, 20]


async def test_a_request_that_the_provider_refuses_costs_nothing(either, meter):
    connection = await entered(either.client.responses.connect())
    await said(connection.response.create(input="hi there"))
    await hear(connection, "error")
    await said(connection.response.create(**ASK))
    await hear(connection, "response.completed")
    await said(connection.close())

    assert settled(meter) == [(ANSWER, False)]
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_a_response_that_is_cut_off_is_charged_by_what_came(either, meter, fake):
    fake.script(Fault(drop_after=5))
    connection = await entered(either.client.responses.connect())
    await said(connection.response.create(**ASK))

    with pytest.raises(Exception, match="close frame"):
        await hear(connection, "response.completed")

    # Two pieces of text came, with nine bytes.
    [(usage, is_estimated)] = settled(meter)
    assert (usage["input_tokens"], usage["output_tokens"] in range(1, 5), is_estimated) == (2, True, True)


async def test_a_response_without_a_count_is_estimated_by_its_text(either, meter, fake):
    fake.script(Fault(usage=None))
    connection = await entered(either.client.responses.connect())
    await said(connection.response.create(**ASK))
    await hear(connection, "response.completed")
    await said(connection.close())

    assert settled(meter) == [({"input_tokens": 2, "output_tokens": 57}, True)]


async def test_many_lanes_at_once_are_each_charged_once(async_client, meter):
    async with async_client.responses.connect() as connection:
        await asyncio.gather(
            *(connection.send({"type": "response.create", "stream_id": f"lane{n}", **ASK}) for n in range(10))
        )
        for _ in range(10):
            await hear(connection, "response.completed")

    assert settled(meter) == [(ANSWER, False)] * 10


async def test_what_is_missing_in_a_lane_is_estimated_by_its_own_request(either, meter, fake):
    fake.script(Fault(usage=None))
    connection = await entered(either.client.responses.connect())
    for lane, text in (("a", "hi there"), ("b", "hi there, and twice as long")):
        await said(
            connection.send({"type": "response.create", "stream_id": lane, "model": "gpt-5-mini", "input": text})
        )

    for _ in range(2):
        await hear(connection, "response.completed")
    await said(connection.close())

    assert [usage["input_tokens"] for usage, _ in settled(meter)] == [2, 7]
