"""Replies of every surface, built from the SDKs' own types: quantities and cost, worked out by hand as fractions.

Nothing here is computed by the code under test: the rates are the book's text below, the leaves and the arithmetic are
written out. The leaves' sum is the provider's own total, and every leaf that is not zero has a price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.beta import BetaMessage
from google.genai.types import GenerateContentResponse
from openai.types import CreateEmbeddingResponse, ImagesResponse, Video
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from callfare.pricing.load import load_book
from callfare.pricing.rating import rate_finished
from callfare.usage.anthropic import read_message
from callfare.usage.extract import read
from callfare.usage.google import read_content
from callfare.usage.quantities import leaves

# Rates that no two meters share, in dollars for a million.
RATES = {
    "input_tokens": 3,
    "cached_input_tokens": "0.3",
    "cache_write_5m_input_tokens": "3.75",
    "cache_write_1h_input_tokens": 6,
    "cache_write_30m_input_tokens": "3.1",
    "input_audio_tokens": 40,
    "cached_input_audio_tokens": "2.5",
    "input_image_tokens": 7,
    "input_video_tokens": 9,
    "output_tokens": 15,
    "reasoning_tokens": 16,
    "output_audio_tokens": 80,
    "output_image_tokens": 30,
    "web_searches": 10_000,
    "file_searches": 2500,
    "code_executions": 30_000,
    "images": 40_000,
    "video_seconds": 100_000,
    "audio_seconds": 100,
    "characters": 12,
}
ROOTS = ["input_tokens", "output_tokens", "images", "video_seconds", "audio_seconds", "characters"]
ROOTS += ["web_searches", "file_searches", "code_executions"]
ROWS = "\n".join(f'[[model.rate]]\nmeter = "{meter}"\nusd = "{usd}"\nper = 1_000_000\n' for meter, usd in RATES.items())
BOOK = f"""book = "truth"
[[model]]
provider = "any"
name = "m"
basis = {ROOTS!r}
source = "worked out"
checked = 2026-11-22
{ROWS}""".replace("'", '"')


@dataclass(frozen=True)
class Truth:
    """A reply, the leaves it must be split into, and its cost in millionths of a dollar."""

    operation: str
    reply: Any
    leaves: dict[str, Any]
    cost: Fraction
    total: Any = None
    reader: Callable[..., Any] | None = None
    fixed: dict[str, Any] = field(default_factory=dict)


def chat(**usage):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    return ChatCompletion.model_validate(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def response(output=(), **usage):
    told = {"object": "response", "status": "completed", "output": list(output), "usage": usage}
    return Response.construct(id="r", model="m", **told)


def message(kind=Message, **usage):
    return kind.model_validate(
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
    )


def content(**usage):
    return GenerateContentResponse.model_validate({"model_version": "m", "response_id": "g", "usage_metadata": usage})


TRUTHS = {
    "chat, cached and thought": Truth(
        "chat",
        chat(
            prompt_tokens=1200,
            completion_tokens=350,
            total_tokens=1550,
            prompt_tokens_details={"cached_tokens": 800},
            completion_tokens_details={"reasoning_tokens": 64},
        ),
        {"input_tokens": 400, "cached_input_tokens": 800, "output_tokens": 286, "reasoning_tokens": 64},
        Fraction(400 * 3) + Fraction(800 * 3, 10) + 286 * 15 + 64 * 16,
        total=1550,
    ),
    "chat with audio, some of it cached": Truth(
        "chat",
        chat(
            prompt_tokens=1000,
            completion_tokens=300,
            total_tokens=1300,
            prompt_tokens_details={
                "cached_tokens": 500,
                "audio_tokens": 400,
                "cached_tokens_details": {"audio_tokens": 100, "text_tokens": 400},
            },
            completion_tokens_details={"audio_tokens": 200},
        ),
        {
            "input_tokens": 200,
            "cached_input_tokens": 400,
            "input_audio_tokens": 300,
            "cached_input_audio_tokens": 100,
            "output_tokens": 100,
            "output_audio_tokens": 200,
        },
        200 * 3 + Fraction(400 * 3, 10) + 300 * 40 + Fraction(100 * 25, 10) + 100 * 15 + 200 * 80,
        total=1300,
    ),
    "a response with searches and a run of code": Truth(
        "responses",
        response(
            [
                {"type": "web_search_call"},
                {"type": "message"},
                {"type": "web_search_call"},
                {"type": "file_search_call"},
                {"type": "code_interpreter_call"},
            ],
            input_tokens=1000,
            input_tokens_details={
                "cached_tokens": 300,
                "cache_write_tokens": 200,
                "cache_write_tokens_details": {"ttl_30m_tokens": 200, "ttl_12h_tokens": 0},
            },
            output_tokens=50,
            output_tokens_details={"reasoning_tokens": 20},
            total_tokens=1050,
        ),
        {
            "input_tokens": 500,
            "cached_input_tokens": 300,
            "cache_write_30m_input_tokens": 200,
            "output_tokens": 30,
            "reasoning_tokens": 20,
            "web_searches": 2,
            "file_searches": 1,
            "code_executions": 1,
        },
        500 * 3 + Fraction(300 * 3, 10) + Fraction(200 * 31, 10) + 30 * 15 + 20 * 16 + 2 * 10_000 + 2500 + 30_000,
        total=1050 + 4,
    ),
    "embeddings": Truth(
        "embedding",
        CreateEmbeddingResponse.model_validate(
            {"object": "list", "model": "m", "data": [], "usage": {"prompt_tokens": 77, "total_tokens": 77}}
        ),
        {"input_tokens": 77},
        Fraction(77 * 3),
        total=77,
    ),
    "a picture by its tokens": Truth(
        "image",
        ImagesResponse.model_validate(
            {
                "created": 1,
                "data": [{"b64_json": "aQ=="}],
                "usage": {
                    "input_tokens": 290,
                    "output_tokens": 6240,
                    "total_tokens": 6530,
                    "input_tokens_details": {"text_tokens": 50, "image_tokens": 240},
                },
            }
        ),
        {"input_tokens": 50, "input_image_tokens": 240, "output_image_tokens": 6240, "images": 1},
        Fraction(50 * 3 + 240 * 7 + 6240 * 30 + 40_000),
        total=6530 + 1,
    ),
    "a transcript by its seconds": Truth(
        "transcription",
        Transcription.model_validate({"text": "hi", "usage": {"type": "duration", "seconds": 8.47}}),
        {"audio_seconds": Fraction(847, 100)},
        Fraction(847),
    ),
    "a transcript by its tokens": Truth(
        "transcription",
        Transcription.model_validate(
            {
                "text": "hi",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 1014,
                    "output_tokens": 45,
                    "total_tokens": 1059,
                    "input_token_details": {"text_tokens": 14, "audio_tokens": 1000},
                },
            }
        ),
        {"input_tokens": 14, "input_audio_tokens": 1000, "output_tokens": 45},
        Fraction(14 * 3 + 1000 * 40 + 45 * 15),
        total=1059,
    ),
    "speech by its characters": Truth(
        "speech", b"sound", {"characters": 1000}, Fraction(12_000), fixed={"characters": 1000}
    ),
    "a video by its seconds": Truth(
        "video",
        Video.construct(id="v", model="m", seconds="8", size="1280x720", status="completed"),
        {"video_seconds": 8},
        Fraction(800_000),
    ),
    "a message with two lifetimes of cache": Truth(
        "chat",
        message(
            input_tokens=3,
            cache_read_input_tokens=2000,
            cache_creation_input_tokens=1500,
            cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 500},
            output_tokens=100,
            output_tokens_details={"thinking_tokens": 40},
            server_tool_use={"web_search_requests": 3, "web_fetch_requests": 0},
        ),
        {
            "input_tokens": 3,
            "cached_input_tokens": 2000,
            "cache_write_5m_input_tokens": 1000,
            "cache_write_1h_input_tokens": 500,
            "output_tokens": 60,
            "reasoning_tokens": 40,
            "web_searches": 3,
        },
        9 + Fraction(2000 * 3, 10) + Fraction(1000 * 375, 100) + 500 * 6 + 60 * 15 + 40 * 16 + 3 * 10_000,
        total=3 + 2000 + 1500 + 100 + 3,
        reader=read_message,
    ),
    # As recorded: the totals leave out the compaction, twenty-eight times what they tell.
    "a message after a compaction": Truth(
        "chat",
        message(
            BetaMessage,
            input_tokens=181,
            output_tokens=8,
            iterations=[
                {
                    "type": "compaction",
                    "input_tokens": 100,
                    "cache_read_input_tokens": 55_096,
                    "cache_creation_input_tokens": 0,
                    "output_tokens": 83,
                },
                {
                    "type": "message",
                    "input_tokens": 181,
                    "cache_read_input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "output_tokens": 8,
                },
            ],
        ),
        {"input_tokens": 281, "cached_input_tokens": 55_096, "output_tokens": 91},
        281 * 3 + Fraction(55_096 * 3, 10) + 91 * 15,
        total=281 + 55_096 + 91,
        reader=read_message,
    ),
    "content with thoughts, tools and every kind": Truth(
        "chat",
        content(
            prompt_token_count=1000,
            tool_use_prompt_token_count=50,
            cached_content_token_count=400,
            candidates_token_count=300,
            thoughts_token_count=90,
            total_token_count=1440,
            prompt_tokens_details=[
                {"modality": "TEXT", "token_count": 450},
                {"modality": "AUDIO", "token_count": 250},
                {"modality": "IMAGE", "token_count": 200},
                {"modality": "VIDEO", "token_count": 100},
            ],
            cache_tokens_details=[
                {"modality": "TEXT", "token_count": 250},
                {"modality": "AUDIO", "token_count": 150},
            ],
            candidates_tokens_details=[
                {"modality": "TEXT", "token_count": 100},
                {"modality": "IMAGE", "token_count": 200},
            ],
        ),
        {
            "input_tokens": 250,
            "cached_input_tokens": 250,
            "input_audio_tokens": 100,
            "cached_input_audio_tokens": 150,
            "input_image_tokens": 200,
            "input_video_tokens": 100,
            "output_tokens": 100,
            "reasoning_tokens": 90,
            "output_image_tokens": 200,
        },
        250 * 3
        + Fraction(250 * 3, 10)
        + 100 * 40
        + Fraction(150 * 25, 10)
        + 200 * 7
        + 100 * 9
        + 100 * 15
        + 90 * 16
        + 200 * 30,
        total=1440,
        reader=read_content,
    ),
}


@pytest.fixture(scope="module")
def book():
    return load_book(BOOK, name="truth.toml")


def reading_of(truth):
    return read(truth.operation, truth.reply, model="m", usage=truth.fixed, reader=truth.reader)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_reply_is_split_into_leaves_whose_sum_is_the_providers_total(name):
    truth = TRUTHS[name]

    reading = reading_of(truth)

    assert leaves(reading.usage) == truth.leaves
    assert not reading.incomplete
    assert truth.total is None or sum(truth.leaves.values()) == truth.total


@pytest.mark.parametrize("name", TRUTHS)
def test_a_reply_costs_the_exact_sum_of_its_leaves(name, book):
    truth = TRUTHS[name]
    reading = reading_of(truth)

    rating = rate_finished(book, model="m", usage=reading.usage, attributes={}, at_us=10**15, provider="any")

    assert rating.status == "priced"
    assert {line.meter: line.quantity for line in rating.lines} == truth.leaves
    exact = sum(Fraction(line.quantity) * Fraction(line.rate) / line.per for line in rating.lines)
    assert exact * 1_000_000 == truth.cost
    assert rating.picousd == round(truth.cost * 1_000_000)
    assert rating.information == {}
