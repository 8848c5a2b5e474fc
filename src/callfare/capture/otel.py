"""Importing spans of OpenTelemetry: `provider.add_span_processor(fare.listener("otel"))`. Takes plain objects.

A second choice: a span that was not sampled never comes, one that was cut off has no count, and none tells seconds,
pictures or characters. A span counts when its operation is one call of a model; agents, workflows, tools and fetches
repeat what their children tell. It does not count when a wrapper metered the call, when its reply's id was claimed,
or when a span below it counted. Conventions: GenAI's, old and new, and OpenInference's. Refuses to import
OpenTelemetry.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from callfare.capture.base import Meter, Unharmed, is_metered
from callfare.capture.recent import Heard, hear
from callfare.capture.told import Teller, reading_of

_OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "chat": "chat",
        "generate_content": "chat",
        "text_completion": "chat",
        "completion": "chat",
        "embeddings": "embedding",
        "embedding": "embedding",
        "LLM": "chat",
        "EMBEDDING": "embedding",
    }
)
_OPERATION = ("gen_ai.operation.name", "openinference.span.kind", "llm.request.type")
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_MODEL = (
    *("gen_ai.response.model", "gen_ai.request.model"),
    *("llm.response.model", "llm.model_name", "embedding.model_name"),
)
_ID = ("gen_ai.response.id", "llm.response.id")
_TIER = ("openai.response.service_tier", "gen_ai.openai.response.service_tier")
_USER = ("callfare.user", "user.id", "enduser.id")
_USED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
        "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
        "cached_input_tokens": (
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "llm.token_count.prompt_details.cache_read",
        ),
        "cache_write_input_tokens": (
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ),
        "input_audio_tokens": ("llm.token_count.prompt_details.audio",),
        "reasoning_tokens": (
            "gen_ai.usage.reasoning.output_tokens",
            "llm.token_count.completion_details.reasoning",
        ),
        "output_audio_tokens": ("llm.token_count.completion_details.audio",),
    }
)
_OPEN_MAX = 10_000
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_HEARING = Unharmed("import a span")


def listener(meter: Meter, *, user: str | None = None) -> SpanImporter:
    """Return what OpenTelemetry takes for a span processor."""
    return SpanImporter(meter, user)


@dataclass(slots=True)
class _Open:
    """A span that has begun: whose child it is, in whose context, and whether it needs no counting."""

    parent_id: int | None
    context: Context
    is_counted: bool
    heard: Heard


class SpanImporter:
    """Counts spans as they end, in the thread that ends them. User and run are those in force when the span began."""

    def __init__(self, meter: Meter, user: str | None) -> None:
        self._meter = meter
        self._user = user
        self._open: OrderedDict[int, _Open] = OrderedDict()

    def on_start(self, span: Any, parent_context: object = None) -> None:
        """Take note of a span that begins."""
        with _HEARING:
            parent = span.parent
            is_counted, heard = is_metered(), hear()
            self._open[span.context.span_id] = _Open(
                None if parent is None else parent.span_id, copy_context(), is_counted, heard
            )
            if len(self._open) > _OPEN_MAX:
                self._open.popitem(last=False)[1].heard.is_over = True

    def on_end(self, span: Any) -> None:
        """Count a span that is one call of a model."""
        with _HEARING:
            begun = self._open.pop(span.context.span_id, None)
            begun = begun or _Open(None, copy_context(), is_counted=False, heard=Heard())
            begun.heard.is_over = True
            told: Mapping[str, Any] = span.attributes or _NOTHING
            operation = _OPERATIONS.get(str(_first(told, _OPERATION)))
            if operation is None or begun.is_counted:
                return
            if begun.context.run(self._record, span, told, operation, begun.heard):
                self._mark_above(begun.parent_id)

    def shutdown(self) -> None:
        """Have nothing to do: every span was counted as it ended."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Return True: every span was counted as it ended."""
        return True

    def _on_ending(self, span: object) -> None:
        """Have nothing to do before a span ends; OpenTelemetry asks."""

    def _record(self, span: Any, told: Mapping[str, Any], operation: str, heard: Heard) -> bool:
        usage: dict[str, object] = {name: _first(told, names) for name, names in _USED.items()}
        is_counted = any(count is not None for count in usage.values())
        if not is_counted and getattr(getattr(span.status, "status_code", None), "name", "") == "ERROR":
            return False
        reading = reading_of(
            _with_cache(usage),
            model=str(_first(told, _MODEL) or ""),
            response_id=str(_first(told, _ID) or f"{span.context.trace_id:032x}:{span.context.span_id:016x}"),
            attributes={"service_tier": _first(told, _TIER)},
            needed=("input_tokens",) if operation == "embedding" else ("input_tokens", "output_tokens"),
            raw={name: told[name] for names in _USED.values() for name in names if name in told},
        )
        if heard.is_told_again(reading.usage):
            return True
        teller = Teller(self._meter, str(_first(told, _USER) or "") or self._user)
        teller.told(provider=str(_first(told, _PROVIDER) or ""), operation=operation, reading=reading)
        return True

    def _mark_above(self, span_id: int | None) -> None:
        """Have the spans above not counted: they tell this one's tokens again."""
        while span_id is not None and (above := self._open.get(span_id)) is not None and not above.is_counted:
            above.is_counted = True
            span_id = above.parent_id


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def _with_cache(usage: dict[str, object]) -> dict[str, object]:
    """Return the counts with the cache in the input: older conventions told it beside."""
    read, cached = usage["input_tokens"], usage["cached_input_tokens"] or 0
    written = usage["cache_write_input_tokens"] or 0
    if type(read) is int and type(cached) is int and type(written) is int and cached + written > read:
        return {**usage, "input_tokens": read + cached + written}
    return usage
