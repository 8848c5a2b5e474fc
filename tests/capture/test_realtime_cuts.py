"""Realtime sessions that break, are left or say what cannot be true: what came of them is charged all the same."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings

import pytest

from callfare.capture import leftovers
from callfare.capture.openai_sessions import RealtimeTalk
from callfare.capture.recent import RECENT
from callfare.devtools.stand_in import Fault, Pause
from tests.capture.realtime import FIRST, HELLO, SPOKEN, ask, connect, counted, entered, hear, said, settled


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


# Cut short

# What was said first is two tokens of text. Six events came: the session, the greeting, a response, and of it two
# pieces of text with 9 bytes and one of sound.
CUT = ("gpt-realtime", {"input_tokens": 2, "output_tokens": 4, "output_audio_tokens": 1}, True)


async def test_a_session_that_breaks_is_settled_by_what_was_received(either, meter, fake):
    fake.script(Fault(drop_after=6))
    connection = await entered(connect(either))
    await ask(connection)

    with pytest.raises(Exception, match="close frame"):
        await hear(connection)

    assert settled(meter) == [CUT]


async def test_a_session_that_is_closed_in_the_middle_is_settled_with_what_had_arrived(either, meter, fake):
    pause = Pause(after=6)
    fake.script(Fault(pause=pause))
    connection = await entered(connect(either))
    await ask(connection, max_output_tokens=8)
    assert pause.reached.wait(60)

    # Nothing was read yet.
    threading.Timer(0, pause.released.set).start()
    await said(connection.close())

    [(model, usage, _)] = settled(meter)
    assert (model, usage["input_tokens"], usage["output_tokens"] in range(4, 9)) == ("gpt-realtime", 2, True)


async def test_a_session_that_is_dropped_unread_is_settled(either, meter, fake):
    fake.script(Fault(drop_after=6))
    connection = await entered(connect(either))
    await ask(connection)
    await hear(connection, "response.output_audio.delta")
    tickets = [ticket for ticket in meter.tickets if not ticket.released]

    del connection
    gc.collect()

    assert tickets[-1].ended.wait(60)
    assert settled(meter) == [("gpt-realtime", {"input_tokens": 2, "output_tokens": 2, "output_audio_tokens": 1}, True)]


async def test_a_cancelled_reader_loses_no_event(async_client, meter):
    async with async_client.realtime.connect(model="gpt-realtime") as connection:
        await ask(connection)
        is_settling, may_settle = asyncio.Event(), asyncio.Event()
        admit = meter.admit_async

        async def slowly(intent, *, user=None):
            is_settling.set()
            await may_settle.wait()
            return await admit(intent, user=user)

        meter.admit_async = slowly
        reading = asyncio.create_task(hear(connection))
        await is_settling.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        may_settle.set()

        event = await connection.recv()

    assert event.type == "response.done"
    assert settled(meter) == [SPOKEN]


async def test_a_task_that_is_cancelled_settles_its_session(async_client, meter, fake):
    pause = Pause(after=6)
    fake.script(Fault(pause=pause))
    reading = asyncio.Event()

    async def speak():
        async with async_client.realtime.connect(model="gpt-realtime") as connection:
            await ask(connection)
            await hear(connection, "response.output_audio.delta")
            reading.set()
            await hear(connection)

    task = asyncio.create_task(speak())
    await reading.wait()
    task.cancel()
    pause.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(settled(meter)) == 1
    assert settled(meter)[0][1]["input_tokens"] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_session_that_a_forked_child_drops_is_its_parents_to_settle(client, meter):
    connection = client.realtime.connect(
        model="gpt-realtime", websocket_connection_options={"close_timeout": 0.1}
    ).enter()
    connection.conversation.item.create(item=HELLO)
    connection.response.create(response={"metadata": {"hold": "yes"}})
    while connection.recv().type != "response.output_audio.delta":
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(120)
        leftovers.LEFTOVERS.make_ready()
        del connection
        gc.collect()
        os._exit(len(settled(meter)))
    _, status = os.waitpid(child, 0)
    connection.close()

    assert (os.waitstatus_to_exitcode(status), len(settled(meter))) == (0, 1)


# What cannot be true

HOSTILE = [
    {"input_tokens": -5, "output_tokens": 99, "total_tokens": 80},
    {"input_tokens": float("nan"), "output_tokens": 99},
    {"input_tokens": 10**30, "output_tokens": 99},
    {"input_tokens": "many", "output_tokens": 99},
    {"input_tokens": 2, "output_tokens": 99, "input_token_details": {"audio_tokens": 10**9}},
]


@pytest.mark.parametrize("usage", HOSTILE)
async def test_counts_that_cannot_be_true_are_replaced_by_what_was_seen(either, meter, fake, usage):
    fake.script(Fault(usage=usage))
    connection = await entered(connect(either))
    await ask(connection)
    event = await hear(connection)
    await said(connection.close())

    assert event.type == "response.done"
    [(_, counts, is_estimated)] = settled(meter)
    assert (counts["input_tokens"], counts["output_tokens"], is_estimated) == (2, 99, True)


async def test_a_response_without_a_count_is_estimated_by_what_came(either, meter, fake):
    fake.script(Fault(usage=None))
    connection = await entered(connect(either))
    await ask(connection)
    await hear(connection)
    await said(connection.close())

    assert settled(meter) == [("gpt-realtime", counted(FIRST), True)]


@pytest.mark.parametrize("message", ["", "[]", "7", '{"type": []}', '{"type": "response.done", "response": 7}', "{"])
def test_a_message_that_makes_no_sense_does_no_harm(message, meter):
    talk = talk_of()

    talk.asked(message)
    talk.heard(message)

    assert talk.unfinished() == []


def talk_of():
    return RealtimeTalk(provider="openai", base_url="http://127.0.0.1", model="gpt-realtime")


def test_a_number_of_ten_thousand_digits_does_not_lose_its_event(meter):
    used = '{"input_tokens": ' + "9" * 10_000 + ', "output_tokens": 4}'
    done = '{"type": "response.done", "response": {"id": "resp_1", "usage": ' + used + "}}"

    [spent] = talk_of().heard(done)

    assert (counted(spent.settlement.reading.usage), spent.settlement.estimated) == ({"output_tokens": 4}, True)
