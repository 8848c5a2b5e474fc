"""Metering of Anthropic's SDK, sync and async, with its clients for other clouds: messages, plain, streamed and raw.

The helpers (`stream`, `parse`, the beta messages, tool runners) pass the same two functions. A stream tells its input
with its first event and its output with the last but one: one that is cut between has exact input and estimated output.
Refuses to import the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec.structs import replace

from callfare.capture.base import Intent, Meter
from callfare.capture.dialect import (
    Answered,
    BatchAsked,
    BatchTold,
    Hear,
    JobAsked,
    Request,
    bare_intent,
    bare_path,
    bytes_for_model,
    fields_of,
    in_batch,
    plausible_attributes,
    plausible_usage,
    text_bytes,
    tokens_of_bytes,
    whole,
)
from callfare.capture.providers import endpoint_at, endpoint_in, maker_of, provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.capture.twins import metered
from callfare.usage.anthropic import read_message
from callfare.usage.extract import with_estimates
from callfare.usage.fields import field_of, list_of, members_of

ClientT = TypeVar("ClientT")

_MAKER = "anthropic"
_MESSAGES = "/v1/messages"
# Who answers the clients of the SDK that are for other clouds.
_CLOUDS = {"anthropic.lib.bedrock": "aws", "anthropic.lib.vertex": "google"}
# The address of the results is told by the batch, host and all.
_RESULTS = re.compile(r"/v1/messages/batches/([^/]+)/results/?$")
_BATCHES = "/v1/messages/batches"
_BATCH = re.compile(r"/v1/messages/batches/([^/]+)(?:/cancel)?")
_SPOKEN = ("text", "thinking", "partial_json")


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: an Anthropic, AsyncAnthropic or a client of the same SDK for another cloud; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    maker = maker_of(client, _CLOUDS, _MAKER)
    region = getattr(client, "region", None)
    endpoint = endpoint_in(region) if maker == "google" and isinstance(region, str) and region else ""
    dialect = AnthropicDialect(provider, maker=maker, endpoint=endpoint)
    return metered(client, dialect, meter, user=user, like="Anthropic()")


@dataclass(frozen=True, slots=True)
class AnthropicDialect:
    """Anthropic's Messages API.

    provider: who answers; None for whose address it is.
    maker: who is taken to answer at an address that is nobody's.
    endpoint: "global" or "regional" where a client of Google Cloud says so; else its address does.
    """

    provider: str | None = None
    maker: str = _MAKER
    endpoint: str = ""

    def provider_of(self, base_url: str) -> str:
        """Return who answers at an address."""
        return self.provider or provider_at(base_url, self.maker)

    def operation_of(self, path: str) -> str | None:
        """Return "chat" for a message; nothing else costs by the call."""
        return "chat" if bare_path(path) == _MESSAGES else None

    def job_of(self, path: str) -> JobAsked | None:
        """Return None: a message is never told again."""
        return None

    def batch_of(self, path: str) -> BatchAsked | None:
        """Return the batch whose results a path leads to, or None when it is another request."""
        found = _RESULTS.search(path.partition("?")[0])
        return None if found is None else BatchAsked(batch_id=found[1], mark="custom_id", line_of=_line_of)

    def batch_made_by(
        self, path: str, *, base_url: str, body: object, options: Mapping[str, Any]
    ) -> Sequence[Intent] | None:
        """Return the messages of the batch that a POST to this path makes, None when it is another request."""
        if bare_path(path) != _BATCHES:
            return None
        told = fields_of(body, options).get("requests")
        asked = [field_of(one, "params") for one in told] if isinstance(told, list | tuple) else []
        requests = (
            self.request_of(_MESSAGES, operation="chat", base_url=base_url, body=one, options={}) for one in asked
        )
        return [in_batch(request.intent) for request in requests]

    def heard_at(self, path: str, *, base_url: str, body: object, files: object) -> Hear | None:
        """Return what hears of a batch that is asked about or cancelled, or None when it is another request."""
        return self.batch_told if _BATCH.fullmatch(bare_path(path)) else None

    def batch_told(self, reply: object) -> BatchTold | None:
        """Return what a message batch tells: that it has ended without an answer, where it has."""
        batch_id = field_of(reply, "id")
        if field_of(reply, "type") != "message_batch" or not isinstance(batch_id, str) or not batch_id:
            return None
        counts = field_of(reply, "request_counts")
        if field_of(reply, "processing_status") != "ended" or field_of(counts, "succeeded") != 0:
            return BatchTold((batch_id,))
        return BatchTold((batch_id,), "failed" if field_of(counts, "errored") else "cancelled")

    def request_of(
        self,
        path: str,
        *,
        operation: str,
        base_url: str,
        body: object,
        options: Mapping[str, Any],
        files: object = None,
        is_stream: bool = False,
    ) -> Request:
        """Return a request with what it fixes: its text bounds the input, its limit the output."""
        fields = fields_of(body, options)
        count = sum([bytes_for_model(fields.get(name)) for name in ("messages", "system", "tools")])
        bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(count)}
        most = whole(fields.get("max_tokens"))
        if most is not None:
            bounds["output_tokens"] = most
        intent = Intent(
            provider=self.provider_of(base_url),
            base_url=base_url.rstrip("/"),
            operation=operation,
            model=str(fields.get("model") or ""),
            usage=plausible_usage(bounds),
            attributes=plausible_attributes(
                {
                    "speed": fields.get("speed"),
                    "region": fields.get("inference_geo"),
                    "endpoint": self.endpoint or endpoint_at(base_url),
                }
            ),
        )
        return Request(
            intent=intent, dialect=self, body=body, options=options, is_stream=is_stream, is_evented=is_stream
        )

    def bare_request(
        self, operation: str, *, base_url: str, body: object, options: Mapping[str, Any], is_stream: bool
    ) -> Request:
        """Return a request of which nothing is known but its kind."""
        return Request(
            intent=bare_intent(self.provider_of(base_url), operation, base_url),
            dialect=self,
            body=body,
            options=options,
            is_stream=is_stream,
            is_evented=is_stream,
        )

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for a message, streamed or whole."""
        return MessageTally() if request.is_evented else ReplyTally(_written_in)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a message has earned: its own count, or what can be seen of it."""
        intent = request.intent
        reading = request.read(reply, read_message)
        if intent.provider == "aws" and intent.model:
            # Bedrock tells the model by its maker's name; the one asked for says which inference profile served.
            reading = replace(reading, model=intent.model)
        if not reading.incomplete:
            return Settlement("settle", reading)
        written = _written_in(reply) if written_bytes is None else written_bytes
        estimates = dict(intent.usage) | {"output_tokens": tokens_of_bytes(written)}
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, estimates)), estimated=True)


class MessageTally(Counting):
    """Events of a message. Its first event tells what went in, the last but one what came out; counts are totals."""

    __slots__ = ("_told", "_used")

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, object] = {}
        self._used: dict[str, object] = {}

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a piece of text."""
        if event.type != "content_block_delta":
            return False
        delta = event.delta
        if delta.type != "text_delta" or not delta.text.isascii():
            return False
        self.written_bytes += len(delta.text)
        return True

    def take(self, event: object) -> bool:
        """Take in an event."""
        kind = field_of(event, "type")
        if kind == "content_block_delta":
            delta = members_of(field_of(event, "delta"))
            for name in _SPOKEN:
                self.written_bytes += text_bytes(delta.get(name))
        elif kind == "message_start":
            message = field_of(event, "message")
            self._told = {"id": field_of(message, "id"), "model": field_of(message, "model"), "usage": self._used}
            self.reply = self._told
            self._learn(field_of(message, "usage"))
            # How much has come out is not known yet: the first event counts what was written before it.
            self._used.pop("output_tokens", None)
        elif kind == "message_delta":
            self._learn(field_of(event, "usage"))
            self.reply = self._told = self._told or {"usage": self._used}
            self.is_counted = self._used.get("output_tokens") is not None
            self.awaits_count = self.is_counted and field_of(field_of(event, "delta"), "stop_reason") is not None
        elif kind == "message_stop":
            self.is_final, self.awaits_count = self.is_counted, False
        return False

    def _learn(self, used: object) -> None:
        """Take newer counts in place of older ones; they are totals, and what is not told again still holds."""
        self._used |= {name: count for name, count in members_of(used).items() if count is not None}


def _written_in(reply: object) -> int:
    """Return the UTF-8 length of what a message says, what it thinks, and what it calls tools with."""
    spoken = ("text", "thinking", "input")
    return sum(
        bytes_for_model(field_of(block, name)) for block in list_of(field_of(reply, "content")) for name in spoken
    )


def _line_of(result: object) -> Answered | None:
    """Return a line of a batch that was answered, or None for one that failed, expired or was cancelled."""
    told, line_id = field_of(result, "result"), field_of(result, "custom_id")
    if field_of(told, "type") != "succeeded" or not isinstance(line_id, str):
        return None
    return Answered(line_id, "chat", field_of(told, "message"))
