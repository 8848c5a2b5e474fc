"""What Amazon Bedrock's runtime says: which operations cost, what requests fix, what replies and streams have earned.

The model is the one that was asked for: an inference profile's name says where it is served, which decides its price,
and replies tell the model by its maker's name or not at all. Pure. Refuses to import boto3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from callfare.capture.anthropic import MessageTally
from callfare.capture.base import Intent
from callfare.capture.dialect import (
    Request,
    bytes_for_model,
    plausible_attributes,
    plausible_usage,
    text_bytes,
    tokens_of_bytes,
    whole,
)
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.usage.bedrock import read_chat, read_other
from callfare.usage.extract import read, with_estimates
from callfare.usage.fields import Reader, field_of, list_of, members_of

MAKER = "aws"
_CONVERSES = {"Converse": False, "ConverseStream": True}
_INVOKES = {"InvokeModel": False, "InvokeModelWithResponseStream": True}
# The name of a model or of a shared profile stands at the end of its ARN; what somebody named themselves stays whole.
_ARN = re.compile(r"arn:[^/]*:(?:inference-profile|foundation-model)/(.+)")
_KINDS = (("embedding", re.compile("embed")), ("image", re.compile(r"image|canvas|stability\.|stable")))
_SPOKEN_TO = ("messages", "system", "tools", "toolConfig", "prompt", "inputText", "texts", "message", "chat_history")
_LIMITS = ("max_tokens", "max_gen_len", "maxTokens", "max_new_tokens", "maxTokenCount", "max_completion_tokens")
_CONFIGS = ("inferenceConfig", "textGenerationConfig")
_METRICS = "amazon-bedrock-invocationMetrics"
_HEADERS = {
    "inputTokens": "x-amzn-bedrock-input-token-count",
    "outputTokens": "x-amzn-bedrock-output-token-count",
    "cacheReadInputTokens": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokens": "x-amzn-bedrock-cache-write-input-token-count",
}
_OWN_COUNTS = ("inputTextTokenCount", "prompt_token_count", "generation_token_count")
_TEXTS = ("outputText", "generation", "text", "completion", "generations", "results", "outputs", "choices", "message")
_TEXTS_WITHIN = (*_TEXTS, "content", "reasoningContent", "reasoningText", "toolUse", "input", "delta", "output")


@dataclass(frozen=True, slots=True)
class BedrockDialect:
    """Bedrock's runtime as its one SDK calls it: by the names of its operations.

    provider: who answers; None for AWS.
    """

    provider: str | None = None

    def is_streamed(self, operation: str) -> bool | None:
        """Return whether an operation's reply is a stream, or None for one that is not metered."""
        return (_CONVERSES | _INVOKES).get(operation)

    def request_of(self, operation: str, params: Mapping[str, Any], *, base_url: str, is_stream: bool) -> Request:
        """Return a request with what it fixes: its text bounds the input, its limit the output."""
        model = model_of(params)
        kind = "chat" if operation in _CONVERSES else _kind_of(model)
        fields = params if operation in _CONVERSES else _json_in(params.get("body"))
        bounds: dict[str, object] = {}
        if kind != "image":
            count = sum(bytes_for_model(fields[name]) for name in _SPOKEN_TO if name in fields)
            bounds["input_tokens"] = tokens_of_bytes(count)
        most = _limit_in(fields)
        if kind == "chat" and most is not None:
            bounds["output_tokens"] = most
        intent = self._intent(base_url, kind, model, bounds, _tier_of(params))
        return Request(intent=intent, dialect=Reply(), is_stream=is_stream, is_evented=is_stream)

    def bare_request(self, params: object, *, base_url: str, is_stream: bool) -> Request:
        """Return a request of which nothing is known but its model."""
        model = model_of(params) if isinstance(params, Mapping) else ""
        return Request(
            intent=self._intent(base_url, "chat", model, {}, ""),
            dialect=Reply(),
            is_stream=is_stream,
            is_evented=is_stream,
        )

    def _intent(self, base_url: str, kind: str, model: str, bounds: Mapping[str, object], tier: str) -> Intent:
        return Intent(
            provider=self.provider or provider_at(base_url, MAKER),
            base_url=base_url.rstrip("/"),
            operation=kind,
            model=model,
            usage=plausible_usage(bounds),
            attributes=plausible_attributes({"service_tier": tier}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply, read: what stood around it, and how its content tells what was used.

    request_id: what AWS knows the call by. tier: as it was served; "" where that was not told.
    counted: what the headers told, under Converse's names.
    is_invoked: the content is in the words of the model's own API.
    """

    request_id: str = ""
    tier: str = ""
    counted: Mapping[str, object] | None = None
    is_invoked: bool = False

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for a stream of Converse's, or of a model's own."""
        if not request.is_stream:
            return ReplyTally(written_in)
        return InvokeTally() if self.is_invoked else ConverseTally()

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply has earned: by its own count, that of its headers, or what can be seen of it."""
        intent = request.intent
        reply = _json_in(reply) if isinstance(reply, bytes) else reply
        tier = _tier_of(members_of(reply)) or self.tier
        used = members_of(used_in(reply) or self.counted)
        told: dict[str, object] = {"id": self.request_id, "usage": used}
        if intent.operation == "image":
            told["images"] = len(list_of(field_of(reply, "images")))
        reading = read(
            intent.operation,
            told,
            model=intent.model,
            usage=intent.usage,
            attributes=dict(intent.attributes) | plausible_attributes({"service_tier": tier}),
            reader=self._reader_of(request),
        )
        if not reading.incomplete:
            return Settlement("settle", reading)
        written = written_in(reply) if written_bytes is None else written_bytes
        estimates = dict(intent.usage)
        if intent.operation == "chat":
            estimates["output_tokens"] = tokens_of_bytes(written)
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, estimates)), estimated=True)

    def _reader_of(self, request: Request) -> Reader:
        if request.intent.operation != "chat":
            return read_other
        # Streams of these models were seen to count what the cache has within the input as well.
        is_doubtful = request.is_stream and not self.is_invoked and "openai." in request.intent.model
        return partial(read_chat, may_hold_cache=True) if is_doubtful else read_chat


def reply_of(operation: str, reply: Mapping[str, Any]) -> Reply:
    """Return what stands around a reply's content: its id, its tier, and the counts among its headers."""
    about = members_of(reply.get("ResponseMetadata"))
    headers = members_of(about.get("HTTPHeaders"))
    counts = {name: str(headers[header]) for name, header in _HEADERS.items() if header in headers}
    return Reply(
        request_id=str(about.get("RequestId") or ""),
        tier=_tier_of(reply),
        counted={name: int(count) for name, count in counts.items() if count.isascii() and count.isdecimal()},
        is_invoked=operation in _INVOKES,
    )


def model_of(params: Mapping[str, Any]) -> str:
    """Return the model that is asked for: of the ARN of a shared profile or a model, its name."""
    asked = params.get("modelId")
    if not isinstance(asked, str):
        return ""
    found = _ARN.fullmatch(asked)
    return asked if found is None else found[1]


def used_in(reply: object) -> object:
    """Return what a reply says was used: Converse's count, that of the model's own API, or that of the last event."""
    used = field_of(reply, "usage")
    if used:
        return used
    own = {name: count for name in _OWN_COUNTS if (count := field_of(reply, name)) is not None}
    written = [field_of(result, "tokenCount") for result in list_of(field_of(reply, "results"))]
    if written and None not in written and all(type(count) is int for count in written):
        own["outputTokenCount"] = sum(written)
    return own or field_of(reply, _METRICS)


def written_in(reply: object) -> int:
    """Return the UTF-8 length of what a reply says, in whichever words."""
    return sum(_written(field_of(reply, name), 0) for name in (*_TEXTS, "content", "output"))


class ConverseTally(Counting):
    """Events of ConverseStream. The count comes after the end of the message, in the last event."""

    __slots__ = ()

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a piece of text."""
        text = event["contentBlockDelta"]["delta"]["text"]
        if not text.isascii():
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in an event."""
        delta = field_of(field_of(event, "contentBlockDelta"), "delta")
        if delta is not None:
            self.written_bytes += _written(delta, 0)
        elif field_of(event, "messageStop") is not None:
            self.awaits_count = not self.is_final
        elif field_of(event, "metadata") is not None:
            self.awaits_count = False
            self.end(field_of(event, "metadata"))
        return False


class InvokeTally(Counting):
    """Events of InvokeModelWithResponseStream: bytes of JSON, each an event of the model's own API."""

    __slots__ = ("_inner",)

    def __init__(self) -> None:
        super().__init__()
        self._inner: MessageTally | ConverseTally | None = None

    def take(self, event: object) -> bool:
        """Take in an event."""
        told = _json_in(field_of(field_of(event, "chunk"), "bytes"))
        if self._inner is None and ("type" in told or "messageStart" in told):
            self._inner = MessageTally() if "type" in told else ConverseTally()
        if self._inner is None:
            self.written_bytes += written_in(told)
        else:
            self._inner.take(told)
            self.written_bytes = self._inner.written_bytes
            self.reply, self.is_counted = self._inner.reply, self._inner.is_counted
            self.is_final, self.awaits_count = self._inner.is_final, self._inner.awaits_count
        if used_in(told) and (self._inner is None or (_METRICS in told and not self.is_counted)):
            self.reply, self.is_counted = told, True
            self.is_final = _METRICS in told
        return False


def _kind_of(model: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(model)), "chat")


def _json_in(body: object) -> Mapping[str, Any]:
    """Return the JSON object of a body, or an empty one for anything else, such as a file that is still to be read."""
    if not isinstance(body, str | bytes | bytearray):
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _limit_in(fields: Mapping[str, Any]) -> int | None:
    """Return the most that a request lets the model write, or None where it does not say."""
    places = (fields, *(members_of(fields.get(name)) for name in _CONFIGS))
    found = (whole(place.get(name)) for place in places for name in _LIMITS)
    return next((most for most in found if most is not None), None)


def _tier_of(told: Mapping[str, Any]) -> str:
    """Return the tier that a request asks for or a reply was served at; one optimized for latency is such a tier."""
    tier, latency = told.get("serviceTier"), told.get("performanceConfigLatency")
    latency = field_of(told.get("performanceConfig"), "latency") if latency is None else latency
    if latency == "optimized":
        return "optimized"
    named = tier if isinstance(tier, str) else field_of(tier, "type")
    return named if isinstance(named, str) else ""


def _written(value: object, depth: int) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, list) and depth < len(_TEXTS):
        return sum(_written(part, depth + 1) for part in value)
    if isinstance(value, Mapping) and depth < len(_TEXTS):
        return sum(_written(value[name], depth + 1) for name in _TEXTS_WITHIN if name in value)
    return 0
