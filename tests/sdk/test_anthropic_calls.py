"""Calls of Anthropic's SDK: what is charged for each, and that the caller gets what the SDK gave."""

from __future__ import annotations

import json
import sys
from subprocess import run

import anthropic
import pydantic
import pytest

from callfare.capture.anthropic import wrap
from callfare.capture.base import marked_as_metered
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits
from tests.capture.fake_meter import FakeMeter

HELLO = [{"role": "user", "content": "hi there"}]


def ask(client, **options):
    return client.messages.create(**{"model": "claude-sonnet-5", "max_tokens": 400, "messages": HELLO} | options)


# What is counted


async def test_a_message_is_settled_by_its_count(either, meter):
    reply = await either.do(ask)

    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {"input_tokens": 5, "output_tokens": 57}
    assert (reading.model, reading.response_id, estimated) == ("claude-sonnet-5", reply.id, False)
    assert reading.attributes == {"service_tier": "default", "speed": "standard"}


async def test_the_request_bounds_what_it_can_use(either, meter):
    await either.do(lambda client: ask(client, system="Be short."))

    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("anthropic", "chat", "claude-sonnet-5")
    assert intent.usage == {"input_tokens": 5, "output_tokens": 400}


async def test_the_cache_stands_within_the_input(either, meter):
    system = [{"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]

    await either.do(lambda client: ask(client, system=system))

    assert meter.ticket.usage == {
        "input_tokens": 105,
        "cached_input_tokens": 52,
        "cache_write_input_tokens": 26,
        "cache_write_1h_input_tokens": 26,
        "output_tokens": 19,
    }


async def test_thinking_is_a_part_of_the_output(either, meter):
    await either.do(lambda client: ask(client, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000))

    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 121, "reasoning_tokens": 64}


async def test_web_searches_are_counted_beside_the_tokens(either, meter):
    tools = [{"type": "web_search_20250305", "name": "web_search"}]

    await either.do(lambda client: ask(client, tools=tools))

    assert meter.ticket.usage == {"input_tokens": 105, "output_tokens": 57, "web_searches": 1}


async def test_a_compaction_is_counted_although_the_totals_leave_it_out(either, meter):
    await either.do(
        lambda client: client.beta.messages.create(
            model="claude-sonnet-5",
            max_tokens=400,
            messages=HELLO,
            betas=["compact-2026-01-12"],
            context_management={"edits": [{"type": "compact_20260112"}]},
        )
    )

    assert meter.ticket.usage == {"input_tokens": 55_201, "cached_input_tokens": 55_096, "output_tokens": 140}


async def test_speed_and_place_as_served_select_the_rate(either, meter):
    await either.do(lambda client: ask(client, speed="fast", inference_geo="us"))

    [(reading, _)] = meter.ticket.settled
    assert reading.attributes == {"service_tier": "default", "speed": "fast", "region": "us"}
    assert meter.ticket.intent.attributes == {"speed": "fast", "region": "us"}


async def test_counting_tokens_costs_nothing(either, meter):
    counted = await either.do(lambda client: client.messages.count_tokens(model="claude-sonnet-5", messages=HELLO))

    assert counted.input_tokens == 5
    assert meter.tickets == []


async def test_a_raw_reply_is_settled_at_once(either, meter):
    raw = await either.do(
        lambda client: client.messages.with_raw_response.create(model="claude-sonnet-5", max_tokens=400, messages=HELLO)
    )

    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 57}
    assert (await either.do(lambda _: raw.parse())).usage.output_tokens == 57


class Answer(pydantic.BaseModel):
    text: str


async def test_a_parsed_message_that_does_not_fit_is_charged_all_the_same(either, meter):
    with pytest.raises(pydantic.ValidationError):
        await either.do(
            lambda client: client.messages.parse(
                model="claude-sonnet-5", max_tokens=400, messages=HELLO, output_format=Answer
            )
        )

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 57}, False)


# What goes wrong


async def test_a_refused_call_is_not_made(either, claude, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await either.do(ask)

    assert claude.count == 0


async def test_a_call_that_the_provider_refuses_is_released(either, claude, meter):
    claude.script(Fault(status=529))

    with pytest.raises(anthropic.APIStatusError):
        await either.do(ask)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_retries_within_the_sdk_are_one_call(either, claude, meter):
    claude.script(Fault(status=529, retry_after="0"), Fault(status=500, retry_after="0"))

    await either.do(lambda client: ask(client.with_options(max_retries=2)))

    assert claude.count == 3
    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 57}


async def test_a_message_without_usage_is_estimated_from_its_text(either, claude, meter):
    claude.script(Fault(usage=None))

    await either.do(ask)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


@pytest.mark.parametrize(
    ("usage", "expected", "estimated"),
    [
        ({"input_tokens": -5, "output_tokens": 3}, {"input_tokens": 2, "output_tokens": 3}, True),
        ({"input_tokens": "many", "output_tokens": 3}, {"input_tokens": 2, "output_tokens": 3}, True),
        ({"input_tokens": 10**30, "output_tokens": 3}, {"input_tokens": 2, "output_tokens": 3}, True),
        (
            {"input_tokens": 4, "output_tokens": 3, "cache_read_input_tokens": -1},
            {"input_tokens": 4, "output_tokens": 3},
            True,
        ),
        (
            {"input_tokens": "4", "output_tokens": "3", "cache_read_input_tokens": "20"},
            {"input_tokens": 24, "cached_input_tokens": 20, "output_tokens": 3},
            False,
        ),
        (
            {"input_tokens": 4, "output_tokens": 3, "iterations": [{"type": "message"}, "x", None]},
            {"input_tokens": 4, "output_tokens": 3},
            False,
        ),
        (
            {
                "input_tokens": 4,
                "output_tokens": 3,
                "iterations": [{"input_tokens": 90, "output_tokens": 3}, {"input_tokens": -40, "output_tokens": 3}],
            },
            {"input_tokens": 2, "output_tokens": 6},
            True,
        ),
        (
            {"input_tokens": 4, "output_tokens": 3, "cache_creation": {"ephemeral_5m_input_tokens": 6}},
            {
                "input_tokens": 10,
                "cache_write_input_tokens": 6,
                "cache_write_5m_input_tokens": 6,
                "output_tokens": 3,
            },
            False,
        ),
        ([], {"input_tokens": 2, "output_tokens": 57}, True),
    ],
)
def test_counts_that_cannot_be_true_are_not_believed(client, claude, meter, usage, expected, estimated):
    claude.script(Fault(usage=usage))

    with client.messages.with_streaming_response.create(model="claude-sonnet-5", max_tokens=400, messages=HELLO) as raw:
        raw.read()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (expected, estimated)


# The client


def test_the_given_client_stays_as_it_is(claude, meter):
    bare = anthropic.Anthropic(base_url=claude.base_url, api_key="none")

    client = wrap(bare, meter)
    ask(bare)

    assert isinstance(client, anthropic.Anthropic)
    assert meter.tickets == []
    bare.close()


def test_a_client_wrapped_twice_meters_once(client, meter):
    ask(wrap(client, meter))

    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 57}


def test_a_call_within_another_metered_one_is_not_metered_again(client, meter):
    with marked_as_metered():
        ask(client)

    assert meter.tickets == []


def test_copies_of_a_client_are_metered_for_the_same_user(claude):
    meter = FakeMeter()
    client = wrap(anthropic.Anthropic(base_url=claude.base_url, api_key="none"), meter, user="alice")

    ask(client.with_options(timeout=60))

    assert meter.ticket.user == "alice"


@pytest.mark.parametrize("what", [anthropic.Anthropic, object(), None])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput, match="give one such as Anthropic"):
        wrap(what, meter)


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.clients, sys; print('anthropic' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_nothing_that_was_said_is_kept(client, meter):
    ask(client, system="the moon is cheese")

    [(reading, _)] = meter.ticket.settled
    assert set(reading.raw) == {"id", "model", "usage"}
    assert "cheese" not in json.dumps(reading.raw)
