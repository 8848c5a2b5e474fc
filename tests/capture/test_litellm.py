"""What litellm tells of its calls, as plain objects: read, charged once, to whoever's they were when they began."""

from __future__ import annotations

from types import SimpleNamespace as Of

import pytest

from callfare.capture import litellm
from callfare.capture.recent import RECENT
from tests.capture.fake_meter import FakeMeter


@pytest.fixture
def meter():
    return FakeMeter()


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


REPLY = {
    "id": "chatcmpl-1",
    "model": "claude-sonnet-5",
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 40},
        "cache_creation_input_tokens": 30,
    },
}
KWARGS = {"model": "claude", "custom_llm_provider": "anthropic", "call_type": "acompletion", "response_cost": 0.5}
COUNTED = {
    "input_tokens": 100,
    "cached_input_tokens": 40,
    "cache_write_input_tokens": 30,
    "output_tokens": 20,
}


def test_a_call_of_litellms_is_read_with_its_cache(meter):
    litellm.listener(meter, user="alice").log_success_event(
        kwargs=KWARGS, response_obj=REPLY, start_time=None, end_time=None
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated, meter.ticket.user) == (COUNTED, False, "alice")
    assert (meter.ticket.intent.provider, meter.ticket.settled[0][0].model) == ("anthropic", "claude-sonnet-5")


async def test_a_call_that_litellm_tells_twice_is_counted_once(meter):
    listener = litellm.listener(meter)

    await listener.async_log_success_event(KWARGS, REPLY, None, None)
    listener.log_success_event(KWARGS, REPLY, None, None)

    assert [len(ticket.settled) for ticket in meter.tickets] == [1, 0]
    assert meter.tickets[1].released == 1


def test_a_streamed_call_of_litellms_is_read_from_its_whole_reply(meter):
    litellm.listener(meter).log_success_event(KWARGS | {"complete_streaming_response": REPLY}, {"id": "x"}, None, None)

    assert meter.ticket.usage == COUNTED


def test_an_embedding_and_speech_of_litellms_are_read_by_their_own_meters(meter):
    listener = litellm.listener(meter)

    listener.log_success_event(
        {"model": "e", "call_type": "embedding"}, {"usage": {"prompt_tokens": 7, "total_tokens": 7}}, None, None
    )
    listener.log_success_event({"model": "tts-1", "call_type": "aspeech", "input": "hello"}, b"sound", None, None)

    assert [ticket.usage for ticket in meter.tickets] == [{"input_tokens": 7}, {"characters": 5}]


def test_a_call_without_an_id_that_litellm_tells_twice_is_counted_once(meter):
    listener = litellm.listener(meter)
    told = KWARGS | {"call_type": "aembedding", "litellm_call_id": "call-1"}

    for kwargs in (told, told, told | {"litellm_call_id": "call-2"}):
        listener.log_success_event(kwargs, {"usage": {"prompt_tokens": 7, "total_tokens": 7}}, None, None)

    assert [len(ticket.settled) for ticket in meter.tickets] == [1, 0, 1]


def test_a_message_that_litellm_hands_on_as_anthropic_wrote_it_is_read_with_its_cache(meter):
    used = {"input_tokens": 4, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 10, "output_tokens": 3}

    litellm.listener(meter).log_success_event(
        KWARGS | {"call_type": "anthropic_messages"}, {"id": "msg_1", "model": "claude-sonnet-5", "usage": used}
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (
        {"input_tokens": 214, "cached_input_tokens": 200, "cache_write_input_tokens": 10, "output_tokens": 3},
        False,
    )


def test_a_stream_of_litellms_that_told_no_count_is_charged_for_what_was_received(meter):
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    whole = Of(id="chatcmpl-9", usage=Of(**nothing), choices=[Of(message=Of(content="The lamp is lit."))])
    asked = [{"role": "user", "content": "Is it lit?"}]

    litellm.listener(meter).log_success_event(
        KWARGS | {"stream": True, "messages": asked, "complete_streaming_response": whole}, whole
    )

    # 10 bytes and 16 at four to a token.
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 3, "output_tokens": 4}, True)


def test_an_empty_answer_of_litellms_with_its_count_is_no_estimate(meter):
    litellm.listener(meter).log_success_event(
        KWARGS | {"messages": [{"role": "user", "content": "Is it lit?"}]},
        {"id": "c-1", "usage": {"prompt_tokens": 7, "completion_tokens": 0}},
    )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 7}, False)


def test_a_call_of_litellms_is_whose_it_was_when_it_began(meter):
    listener = litellm.listener(meter, user="alice")
    begun = KWARGS | {"litellm_call_id": "call-1", "litellm_params": {"api_base": "https://api.anthropic.com"}}

    listener.log_pre_api_call(model="claude", messages=[], kwargs=begun)
    first = meter.ticket
    listener.log_success_event(begun, REPLY)

    assert meter.tickets == [first]
    assert (first.usage, first.intent.base_url) == (COUNTED, "https://api.anthropic.com")


async def test_a_call_of_litellms_that_began_is_told_to_an_event_loop(meter):
    listener = litellm.listener(meter)
    begun = KWARGS | {"litellm_call_id": "call-1"}

    listener.log_pre_api_call("claude", [], begun)
    await listener.async_log_success_event(begun, REPLY)

    assert [ticket.usage for ticket in meter.tickets] == [COUNTED]


def test_a_call_of_litellms_that_failed_or_is_tried_again_is_let_go(meter):
    listener = litellm.listener(meter)
    begun = KWARGS | {"litellm_call_id": "call-1"}

    listener.log_pre_api_call("claude", [], begun)
    listener.log_pre_api_call("claude", [], begun)
    listener.log_failure_event(begun, None)

    assert [(ticket.released, len(ticket.settled)) for ticket in meter.tickets] == [(1, 0), (1, 0)]


async def test_a_call_of_litellms_that_failed_in_an_event_loop_is_let_go(meter):
    listener = litellm.listener(meter)
    begun = KWARGS | {"litellm_call_id": "call-1"}

    listener.log_pre_api_call("claude", [], begun)
    await listener.async_log_failure_event(begun, None)

    assert meter.ticket.released == 1


def test_calls_of_litellms_that_never_end_are_not_kept_for_ever(meter, monkeypatch):
    monkeypatch.setattr(litellm, "_OPEN_MAX", 2)
    listener = litellm.listener(meter)

    for call_id in ("call-1", "call-2", "call-3"):
        listener.log_pre_api_call("claude", [], KWARGS | {"litellm_call_id": call_id})

    assert [ticket.released for ticket in meter.tickets] == [1, 0, 0]
