"""Listening to litellm: `litellm.callbacks = [fare.listener("litellm")]`. Takes plain objects; never imports litellm.

litellm tells of a call when it is over, plain or streamed, and may tell twice: the second time is no call. Its own
costs are not taken: they are floats of a table without dates.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import Meter
from callfare.capture.told import Teller
from callfare.usage.anthropic import read_message
from callfare.usage.extract import Reading, read
from callfare.usage.fields import Counted, field_of, label_of
from callfare.usage.openai import READERS, tokens_in
from callfare.usage.quantities import Quantity

_OPERATIONS = {
    "completion": "chat",
    "text_completion": "chat",
    "responses": "responses",
    "embedding": "embedding",
    "image_generation": "image",
    "image_edit": "image",
    "transcription": "transcription",
    "speech": "speech",
}


def listener(meter: Meter, *, user: str | None = None) -> Any:  # noqa: ANN401 - of litellm's own kind, where it is there
    """Return what litellm takes for one of its loggers."""
    teller = Teller(meter, user)
    kind = getattr(sys.modules.get("litellm.integrations.custom_logger"), "CustomLogger", None)
    return _Listener(teller) if kind is None else type("CallfareLogger", (_Listener, kind), {})(teller)


class _Listener:
    """Hears of calls that succeeded; one that failed has used nothing that litellm knows of."""

    def __init__(self, teller: Teller, **options: Any) -> None:
        super().__init__(**options)
        self._teller = teller

    def log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Record a call of litellm's."""
        del start_time, end_time
        told = _told(kwargs, response_obj)
        self._teller.told(provider=told[0], operation=told[1], reading=told[2], base_url=told[3])

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Record a call of litellm's without blocking its event loop."""
        del start_time, end_time
        provider, operation, reading, base_url = _told(kwargs, response_obj)
        ticket = self._teller.begun(provider=provider, operation=operation, model=reading.model, base_url=base_url)
        await self._teller.ended_async(ticket, reading)


def _told(kwargs: Mapping[str, Any], reply: object) -> tuple[str, str, Reading, str]:
    """Return the provider, the kind of call, what it used, and where it was sent."""
    whole = kwargs.get("complete_streaming_response") or kwargs.get("async_complete_streaming_response") or reply
    kind = str(kwargs.get("call_type") or "completion").removeprefix("a").removeprefix("_a")
    operation = _OPERATIONS.get(kind, "chat")
    asked: dict[str, Quantity] = {}
    text = kwargs.get("input")
    if operation == "speech" and isinstance(text, str):
        asked["characters"] = len(text)
    sent = kwargs.get("litellm_params")
    reading = read(operation, whole, model=str(kwargs.get("model") or ""), usage=asked, reader=_reader_of(operation))
    call_id = label_of(kwargs.get("litellm_call_id"))
    if call_id and not reading.response_id:
        # Embeddings and pictures have no id of their own, and are told twice all the same.
        reading = replace(reading, response_id=f"litellm:{call_id}")
    provider = str(kwargs.get("custom_llm_provider") or field_of(sent, "custom_llm_provider") or "")
    return provider, operation, reading, str(field_of(sent, "api_base") or "")


def _reader_of(operation: str) -> Any:  # noqa: ANN401 - a reader, or None for the usual one
    return _read_chat if operation == "chat" else READERS.get(operation)


def _read_chat(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Read OpenAI's shape, with Anthropic's names for what the cache took, and Anthropic's own handed on as it is."""
    used = field_of(reply, "usage")
    if field_of(used, "prompt_tokens") is None and field_of(used, "cache_read_input_tokens") is not None:
        return read_message(reply, fixed)
    counted = tokens_in(used)
    written = field_of(used, "cache_creation_input_tokens")
    if written and "cache_write_input_tokens" not in counted:
        counted["cache_write_input_tokens"] = written
    counted.pop("billed_usd", None)
    return Counted(counted, ("input_tokens", "output_tokens"))
