"""Replies of xAI: as its own SDK's are told, tables with labels by name, and as OpenAI's SDK reads them there."""

from __future__ import annotations

from fractions import Fraction

from openai.types.chat import ChatCompletion

from callfare.usage.xai import read_chat, read_media
from tests.truth.cases import Case

M = 1_000_000
# The example of xAI's page of charges; what tools did is in it.
TICKS = 37_756_000
COUNTED = {
    "prompt_tokens": 1200,
    "prompt_text_tokens": 1200,
    "cached_prompt_text_tokens": 800,
    "completion_tokens": 222,
    "reasoning_tokens": 128,
    "total_tokens": 1550,
}
CHARGED = COUNTED | {"server_side_tools_used": ["SERVER_SIDE_TOOL_WEB_SEARCH"] * 2, "cost_in_usd_ticks": TICKS}
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
BY_OPENAI = {
    "prompt_tokens": 1200,
    "completion_tokens": 350,
    "total_tokens": 1550,
    "prompt_tokens_details": {"cached_tokens": 800},
    "cost_in_usd_ticks": TICKS,
}


def told(usage, model="grok-4.3", **beside):
    return {"id": "reply-1", "model": model, "service_tier": "default", "usage": usage} | beside


def case(name, replies, lines, **more):
    given = {"operation": "chat", "model": "grok-4.3", "totals": {"input_tokens": 1200, "output_tokens": 350}}
    return Case(name=name, provider="x-ai", replies=replies, lines=lines, **given | {"reader": read_chat} | more)


CASES = [
    case("a chat that tells its charge", [told(CHARGED)], [("billed_usd", Fraction(37_756, 10**7), "1", 1)]),
    case(
        "a chat that tells its charge to OpenAI's SDK",
        [
            ChatCompletion.model_validate(
                {"id": "c", "object": "chat.completion", "created": 1, "model": "grok-4.3", "choices": [CHOICE]}
                | {"usage": BY_OPENAI}
            )
        ],
        [("billed_usd", Fraction(37_756, 10**7), "1", 1)],
        reader=None,
    ),
    case(
        "a chat of another tier that tells its charge",
        [told(CHARGED) | {"service_tier": "priority"}],
        [("billed_usd", Fraction(37_756, 10**7), "1", 1)],
    ),
    case(
        "a chat that tells none, cached and thought",
        [told(COUNTED)],
        [
            ("input_tokens", 400, "1.25", M),
            ("cached_input_tokens", 800, "0.20", M),
            ("output_tokens", 222, "2.50", M),
            ("reasoning_tokens", 128, "2.50", M),
        ],
    ),
    case(
        "a picture",
        [told({"cost_in_usd_ticks": 200_000_000}, "grok-imagine-image", images=1)],
        [("billed_usd", Fraction(2, 100), "1", 1)],
        operation="image",
        model="grok-imagine-image",
        reader=read_media,
        totals={},
    ),
]
