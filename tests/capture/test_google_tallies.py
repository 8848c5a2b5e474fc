"""What the chunks of Gemini's streams add up to, whatever they are called and whatever they leave out."""

from __future__ import annotations

import json
from types import SimpleNamespace as Of

import pytest

from callfare.capture.google_dialect import GoogleDialect
from callfare.capture.settlements import Ticketed
from callfare.capture.streams import Moment, Watch
from tests.capture.fake_meter import FakeMeter


@pytest.fixture
def meter():
    return FakeMeter()


def chunk(text="", *, args=None, ends=False, **used):
    parts = [{"text": text}] if text else []
    parts += [{"functionCall": {"name": "count", "args": args}}] if args else []
    candidate = {"content": {"parts": parts}} | ({"finishReason": "STOP"} if ends else {})
    told = {"candidates": [candidate], "responseId": "r1", "modelVersion": "gemini-2.5-flash"}
    return told | ({"usageMetadata": used} if used else {})


def stream(meter, *chunks):
    """Read the chunks of a stream to its end, as the metered client does."""
    request = GoogleDialect().request_of(
        "models/gemini-2.5-flash:streamGenerateContent",
        operation="chat",
        base_url="https://generativelanguage.googleapis.com",
        body={"contents": [{"parts": [{"text": "Hello there."}]}]},
        options={},
        is_stream=True,
    )
    watch = Watch(request, Ticketed(meter.admit(request.intent)))
    for event in (Of(body=json.dumps(told)) for told in chunks):
        if not watch.takes_lightly(event):
            watch.take(event)
    watch.settle(Moment.ENDED)


def test_what_a_model_tells_a_tool_is_no_count(meter):
    stream(
        meter,
        chunk("a", promptTokenCount=5, candidatesTokenCount=9),
        chunk(args={"promptTokenCount": 77}, ends=True),
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 9}, False)


def test_a_count_beside_a_call_of_a_tool_counts(meter):
    stream(
        meter,
        chunk("a", promptTokenCount=5, candidatesTokenCount=1),
        chunk(args={"usageMetadata": 1}, ends=True, promptTokenCount=5, candidatesTokenCount=9),
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 9}, False)


def test_a_last_count_without_the_prompt_adds_to_those_before(meter):
    stream(
        meter,
        chunk("a", promptTokenCount=5, candidatesTokenCount=1),
        chunk("b", ends=True, candidatesTokenCount=9, totalTokenCount=14),
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 9}, False)


def test_a_prompt_that_was_blocked_has_no_output_and_is_exact(meter):
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1"}

    stream(meter, blocked | {"usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}})

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 8}, False)


def test_text_whose_output_is_not_counted_is_an_estimate(meter):
    stream(meter, chunk("four" * 3, ends=True, promptTokenCount=8, totalTokenCount=8))

    assert meter.ticket.is_estimated
