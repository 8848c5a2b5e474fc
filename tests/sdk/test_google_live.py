"""Live sessions that a wrapped client of Google's opens: admitted before they open, charged turn by turn."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
from google import genai
from google.genai import types

from callfare.capture import google
from callfare.capture.google_live import LiveTalk
from callfare.devtools.fake_google import FakeGoogle
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from callfare.usage.quantities import leaves
from tests.capture.realtime import counted
from tests.support.certificates import certified

MODEL = "gemini-live-2.5-flash"
TEXT = {"response_modalities": ["TEXT"]}
SPOKEN = {"response_modalities": ["AUDIO"]}
REFUSAL = InsufficientCredit("alice", needed=Credits(1), available=Credits(0))

# "hi there" is two tokens; 57 of text or 42 of sound come back, after 64 of thought.
IN_TEXT = {"input_tokens": 2, "output_tokens": 121, "reasoning_tokens": 64}
IN_SOUND = {"input_tokens": 2, "output_tokens": 106, "output_audio_tokens": 42, "reasoning_tokens": 64}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for the loopback address, and who signed it."""
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def gemini(files):
    with FakeGoogle(tls=files.context()) as server:
        yield server


@pytest.fixture
def client(gemini, files, meter):
    trusting = ssl.create_default_context(cafile=str(files.authority))
    options = {"base_url": gemini.base_url, "async_client_args": {"ssl": trusting}}
    with genai.Client(api_key="none", http_options=options) as bare:
        yield google.wrap(bare, meter)


def settled(meter):
    """What was settled, in order."""
    return [(counted(reading.usage), estimated) for one in meter.tickets for reading, estimated in one.settled]


async def say(session, text="hi there"):
    await session.send_client_content(turns={"role": "user", "parts": [{"text": text}]}, turn_complete=True)


async def listen(session):
    """Read a turn, and return its last message."""
    messages = [message async for message in session.receive()]
    return messages[-1]


async def test_each_turn_of_a_session_is_charged(client, meter):
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session)
        last = await listen(session)

    assert settled(meter) == [(IN_TEXT, False)]
    assert sum(leaves(IN_TEXT).values()) == last.usage_metadata.total_token_count == 123
    ticket = next(ticket for ticket in meter.tickets if ticket.settled)
    assert (ticket.intent.provider, ticket.intent.model) == ("google", MODEL)
    assert [bool(ticket.settled) + ticket.released for ticket in meter.tickets] == [1] * len(meter.tickets)


async def test_sound_and_pictures_and_the_turns_before_stand_apart(client, meter):
    async with client.aio.live.connect(model=MODEL, config=SPOKEN) as session:
        await say(session)
        await listen(session)
        picture = {"inline_data": {"mime_type": "image/png", "data": b"png"}}
        await session.send_client_content(turns={"role": "user", "parts": [picture]}, turn_complete=False)
        await session.send_realtime_input(audio=types.Blob(data=b"\1" * 32_000, mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(audio=types.Blob(data=b"\0" * 100, mime_type="audio/pcm;rate=16000"))
        await listen(session)

    # Two tokens of text, 42 of its own sound, a second of the caller's, a picture.
    second = {
        "input_tokens": 327,
        "input_audio_tokens": 67,
        "input_image_tokens": 258,
        "output_tokens": 106,
        "output_audio_tokens": 42,
        "reasoning_tokens": 64,
    }
    assert settled(meter) == [(IN_SOUND, False), (second, False)]


async def test_counts_that_go_on_within_a_turn_are_one(client, meter):
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session, "count early")
        last = await listen(session)

    [(usage, is_estimated)] = settled(meter)
    assert (sum(leaves(usage).values()), is_estimated) == (last.usage_metadata.total_token_count, False)


async def test_what_a_model_does_before_and_after_a_tool_are_two_calls(client, meter):
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session, "use a tool")
        async for message in session.receive():
            if message.tool_call:
                break
        answer = types.FunctionResponse(id="call_1", name="look", response={"seen": "boats"})
        await session.send_tool_response(function_responses=[answer])
        await listen(session)

    assert [usage["input_tokens"] for usage, _ in settled(meter)] == [3, 13]
    assert settled(meter)[0][0]["output_tokens"] == 69


async def test_a_session_is_refused_before_its_socket_opens(client, meter, gemini):
    meter.refusal = REFUSAL

    with pytest.raises(InsufficientCredit):
        async with client.aio.live.connect(model=MODEL, config=TEXT):
            pass

    assert (gemini.count, meter.tickets) == (0, [])


async def test_a_session_goes_on_only_while_what_its_last_turn_cost_is_there_again(client, meter):
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session)
        meter.refusal = REFUSAL
        last = await listen(session)
        with pytest.raises(InsufficientCredit):
            await say(session)

    assert last.server_content.turn_complete
    assert settled(meter) == [(IN_TEXT, False)]


async def test_a_session_that_breaks_is_settled_by_what_was_received(client, meter, gemini):
    gemini.script(Fault(drop_after=4))
    async with client.aio.live.connect(model=MODEL, config=SPOKEN) as session:
        await say(session)
        with pytest.raises(genai.errors.APIError):
            await listen(session)

    # Three messages with a twenty-fifth of a second of sound each came.
    assert settled(meter) == [({"input_tokens": 2, "output_tokens": 3, "output_audio_tokens": 3}, True)]


async def test_a_session_that_is_left_is_settled_with_what_had_arrived(client, meter, gemini):
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session)
        async for _ in session.receive():
            break

    [(usage, _)] = settled(meter)
    assert usage["input_tokens"] == 2


async def test_a_task_that_is_cancelled_settles_its_session(client, meter, gemini):
    pause = Pause(after=4)
    gemini.script(Fault(pause=pause))
    reading = asyncio.Event()

    async def speak():
        async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
            await say(session)
            async for _ in session.receive():
                reading.set()

    task = asyncio.create_task(speak())
    await reading.wait()
    task.cancel()
    pause.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(settled(meter)) == 1


@pytest.mark.parametrize(
    "used",
    [
        None,
        {"promptTokenCount": -1, "responseTokenCount": 57},
        {"promptTokenCount": 10**30, "responseTokenCount": 57},
        {"promptTokenCount": float("nan"), "responseTokenCount": 57},
        {"responseTokenCount": 57},
        {"promptTokenCount": 2},
    ],
)
def test_counts_that_cannot_be_true_are_replaced_by_what_was_seen(used):
    talk = LiveTalk(provider="google", base_url="http://127.0.0.1", model=MODEL)
    text = "x" * 228
    said = {"clientContent": {"turns": [{"parts": [{"text": "hi there"}]}], "turnComplete": True}}
    part = {"serverContent": {"modelTurn": {"parts": [{"text": text}]}}}
    end = {"serverContent": {"turnComplete": True}} | ({"usageMetadata": used} if used else {})

    talk.asked(json.dumps(said))
    spent = [one for event in (part, end) for one in talk.heard(json.dumps(event))] or [*talk.unfinished()]

    [one] = spent
    assert (one.settlement.estimated, counted(one.settlement.reading.usage)) == (
        True,
        {"input_tokens": 2, "output_tokens": 57},
    )


async def test_a_client_that_is_wrapped_twice_counts_a_session_once(client, meter):
    other = google.wrap(client, meter, user="ann")

    async with other.aio.live.connect(model=MODEL, config=TEXT) as session:
        await say(session)
        await listen(session)

    assert settled(meter) == [(IN_TEXT, False)]
    assert {ticket.user for ticket in meter.tickets} == {"ann"}
