"""Raw replies of OpenAI's SDK are metered however they are read, and read as they are without metering."""

from __future__ import annotations

import gc
import json

import openai
import pytest

HELLO = [{"role": "user", "content": "hi there"}]
CHAT = {"model": "gpt-5-mini", "messages": HELLO}
EXACT = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64}


async def test_a_raw_reply_is_settled_before_it_is_parsed(either, meter):
    raw = await either.do(lambda client: client.chat.completions.with_raw_response.create(**CHAT))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)
    assert raw.status_code == 200
    assert raw.parse().usage.total_tokens == 126
    assert len(meter.ticket.settled) == 1


async def test_a_raw_speech_is_settled_by_its_characters(either, meter):
    raw = await either.do(
        lambda client: client.audio.speech.with_raw_response.create(
            model="gpt-4o-mini-tts", voice="alloy", input="hello"
        )
    )

    assert len(raw.content) == 80
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 5}, False)


async def test_a_raw_reply_to_a_client_of_raw_replies_is_metered(either, meter):
    await either.do(lambda client: client.with_raw_response.responses.create(model="gpt-5-mini", input="hey"))

    assert meter.ticket.usage["output_tokens"] == 111


async def test_the_stream_of_a_raw_reply_is_metered(either, meter):
    raw = await either.do(lambda client: client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    stream = raw.parse()
    is_async = isinstance(either.client, openai.AsyncOpenAI)

    chunks = [chunk async for chunk in stream] if is_async else list(stream)

    assert (raw.headers["content-type"], raw.parse() is stream) == ("text/event-stream", True)
    assert len(chunks) == 44
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


def test_a_raw_reply_dropped_while_its_stream_is_read_changes_nothing(client, meter):
    raw = client.chat.completions.with_raw_response.create(**CHAT, stream=True)
    stream = raw.parse()
    del raw
    gc.collect()

    chunks = list(stream)

    assert len(chunks) == 44
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


def test_a_raw_reply_whose_stream_is_never_read_is_settled(client, meter):
    client.chat.completions.with_raw_response.create(**CHAT, stream=True).http_response.close()
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 0}, True)


# with_streaming_response


async def read_streaming(either, call, read):
    """Open a streaming reply and return what reading it gives; `read` returns a value, an awaitable or an iterator."""
    if isinstance(either.client, openai.AsyncOpenAI):
        async with call(either.client) as raw:
            found = read(raw)
            return [piece async for piece in found] if hasattr(found, "__anext__") else await found
    with call(either.client) as raw:
        found = read(raw)
        return list(found) if hasattr(found, "__next__") else found


def plain(client):
    return client.chat.completions.with_streaming_response.create(**CHAT)


def streamed(client):
    return client.chat.completions.with_streaming_response.create(**CHAT, stream=True)


def asked(client):
    options = {"include_usage": True}
    return client.chat.completions.with_streaming_response.create(**CHAT, stream=True, stream_options=options)


@pytest.mark.parametrize(
    ("read", "total_tokens"),
    [
        (lambda raw: raw.parse(), lambda found: found.usage.total_tokens),
        (lambda raw: raw.json(), lambda found: found["usage"]["total_tokens"]),
        (lambda raw: raw.read(), lambda found: json.loads(found)["usage"]["total_tokens"]),
        (lambda raw: raw.text(), lambda found: json.loads(found)["usage"]["total_tokens"]),
        (lambda raw: raw.iter_bytes(7), lambda found: json.loads(b"".join(found))["usage"]["total_tokens"]),
        (lambda raw: raw.iter_text(7), lambda found: json.loads("".join(found))["usage"]["total_tokens"]),
        (lambda raw: raw.iter_lines(), lambda found: json.loads("".join(found))["usage"]["total_tokens"]),
    ],
    ids=["parse", "json", "read", "text", "iter_bytes", "iter_text", "iter_lines"],
)
async def test_a_streaming_reply_is_settled_however_it_is_read(either, meter, read, total_tokens):
    found = await read_streaming(either, plain, read)

    assert total_tokens(found) == 126
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


@pytest.mark.parametrize(
    ("read", "as_text"),
    [
        (lambda raw: raw.read(), lambda found: found.decode()),
        (lambda raw: raw.text(), lambda found: found),
        (lambda raw: raw.iter_bytes(7), lambda found: b"".join(found).decode()),
        (lambda raw: raw.iter_text(7), "".join),
        (lambda raw: raw.iter_lines(), lambda found: "".join(f"{line}\n" for line in found)),
    ],
    ids=["read", "text", "iter_bytes", "iter_text", "iter_lines"],
)
async def test_the_raw_events_of_a_stream_are_counted_without_the_one_nobody_asked_for(either, meter, read, as_text):
    shown = as_text(await read_streaming(either, streamed, read))

    assert (shown.count("data: {"), shown.count("data: [DONE]")) == (44, 1)
    assert '"usage": {' not in shown
    assert "\n\n\n" not in shown
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_the_raw_event_with_the_count_is_shown_to_who_asked_for_it(either, meter):
    pieces = await read_streaming(either, asked, lambda raw: raw.iter_bytes(7))

    shown = b"".join(pieces).decode()
    assert shown.count("data: {") == 45
    assert {len(piece) for piece in pieces[:-1]} == {7}
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_the_stream_of_a_streaming_reply_is_metered(either, meter):
    if isinstance(either.client, openai.AsyncOpenAI):
        async with streamed(either.client) as raw:
            chunks = [chunk async for chunk in await raw.parse()]
    else:
        with streamed(either.client) as raw:
            chunks = list(raw.parse())

    assert len(chunks) == 44
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_a_streaming_reply_left_unread_is_an_estimate(either, meter):
    if isinstance(either.client, openai.AsyncOpenAI):
        async with plain(either.client) as raw:
            assert raw.status_code == 200
    else:
        with plain(either.client) as raw:
            assert raw.status_code == 200

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 0}, True)


def test_raw_events_left_early_are_counted_as_far_as_they_came(client, meter):
    with streamed(client) as raw:
        for number, _ in enumerate(raw.iter_lines()):
            if number == 6:
                break
        assert meter.ticket.is_estimated

    assert meter.ticket.usage == {"input_tokens": 2, "output_tokens": 4}


async def test_speech_written_to_a_file_is_settled_when_it_begins(either, meter, tmp_path):
    def speak(client):
        return client.audio.speech.with_streaming_response.create(model="gpt-4o-mini-tts", voice="alloy", input="hello")

    if isinstance(either.client, openai.AsyncOpenAI):
        async with speak(either.client) as raw:
            assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 5}, False)
            await raw.stream_to_file(tmp_path / "a.mp3")
    else:
        with speak(either.client) as raw:
            assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 5}, False)
            raw.stream_to_file(tmp_path / "a.mp3")

    assert (tmp_path / "a.mp3").stat().st_size == 80
    assert len(meter.ticket.settled) == 1


def test_raw_events_of_speech_have_tokens_beside_the_characters(client, meter):
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="hello", stream_format="sse"
    ) as raw:
        lines = list(raw.iter_lines())

    assert "event: speech.audio.done" in lines
    assert meter.ticket.usage == {
        "input_tokens": 2,
        "output_tokens": 10,
        "output_audio_tokens": 10,
        "characters": 5,
    }


def test_raw_events_of_speech_left_early_still_cost_all_characters(client, meter):
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="hello", stream_format="sse"
    ) as raw:
        next(raw.iter_lines())

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 5}, False)
