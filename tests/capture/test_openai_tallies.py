"""What a stream's events add up to, for providers that count in their own ways."""

from __future__ import annotations

import pytest

from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.tallies import event_in

OPENAI = OpenAIDialect()


def tally(**fields):
    body = {"model": "m", "stream": True, "messages": [], **fields}
    request = OPENAI.request_of(
        "/chat/completions", operation="chat", base_url="http://x/v1", body=body, options={}, is_stream=True
    )
    return OPENAI.tally_of(request)


def chunk(text="", *, finish=None, usage=None, index=0):
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c1", "model": "m-1", "choices": [choice], "usage": usage}


def used(output_tokens):
    return {"prompt_tokens": 7, "completion_tokens": output_tokens}


def test_a_count_in_every_chunk_is_final_only_at_the_end():
    counting = tally()

    finals = []
    for event in (chunk("a", usage=used(1)), chunk("b", usage=used(2)), chunk(finish="stop", usage=used(3))):
        assert not counting.take(event)
        finals.append(counting.is_final)

    assert finals == [False, False, True]
    assert counting.reply["usage"] == used(3)


def test_a_count_with_text_still_to_come_is_good_when_the_stream_ends_well():
    counting = tally()

    counting.take(chunk("a", usage=used(1)))

    assert (counting.is_counted, counting.is_final) == (True, False)


def test_the_count_is_awaited_when_every_choice_has_ended():
    counting = tally(n=2)

    awaited = []
    for event in (chunk("a", finish="stop"), chunk("b", finish="length", index=1), {"choices": [], "usage": used(2)}):
        counting.take(event)
        awaited.append(counting.awaits_count)

    assert awaited == [False, True, False]


def test_an_event_without_choices_before_the_text_is_shown():
    counting = tally()

    hidden = counting.take({"id": "", "choices": [], "prompt_filter_results": []})

    assert (hidden, counting.is_final) == (False, False)


def test_all_text_is_measured_in_bytes_and_none_is_kept():
    counting = tally()
    delta = {
        "content": "naïve",
        "refusal": "no",
        "reasoning_content": "mh",
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
        "audio": {"transcript": "hey", "data": "AAAA"},
    }

    counting.take({"id": "c1", "choices": [{"index": 0, "delta": delta}]})

    assert counting.written_bytes == 6 + 2 + 2 + 2 + 3
    assert "naïve" not in repr([getattr(counting, name, None) for name in ("reply", "_told", "_ended")])


def test_sound_in_the_events_of_a_response_is_no_text():
    request = OPENAI.request_of(
        "/responses", operation="responses", base_url="http://x/v1", body={"model": "m"}, options={}, is_stream=True
    )
    counting = OPENAI.tally_of(request)

    counting.take({"type": "response.output_text.delta", "delta": "abcd"})
    counting.take({"type": "response.function_call_arguments.delta", "delta": "{}"})
    counting.take({"type": "response.audio.delta", "delta": "AAAAAAAA"})

    assert counting.written_bytes == 6


@pytest.mark.parametrize(
    "line", [b"", b": comment", b"event: x", b"data: [DONE]", b"data:", b"data: {broken", b"id: 1"]
)
def test_a_line_without_an_event_is_none(line):
    assert event_in(line) is None


def test_a_line_with_an_event_is_read_with_or_without_a_space():
    assert event_in(b'data: {"a": 1}\r') == {"a": 1}
    assert event_in(b'data:{"a": 1}') == {"a": 1}
