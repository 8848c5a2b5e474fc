"""The dialect of Mistral's API: OpenAI's, where it is that, and conversations, sound, documents and classes besides.

Calls are told apart by what kind of call the SDK's method makes. What runs in a conversation is known by the model that
replied in it last. Refuses to import the SDK, and to guess how many pages a document has.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace
from typing_extensions import override

from callfare.capture import openai_requests
from callfare.capture.dialect import Request, bytes_for_model, plausible_usage, text_bytes, tokens_of_bytes
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.openai_replies import texts_in
from callfare.capture.openai_tallies import ChatTally, ResponseTally, SoundTally
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, Tally
from callfare.mutexes import new_mutex
from callfare.usage import mistral
from callfare.usage.extract import with_estimates
from callfare.usage.fields import Reader, field_of, label_of, list_of
from callfare.usage.openai import READERS

CONVERSATION = "conversation"
DOCUMENT = "ocr"
_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "chat": mistral.read_chat,
        "embedding": mistral.read_embedding,
        "classification": mistral.read_classification,
        "transcription": mistral.read_transcript,
        "speech": READERS["speech"],
        DOCUMENT: mistral.read_document,
        CONVERSATION: mistral.read_conversation,
    }
)
_WRITING = ("chat", CONVERSATION)
_ANNOTATING = ("document_annotation_format", "bbox_annotation_format")
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)
_MODELS_KEPT = 10_000


class Models:
    """Which model replied last in each of the latest conversations. Safe in threads."""

    def __init__(self, kept: int = _MODELS_KEPT) -> None:
        self._kept = kept
        self._models: OrderedDict[str, str] = OrderedDict()
        self._mutex = new_mutex(self, "_mutex")

    def learn(self, conversation_id: object, model: object) -> None:
        """Know what replies in a conversation: a model, or an agent."""
        name, model = label_of(conversation_id), label_of(model)
        if name and model:
            with self._mutex:
                self._models[name] = model
                self._models.move_to_end(name)
                if len(self._models) > self._kept:
                    self._models.popitem(last=False)

    def of(self, conversation_id: object) -> str:
        """Return what replied in a conversation; where that is not known, the conversation itself."""
        name = label_of(conversation_id)
        with self._mutex:
            return self._models.get(name, name)


MODELS = Models()
"""The one of this process: clients come and go, conversations stay."""


@dataclass(frozen=True, slots=True)
class MistralDialect(OpenAIDialect):
    """Mistral's API: what is OpenAI's, and the rest."""

    models: Models = field(default=MODELS, compare=False)

    def request_for(self, kind: str, fields: Mapping[str, Any], *, base_url: str, is_stream: bool) -> Request:
        """Return a request with what it fixes. fields: those of the SDK's method, of any type of its."""
        model = fields.get("model") or fields.get("agent_id")
        if kind == CONVERSATION:
            model = model or self.models.of(fields.get("conversation_id"))
        arguments = fields.get("completion_args")
        beside = {"model": model, "input": fields.get("inputs"), "max_tokens": field_of(arguments, "max_tokens")}
        body = beside | {name: value for name, value in fields.items() if value}
        request = openai_requests.request_of(
            "",
            dialect=self,
            provider=self.provider_of(base_url),
            operation=kind,
            base_url=base_url,
            body=body,
            options={},
            files={"file": field_of(fields.get("file"), "content")},
        )
        if kind == DOCUMENT:
            request = replace(request, intent=replace(request.intent, usage=plausible_usage(_pages_fixed_by(fields))))
        return replace(request, is_stream=is_stream, is_evented=is_stream)

    @override
    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally: an event carries what it tells as its data."""
        if not request.is_evented:
            return OpenAIDialect.tally_of(self, request)
        match request.intent.operation:
            case "chat":
                return EventTally(request)
            case "speech":
                return SpeechTally()
            case "transcription":
                return TranscriptTally()
            case "conversation":
                return ConversationTally()
            case _:
                return EventedResponseTally()

    @override
    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a whole reply, or all that came of one, has earned."""
        intent = request.intent
        reader = _READERS.get(intent.operation)
        if reader is None:
            return OpenAIDialect.settlement_of(self, request, reply, written_bytes=written_bytes)
        if intent.operation == DOCUMENT:
            is_annotated = _is_annotated(request.body) or _has_annotations(reply)
            reader = partial(mistral.read_document, is_annotated=is_annotated)
        reading = request.read(reply, reader)
        if intent.operation == CONVERSATION:
            self.models.learn(field_of(reply, "conversation_id"), reading.model)
        if not reading.incomplete:
            return Settlement("settle", reading)
        fixed = dict(intent.usage)
        if intent.operation in _WRITING:
            written = _written_in(reply) if written_bytes is None else written_bytes
            fixed["output_tokens"] = tokens_of_bytes(written)
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, fixed)), estimated=True)


class EventTally(ChatTally):
    """Events of a streamed chat, each with a chunk in it."""

    __slots__ = ()

    @override
    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a word of one choice and nothing else."""
        return ChatTally.takes_lightly(self, event.data)

    @override
    def take(self, event: object) -> bool:
        """Take in an event."""
        return ChatTally.take(self, field_of(event, "data"))


class EventedResponseTally(ResponseTally):
    """Events of a streamed response, each with OpenAI's in it."""

    __slots__ = ()

    @override
    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a piece of text."""
        return ResponseTally.takes_lightly(self, event.data)

    @override
    def take(self, event: object) -> bool:
        """Take in an event."""
        return ResponseTally.take(self, field_of(event, "data"))


class SpeechTally(SoundTally):
    """Events of speech, each with OpenAI's in it."""

    __slots__ = ()

    @override
    def take(self, event: object) -> bool:
        """Take in an event."""
        return SoundTally.take(self, field_of(event, "data"))


class TranscriptTally(Counting):
    """Events of a transcript. The last one counts; segments tell how far it has come."""

    __slots__ = ()

    def take(self, event: object) -> bool:
        """Take in an event."""
        told = field_of(event, "data")
        kind = field_of(told, "type")
        if kind == "transcription.done":
            self.end({"usage": field_of(told, "usage"), "model": field_of(told, "model")})
        elif kind == "transcription.segment" and field_of(told, "end") is not None:
            self.reply = {"heard_seconds": field_of(told, "end")}
        if kind == "transcription.text.delta":
            self.written_bytes += text_bytes(field_of(told, "text"))
        return False


class ConversationTally(Counting):
    """Events of a reply in a conversation: its entries as they come, and the count with the last one."""

    __slots__ = ("_entries", "_told")

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[object, dict[str, object]] = {}
        self._told: dict[str, object] = {}

    def take(self, event: object) -> bool:
        """Take in an event."""
        told = field_of(event, "data")
        kind = str(field_of(told, "type") or "")
        own = field_of(told, "id")
        if kind == "conversation.response.started":
            self._told["conversation_id"] = field_of(told, "conversation_id")
        elif kind == "conversation.response.done":
            self.end(self._reply() | {"usage": field_of(told, "usage")})
        elif own is not None:
            entry = {name: field_of(told, name) for name in ("id", "name", "model") if field_of(told, name)}
            self._entries.setdefault(own, {}).update(entry | {"type": kind.rpartition(".")[0]})
            self.written_bytes += _written_by(kind, told)
        if not self.is_final:
            self.reply = self._reply()
        return False

    def _reply(self) -> dict[str, object]:
        return self._told | {"outputs": list(self._entries.values())}


def _written_by(kind: str, told: object) -> int:
    if kind == "message.output.delta":
        return bytes_for_model(field_of(told, "content"))
    return text_bytes(field_of(told, "arguments")) if kind == "function.call.delta" else 0


def _written_in(reply: object) -> int:
    """Return the length of what a whole reply says."""
    entries = list_of(field_of(reply, "outputs"))
    said = sum(bytes_for_model(field_of(entry, "content")) for entry in entries)
    called = sum(
        text_bytes(field_of(entry, "arguments")) for entry in entries if field_of(entry, "type") == "function.call"
    )
    return said + called + sum(text_bytes(text) for text in texts_in(reply))


def _is_annotated(fields: object) -> bool:
    return any(field_of(fields, name) for name in _ANNOTATING)


def _has_annotations(reply: object) -> bool:
    """Whether pages say themselves that they were annotated, which is all that a line of a batch has to say of it."""
    pictures = [picture for page in list_of(field_of(reply, "pages")) for picture in list_of(field_of(page, "images"))]
    annotations = (field_of(reply, "document_annotation"), *(field_of(one, "image_annotation") for one in pictures))
    return any(isinstance(annotation, str) and annotation for annotation in annotations)


def _pages_fixed_by(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return how many pages a request names at the most; nothing where the document alone decides that."""
    asked = fields.get("pages")
    pages: int | None = None
    if isinstance(asked, str):
        pages = _pages_in(asked)
    elif isinstance(asked, Sequence):
        pages = len(asked)
    elif field_of(fields.get("document"), "type") == "image_url":
        pages = 1
    if pages is None:
        return {}
    return {"pages": pages} | ({"annotated_pages": pages} if _is_annotated(fields) else {})


def _pages_in(text: str) -> int | None:
    """Return how many pages a list of numbers and ranges names, such as 0,2-4; None for anything else."""
    total = 0
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            return None
        first, last = int(found[1]), int(found[2] or found[1])
        total += max(last - first + 1, 0)
    return total
