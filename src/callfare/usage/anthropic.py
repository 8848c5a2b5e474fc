"""Reading Anthropic's messages: the usage of a whole message, or of what came of a streamed one.

Anthropic counts input beside the cache, not with it; here the whole is the sum of the three. Where the reply tells its
iterations, those are what is billed: a compaction stands among them alone. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from callfare.usage.fields import Counted, field_of, list_of, sum_of, whole_of
from callfare.usage.quantities import Quantity

_TIERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"standard": {"service_tier": "default"}, "batch": {"processing": "batch"}}
)
# What is said of a place that was not chosen.
_ANYWHERE = ("global", "not_available")
_SERVER_TOOLS = {
    "web_searches": "web_search_requests",
    "web_fetches": "web_fetch_requests",
    "code_executions": "code_execution_requests",
}


def read_message(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a message reports: tokens, with the cache in the input, and calls of the provider's own tools."""
    used = field_of(reply, "usage")
    iterations = list_of(field_of(used, "iterations"))
    parts = iterations if any(map(_tokens_in, iterations)) else [used]
    counted = _total([_tokens_in(part) for part in parts])
    thought = field_of(field_of(used, "output_tokens_details"), "thinking_tokens")
    if thought is not None:
        counted["reasoning_tokens"] = thought
    tools = field_of(used, "server_tool_use")
    counted |= {name: count for name, field in _SERVER_TOOLS.items() if (count := field_of(tools, field)) is not None}
    return Counted(
        counted,
        ("input_tokens", "output_tokens"),
        attributes=_attributes_of(used),
        is_partial=_has_other_models(parts, field_of(reply, "model")),
    )


def _tokens_in(used: object) -> dict[str, object]:
    """Return the tokens of a usage object or of one iteration, with the cache in the input."""
    fresh, cached = field_of(used, "input_tokens"), field_of(used, "cache_read_input_tokens")
    lifetimes = field_of(used, "cache_creation")
    named = {
        "cached_input_tokens": cached,
        "cache_write_input_tokens": field_of(used, "cache_creation_input_tokens"),
        "cache_write_5m_input_tokens": field_of(lifetimes, "ephemeral_5m_input_tokens"),
        "cache_write_1h_input_tokens": field_of(lifetimes, "ephemeral_1h_input_tokens"),
        "output_tokens": field_of(used, "output_tokens"),
    }
    counted = {name: count for name, count in named.items() if count is not None}
    written = counted.get("cache_write_input_tokens", 0)
    # Some gateways tell the lifetimes only.
    by_lifetime = sum_of([counted.get("cache_write_5m_input_tokens", 0), counted.get("cache_write_1h_input_tokens", 0)])
    if not written and by_lifetime:
        counted["cache_write_input_tokens"] = written = by_lifetime
    if fresh is not None:
        cache = (counted.get("cached_input_tokens", 0), written)
        # What cannot be true of the cache is refused under its own name, and takes nothing from the rest.
        counted["input_tokens"] = sum_of([fresh, *(part for part in cache if whole_of(part) is not None)])
    return counted


def _total(parts: list[dict[str, object]]) -> dict[str, object]:
    """Return the sums of several counts, meter by meter."""
    if len(parts) == 1:
        return dict(parts[0])
    return {
        name: sum_of([part.get(name, 0) for part in parts]) for name in dict.fromkeys(n for part in parts for n in part)
    }


def _attributes_of(used: object) -> dict[str, object]:
    tier = field_of(used, "service_tier")
    named: Mapping[str, object] = _TIERS.get(tier, {"service_tier": tier}) if isinstance(tier, str) else {}
    place = field_of(used, "inference_geo")
    where = {} if place is None or place in _ANYWHERE else {"region": place}
    return {**named, **where, "speed": field_of(used, "speed")}


def _has_other_models(parts: list[object], model: object) -> bool:
    """Whether another model than the reply's worked on it, as an advisor does: its tokens have another price."""
    return any(field_of(part, "model") not in (None, model) for part in parts)
