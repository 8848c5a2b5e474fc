"""However a stream of Anthropic's SDK ends, its caller sees the same events, and it is settled once."""

from __future__ import annotations

import gc

import anthropic
import httpx2
import pytest

from callfare.devtools.stand_in import Fault
from tests.sdk.test_anthropic_calls import HELLO, ask

EXACT = {"input_tokens": 5, "output_tokens": 57}
CACHED = [{"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}]


def stream(client, **options):
    return ask(client, stream=True, **options)


async def test_a_stream_read_to_its_end_is_settled_by_the_providers_count(either, meter):
    events = await either.events(stream)

    assert [event.type for event in events[:1] + events[-2:]] == ["message_start", "message_delta", "message_stop"]
    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, estimated) == (EXACT, False)
    assert reading.response_id == events[0].message.id


async def test_a_stream_and_a_plain_message_are_charged_alike(either, meter):
    options = {"system": CACHED, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    await either.events(lambda client: stream(client, **options))
    await either.do(lambda client: ask(client, **options))

    [streamed, plain] = [ticket.settled[0][0] for ticket in meter.tickets]
    assert streamed.usage == plain.usage
    assert streamed.attributes == plain.attributes
    assert streamed.usage["web_searches"] == 1
    assert streamed.usage["cache_write_5m_input_tokens"] > 0


async def test_the_iterations_of_a_stream_are_those_of_its_last_count(either, meter):
    await either.events(
        lambda client: client.beta.messages.create(
            model="claude-sonnet-5",
            max_tokens=400,
            messages=HELLO,
            stream=True,
            betas=["compact-2026-01-12"],
            context_management={"edits": [{"type": "compact_20260112"}]},
        )
    )

    assert meter.ticket.usage == {"input_tokens": 55_201, "cached_input_tokens": 55_096, "output_tokens": 140}


def test_a_loop_that_leaves_at_the_stop_reason_is_charged_exactly(client, meter):
    for event in stream(client):
        if event.type == "message_delta":
            break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


def test_a_stream_is_settled_before_its_last_event_is_handed_out(client, meter):
    settled = [(event.type, len(meter.ticket.settled)) for event in stream(client)]

    assert settled[-3:] == [("content_block_stop", 0), ("message_delta", 1), ("message_stop", 1)]


async def test_a_stream_that_breaks_has_exact_input_and_estimated_output(either, claude, meter):
    claude.script(Fault(drop_after=6))

    with pytest.raises(httpx2.RemoteProtocolError):
        await either.events(lambda client: stream(client, system=CACHED))

    # The four events after the first two end in three words, of ten to twenty-four bytes.
    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 105
    assert meter.ticket.usage["cached_input_tokens"] == 52
    assert 3 <= meter.ticket.usage["output_tokens"] <= 6


async def test_an_overload_within_a_stream_is_charged_for_the_input_it_told(either, claude, meter):
    claude.script(Fault(error_after=2))

    with pytest.raises(anthropic.APIStatusError):
        await either.events(lambda client: stream(client, system=CACHED))

    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 105
    assert meter.ticket.usage.get("output_tokens", 0) == 0


def test_a_stream_that_is_forgotten_is_settled_by_what_came(client, meter):
    events = stream(client)
    next(events)
    next(events)
    next(events)
    del events
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage["input_tokens"], meter.ticket.is_estimated) == (5, True)


async def test_a_gateway_that_counts_only_at_the_end_is_believed(either, claude, meter):
    claude.script(Fault(usage={"output_tokens": 9, "input_tokens": 30, "cache_read_input_tokens": 12}))

    await either.events(stream)

    assert meter.ticket.usage == {"input_tokens": 42, "cached_input_tokens": 12, "output_tokens": 9}


async def test_a_stream_without_any_count_is_estimated(either, claude, meter):
    claude.script(Fault(usage={}))

    await either.events(stream)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


def test_the_stream_helper_is_metered_once(client, meter):
    with client.messages.stream(model="claude-sonnet-5", max_tokens=400, messages=HELLO) as helper:
        text = "".join(helper.text_stream)
        final = helper.get_final_message()

    assert final.content[0].text == text
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_the_async_stream_helper_is_metered_once(async_client, meter):
    async with async_client.messages.stream(model="claude-sonnet-5", max_tokens=400, messages=HELLO) as helper:
        await helper.until_done()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


def test_a_helper_that_is_left_early_is_settled_by_what_came(client, meter):
    with client.messages.stream(model="claude-sonnet-5", max_tokens=400, messages=HELLO) as helper:
        next(helper.text_stream)

    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 5


def test_a_raw_stream_read_in_bytes_is_counted(client, meter):
    with client.messages.with_streaming_response.create(
        model="claude-sonnet-5", max_tokens=400, messages=HELLO, stream=True
    ) as raw:
        body = b"".join(raw.iter_bytes())

    assert b"message_stop" in body
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)
