"""Mistral's batches as its API words them: a job over a file of requests, or over requests of its own, and its results.

A line says what it asks for and not where: all lines of a job are for one endpoint, named when the job is made. What
kind of call a result was follows from its reply. Refuses to charge lines that Mistral says failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import READING, BatchOutcome, Intent
from callfare.capture.batch_calls import UPLOADS
from callfare.capture.dialect import Answered, BatchAsked, BatchTold, Hear, in_batch
from callfare.capture.mistral_dialect import CONVERSATION, DOCUMENT, MistralDialect
from callfare.capture.mistral_objects import plain_fields
from callfare.capture.openai_batches import lines_of
from callfare.usage.fields import field_of, label_of, list_of, whole_of
from callfare.usage.quantities import Quantity

_ERROR_STATUS_MIN = 400
_PAGES = ("pages", "annotated_pages")
_KINDS_BY_ENDPOINT: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/fim/completions": "chat",
    "/v1/agents/completions": "chat",
    "/v1/embeddings": "embedding",
    "/v1/ocr": DOCUMENT,
    "/v1/moderations": "classification",
    "/v1/chat/moderations": "classification",
    "/v1/classifications": "classification",
    "/v1/chat/classifications": "classification",
    "/v1/conversations": CONVERSATION,
    "/v1/audio/transcriptions": "transcription",
}
_KINDS_BY_OBJECT = {"chat.completion": "chat", "list": "embedding", "conversation.response": CONVERSATION}
_MARK = "response"
# Replies without a name of their own: the first of these fields that one has.
_KINDS_BY_FIELD = {"pages": DOCUMENT, "results": "classification", "text": "transcription", "usage": "chat"}
_RUNNING = ("QUEUED", "RUNNING", "CANCELLATION_REQUESTED")
_ENDED: Mapping[str, BatchOutcome] = {
    "SUCCESS": "failed",
    "FAILED": "failed",
    "TIMEOUT_EXCEEDED": "cancelled",
    "CANCELLED": "cancelled",
}
"""How a job has ended that has answered nothing."""


# Making them


def made_by(dialect: MistralDialect, fields: Mapping[str, Any], *, base_url: str) -> Sequence[Intent]:
    """Return the calls in the job that is made with these fields: its own requests, and those of files seen here."""
    kind = _KINDS_BY_ENDPOINT.get(str(fields.get("endpoint")), "chat")
    model = label_of(fields.get("model")) or label_of(fields.get("agent_id"))
    files = [file_id for file_id in list_of(fields.get("input_files")) if isinstance(file_id, str)]
    uploaded = [intent for file_id in files for intent in UPLOADS.of(base_url, file_id)]
    own = _intents_in(dialect, list_of(fields.get("requests")), base_url)
    return [
        in_batch(replace(intent, operation=kind, model=model or intent.model, usage=_fixed_of(kind, intent)))
        for intent in (*uploaded, *own)
    ]


def _fixed_of(kind: str, intent: Intent) -> Mapping[str, Quantity]:
    """Return what a line fixes of what its kind of call is charged by."""
    if kind == DOCUMENT:
        return {meter: count for meter, count in intent.usage.items() if meter in _PAGES}
    return {} if kind == "transcription" else intent.usage


def upload_heard(dialect: MistralDialect, fields: Mapping[str, Any], *, base_url: str) -> Hear | None:
    """Return what hears the id of a file of requests that is uploaded, None where it is for something else."""
    if fields.get("purpose") != "batch":
        return None
    requests = list(_intents_in(dialect, _objects_in(field_of(fields.get("file"), "content")), base_url))

    def hear(reply: object) -> None:
        file_id = label_of(field_of(reply, "id"))
        if file_id:
            UPLOADS.note(base_url, file_id, requests)

    return hear


def _objects_in(upload: object) -> Iterator[object]:
    for line in lines_of(upload):
        with suppress(ValueError, RecursionError):
            yield json.loads(line)


def _intents_in(dialect: MistralDialect, requests: Iterable[object], base_url: str) -> Iterator[Intent]:
    """Yield what each request fixes."""
    for one in requests:
        body = field_of(one, "body")
        if not isinstance(body, Mapping):
            continue
        intent: Intent | None = None
        with READING:
            kind = DOCUMENT if "document" in body else "chat"
            intent = dialect.request_for(kind, plain_fields(body), base_url=base_url, is_stream=False).intent
        if intent is not None:
            yield intent


# Hearing of them


def told_by(job: object) -> BatchTold | None:
    """Return what a job tells, None where it is none. One that says it answered something has results to read."""
    job_id, status = label_of(field_of(job, "id")), field_of(job, "status")
    if field_of(job, "object") != "batch" or not job_id:
        return None
    file_id = label_of(field_of(job, "output_file"))
    if file_id:
        return BatchTold((job_id, file_id))
    is_without = not list_of(field_of(job, "outputs")) and whole_of(field_of(job, "succeeded_requests")) == 0
    return BatchTold((job_id,), _ENDED.get(status) if is_without and isinstance(status, str) else None)


def inline_of(job: object) -> tuple[BatchAsked, list[object]] | None:
    """Return the results that a job which has ended carries itself, None where it carries none.

    They are the lines of its file too, where it tells of one, and are known by it.
    """
    told, outputs = told_by(job), list_of(field_of(job, "outputs"))
    if told is None or not outputs or field_of(job, "status") in _RUNNING:
        return None
    model = label_of(field_of(job, "model")) or label_of(field_of(job, "agent_id"))
    *_, name = told.ids
    is_file = len(told.ids) > 1
    return BatchAsked(batch_id=name, mark=_MARK, line_of=line_of, model=model, is_file=is_file), outputs


def file_asked(file_id: object) -> BatchAsked:
    """Return the batch whose results a file may be."""
    return BatchAsked(batch_id=str(file_id), mark=_MARK, line_of=line_of, is_file=True)


def line_of(result: object) -> Answered | None:
    """Return a line that was answered, or None for one that failed."""
    response = field_of(result, "response")
    status = field_of(response, "status_code")
    if field_of(result, "error") is not None or (isinstance(status, int) and status >= _ERROR_STATUS_MIN):
        return None
    reply = field_of(response, "body")
    kind = _kind_of(reply)
    line_id = field_of(result, "custom_id")
    if not isinstance(line_id, str):
        line_id = field_of(result, "id")
    if kind is None or not isinstance(line_id, str):
        return None
    # The same line is told by a file and by the job itself, which need not tell of each other.
    return Answered(line_id, kind, reply, told_as=label_of(field_of(reply, "id")))


def _kind_of(reply: object) -> str | None:
    named = _KINDS_BY_OBJECT.get(str(field_of(reply, "object")))
    return named or next((kind for name, kind in _KINDS_BY_FIELD.items() if field_of(reply, name) is not None), None)
