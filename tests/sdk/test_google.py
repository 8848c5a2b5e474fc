"""Calls of Google's SDK: what is charged for each, however it ends, and that the caller gets what the SDK gave."""

from __future__ import annotations

import gc
import json

import pytest
from google import genai
from google.genai import errors, types

from callfare.capture.base import marked_as_metered
from callfare.capture.google import wrap
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits

MODEL = "gemini-2.5-flash"
EXACT = {"input_tokens": 2, "output_tokens": 121, "reasoning_tokens": 64}


def ask(client, **options):
    return client.models.generate_content(**{"model": MODEL, "contents": "hi there"} | options)


def stream(client, **options):
    return client.models.generate_content_stream(**{"model": MODEL, "contents": "hi there"} | options)


# What is counted


async def test_content_is_settled_by_its_count_with_its_thoughts(gemini_either, meter):
    reply = await gemini_either.do(ask)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, estimated) == (EXACT, False)
    assert (reading.model, reading.response_id) == (MODEL, reply.response_id)
    assert (
        sum(reading.usage[name] for name in ("input_tokens", "output_tokens")) == reply.usage_metadata.total_token_count
    )


async def test_the_request_bounds_what_it_can_use(gemini_either, meter):
    await gemini_either.do(
        lambda client: ask(client, config={"max_output_tokens": 200, "system_instruction": "Be brief."})
    )

    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("google", "chat", MODEL)
    assert intent.usage == {"input_tokens": 5, "output_tokens": 200}


async def test_sound_and_pictures_stand_under_their_own_kind(gemini_either, meter):
    parts = [
        types.Part.from_bytes(data=b"png", mime_type="image/png"),
        types.Part.from_bytes(data=b"wav", mime_type="audio/wav"),
        types.Part.from_bytes(data=b"mp4", mime_type="video/mp4"),
        "what is this?",
    ]

    await gemini_either.do(lambda client: ask(client, contents=parts))

    usage = meter.ticket.usage
    assert usage["input_tokens"] == 4 + 258 + 32 + 263
    assert (usage["input_image_tokens"], usage["input_audio_tokens"], usage["input_video_tokens"]) == (258, 32, 263)


async def test_the_cache_is_a_part_of_the_input(gemini_either, meter):
    await gemini_either.do(
        lambda client: ask(client, contents="x" * 400, config={"cached_content": "cachedContents/a"})
    )

    assert meter.ticket.usage["input_tokens"] == 100
    assert meter.ticket.usage["cached_input_tokens"] == 25


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro", 2)])
async def test_searches_are_counted_as_their_generation_bills_them(gemini_either, meter, model, searches):
    search = types.Tool(google_search=types.GoogleSearch())

    await gemini_either.do(lambda client: ask(client, model=model, config={"tools": [search]}))

    assert meter.ticket.usage["web_searches"] == searches
    assert meter.ticket.usage["input_tokens"] == 2 + 100


async def test_embeddings_are_settled_by_their_input(gemini_either, meter):
    await gemini_either.do(
        lambda client: client.models.embed_content(model="gemini-embedding-001", contents=["one", "twelve words"])
    )

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("embedding", {"input_tokens": 4})


@pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")
async def test_pictures_are_counted(vertex_either, meter):
    await vertex_either.do(
        lambda client: client.models.generate_images(
            model="imagen-4.0-generate-001", prompt="a cat", config={"number_of_images": 3, "image_size": "2K"}
        )
    )

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.attributes, estimated) == ({"images": 3}, {"size": "2K"}, False)


async def film(either, **config):
    return await either.do(
        lambda client: client.models.generate_videos(
            model="veo-3.1-generate-001", source=types.GenerateVideosSource(prompt="waves"), config=config or None
        )
    )


async def test_a_video_is_pended_with_its_seconds_and_settled_by_who_sees_its_end(vertex_either, meter):
    operation = await film(vertex_either, duration_seconds=6, number_of_videos=2, resolution="1080p")
    first = await vertex_either.do(lambda client: client.operations.get(operation))
    second = await vertex_either.do(lambda client: client.operations.get(first))

    [(job, reading)] = meter.ticket.pended
    assert (job, reading.usage) == (operation.name, {"video_seconds": 12})
    assert reading.attributes == {"resolution": "1080p"}
    assert (first.done, second.done) == (None, True)
    assert [(name, outcome) for name, outcome, _ in meter.jobs] == [(operation.name, "completed")]


async def test_a_video_that_failed_is_given_back(vertex_either, gemini, meter):
    gemini.script(Fault(job="failed"))
    gemini.polls_needed = 1

    operation = await film(vertex_either)
    await vertex_either.do(lambda client: client.operations.get(operation))

    assert [outcome for _, outcome, _ in meter.jobs] == ["failed"]


async def test_counting_tokens_costs_nothing(gemini_either, meter):
    await gemini_either.do(lambda client: client.models.count_tokens(model=MODEL, contents="hi there"))

    assert meter.tickets == []


def test_a_chat_is_metered_message_by_message(gemini_client, meter):
    chat = gemini_client.chats.create(model=MODEL)

    chat.send_message("hi there")
    chat.send_message("and now?")

    assert [ticket.settled[0][1] for ticket in meter.tickets] == [False, False]


# What goes wrong


async def test_a_refused_call_is_not_made(gemini_either, gemini, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await gemini_either.do(ask)
    with pytest.raises(InsufficientCredit):
        await gemini_either.events(stream)

    assert gemini.count == 0


async def test_a_call_that_the_provider_refuses_is_released(gemini_either, gemini, meter):
    gemini.script(Fault(status=400), Fault(status=400))

    with pytest.raises(errors.ClientError):
        await gemini_either.do(ask)
    with pytest.raises(errors.ClientError):
        await gemini_either.events(stream)

    assert [(ticket.settled, ticket.released) for ticket in meter.tickets] == [([], 1), ([], 1)]


@pytest.mark.parametrize(
    ("usage", "expected", "estimated"),
    [
        (None, {"input_tokens": 2, "output_tokens": 57}, True),
        ({}, {"input_tokens": 2, "output_tokens": 57}, True),
        ({"promptTokenCount": -1, "candidatesTokenCount": 5}, {"input_tokens": 2, "output_tokens": 5}, True),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 14},
            {"input_tokens": 9, "output_tokens": 5, "reasoning_tokens": 3},
            False,
        ),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 3, "totalTokenCount": 12},
            {"input_tokens": 9, "output_tokens": 3, "reasoning_tokens": 3},
            False,
        ),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 5, "trafficType": "ON_DEMAND_FLEX"},
            {"input_tokens": 9, "output_tokens": 5},
            False,
        ),
    ],
)
async def test_counts_are_believed_where_they_can_be_true(gemini_either, gemini, meter, usage, expected, estimated):
    gemini.script(Fault(usage=usage))

    await gemini_either.do(ask)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (expected, estimated)


async def test_the_tier_that_served_selects_the_rate(gemini_either, gemini, meter):
    gemini.script(Fault(usage={"promptTokenCount": 9, "candidatesTokenCount": 5, "trafficType": "ON_DEMAND_PRIORITY"}))

    await gemini_either.do(ask)

    assert meter.ticket.settled[0][0].attributes == {"service_tier": "priority"}


# Streams


async def test_a_stream_read_to_its_end_is_settled_by_its_last_chunk_alone(gemini_either, meter):
    chunks = await gemini_either.events(stream)

    assert len(chunks) == 42
    assert sum(chunk.usage_metadata.candidates_token_count for chunk in chunks) > 1000
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_a_stream_and_a_plain_reply_are_charged_alike(gemini_either, meter):
    search = {"tools": [types.Tool(google_search=types.GoogleSearch())]}
    await gemini_either.events(lambda client: stream(client, model="gemini-3-pro", config=search))
    await gemini_either.do(lambda client: ask(client, model="gemini-3-pro", config=search))

    [streamed, plain] = [ticket.settled[0][0] for ticket in meter.tickets]
    assert streamed.usage == plain.usage
    assert streamed.usage["web_searches"] == 2


def test_a_loop_that_leaves_at_the_end_of_the_text_is_charged_exactly(gemini_client, meter):
    for chunk in stream(gemini_client):
        if chunk.candidates[0].finish_reason:
            break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (EXACT, False)


async def test_a_stream_that_breaks_is_settled_by_what_was_counted(gemini_either, gemini, meter):
    gemini.script(Fault(drop_after=3))

    with pytest.raises(Exception, match=r"peer closed|payload|closed|ended"):
        await gemini_either.events(stream)

    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 2
    assert 64 < meter.ticket.usage["output_tokens"] < 74


def test_a_stream_that_is_forgotten_is_settled_by_what_came(gemini_client, meter):
    chunks = stream(gemini_client)
    next(chunks)
    del chunks
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 2


async def test_a_stream_without_any_count_is_estimated(gemini_either, gemini, meter):
    gemini.script(Fault(usage={"none": 1}))

    await gemini_either.events(stream)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


# The client


def test_the_given_client_stays_as_it_is_and_open(gemini, meter):
    bare = genai.Client(api_key="none", http_options={"base_url": gemini.base_url})

    client = wrap(bare, meter)
    assert isinstance(client, genai.Client)
    del client
    gc.collect()
    ask(bare)

    assert meter.tickets == []
    bare.close()


def test_a_metered_client_keeps_the_given_one_open(gemini, meter):
    client = wrap(genai.Client(api_key="none", http_options={"base_url": gemini.base_url}), meter)
    gc.collect()

    ask(client)

    assert meter.ticket.usage == EXACT
    client.close()


def test_a_client_wrapped_twice_meters_once(gemini_client, meter):
    assert wrap(gemini_client, meter) is gemini_client

    ask(wrap(gemini_client, meter, user="alice"))

    assert (meter.ticket.usage, meter.ticket.user) == (EXACT, "alice")


def test_a_call_within_another_metered_one_is_not_metered_again(gemini_client, meter):
    with marked_as_metered():
        ask(gemini_client)

    assert meter.tickets == []


@pytest.mark.parametrize("what", [genai.Client, object(), None])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput, match="give one such as google"):
        wrap(what, meter)


def test_nothing_that_was_said_is_kept(gemini_client, meter):
    ask(gemini_client, contents="the moon is cheese")

    [(reading, _)] = meter.ticket.settled
    assert set(reading.raw) == {"modelVersion", "responseId", "usageMetadata"}
    assert "cheese" not in json.dumps(reading.raw)
