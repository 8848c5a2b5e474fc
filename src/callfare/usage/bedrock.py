"""Reading what Amazon Bedrock counts: Converse's usage, the bodies of models behind InvokeModel, and its headers.

Bedrock counts input beside the cache, as Anthropic does; here the whole is the sum. What a model's own API counts comes
in that API's words. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from callfare.usage.anthropic import read_message
from callfare.usage.fields import Counted, field_of, first_of, list_of, members_of, sum_of
from callfare.usage.openai import tokens_in
from callfare.usage.quantities import Quantity

# One count under all its names: Converse's, the last event's of a stream, those of models' own bodies, the headers'.
_FRESH = ("inputTokens", "inputTokenCount", "inputTextTokenCount", "prompt_token_count")
_OUTPUT = ("outputTokens", "outputTokenCount", "generation_token_count")
_READ = ("cacheReadInputTokens", "cacheReadInputTokenCount")
_WRITTEN = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")
_LIFETIMES: Mapping[object, str] = MappingProxyType(
    {"5m": "cache_write_5m_input_tokens", "1h": "cache_write_1h_input_tokens"}
)
_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType({"embedding": ("input_tokens",), "image": ("images",)})
_BOTH = ("input_tokens", "output_tokens")


def read_chat(reply: object, fixed: Mapping[str, Quantity], *, may_hold_cache: bool = False) -> Counted:
    """Return what a reply of a model that writes text reports: tokens, with the cache in the input.

    may_hold_cache: the input may have been counted with the cache in it; where it can be so it is taken so, as a doubt.
    """
    used = field_of(reply, "usage")
    told = members_of(used)
    if "input_tokens" in told:
        return read_message(reply, fixed)
    if "prompt_tokens" in told:
        return Counted(tokens_in(used), _BOTH)
    counted = _tokens_in(used)
    if not may_hold_cache:
        return Counted(counted, _BOTH)
    fresh, beside = first_of(used, *_FRESH), _cache_in(counted)
    is_doubtful = type(fresh) is int and type(beside) is int and 0 < beside <= fresh
    return Counted(counted | ({"input_tokens": fresh} if is_doubtful else {}), _BOTH, is_partial=is_doubtful)


def read_other(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a reply of a model that embeds or draws reports."""
    counted = _tokens_in(field_of(reply, "usage"))
    images = field_of(reply, "images")
    if images is not None:
        return Counted(dict(fixed) | {"images": images}, _NEEDED["image"])
    return Counted(counted, _NEEDED["embedding"])


def _tokens_in(used: object) -> dict[str, object]:
    """Return the tokens of a usage object, with the cache in the input."""
    fresh, read, written = (first_of(used, *names) for names in (_FRESH, _READ, _WRITTEN))
    named = {
        "cached_input_tokens": read,
        "cache_write_input_tokens": written,
        "output_tokens": first_of(used, *_OUTPUT),
    }
    counted = {name: count for name, count in named.items() if count is not None}
    for detail in list_of(field_of(used, "cacheDetails")):
        lifetime = _LIFETIMES.get(field_of(detail, "ttl"))
        if lifetime is not None:
            counted[lifetime] = field_of(detail, "inputTokens")
    if fresh is not None:
        counted["input_tokens"] = sum_of([fresh, _cache_in(counted)])
    return counted


def _cache_in(counted: Mapping[str, object]) -> object:
    """Return how much was read from the cache and written to it."""
    return sum_of([counted.get("cached_input_tokens", 0), counted.get("cache_write_input_tokens", 0)])
