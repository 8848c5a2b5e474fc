"""Listening to litellm: `litellm.callbacks = [fare.listener("litellm")]`. Takes plain objects; never imports litellm.

litellm tells of a call before it is made, in the caller's context, and when it is over, plain or streamed, often in a
thread that has no context; so the first decides whose call it is. It may tell of the end twice: the second time is no
call. Its own costs are not taken: they are floats of a table without dates. Refuses to take zeros for a count: so
litellm tells of a stream that told none.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import Meter, Ticket, Unharmed
from callfare.capture.dialect import bytes_for_model, text_bytes, tokens_of_bytes
from callfare.capture.told import Teller
from callfare.mutexes import new_mutex
from callfare.usage.anthropic import read_message
from callfare.usage.extract import Reading, read
from callfare.usage.fields import Counted, field_of, label_of, list_of
from callfare.usage.openai import READERS, tokens_in
from callfare.usage.quantities import Quantity

_OPEN_MAX = 10_000
_HEARING = Unharmed("hear of a call of litellm's")
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


def listener(meter: Meter, *, user: str | None = None) -> Any:
    """Return what litellm takes for one of its loggers."""
    teller = Teller(meter, user)
    kind = getattr(sys.modules.get("litellm.integrations.custom_logger"), "CustomLogger", None)
    return _Listener(teller) if kind is None else type("CallfareLogger", (_Listener, kind), {})(teller)


class _Listener:
    """Hears of calls as they begin and end; one that failed has used nothing that litellm knows of."""

    def __init__(self, teller: Teller, **options: Any) -> None:
        super().__init__(**options)
        self._teller = teller
        self._open: OrderedDict[str, Ticket] = OrderedDict()
        self._mutex = new_mutex(self, "_mutex")

    def log_pre_api_call(self, model: object, messages: object, kwargs: Mapping[str, Any]) -> None:
        """Take note of a call that begins, and of whose it is."""
        del messages
        with _HEARING:
            call_id = label_of(kwargs.get("litellm_call_id"))
            ticket = self._begun(kwargs, str(kwargs.get("model") or model or "")) if call_id else None
            if ticket is None:
                return
            with self._mutex:
                # One that is tried again begins anew.
                left = [self._open.pop(call_id, None)]
                self._open[call_id] = ticket
                if len(self._open) > _OPEN_MAX:
                    left.append(self._open.popitem(last=False)[1])
            for other in left:
                self._teller.failed(other)

    def log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Record a call of litellm's."""
        del start_time, end_time
        reading = _reading_of(kwargs, response_obj)
        self._teller.ended(self._closed(kwargs) or self._begun(kwargs, reading.model), reading)

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Record a call of litellm's without blocking its event loop."""
        del start_time, end_time
        reading = _reading_of(kwargs, response_obj)
        await self._teller.ended_async(self._closed(kwargs) or self._begun(kwargs, reading.model), reading)

    def log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Let a call go that failed."""
        del response_obj, start_time, end_time
        self._teller.failed(self._closed(kwargs))

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: object, start_time: object = None, end_time: object = None
    ) -> None:
        """Let a call go that failed."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def _begun(self, kwargs: Mapping[str, Any], model: str) -> Ticket | None:
        sent = kwargs.get("litellm_params")
        return self._teller.begun(
            provider=str(kwargs.get("custom_llm_provider") or field_of(sent, "custom_llm_provider") or ""),
            operation=_operation_of(kwargs),
            model=model,
            base_url=str(field_of(sent, "api_base") or ""),
        )

    def _closed(self, kwargs: Mapping[str, Any]) -> Ticket | None:
        """Return the ticket of a call that was heard to begin, which is over now."""
        with self._mutex:
            return self._open.pop(label_of(kwargs.get("litellm_call_id")), None)


def _operation_of(kwargs: Mapping[str, Any]) -> str:
    kind = str(kwargs.get("call_type") or "completion").removeprefix("a").removeprefix("_a")
    return _OPERATIONS.get(kind, "chat")


def _reading_of(kwargs: Mapping[str, Any], reply: object) -> Reading:
    """Return what a call used."""
    whole = kwargs.get("complete_streaming_response") or kwargs.get("async_complete_streaming_response") or reply
    operation = _operation_of(kwargs)
    asked: dict[str, Quantity] = {}
    text = kwargs.get("input")
    if operation == "speech" and isinstance(text, str):
        asked["characters"] = len(text)
    reading = read(operation, whole, model=str(kwargs.get("model") or ""), usage=asked, reader=_reader_of(operation))
    call_id = label_of(kwargs.get("litellm_call_id"))
    if call_id and not reading.response_id:
        # Embeddings and pictures have no id of their own, and are told twice all the same.
        reading = replace(reading, response_id=f"litellm:{call_id}")
    if operation == "chat" and not any(reading.usage.values()):
        reading = replace(reading, usage=_received(kwargs, whole) or reading.usage, incomplete=True)
    return reading


def _received(kwargs: Mapping[str, Any], reply: object) -> dict[str, Quantity]:
    """Return an estimate of what a call used by the text that was sent and received."""
    messages = (field_of(choice, "message") for choice in list_of(field_of(reply, "choices")))
    written = sum(text_bytes(field_of(said, name)) for said in messages for name in ("content", "reasoning_content"))
    counted = {
        "input_tokens": tokens_of_bytes(bytes_for_model(kwargs.get("messages"))),
        "output_tokens": tokens_of_bytes(written),
    }
    return {name: count for name, count in counted.items() if count}


def _reader_of(operation: str) -> Any:
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
