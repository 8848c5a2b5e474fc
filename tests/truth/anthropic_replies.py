"""Replies of Anthropic's API, from the types of its SDK."""

from __future__ import annotations

from anthropic.types import Message

from callfare.usage.anthropic import read_message
from tests.truth.cases import Case

M = 1_000_000


def message(model, **usage):
    told = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Yes."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return Message.model_validate(told)


CACHED = {
    "input_tokens": 3,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 1500,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 500},
    "output_tokens": 100,
}


def case(name, usage, lines, model="claude-sonnet-4-5-20250929"):
    return Case(
        name=name,
        provider="anthropic",
        operation="messages",
        model=model,
        reader=read_message,
        replies=[message(model, **usage)],
        lines=lines,
        totals={"input_tokens": 3503, "output_tokens": 100},
    )


CASES = [
    case(
        "a message with a cache read, and written for two lifetimes",
        CACHED | {"service_tier": "standard"},
        [
            ("input_tokens", 3, "3", M),
            ("cached_input_tokens", 2000, "0.30", M),
            ("cache_write_5m_input_tokens", 1000, "3.75", M),
            ("cache_write_1h_input_tokens", 500, "6", M),
            ("output_tokens", 100, "15", M),
        ],
    ),
    case(
        "a message of a batch, half the price",
        CACHED | {"service_tier": "batch"},
        [
            ("input_tokens", 3, "1.50", M),
            ("cached_input_tokens", 2000, "0.15", M),
            ("cache_write_5m_input_tokens", 1000, "1.875", M),
            ("cache_write_1h_input_tokens", 500, "3", M),
            ("output_tokens", 100, "7.50", M),
        ],
    ),
    case(
        "a message that searched twice and fetched a page",
        CACHED | {"service_tier": "standard", "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}},
        [
            ("input_tokens", 3, "3", M),
            ("cached_input_tokens", 2000, "0.30", M),
            ("cache_write_5m_input_tokens", 1000, "3.75", M),
            ("cache_write_1h_input_tokens", 500, "6", M),
            ("output_tokens", 100, "15", M),
            ("web_searches", 2, "10", 1000),
            ("web_fetches", 1, "0", 1),
        ],
    ),
]
