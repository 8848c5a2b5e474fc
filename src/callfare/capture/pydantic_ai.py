"""Listening to PydanticAI: `fare.listener("pydantic_ai")(result)` after a run of an agent. Takes plain objects.

Each response among a result's messages is a call; one that was told before, or that a wrapped client metered, is
none. A metered client handed to PydanticAI's provider refuses before a call and needs no listener. Refuses to import
PydanticAI.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from callfare.capture.base import Meter, Unharmed
from callfare.capture.told import Teller, reading_of
from callfare.usage.fields import field_of, list_of

_HEARING = Unharmed("hear of a run of PydanticAI's")
_METERS = {
    "input_tokens": "input_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "cached_input_audio_tokens": "cache_audio_read_tokens",
    "output_tokens": "output_tokens",
    "output_audio_tokens": "output_audio_tokens",
}


def listener(meter: Meter, *, user: str | None = None) -> Callable[[Any], None]:
    """Return a function that records the calls of an agent's run."""
    teller = Teller(meter, user)
    # Messages without an id that were told, by where they stand in memory, as long as they do.
    told: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()

    def heard(result: Any) -> None:
        """Record the calls of an agent's run, given its result or its new messages."""
        with _HEARING:
            messages = result.new_messages() if hasattr(result, "new_messages") else result
            for message in list_of(messages):
                if field_of(message, "kind") == "response" and told.get(id(message)) is not message:
                    with suppress(TypeError):
                        told[id(message)] = message
                    _record(teller, message)

    return heard


def _record(teller: Teller, message: object) -> None:
    used = field_of(message, "usage")
    # It writes a zero for what it was not told.
    usage: dict[str, object] = {name: field_of(used, field) or None for name, field in _METERS.items()}
    usage["reasoning_tokens"] = field_of(field_of(used, "details"), "reasoning_tokens") or None
    reading = reading_of(
        usage,
        model=str(field_of(message, "model_name") or ""),
        response_id=str(field_of(message, "provider_response_id") or ""),
        raw=used,
        needed=("input_tokens",),
    )
    teller.told(provider=str(field_of(message, "provider_name") or ""), operation="chat", reading=reading)
