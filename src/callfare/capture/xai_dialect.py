"""What xAI's API says over gRPC: which procedures cost, what their requests fix, what replies and streams have earned.

Messages are read by their own descriptors, so that the SDK's classes of any release are the same. Pure. Refuses to
import xAI's SDK, and gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import Intent
from callfare.capture.dialect import (
    Request,
    bare_intent,
    plausible_attributes,
    plausible_usage,
    text_bytes,
    tokens_of_bytes,
)
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.usage.extract import with_estimates
from callfare.usage.fields import Counted, field_of
from callfare.usage.xai import read_chat, read_media

MAKER = "x-ai"

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "GetCompletion": "chat",
        "GetCompletionChunk": "chat",
        "StartDeferredCompletion": "chat",
        "CompactContext": "chat",
        "GenerateImage": "image",
        "GenerateVideo": "video",
        "ExtendVideo": "video",
    }
)
"""Which kind of call each procedure makes."""

ASKING: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "GetDeferredCompletion": ("chat", "request_id"),
        "GetStoredCompletion": ("chat", "response_id"),
        "GetDeferredVideo": ("video", "request_id"),
    }
)
"""The procedures that ask about an earlier call: of which kind, and where they name it."""

STREAMED = "GetCompletionChunk"
_BEGUN = ("StartDeferredCompletion", "GenerateVideo", "ExtendVideo")
_SPOKEN_TO = ("messages", "input", "tools", "prompt")
_SILENT = {"role", "id", "tool_call_id", "encrypted_content", "image_url", "file", "type"}
_TIERS = {"SERVICE_TIER_DEFAULT": "default", "SERVICE_TIER_PRIORITY": "priority"}
# Of the SDK's names for qualities and the like, what stands behind the last of these.
_MARKS = ("_RESOLUTION_", "_QUALITY_")
_OVER = {"EXPIRED", "FAILED"}
_COUNTED_BEFORE = ("prompt_tokens", "prompt_image_tokens", "cached_prompt_text_tokens")


@dataclass(frozen=True, slots=True)
class XAIDialect:
    """xAI's API as its SDK calls it: by the names of its procedures.

    provider: who answers; None for whose address it is. procedure: whose replies are read.
    """

    provider: str | None = None
    procedure: str = ""

    def provider_at(self, base_url: str) -> str:
        """Return who answers at an address."""
        return self.provider or provider_at(base_url, MAKER)

    def request_of(self, procedure: str, asked: Any, *, base_url: str) -> Request:
        """Return a request with what it fixes: its text bounds the input, its limit the output."""
        bare = self.bare_request(procedure, base_url=base_url)
        intent = replace(
            bare.intent,
            model=str(field_of(asked, "model") or ""),
            usage=plausible_usage(_bounds(bare.intent.operation, asked)),
            attributes=plausible_attributes(_attributes_of(asked)),
        )
        return replace(bare, intent=intent)

    def bare_request(self, procedure: str, *, base_url: str) -> Request:
        """Return a request of which nothing is known but its kind."""
        operation = OPERATIONS[procedure] if procedure in OPERATIONS else ASKING[procedure][0]
        intent: Intent = bare_intent(self.provider_at(base_url), operation, base_url)
        is_stream = procedure == STREAMED
        dialect = XAIDialect(self.provider, procedure)
        return Request(intent=intent, dialect=dialect, is_stream=is_stream, is_evented=is_stream)

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for the chunks of a chat."""
        return ChunkTally() if request.is_evented else ReplyTally(text_in)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply has earned: by its count, or by what can be seen of it."""
        if self.procedure in _BEGUN:
            return Settlement("pend", request.read({"id": field_of(reply, "request_id")}, _read_fixed))
        if self.procedure.startswith("GetDeferred"):
            return self._told_later(request, reply)
        return self._earned(request, reply, written_bytes)

    def _told_later(self, request: Request, reply: object) -> Settlement:
        """Return what is told of a call that was begun earlier."""
        status = _label_of(reply, "status")
        if status == "DONE":
            return replace(self._earned(request, field_of(reply, "response"), None), is_job=True)
        kind = "release" if status in _OVER else "pend"
        return Settlement(kind, request.read(None, _read_fixed), is_job=True)  # type: ignore[arg-type]  # one of these

    def _earned(self, request: Request, reply: object, written_bytes: int | None) -> Settlement:
        told = reply if isinstance(reply, Mapping) else told_by(reply)
        operation = request.intent.operation
        reading = request.read(told, read_chat if operation == "chat" else read_media)
        if not reading.incomplete:
            return Settlement("settle", reading)
        estimates = dict(request.intent.usage)
        if operation == "chat":
            written = _length_of(field_of(reply, "outputs")) if written_bytes is None else written_bytes
            estimates["output_tokens"] = tokens_of_bytes(written)
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, estimates)), estimated=True)


def told_by(reply: Any) -> dict[str, object]:
    """Return what a reply says of itself and of what was used."""
    told: dict[str, object] = {name: field_of(reply, name) for name in ("id", "model")}
    told["service_tier"] = _TIERS.get(_label_of(reply, "service_tier"))
    if has(reply, "usage"):
        told["usage"] = used_in(reply.usage)
    images, video = field_of(reply, "images"), field_of(reply, "video")
    told |= {} if images is None else {"images": len(images)}
    # A charge stands for the seconds, which were told when the video was asked for.
    is_charged = "cost_in_usd_ticks" in (told.get("usage") or {})  # type: ignore[operator]  # a table
    return told if video is None or is_charged else told | {"video_seconds": field_of(video, "duration")}


def used_in(usage: Any) -> dict[str, object]:
    """Return a usage message as a table. A count of nothing is not sent, and is one all the same."""
    told: dict[str, object] = {"prompt_tokens": 0, "completion_tokens": 0}
    for field, value in usage.ListFields():
        told[field.name] = value
    tools = usage.DESCRIPTOR.fields_by_name.get("server_side_tools_used")
    if tools is not None and "server_side_tools_used" in told:
        names = tools.enum_type.values_by_number
        told[tools.name] = [
            names[number].name if number in names else str(number) for number in getattr(usage, tools.name)
        ]
    return told


def text_in(message: Any) -> int:
    """Return the UTF-8 length of all that is said in a message, an output or a tool."""
    if not hasattr(message, "ListFields"):
        return 0
    return sum(_length_of(value) for field, value in message.ListFields() if field.name not in _SILENT)


class ChunkTally(Counting):
    """Chunks of a streamed chat. A count may come with any; the one with its end, or after it, is the whole."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, object] = {}

    def takes_lightly(self, event: Any) -> bool:
        """Take in a chunk with a piece of text."""
        [output] = event.outputs
        delta = output.delta
        text = delta.content
        if not text or output.finish_reason or delta.reasoning_content or delta.tool_calls or event.HasField("usage"):
            return False
        if not text.isascii():
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in a chunk."""
        outputs: Any = field_of(event, "outputs") or ()
        self.written_bytes += sum(text_in(output.delta) for output in outputs)
        self.awaits_count = self.awaits_count or any(output.finish_reason for output in outputs)
        self._told |= {name: value for name, value in told_by(event).items() if value}
        self.is_counted = self.awaits_count and "usage" in self._told
        # With the last words more may follow, of another output; a count by itself is the last of all.
        self.is_final = self.is_counted and not outputs
        self.reply = self._told
        if not self.awaits_count and "usage" in self._told:
            used: Any = self._told["usage"]
            self.reply = self._told | {"usage": {name: used[name] for name in _COUNTED_BEFORE if name in used}}
        return False


def _read_fixed(_reply: object, fixed: Mapping[str, Any]) -> Any:
    """Return what the request fixed: nothing is counted yet."""
    return Counted(dict(fixed), ())


def _bounds(operation: str, asked: Any) -> dict[str, object]:
    """Return the most that a call can use, as far as its request fixes that."""
    if operation == "image":
        return {"images": field_of(asked, "n") or 1}
    if operation == "video":
        seconds = field_of(asked, "duration")
        return {"video_seconds": seconds} if seconds else {}
    spoken = [part for name in _SPOKEN_TO for part in _parts_of(field_of(asked, name))]
    bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(sum(_length_of(part) for part in spoken))}
    most = field_of(asked, "max_tokens")
    return bounds | {"output_tokens": most * (field_of(asked, "n") or 1)} if most else bounds


def _attributes_of(asked: Any) -> dict[str, object]:
    labels = {name: _label_of(asked, name) for name in ("resolution", "quality")}
    told = {
        name: label.rpartition(mark)[2].lower() for name, label in labels.items() for mark in _MARKS if mark in label
    }
    chosen = {name: value for name, value in told.items() if value not in ("invalid", "unspecified")}
    return chosen | {"service_tier": _TIERS.get(_label_of(asked, "service_tier"))}


def _parts_of(value: Any) -> Iterator[Any]:
    """Yield the parts of a field: of one that is repeated each, else itself."""
    is_repeated = not isinstance(value, str | bytes) and hasattr(value, "__len__")
    yield from value if is_repeated else [value]


def _length_of(value: Any) -> int:
    return sum(text_bytes(part) if isinstance(part, str) else text_in(part) for part in _parts_of(value))


def _label_of(message: Any, name: str) -> str:
    """Return the name of the value that a field has, or "" where there is no such field."""
    field = getattr(message, "DESCRIPTOR", None) and message.DESCRIPTOR.fields_by_name.get(name)
    if not field or field.enum_type is None:
        return ""
    known = field.enum_type.values_by_number.get(getattr(message, name))
    return "" if known is None else str(known.name)


def has(message: Any, name: str) -> bool:
    """Whether a message has this field, and it is set."""
    described = getattr(message, "DESCRIPTOR", None)
    return described is not None and name in described.fields_by_name and bool(message.HasField(name))
