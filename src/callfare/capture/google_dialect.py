"""The dialect of Gemini's API, at Google's two addresses: what its requests fix, what its replies and streams tell.

Requests and replies are those that the SDK hands to its HTTP layer and gets from it: dictionaries and JSON text. A
chunk of a stream is kept as text, and only the last one that counts is read. Refuses to import the SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from msgspec.structs import replace

from callfare.capture.base import BatchOutcome, Intent
from callfare.capture.dialect import (
    Answered,
    BatchAsked,
    BatchTold,
    JobAsked,
    Request,
    bare_intent,
    bare_path,
    bytes_for_model,
    in_batch,
    plausible_attributes,
    plausible_usage,
    tokens_of_bytes,
    whole,
)
from callfare.capture.providers import endpoint_at, provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Tally
from callfare.usage.extract import read, with_estimates
from callfare.usage.fields import Reader, field_of, list_of, members_of
from callfare.usage.google import read_content, read_embedding, read_pictures
from callfare.usage.quantities import Quantity

_MAKER = "google"
_OPERATIONS = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "batchEmbedContents": "embedding",
    "embedContent": "embedding",
    "predict": "image",
    "predictLongRunning": "video",
}
_READERS: Mapping[str, Reader] = {"chat": read_content, "embedding": read_embedding, "image": read_pictures}
_JOB = re.compile(r"/(?:.*/)?operations/[^/:]+")
_BATCH = re.compile(r"/batches/[^/:]+")
_FILE = re.compile(r"/(files/[^/:]+):download")
_BATCH_OPERATIONS = {"batchGenerateContent": "chat", "asyncBatchEmbedContent": "embedding"}
_ENDED: Mapping[str, BatchOutcome] = {
    "SUCCEEDED": "failed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "cancelled",
}
"""How a batch has ended that has no results."""
_VIDEO_SECONDS = 8
"""What a video lasts where the request does not say."""
_PICTURES = 4
"""How many pictures are made where the request does not say."""


@dataclass(frozen=True, slots=True)
class GoogleDialect:
    """Gemini's API.

    provider: who answers; None for whose address it is.
    """

    provider: str | None = None

    def provider_of(self, base_url: str) -> str:
        """Return who answers at an address."""
        return self.provider or provider_at(base_url, _MAKER)

    def operation_of(self, path: str) -> str | None:
        """Return which kind of call a POST to this path is, or None when it is not metered."""
        return _OPERATIONS.get(bare_path(path).rpartition(":")[2])

    def job_of(self, path: str) -> JobAsked | None:
        """Return which video is asked about, or None when it is another request."""
        bare = bare_path(path)
        return JobAsked("video", unquote(bare.strip("/"))) if _JOB.fullmatch(bare) else None

    def batch_of(self, path: str, reply: object = None) -> BatchAsked | None:
        """Return the batch whose results a reply or a file has, or None when it is another request.

        reply: the batch as it was told; None for a file.
        """
        bare = bare_path(path)
        if (found := _FILE.fullmatch(bare)) is not None:
            return BatchAsked(batch_id=found[1], mark="key", line_of=_line_of, is_file=True)
        if not _BATCH.fullmatch(bare):
            return None
        told = content_of(reply)
        name = field_of(told, "name")
        model = str(field_of(field_of(told, "metadata"), "model") or "").rpartition("/")[2]
        return BatchAsked(batch_id=name, mark="key", line_of=_line_of, model=model) if isinstance(name, str) else None

    def batch_made_by(self, path: str, *, base_url: str, body: object) -> Sequence[Intent] | None:
        """Return the calls in the batch that a POST to this path makes, None when it is another request.

        Those that stand in a file are not known.
        """
        where, _, kind = bare_path(path).rpartition(":")
        operation = _BATCH_OPERATIONS.get(kind)
        if operation is None:
            return None
        asked = field_of(field_of(field_of(field_of(body, "batch"), "inputConfig"), "requests"), "requests")
        kind = "generateContent" if operation == "chat" else "embedContent"
        requests = (
            self.request_of(
                f"{where}:{kind}", operation=operation, base_url=base_url, body=field_of(one, "request"), options={}
            )
            for one in list_of(asked)
        )
        return [in_batch(request.intent) for request in requests]

    def batch_told(self, reply: object) -> BatchTold | None:
        """Return what a batch tells: the file of its results, or that it has ended without any."""
        told = content_of(reply)
        name, state = field_of(told, "name"), field_of(field_of(told, "metadata"), "state")
        if not isinstance(name, str) or not name.startswith("batches/"):
            return None
        file = field_of(field_of(field_of(told, "metadata"), "output"), "responsesFile")
        if isinstance(file, str) and file:
            return BatchTold((name, file))
        outcome = _ENDED.get(state.rpartition("_")[2]) if isinstance(state, str) else None
        return BatchTold((name,), None if results_in(reply) else outcome)

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
        """Return a request with what it fixes: a bound of its tokens, or its pictures, or its seconds."""
        fields = body if isinstance(body, Mapping) else {}
        if operation == "image" and _embeds(fields):
            operation = "embedding"
        asked = field_of(fields, "parameters")
        names = {"image": {"size": "sampleImageSize"}, "video": {"resolution": "resolution"}}.get(operation, {})
        sound = field_of(asked, "generateAudio")
        told: dict[str, object] = {name: field_of(asked, field) for name, field in names.items()}
        told["endpoint"] = endpoint_at(base_url)
        if operation == "video" and isinstance(sound, bool):
            told["audio"] = "yes" if sound else "no"
        intent = Intent(
            provider=self.provider_of(base_url),
            base_url=base_url.rstrip("/"),
            operation=operation,
            model=bare_path(path).rpartition(":")[0].rpartition("/")[2],
            usage=plausible_usage(_fixed_by(operation, fields)),
            attributes=plausible_attributes(told),
        )
        return Request(
            intent=intent, dialect=self, body=body, options=options, is_stream=is_stream, is_evented=is_stream
        )

    def bare_request(
        self, operation: str, *, base_url: str, body: object, options: Mapping[str, Any], is_stream: bool
    ) -> Request:
        """Return a request of which nothing is known but its kind."""
        intent = bare_intent(self.provider_of(base_url), operation, base_url)
        return Request(intent=intent, dialect=self, body=body, options=options, is_stream=is_stream)

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for streamed content."""
        return ContentTally()

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply has earned.

        reply: what the SDK's HTTP layer gave, or its content.
        """
        intent = request.intent
        content = content_of(reply)
        if intent.operation == "video":
            return _settlement_of_video(request, content)
        reading = request.read(content, _READERS[intent.operation])
        if not reading.incomplete:
            return Settlement("settle", reading)
        estimates: dict[str, Quantity] = dict(intent.usage)
        if intent.operation == "chat":
            written = _written_in(content) if written_bytes is None else written_bytes
            estimates["output_tokens"] = tokens_of_bytes(written)
        usage = with_estimates(reading.usage, estimates)
        return Settlement("settle", replace(reading, usage=usage), estimated=True)


class ContentTally:
    """Chunks of streamed content. Counts are totals: the last one holds, and nothing else is read before the end."""

    __slots__ = ("_counted", "_grounded", "_uncounted", "awaits_count", "is_final")

    def __init__(self) -> None:
        self._counted: list[str] = []
        self._grounded: list[str] = []
        self._uncounted: list[str] = []
        self.is_final = self.awaits_count = False

    @property
    def is_counted(self) -> bool:
        """Whether all text came and was counted; of a prompt that was blocked there is none."""
        return bool(self._counted) and (self.awaits_count or '"blockReason"' in self._counted[-1])

    @is_counted.setter
    def is_counted(self, is_counted: bool) -> None:
        """Refuse: it follows from the chunks."""
        raise AttributeError(is_counted)

    @property
    def reply(self) -> object:
        """The last count, with the searches told before it."""
        told = [members_of(content_of(body)) for body in self._counted]
        if not told:
            return None
        used: dict[str, object] = {}
        for content in told:
            used |= members_of(content.get("usageMetadata"))
        candidates = [one for body in self._grounded for one in _candidates_in(content_of(body))]
        return {**told[-1], "usageMetadata": used, "candidates": candidates}

    @reply.setter
    def reply(self, reply: object) -> None:
        """Refuse: it follows from the chunks."""
        raise AttributeError(reply)

    @property
    def written_bytes(self) -> int:
        """The UTF-8 length of the text that came without a count."""
        return sum(_written_in(content_of(body)) for body in self._uncounted)

    @written_bytes.setter
    def written_bytes(self, count: int) -> None:
        """Refuse: it follows from the chunks."""
        raise AttributeError(count)

    def takes_lightly(self, event: Any) -> bool:
        """Keep a chunk that counts and does not end the stream."""
        body = event.body
        if (
            '"promptTokenCount"' not in body
            or '"finishReason"' in body
            or '"groundingMetadata"' in body
            or '"functionCall"' in body
        ):
            return False
        self._counted = [body]
        if self._uncounted:
            self._uncounted.clear()
        return True

    def take(self, event: object) -> bool:
        """Take in a chunk."""
        body = getattr(event, "body", None)
        if not isinstance(body, str):
            return False
        if (used := _used_in(body)) is not None:
            # One that leaves out what went in adds to those before it.
            self._counted = [body] if used.get("promptTokenCount") is not None else [*self._counted, body]
            self._uncounted.clear()
        else:
            self._uncounted.append(body)
        if '"groundingMetadata"' in body:
            self._grounded.append(body)
        if '"finishReason"' in body:
            self.awaits_count = True
        return False


def content_of(reply: object) -> object:
    """Return the JSON in what the SDK's HTTP layer gave, or what was given where there is none."""
    body = getattr(reply, "body", reply)
    if not isinstance(body, str | bytes):
        return body
    try:
        return json.loads(body)
    except ValueError:
        return None


def _embeds(fields: Mapping[str, object]) -> bool:
    instances = field_of(fields, "instances")
    return isinstance(instances, list) and any(field_of(one, "content") is not None for one in instances)


def _fixed_by(operation: str, fields: Mapping[str, object]) -> dict[str, object]:
    asked = field_of(fields, "parameters")
    made = whole(field_of(asked, "sampleCount"))
    if operation == "image":
        return {"images": made or _PICTURES}
    if operation == "video":
        return {"video_seconds": (made or 1) * (whole(field_of(asked, "durationSeconds")) or _VIDEO_SECONDS)}
    names = ("contents", "systemInstruction", "tools", "requests", "content", "instances")
    count = sum([bytes_for_model(fields.get(name)) for name in names])
    bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(count)}
    limits = field_of(fields, "generationConfig")
    most = whole(field_of(limits, "maxOutputTokens"))
    if operation == "chat" and most is not None:
        bounds["output_tokens"] = most * (whole(field_of(limits, "candidateCount")) or 1)
    return bounds


def _settlement_of_video(request: Request, content: object) -> Settlement:
    """Return what a video has earned: its seconds are known when it is accepted, its end tells whether it was made."""
    intent = request.intent
    name = field_of(content, "name")
    told = {"id": name, "model": intent.model or None}
    reading = read("video", told, model=intent.model, usage=intent.usage, attributes=intent.attributes)
    if field_of(content, "done"):
        has_failed = field_of(content, "error") is not None
        return Settlement("release" if has_failed else "settle", reading, is_job=True)
    if reading.response_id:
        return Settlement("pend", reading, is_job=True)
    return Settlement("settle", reading, estimated=True)


def _used_in(body: str) -> Mapping[str, object] | None:
    """Return what a chunk counts, or None for one without a count; what a model tells a tool may have such a name."""
    if 'TokenCount"' not in body:
        return None
    used = members_of(field_of(content_of(body), "usageMetadata"))
    return used if any(name.endswith("TokenCount") for name in used) else None


def _candidates_in(content: object) -> list[object]:
    candidates = field_of(content, "candidates")
    return candidates if isinstance(candidates, list) else []


def _written_in(content: object) -> int:
    parts = (field_of(field_of(candidate, "content"), "parts") for candidate in _candidates_in(content))
    return sum(map(bytes_for_model, parts))


def results_in(reply: object) -> list[object]:
    """Return the results that a batch carries itself, each numbered: they come in the order of its requests."""
    output = field_of(field_of(content_of(reply), "metadata"), "output") or field_of(content_of(reply), "response")
    carried = [
        field_of(field_of(output, name), "inlinedResponses")
        for name in ("inlinedResponses", "inlinedEmbedContentResponses")
    ]
    results = [result for results in carried if isinstance(results, list) for result in results]
    return [{"key": str(number), "response": field_of(result, "response")} for number, result in enumerate(results)]


def _line_of(result: object) -> Answered | None:
    """Return a result that was answered, or None for one that failed."""
    reply, line_id = field_of(result, "response"), field_of(result, "key")
    if reply is None or not isinstance(line_id, str):
        return None
    is_content = field_of(reply, "candidates") is not None or field_of(reply, "usageMetadata") is not None
    counted = {"usageMetadata": {"promptTokenCount": field_of(reply, "tokenCount")}}
    return Answered(line_id, "chat", reply) if is_content else Answered(line_id, "embedding", counted)
