"""Listening to LangChain: `model.invoke(…, config={"callbacks": [fare.listener("langchain")]})`. Takes plain objects.

A call is charged to the user and the run that were in force when it began, whichever thread tells of its end.
LangChain counts the cache within the input, as here. A model over a wrapped client is counted once, by the client.
What tells no count, as streams do unless they are asked to, is charged for the text that was sent and received, flagged
as estimated. Refuses to import LangChain; it is of its own kind where it has been imported.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from callfare.capture.base import Meter, Ticket, Unharmed
from callfare.capture.dialect import bytes_for_model, text_bytes, tokens_of_bytes
from callfare.capture.recent import Heard, hear
from callfare.capture.told import Teller, reading_of
from callfare.usage.extract import Reading
from callfare.usage.fields import field_of, list_of

_OPEN_MAX = 10_000
_HEARING = Unharmed("hear of a call of LangChain's")
_INTO = {
    "cached_input_tokens": "cache_read",
    "cache_write_input_tokens": "cache_creation",
    "cache_write_5m_input_tokens": "ephemeral_5m_input_tokens",
    "cache_write_1h_input_tokens": "ephemeral_1h_input_tokens",
    "input_audio_tokens": "audio",
}
_OUT_OF = {"reasoning_tokens": "reasoning", "output_audio_tokens": "audio"}


def listener(meter: Meter, *, user: str | None = None) -> Any:
    """Return what LangChain takes for a callback handler."""
    teller = Teller(meter, user)
    kind = getattr(sys.modules.get("langchain_core.callbacks.base"), "BaseCallbackHandler", None)
    return _Listener(teller) if kind is None else type("CallfareHandler", (_Listener, kind), {})(teller)


class _Begun(Struct):
    """A call that was heard to begin. sent_bytes: the text that went out with it."""

    ticket: Ticket | None
    heard: Heard
    provider: str
    model: str
    sent_bytes: int


class _Listener:
    """Hears of calls of models as they begin and end."""

    raise_error = False
    run_inline = True
    ignore_llm = ignore_chat_model = False
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._open: OrderedDict[object, _Begun] = OrderedDict()

    def on_chat_model_start(self, serialized: object, messages: object, **told: Any) -> None:
        """Take note of a call that begins."""
        del serialized
        with _HEARING:
            about = told.get("metadata") or {}
            provider = str(about.get("ls_provider") or "")
            model = str(about.get("ls_model_name") or (told.get("invocation_params") or {}).get("model") or "")
            ticket = self._teller.begun(provider=provider, operation="chat", model=model)
            self._open[told.get("run_id")] = _Begun(ticket, hear(), provider, model, _sent_in(messages))
            if len(self._open) > _OPEN_MAX:
                forgotten = self._open.popitem(last=False)[1]
                forgotten.heard.is_over = True
                self._teller.failed(forgotten.ticket)

    def on_llm_start(self, serialized: object, prompts: object, **told: Any) -> None:
        """Take note of a completion that begins."""
        self.on_chat_model_start(serialized, prompts, **told)

    def on_llm_end(self, response: object, **told: Any) -> None:
        """Record what a call used."""
        with _HEARING:
            begun = self._open.pop(told.get("run_id"), None) or _Begun(None, Heard(), "", "", 0)
            begun.heard.is_over = True
            reading = _reading_of(response, begun.model)
            if begun.heard.is_told_again(reading.usage):
                self._teller.failed(begun.ticket)
                return
            if reading.usage.keys() <= {"calls"}:
                counted = {"input_tokens": begun.sent_bytes, "output_tokens": _written_in(response)}
                usage = {name: tokens_of_bytes(count) for name, count in counted.items() if count}
                reading = replace(reading, usage=usage, incomplete=True) if usage else reading
            ticket = begun.ticket
            if ticket is None:
                ticket = self._teller.begun(provider=begun.provider, operation="chat", model=reading.model)
            self._teller.ended(ticket, reading)

    def on_llm_error(self, error: BaseException, **told: Any) -> None:
        """Let a call go that failed."""
        del error
        with _HEARING:
            begun = self._open.pop(told.get("run_id"), None)
            if begun is not None:
                begun.heard.is_over = True
                self._teller.failed(begun.ticket)


def _sent_in(messages: object) -> int:
    """Return the UTF-8 length of the text in prompts, or in lists of messages."""
    prompts = [one for said in list_of(messages) for one in (list_of(said) or [said])]
    return sum(bytes_for_model(one if isinstance(one, str) else field_of(one, "content")) for one in prompts)


def _written_in(response: object) -> int:
    """Return the UTF-8 length of the text in a result."""
    choices = (choice for some in list_of(field_of(response, "generations")) for choice in list_of(some))
    return sum(text_bytes(field_of(choice, "text")) for choice in choices)


def _reading_of(response: object, model: str) -> Reading:
    """Return what a result says was used. Every choice of one call carries the whole count, so one of them is read."""
    said: list[Any] = [
        message
        for choices in list_of(field_of(response, "generations"))
        for choice in list_of(choices)
        if (message := field_of(choice, "message")) is not None
    ]
    message = next((one for one in said if field_of(one, "usage_metadata")), said[0] if said else None)
    used, about = field_of(message, "usage_metadata"), field_of(message, "response_metadata")
    if used is None:
        about = field_of(response, "llm_output")
        used = _older(field_of(about, "token_usage"))
    into, out_of = field_of(used, "input_token_details"), field_of(used, "output_token_details")
    usage: dict[str, object] = {name: field_of(used, name) for name in ("input_tokens", "output_tokens")}
    usage |= {name: field_of(into, field) for name, field in _INTO.items()}
    usage |= {name: field_of(out_of, field) for name, field in _OUT_OF.items()}
    response_id = field_of(about, "id") or field_of(message, "id") or ""
    return reading_of(
        usage,
        model=str(field_of(about, "model_name") or field_of(about, "model") or model),
        # LangChain gives its own name to what came without one.
        response_id="" if str(response_id).startswith(("run-", "lc_")) else str(response_id),
        attributes={"service_tier": field_of(about, "service_tier")},
        raw=used,
    )


def _older(used: object) -> Mapping[str, object] | None:
    """Return the count as models tell it that know no message of their own."""
    if used is None:
        return None
    return {
        "input_tokens": field_of(used, "prompt_tokens"),
        "output_tokens": field_of(used, "completion_tokens"),
    }
