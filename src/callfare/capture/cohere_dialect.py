"""What Cohere's API says, first and second generation: what requests fix, what replies and streams have earned.

Replies do not name their model: it is the one that was asked for. Pure. Refuses to import Cohere's SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import Intent
from callfare.capture.dialect import (
    Request,
    bare_intent,
    bytes_for_model,
    plausible_usage,
    text_bytes,
    tokens_of_bytes,
    whole,
)
from callfare.capture.openai_requests import wav_seconds
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.usage.cohere import read_chat, read_other
from callfare.usage.extract import with_estimates
from callfare.usage.fields import field_of, first_of, label_of, list_of, members_of

MAKER = "cohere"

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "chat": "chat",
        "chat_stream": "chat",
        "generate": "chat",
        "generate_stream": "chat",
        "summarize": "chat",
        "embed": "embedding",
        "rerank": "rerank",
        "classify": "classification",
        "parse": "parse",
        "create": "transcription",
    }
)
"""Which kind of call each of the SDK's methods makes. Besides them only jobs cost."""

_SPOKEN_TO = ("messages", "tools", "documents", "message", "preamble", "chat_history", "tool_results")
_SPOKEN_TO_BESIDE = ("prompt", "text", "additional_command", "texts", "inputs")
# One search reads so many documents, and of a longer document so many tokens count as one, the query's in them.
_DOCUMENTS_PER_SEARCH = 100
_TOKENS_PER_DOCUMENT = 500
_TEXTS = ("text", "thinking", "tool_plan", "arguments", "parameters", "name", "summary")
_AROUND_TEXTS = ("message", "delta", "content", "tool_calls", "tool_call_delta", "function", "generations")
_TEXT_DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class CohereDialect:
    """Cohere's API as the methods of its SDK are called.

    provider: who answers; None for whose address it is. cloud: who answers clients of its own, at no address of theirs.
    """

    provider: str | None = None
    cloud: str | None = None

    def provider_at(self, base_url: str) -> str:
        """Return who answers at an address."""
        return self.provider or self.cloud or provider_at(base_url, MAKER)

    def request_of(self, method: str, fields: Mapping[str, Any], *, base_url: str) -> Request:
        """Return a request with what it fixes: its text bounds the input, its limit the output."""
        operation = OPERATIONS[method]
        bare = self.bare_request(method, base_url=base_url)
        usage = plausible_usage(
            {name: bound for name, bound in _bounds(operation, fields).items() if bound is not None}
        )
        return replace(bare, intent=replace(bare.intent, model=str(fields.get("model") or ""), usage=usage))

    def bare_request(self, method: str, *, base_url: str) -> Request:
        """Return a request of which nothing is known but its kind."""
        intent: Intent = bare_intent(self.provider_at(base_url), OPERATIONS[method], base_url)
        is_stream = method.endswith("_stream")
        return Request(intent=intent, dialect=self, is_stream=is_stream, is_evented=is_stream)

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for a stream of either generation's events."""
        return EventTally() if request.is_evented else ReplyTally(written_in)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply has earned: by what it says is billed, or by what can be seen of it."""
        operation = request.intent.operation
        told = {"id": _id_of(reply), "usage": members_of(first_of(reply, "usage", "meta"))}
        reading = request.read(told, read_chat if operation == "chat" else read_other)
        if not reading.incomplete:
            return Settlement("settle", reading)
        estimates = dict(request.intent.usage)
        if operation == "chat":
            estimates["output_tokens"] = tokens_of_bytes(written_in(reply) if written_bytes is None else written_bytes)
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, estimates)), estimated=True)


def written_in(value: object, depth: int = 0) -> int:
    """Return the UTF-8 length of what a reply, an event or a part of one says."""
    if depth > _TEXT_DEPTH_MAX:
        return 0
    if isinstance(value, list):
        return sum(written_in(part, depth + 1) for part in value)
    own = sum(_length_of(field_of(value, name)) for name in _TEXTS)
    return own + sum(
        written_in(part, depth + 1) for name in _AROUND_TEXTS if (part := field_of(value, name)) is not None
    )


class EventTally(Counting):
    """Events of a streamed chat. The last one has the count: in itself, or in the first generation in its response."""

    __slots__ = ()

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a piece of text."""
        if event.type != "content-delta":
            return False
        text = event.delta.message.content.text
        if not text.isascii():
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in an event."""
        kind = field_of(event, "type") or field_of(event, "event_type")
        self.awaits_count = kind in ("content-end", "tool-call-end")
        if kind in ("message-end", "stream-end"):
            reply = field_of(event, "response") if kind == "stream-end" else field_of(event, "delta")
            used = first_of(reply, "usage", "meta")
            self.reply = {"id": _id_of(reply) or _id_of(event) or _id_of(self.reply), "usage": used}
            self.is_final = self.is_counted = used is not None
        elif kind in ("message-start", "stream-start"):
            self.reply = {"id": _id_of(event)}
        elif kind != "tool-calls-generation":
            # That one says again what came in chunks.
            self.written_bytes += written_in(event)
        return False


def _id_of(reply: object) -> str:
    return label_of(first_of(reply, "id", "response_id", "generation_id"))


def _length_of(text: object) -> int:
    return bytes_for_model(text) if isinstance(text, Mapping) else text_bytes(text)


def _bounds(operation: str, fields: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the most that a call can use, as far as its request fixes that."""
    text = sum(bytes_for_model(fields.get(name)) for name in (*_SPOKEN_TO, *_SPOKEN_TO_BESIDE))
    match operation:
        case "chat":
            most, replies = whole(fields.get("max_tokens")), whole(fields.get("num_generations"))
            return {
                "input_tokens": tokens_of_bytes(text),
                "output_tokens": None if most is None else most * (replies or 1),
            }
        case "embedding":
            return {"input_tokens": tokens_of_bytes(text)} if text else {}
        case "rerank":
            return {"search_units": _searches_for(fields)}
        case "classification":
            return {"classifications": len(list_of(fields.get("inputs")))}
        case "parse":
            return {"pages": 1}
        case _:
            file = fields.get("file")
            uploads = [part for part in file if not isinstance(part, str)] if isinstance(file, list) else [file]
            return {"audio_seconds": wav_seconds(uploads)}


def _searches_for(fields: Mapping[str, Any]) -> int | None:
    """Return how many searches a query over these documents is billed as."""
    documents = fields.get("documents")
    if not isinstance(documents, Sized) or isinstance(documents, str) or not isinstance(documents, list | tuple):
        return None
    query = bytes_for_model(fields.get("query"))
    lengths = [tokens_of_bytes(query + bytes_for_model(document)) for document in documents]
    pieces = sum(max(1, -(-length // _TOKENS_PER_DOCUMENT)) for length in lengths)
    return max(1, -(-pieces // _DOCUMENTS_PER_SEARCH))
