"""Every count that an SDK's own types tell is read, or stands here with the reason why it is passed over."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from anthropic.types import MessageDeltaUsage, Usage
from anthropic.types.beta import BetaUsage
from google.genai.types import GenerateContentResponseUsageMetadata
from openai.types import CompletionUsage, ImagesResponse
from openai.types.images_response import SvgUsage
from openai.types.images_response import Usage as ImagesUsage
from openai.types.responses import Response, ResponseUsage
from openai.types.responses.response import ToolUsage
from pydantic import BaseModel

from callfare.pricing import PriceBook, rate_finished
from callfare.pricing.shipped import shipped_layers
from callfare.usage.extract import read
from tests.truth.openai_replies import RESPONSE_USAGE, response, search
from tests.unit.pricing.books import NOON_US

USAGE = Path(__file__).parents[2] / "src/callfare/usage"
BOOK = PriceBook(shipped_layers(has_seed=False, catalogue=None))

PASSED_OVER = {
    "total_tokens": "the sum of what is read",
    "text_tokens": "what the other parts leave of their whole",
    "accepted_prediction_tokens": "within the output, and billed as it",
    "rejected_prediction_tokens": "within the output, and billed as it",
    "fallback_credit": "it tells how a retry is billed, and no count",
    # Within that.
    "status": "of a fallback credit",
    "type": "of a fallback credit, and of an iteration, which is told by where it stands",
    "reason": "of a fallback credit",
    "remove_to_redeem": "of a fallback credit",
}
OF_ANOTHER_MODEL = {"svg_usage", "tool_usage", "image_gen"}


def fields_of(kind: type[BaseModel], above: tuple[type, ...] = ()) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield name
        for part in kinds_in(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in above:
                yield from fields_of(part, (*above, part))


def kinds_in(annotation: object) -> Iterator[object]:
    arguments = typing.get_args(annotation)
    yield from [annotation] if not arguments else [kind for part in arguments for kind in kinds_in(part)]


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        (ResponseUsage, "openai"),
        (CompletionUsage, "openai"),
        (ImagesUsage, "openai"),
        (Usage, "anthropic"),
        (MessageDeltaUsage, "anthropic"),
        (BetaUsage, "anthropic"),
        (GenerateContentResponseUsageMetadata, "google"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_field_of_a_usage_object_is_read_or_passed_over_with_a_reason(kind, reader):
    text = (USAGE / f"{reader}.py").read_text(encoding="utf-8")

    unknown = {name for name in fields_of(kind) if f'"{name}"' not in text}

    assert unknown <= PASSED_OVER.keys()


def test_a_field_that_nobody_reads_would_be_missed():
    class Later(ResponseUsage):
        thought_in_another_room_tokens: int

    text = (USAGE / "openai.py").read_text(encoding="utf-8")

    assert {name for name in fields_of(Later) if f'"{name}"' not in text} - PASSED_OVER.keys() == {
        "thought_in_another_room_tokens"
    }


def test_all_that_is_told_beside_the_usage_of_a_response_is_known():
    told = {name for name in Response.model_fields if "usage" in name}
    drawn = {name for name in ImagesResponse.model_fields if "usage" in name}

    assert told == {"usage", "tool_usage"}
    assert drawn == {"usage", "svg_usage"}
    assert set(ToolUsage.model_fields) == {"image_gen", "web_search"}
    assert set(SvgUsage.model_fields) == {"input_tokens", "model", "output_tokens", "reasoning_tokens", "total_tokens"}


def used_by(reply: object, operation: str = "responses"):
    return read(operation, reply, model="gpt-6-sol")


TOOLS = {
    "image_gen": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "total_tokens": 0,
    },
    "web_search": {"num_requests": 1},
}


def with_tools(**more: object) -> Response:
    plain = response("gpt-6-sol", RESPONSE_USAGE, output=[search(1), search(2)])[0]
    return Response.model_validate(plain.model_dump() | more)


def test_searches_are_billed_as_the_provider_bills_them_where_it_says_so():
    reading = used_by(with_tools(tool_usage=TOOLS))

    # Two were made, and one of them was free.
    assert (reading.usage["web_searches"], reading.incomplete) == (1, False)


def test_no_search_is_billed_where_all_were_free():
    tools = TOOLS | {"web_search": {"num_requests": 0}}

    assert "web_searches" not in used_by(with_tools(tool_usage=tools)).usage


def test_pictures_that_a_response_drew_are_never_passed_over_in_silence():
    drawn = TOOLS | {"image_gen": TOOLS["image_gen"] | {"output_tokens": 1056, "total_tokens": 1056}}
    call = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": ""}

    told = used_by(with_tools(tool_usage=drawn))
    untold = used_by(with_tools(output=[call]))

    assert (told.incomplete, untold.incomplete) == (True, True)
    assert told.raw["tool_usage"]["image_gen"]["total_tokens"] == 1056
    # Their tokens are another model's, and cost nothing at this one's rates.
    assert told.usage["output_tokens"] == 700


def test_drawings_that_another_model_wrote_are_never_passed_over_in_silence():
    written = {"input_tokens": 9, "model": "gpt-6-sol", "output_tokens": 90, "reasoning_tokens": 0, "total_tokens": 99}
    reply = ImagesResponse.model_validate({"created": 1, "data": [{}], "svg_usage": written})

    assert used_by(reply, "image").incomplete
    assert not used_by(ImagesResponse.model_validate({"created": 1, "data": [{}]}), "image").incomplete


@pytest.mark.parametrize(
    ("asked", "served", "usd"),
    [
        # 1,200 at 0.25 and 350 at 2 a million; half of it for flex, 0.45 and 3.60 for priority.
        ("priority", "default", "0.001"),
        ("default", "priority", "0.0018"),
        ("auto", "flex", "0.0005"),
        ("flex", None, "0.0005"),
    ],
)
def test_a_call_costs_what_the_tier_that_served_it_costs(asked, served, usd):
    usage = {"prompt_tokens": 1200, "completion_tokens": 350, "total_tokens": 1550}
    reply = {"id": "c", "model": "gpt-5-mini", "service_tier": served, "usage": usage}

    reading = read("chat", reply, model="gpt-5-mini", attributes={"service_tier": asked})
    rating = priced(reading)

    assert (rating.status, Fraction(rating.picousd, 10**12)) == ("priced", Fraction(usd))


def test_a_transcript_of_which_nothing_is_known_has_no_price_and_is_not_free():
    reading = read("transcription", "only words", model="whisper-1")

    assert reading.incomplete
    assert priced(reading).status == "unpriced"


def priced(reading):
    return rate_finished(
        BOOK,
        model=reading.model,
        provider="openai",
        usage=dict(reading.usage) or {"calls": 1},
        attributes=dict(reading.attributes),
        at_us=NOON_US,
    )
