"""Realtime sessions that a wrapped client opens: admitted before they open, charged response by response."""

from __future__ import annotations

import contextvars
import json
import threading

import pytest

from callfare.capture.base import marked_as_metered
from callfare.capture.openai import wrap
from callfare.capture.realtime import listener
from callfare.capture.recent import RECENT
from callfare.errors import InsufficientCredit, UnpricedModel
from callfare.money import Credits
from callfare.usage.quantities import leaves
from tests.capture.fake_meter import FakeMeter
from tests.capture.realtime import (
    FIRST,
    HELLO,
    SECOND_OF_SOUND,
    SILENCE,
    SPOKEN,
    ask,
    connect,
    counted,
    entered,
    hear,
    said,
    settled,
)

REFUSAL = InsufficientCredit("alice", needed=Credits(1), available=Credits(0))


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


# However it is read


async def test_a_session_that_is_iterated_is_charged_response_by_response(either, meter):
    connection = await entered(connect(either))
    await ask(connection)

    if hasattr(connection, "__aiter__"):
        async for event in connection:
            if event.type == "response.done":
                break
    else:
        for event in connection:
            if event.type == "response.done":
                break

    assert settled(meter) == [SPOKEN]
    await said(connection.close())
    assert settled(meter) == [SPOKEN]
    assert sum(leaves(FIRST).values()) == event.response.usage.total_tokens


async def test_a_session_that_is_read_as_bytes_is_charged_as_well(either, meter):
    connection = await entered(connect(either))
    await ask(connection)

    kinds = [connection.parse_event(await said(connection.recv_bytes())).type]
    while kinds[-1] != "response.done":
        kinds.append(connection.parse_event(await said(connection.recv_bytes())).type)

    assert settled(meter) == [SPOKEN]
    await said(connection.close())


async def test_a_session_that_is_dispatched_to_handlers_is_charged(either, meter):
    connection = await entered(connect(either))
    if not hasattr(connection, "dispatch_events"):
        pytest.skip("this major has no handlers")
    done = []
    connection.on("response.done", lambda event: done.append(event) or connection.close())
    await ask(connection)

    await said(connection.dispatch_events())

    assert (len(done), settled(meter)) == (1, [SPOKEN])


def test_a_session_within_its_manager_is_charged_and_let_go(client, meter):
    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.conversation.item.create(item=HELLO)
        connection.response.create()
        for event in connection:
            if event.type == "response.done":
                break

    assert settled(meter) == [SPOKEN]
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_an_async_session_does_not_block_the_event_loop(async_client, meter):
    async with async_client.realtime.connect(model="gpt-realtime") as connection:
        await ask(connection)
        await hear(connection)

    # Opened, asked for, settled, asked whether it may go on.
    assert meter.async_count == 4


async def test_messages_queued_before_a_session_opens_are_admitted(either, meter):
    manager = connect(either)
    if not hasattr(manager, "send"):
        pytest.skip("this major has no queue")
    manager.send({"type": "conversation.item.create", "item": HELLO})
    manager.send({"type": "response.create"})

    connection = await entered(manager)
    await hear(connection)

    assert settled(meter) == [SPOKEN]
    await said(connection.close())


# What is charged


async def test_sound_text_and_the_cache_of_a_second_response_stand_apart(either, meter):
    connection = await entered(connect(either))
    await ask(connection)
    await hear(connection)

    await said(connection.input_audio_buffer.append(audio=SECOND_OF_SOUND))
    await said(connection.input_audio_buffer.append(audio=SILENCE))
    event = await hear(connection)
    await said(connection.close())

    # It reads the greeting, the reply (57 of text, 42 of sound) and a second of sound; the greeting is cached.
    second = {
        "input_tokens": 111,
        "cached_input_tokens": 2,
        "input_audio_tokens": 52,
        "output_tokens": 99,
        "output_audio_tokens": 42,
    }
    assert settled(meter) == [SPOKEN, ("gpt-realtime", second, False)]
    assert sum(leaves(second).values()) == event.response.usage.total_tokens == 210


async def test_a_transcript_is_a_call_of_its_own_model(either, meter):
    connection = await entered(connect(either))
    session = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    await said(connection.send({"type": "session.update", "session": session}))
    await said(connection.input_audio_buffer.append(audio=SECOND_OF_SOUND))
    await said(connection.input_audio_buffer.commit())
    await hear(connection, "conversation.item.input_audio_transcription.completed")
    await said(connection.close())

    assert settled(meter) == [
        ("gpt-4o-transcribe", {"input_tokens": 10, "input_audio_tokens": 10, "output_tokens": 5}, False)
    ]
    [ticket] = [ticket for ticket in meter.tickets if ticket.settled]
    assert ticket.intent.operation == "transcription"


async def test_a_response_in_text_is_counted_as_text(either, meter):
    connection = await entered(connect(either))
    await ask(connection, output_modalities=["text"])
    await hear(connection)
    await said(connection.close())

    assert settled(meter) == [("gpt-realtime", {"input_tokens": 2, "output_tokens": 57}, False)]


async def test_a_cancelled_response_costs_what_was_counted_of_it(either, meter):
    connection = await entered(connect(either))
    await ask(connection, metadata={"hold": "yes"})
    await hear(connection, "response.output_audio.delta")

    await said(connection.response.cancel())
    event = await hear(connection)
    await said(connection.close())

    assert event.response.status == "cancelled"
    assert settled(meter) == [SPOKEN]


async def test_a_response_that_was_refused_by_the_provider_is_let_go(either, meter):
    connection = await entered(connect(either))
    await ask(connection, metadata={"hold": "yes"})
    await hear(connection, "response.created")
    await said(connection.response.create())

    await hear(connection, "error")
    await said(connection.response.cancel())
    await hear(connection)
    await said(connection.close())

    assert settled(meter) == [SPOKEN]
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


# Refused


async def test_a_session_is_refused_before_its_socket_opens(either, meter, fake):
    meter.refusal = REFUSAL

    with pytest.raises(InsufficientCredit):
        await entered(connect(either))

    assert (fake.count, meter.tickets) == (0, [])


async def test_a_session_of_a_model_without_a_price_is_refused(either, meter, fake):
    meter.refusal = UnpricedModel("gpt-realtime", reason="it has no price")

    with pytest.raises(UnpricedModel):
        await entered(connect(either))

    assert fake.count == 0


async def test_a_response_that_is_refused_is_not_asked_for_and_the_session_goes_on(either, meter):
    connection = await entered(connect(either))
    await said(connection.conversation.item.create(item=HELLO))
    admit = meter.admit

    def refuse_asked(intent, *, user=None):
        if intent.usage.get("output_tokens") == 500:
            raise REFUSAL
        return admit(intent, user=user)

    meter.admit = refuse_asked
    with pytest.raises(InsufficientCredit):
        await said(connection.response.create(response={"max_output_tokens": 500}))
    await said(connection.response.create(response={"max_output_tokens": 400}))
    await hear(connection)
    await said(connection.close())

    assert settled(meter) == [SPOKEN]
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_a_session_goes_on_only_while_what_its_last_response_cost_is_there_again(either, meter):
    connection = await entered(connect(either))
    await ask(connection)
    await hear(connection, "response.created")
    meter.refusal = REFUSAL

    event = await hear(connection)
    with pytest.raises(InsufficientCredit):
        await said(connection.recv())
    with pytest.raises(InsufficientCredit):
        await said(connection.response.create())

    assert event.response.status == "completed"
    assert settled(meter) == [SPOKEN]


async def test_what_the_next_response_may_cost_is_held_as_much_as_the_last(either, meter):
    connection = await entered(connect(either))
    await ask(connection, max_output_tokens=400)
    await hear(connection)
    asked = [ticket.intent.usage for ticket in meter.tickets]
    await said(connection.close())

    assert asked[0] == {}
    assert asked[1] == {"input_tokens": 2, "output_tokens": 400, "output_audio_tokens": 400}
    assert counted(asked[2]) == counted(FIRST)


# Whose it is, and how often


async def test_a_listener_beside_a_wrapped_client_counts_nothing_twice(either, meter):
    hears = listener(meter)
    connection = await entered(connect(either))
    await ask(connection)
    event = await hear(connection)

    hears(event)
    await said(connection.close())

    assert settled(meter) == [SPOKEN]


def test_a_client_that_is_wrapped_twice_counts_a_session_once(bare, meter):
    other = FakeMeter()
    client = wrap(wrap(bare, other), meter, user="ann")

    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.conversation.item.create(item=HELLO)
        connection.response.create()
        while connection.recv().type != "response.done":
            pass

    assert (settled(meter), other.tickets) == ([SPOKEN], [])
    assert {ticket.user for ticket in meter.tickets} == {"ann"}


def test_a_session_that_an_outer_layer_meters_is_not_counted_again(client, meter):
    with marked_as_metered(), client.realtime.connect(model="gpt-realtime") as connection:
        connection.recv()

    assert meter.tickets == []


def test_the_given_client_stays_as_it_is(bare, client, meter):
    with bare.realtime.connect(model="gpt-realtime") as connection:
        connection.recv()

    assert meter.tickets == []
    assert isinstance(client.realtime, type(bare.realtime))
    assert type(client.realtime) is type(bare.realtime)


def test_a_copy_of_a_client_meters_its_sessions(client, meter):
    with client.with_options(timeout=60).realtime.connect(model="gpt-realtime") as connection:
        connection.conversation.item.create(item=HELLO)
        connection.response.create()
        while connection.recv().type != "response.done":
            pass

    assert settled(meter) == [SPOKEN]


def test_a_session_belongs_to_the_context_it_was_asked_for_in(client, meter):
    whose = contextvars.ContextVar("whose", default="nobody")
    seen = []
    admit = meter.admit

    def remember(intent, *, user=None):
        seen.append(whose.get())
        return admit(intent, user=user)

    meter.admit = remember
    whose.set("alice")
    manager = client.realtime.connect(model="gpt-realtime")
    whose.set("bob")

    with manager as connection:
        connection.conversation.item.create(item=HELLO)

        def speak():
            connection.response.create()
            while connection.recv().type != "response.done":
                pass

        thread = threading.Thread(target=speak)
        thread.start()
        thread.join()

    assert set(seen) == {"alice"}
    assert settled(meter) == [SPOKEN]


def test_sending_and_reading_in_two_threads_counts_every_response_once(client, meter):
    done = threading.Semaphore(0)

    with client.realtime.connect(model="gpt-realtime") as connection:

        def speak():
            for _ in range(10):
                connection.response.create()
                done.acquire()

        thread = threading.Thread(target=speak)
        thread.start()
        for event in connection:
            if event.type == "response.done":
                done.release()
                if len(settled(meter)) == 10:
                    break
        thread.join()

    assert len(settled(meter)) == 10
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_a_session_that_joins_a_call_learns_its_model(either, meter, fake):
    connection = await entered(connect(either, extra_query={"model": "gpt-realtime-mini"}))
    await ask(connection)
    await hear(connection)
    await said(connection.close())

    assert settled(meter)[0][0] == "gpt-realtime-mini"


async def test_the_older_realtime_api_is_metered_as_well(either, meter, fake):
    if not hasattr(either.client.beta, "realtime"):
        pytest.skip("this major has no beta of it")
    client = either.client.with_options(websocket_base_url=fake.base_url.replace("http", "ws"))
    connection = await entered(client.beta.realtime.connect(model="gpt-realtime"))
    await ask(connection)
    raw = json.loads(await said(connection.recv_bytes()))
    await hear(connection)
    await said(connection.close())

    assert raw["type"] == "session.created"
    assert settled(meter) == [SPOKEN]
