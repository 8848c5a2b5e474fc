"""Realtime sessions of OpenAI's: the SDK itself over a web socket, and what its events say was used."""

from __future__ import annotations

import json
import threading
from fractions import Fraction

import openai
import pytest
from websockets.sync.server import serve

from callfare import Callfare
from callfare.capture.openai import wrap
from callfare.capture.realtime import listener
from callfare.capture.recent import RECENT
from callfare.usage.quantities import leaves

SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
}
USED = {
    "total_tokens": 1300,
    "input_tokens": 1000,
    "output_tokens": 300,
    "input_token_details": {
        "text_tokens": 350,
        "audio_tokens": 600,
        "image_tokens": 50,
        "cached_tokens": 500,
        "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
}
HEARD = {
    "type": "tokens",
    "total_tokens": 60,
    "input_tokens": 50,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 40},
    "output_tokens": 10,
}


def done(number=1, usage=USED, status="completed"):
    response = {"object": "realtime.response", "id": f"resp_{number}", "status": status, "output": [], "usage": usage}
    return {"type": "response.done", "event_id": f"event_{number}", "response": response}


def transcript(usage=HEARD):
    told = {"event_id": "e", "item_id": "item_1", "content_index": 0, "transcript": "Boats.", "usage": usage}
    return {"type": "conversation.item.input_audio_transcription.completed"} | told


EVENTS = [
    {"type": "session.created", "event_id": "e", "session": SESSION},
    transcript(),
    {"type": "response.output_text.delta", "event_id": "e", "delta": "Yes", "response_id": "resp_1", "item_id": "i"},
    done(),
    done(2),
]


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


@pytest.fixture
def address():
    """Where a session tells its events and ends."""

    def tell(connection):
        for event in EVENTS:
            connection.send(json.dumps(event))

    with serve(tell, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


RESPONSE_USED = {
    "input_tokens": 1000,
    "cached_input_tokens": 200,
    "input_audio_tokens": 600,
    "cached_input_audio_tokens": 300,
    "input_image_tokens": 50,
    "output_tokens": 300,
    "output_audio_tokens": 200,
}
# A million of each: text in $4, cached text 0.40, sound in 32, cached sound 0.40, pictures in 5, text out 16, sound 64.
RESPONSE_USD = Fraction(150 * 400 + 200 * 40 + 300 * 3200 + 300 * 40 + 50 * 500 + 100 * 1600 + 200 * 6400, 10**8)
# Text in $2.50, sound in 6, text out 10.
TRANSCRIPT_USD = Fraction(10 * 250 + 40 * 600 + 10 * 1000, 10**8)


def test_a_session_of_the_sdk_is_charged_response_by_response(address):
    with (
        Callfare("memory://") as fare,
        openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9", websocket_base_url=address) as client,
    ):
        fare.grant("alice", 2000, key="k")
        hear = fare.listener("openai_realtime")

        with fare.run("story", user="alice") as run, client.realtime.connect(model="gpt-realtime") as connection:
            for event in connection:
                hear(event)

        calls = fare.calls(run).items
        assert [(call.operation, call.model) for call in calls] == [
            ("transcription", "gpt-4o-transcribe"),
            ("chat", "gpt-realtime"),
            ("chat", "gpt-realtime"),
        ]
        assert [Fraction(str(call.cost)) for call in calls] == [TRANSCRIPT_USD, RESPONSE_USD, RESPONSE_USD]
        assert fare.verify().is_clean


async def test_a_session_of_the_async_sdk_is_heard_without_blocking(address, meter):
    hear = listener(meter)
    async with (
        openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9", websocket_base_url=address) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        async for event in connection:
            await hear.hear_async(event)

    assert [len(ticket.settled) for ticket in meter.tickets] == [1, 1, 1]
    assert meter.async_count == 3


def test_what_a_response_used_is_split_into_disjoint_quantities(meter):
    hear = listener(meter)

    hear(EVENTS[0])
    hear(done())

    assert meter.ticket.usage == RESPONSE_USED
    assert sum(leaves(meter.ticket.usage).values()) == USED["total_tokens"]


def test_an_event_heard_twice_is_counted_once(meter):
    hear = listener(meter)

    hear(EVENTS[0])
    hear(done(7))
    hear(done(7))

    assert [ticket.released for ticket in meter.tickets] == [0, 1]


def test_a_transcript_in_seconds_is_counted_by_them(meter):
    hear = listener(meter)

    hear({"type": "session.updated", "session": {"input_audio_transcription": {"model": "whisper-1"}}})
    hear(transcript({"type": "duration", "seconds": 2.5}))

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.model, reading.usage, estimated) == ("whisper-1", {"audio_seconds": Fraction(5, 2)}, False)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_failed_before_it_used_anything_is_none(meter, status):
    listener(meter)(done(usage=None, status=status))

    assert meter.tickets == []


@pytest.mark.parametrize(
    "event",
    [None, 7, "response.done", [], {"type": []}, {"type": "session.created", "session": 7}, {"type": "\0"}],
)
def test_an_event_that_makes_no_sense_does_no_harm(meter, event):
    listener(meter)(event)

    assert meter.tickets == []


@pytest.mark.parametrize("event", [{"type": "response.done", "response": []}, done(usage={"input": 1})])
def test_a_response_whose_count_cannot_be_read_is_recorded_as_a_call(meter, event):
    listener(meter)(event)

    assert meter.ticket.usage == {"calls": 1}


def test_a_response_of_a_session_whose_model_nobody_told_is_kept_unpriced():
    with Callfare("memory://") as fare, fare.user("alice"):
        fare.grant("alice", 10, key="k")

        fare.listener("openai_realtime")(done())

        assert (fare.usage("alice").calls, fare.usage("alice").unpriced_calls) == (1, 1)


def test_a_session_of_a_kind_that_tells_no_counts_is_said_not_to_be_metered(meter, caplog):
    with openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9") as bare:
        wrap(bare, meter).realtime.translations.connect(model="gpt-realtime-translate")

    assert "does not meter this kind of session" in caplog.text
    assert meter.tickets == []
