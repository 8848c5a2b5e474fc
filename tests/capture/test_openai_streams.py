"""However a stream of OpenAI's SDK ends, its caller sees the same events, and it is settled once."""

from __future__ import annotations

import gc
import os
import signal
import threading

import openai
import pytest

from callfare.capture import leftovers
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.openai import wrap
from callfare.devtools.stand_in import Fault
from tests.capture.fake_meter import FakeMeter

HELLO = [{"role": "user", "content": "hi there"}]
EXACT = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64}
# The first event has no text; the words after it are "for", " bread" and " and": thirteen bytes, four tokens.
FOUR_EVENTS = {"input_tokens": 2, "output_tokens": 4}


def chat(client, **options):
    return client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True, **options)


def respond(client, **options):
    return client.responses.create(model="gpt-5-mini", input="hi there", stream=True, **options)


# Read to the end


async def test_a_stream_read_to_its_end_is_settled_by_the_providers_count(either, meter):
    chunks = await either.events(chat)

    assert len(chunks) == 44
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_the_chunk_with_the_count_is_asked_for_and_not_shown(either, fake):
    chunks = await either.events(chat)

    assert fake.requests[-1].fields["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


async def test_the_chunk_with_the_count_is_shown_to_who_asked_for_it(either, meter):
    chunks = await either.events(lambda client: chat(client, stream_options={"include_usage": True}))

    assert (len(chunks), chunks[-1].choices, chunks[-1].usage.total_tokens) == (45, [], 126)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_other_options_of_a_stream_are_kept_beside_ours(either, fake):
    chunks = await either.events(
        lambda client: chat(client, stream_options={"include_usage": False, "include_obfuscation": False})
    )

    assert fake.requests[-1].fields["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert len(chunks) == 44


async def test_options_of_a_stream_in_the_extra_body_are_kept_there(either, fake, meter):
    chunks = await either.events(
        lambda client: chat(client, extra_body={"stream_options": {"include_obfuscation": False}})
    )

    assert fake.requests[-1].fields["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert len(chunks) == 44
    assert not meter.ticket.is_estimated


def test_the_callers_own_options_are_not_changed(client):
    options = {"include_obfuscation": False}
    extra = {"stream_options": options}

    list(chat(client, extra_body=extra))

    assert extra == {"stream_options": {"include_obfuscation": False}}


async def test_several_choices_are_all_counted(either, meter):
    await either.events(lambda client: chat(client, n=2))

    assert meter.ticket.usage == {
        "input_tokens": 5,
        "cached_input_tokens": 1,
        "output_tokens": 242,
        "reasoning_tokens": 128,
    }


async def test_a_streamed_response_is_settled_by_its_last_event(either, meter):
    events = await either.events(respond)

    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {
        "input_tokens": 5,
        "cached_input_tokens": 1,
        "output_tokens": 121,
        "reasoning_tokens": 64,
    }
    assert (reading.response_id, estimated) == (events[-1].response.id, False)


def test_a_stream_is_settled_before_its_last_event_is_handed_out(client, meter):
    settled = [(event.type, len(meter.ticket.settled)) for event in respond(client)]

    assert settled[-2:] == [("response.output_item.done", 0), ("response.completed", 1)]


async def test_a_streamed_response_that_is_cut_short_by_its_limit_is_counted(either, meter):
    events = await either.events(lambda client: respond(client, max_output_tokens=3))

    assert events[-1].type == "response.incomplete"
    assert (meter.ticket.usage["output_tokens"], meter.ticket.is_estimated) == (3, False)


async def test_a_streamed_transcript_is_settled_by_its_last_event(either, meter, wav):
    await either.events(
        lambda client: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", wav), stream=True)
    )

    assert meter.ticket.usage == {"input_tokens": 15, "input_audio_tokens": 15, "output_tokens": 45}


async def test_streamed_images_are_settled_when_the_last_is_made(either, meter):
    await either.events(
        lambda client: client.images.generate(
            model="gpt-image-1", prompt="a cat", size="1024x1536", n=2, stream=True, partial_images=1
        )
    )

    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {
        "input_tokens": 2,
        "output_tokens": 3168,
        "output_image_tokens": 3168,
        "images": 2,
    }
    assert (reading.attributes["size"], estimated) == ("1024x1536", False)


async def test_the_helper_for_streamed_chats_is_metered_once(either, meter):
    if isinstance(either.client, openai.AsyncOpenAI):
        async with either.client.chat.completions.stream(model="gpt-5-mini", messages=HELLO) as stream:
            completion = await stream.get_final_completion()
    else:
        with either.client.chat.completions.stream(model="gpt-5-mini", messages=HELLO) as stream:
            completion = stream.until_done().get_final_completion()

    assert completion.choices[0].message.content.startswith("for bread")
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_the_helper_for_streamed_responses_is_metered_once(either, meter):
    if isinstance(either.client, openai.AsyncOpenAI):
        async with either.client.responses.stream(model="gpt-5-mini", input="hi there") as stream:
            response = await stream.get_final_response()
    else:
        with either.client.responses.stream(model="gpt-5-mini", input="hi there") as stream:
            response = stream.get_final_response()

    assert response.output_text.startswith("for bread")
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


# Providers that do not count, or count otherwise


async def test_a_stream_that_ends_without_a_count_is_an_estimate(either, meter, fake):
    fake.script(Fault(usage=None))

    chunks = await either.events(chat)

    assert len(chunks) == 44
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


async def test_a_streamed_response_that_ends_without_a_count_is_an_estimate(either, meter, fake):
    fake.script(Fault(usage=None))

    await either.events(respond)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


async def test_a_provider_that_cannot_be_asked_for_a_count_is_asked_once(either, meter, fake):
    fake.script(Fault(status=400, message="Unrecognized request argument supplied: stream_options"))

    first = await either.events(chat)
    second = await either.events(chat)

    assert (len(first), len(second), fake.count) == (44, 44, 3)
    assert [ticket.is_estimated for ticket in meter.tickets] == [True, True]
    assert [ticket.released for ticket in meter.tickets] == [0, 0]


def test_a_caller_who_asked_for_the_count_hears_that_it_is_refused(client, meter, fake):
    fake.script(Fault(status=400, message="Unrecognized request argument supplied: stream_options"))

    with pytest.raises(openai.BadRequestError):
        chat(client, stream_options={"include_usage": True})

    assert (meter.ticket.released, fake.count) == (1, 1)


# Left early


def test_a_loop_left_early_is_settled_at_once_by_what_was_received(client, meter):
    stream = chat(client)
    for number, _ in enumerate(stream):
        if number == 3:
            break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)
    stream.close()
    assert len(meter.ticket.settled) == 1


async def test_an_async_loop_left_early_is_settled_by_what_was_received(async_client, meter):
    stream = await chat(async_client)
    number = 0
    async for _ in stream:
        number += 1
        if number == 4:
            break
    await stream.close()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_loop_left_at_the_end_of_the_text_has_the_exact_count(either, meter):
    stream = await either.do(chat)
    if isinstance(either.client, openai.AsyncOpenAI):
        async for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
        await stream.close()
    else:
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


def test_a_stream_taken_up_again_is_corrected_by_the_count(client, meter):
    stream = chat(client)
    for number, _ in enumerate(stream):
        if number == 3:
            break

    rest = list(stream)

    assert len(rest) == 40
    [(first, is_first_estimated), (second, is_second_estimated)] = meter.ticket.settled
    assert (first.usage, is_first_estimated) == (FOUR_EVENTS, True)
    assert (second.usage, is_second_estimated) == (EXACT, False)


def test_a_stream_taken_up_again_and_closed_is_corrected_by_what_more_came(client, meter):
    stream = chat(client)
    next(iter(stream))
    for number, _ in enumerate(stream):
        if number == 2:
            break
    stream.close()

    [(first, _), (second, is_estimated)] = meter.ticket.settled
    assert first.usage == {"input_tokens": 2, "output_tokens": 0}
    assert (second.usage, is_estimated) == (FOUR_EVENTS, True)


def test_an_error_of_the_callers_own_leaves_the_stream_settled(client, meter):
    def read_three_words():
        for number, _ in enumerate(chat(client)):
            if number == 3:
                raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        read_three_words()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_stream_closed_early_is_settled_by_what_was_received(either, meter):
    stream = await either.do(chat)
    if isinstance(either.client, openai.AsyncOpenAI):
        async with stream:
            for _ in range(4):
                await anext(stream)
    else:
        with stream:
            for _ in range(4):
                next(stream)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_helper_left_early_is_settled_when_it_closes_the_response(either, meter):
    if isinstance(either.client, openai.AsyncOpenAI):
        async with either.client.responses.stream(model="gpt-5-mini", input="hi there") as stream:
            await anext(stream)
    else:
        with either.client.responses.stream(model="gpt-5-mini", input="hi there") as stream:
            next(stream)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 0}, True)


def test_a_stream_that_is_dropped_unread_is_settled(client, meter):
    chat(client)

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 0}, True)


def test_a_stream_that_is_collected_in_a_cycle_is_settled(client, meter):
    cycle = {"stream": chat(client)}
    for _ in range(4):
        next(cycle["stream"])
    cycle["itself"] = cycle

    del cycle
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_an_async_stream_that_is_dropped_is_settled(async_client, meter):
    stream = await chat(async_client)
    for _ in range(4):
        await anext(stream)
    inner = stream._inner

    del stream
    gc.collect()
    await inner.close()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


def test_a_stream_collected_while_the_ledger_is_busy_holds_nobody_up(client, meter, monkeypatch):
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 1)
    busy = threading.Lock()
    stream = chat(client)
    [ticket] = meter.tickets
    settle = ticket.settle

    def settle_when_free(reading, *, estimated=False):
        with busy:
            settle(reading, estimated=estimated)

    ticket.settle = settle_when_free
    with busy:
        del stream
        assert ticket.settled == []

    assert ticket.ended.wait(60)
    assert ticket.is_estimated


def test_a_forked_child_leaves_its_parents_streams_alone(client, meter):
    stream = chat(client)
    next(stream)

    child = os.fork()
    if child == 0:
        signal.alarm(120)
        LEFTOVERS.make_ready()
        del stream
        gc.collect()
        os._exit(0 if not meter.ticket.settled and not meter.ticket.ended.wait(0.3) else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    stream.close()
    assert meter.ticket.is_estimated


def test_a_forked_child_settles_its_own_streams(client, meter, fake):
    chat(client).close()

    child = os.fork()
    if child == 0:
        signal.alarm(120)
        own = FakeMeter()
        chat(wrap(openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0), own))
        os._exit(0 if own.ticket.ended.wait(100) else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


# Broken


async def test_a_stream_that_breaks_raises_what_the_sdk_raises_and_is_settled(either, meter, bare, fake):
    fake.script(Fault(drop_after=4), Fault(drop_after=4))
    with pytest.raises(Exception, match=r"(?i)connection") as expected:
        list(chat(bare))

    with pytest.raises(type(expected.value)):
        await either.events(chat)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_an_error_within_a_stream_is_raised_and_the_stream_settled(either, meter, fake):
    fake.script(Fault(error_after=4, message="overloaded"))

    with pytest.raises(openai.APIError, match="overloaded"):
        await either.events(chat)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (FOUR_EVENTS, True)


async def test_a_count_that_came_before_the_break_is_exact(either, meter, fake):
    fake.script(Fault(drop_after=45))

    with pytest.raises(Exception, match=r"(?i)connection"):
        await either.events(chat)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_an_answer_that_breaks_before_its_first_event_is_an_estimate(either, meter, fake):
    fake.script(Fault(error_after=0))

    with pytest.raises(openai.APIError):
        await either.events(respond)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 0}, True)


async def test_a_stream_that_is_not_granted_lets_the_call_go(either, meter, fake):
    fake.script(Fault(status=429))

    with pytest.raises(openai.RateLimitError):
        await either.do(chat)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_meter_that_breaks_does_not_break_the_stream(either, meter):
    meter.breaks = True

    chunks = await either.events(chat)

    assert len(chunks) == 44


# What a proxy hands through


def test_a_metered_stream_is_taken_for_the_sdks_own(client):
    stream = chat(client)

    assert isinstance(stream, openai.Stream)
    assert stream.response.status_code == 200
    assert stream.response.headers["content-type"] == "text/event-stream"
    stream.response.close()


async def test_an_async_metered_stream_is_taken_for_the_sdks_own(async_client):
    stream = await chat(async_client)

    assert isinstance(stream, openai.AsyncStream)
    assert stream.response.status_code == 200
    await stream.response.aclose()
