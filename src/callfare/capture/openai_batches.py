"""OpenAI's batches: a file of requests, and a file of results with a line for each, in which the whole reply stands.

Which kind of call a line of results was follows from its reply. Refuses to charge moderations, which cost nothing, and
lines that the provider refused; and to fetch a file of requests that this process did not upload.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from callfare.capture.base import BatchOutcome, Intent
from callfare.capture.batch_calls import UPLOADS
from callfare.capture.dialect import (
    Answered,
    BatchAsked,
    BatchTold,
    Dialect,
    Hear,
    bare_path,
    fields_of,
    in_batch,
)
from callfare.capture.openai_requests import operation_of, uploads_in
from callfare.usage.fields import field_of

_FILE = re.compile(r"/files/([^/]+)/content")
_BATCH = re.compile(r"/batches/([^/]+)(?:/cancel)?")
_ENDED: Mapping[str, BatchOutcome] = {
    "completed": "failed",
    "failed": "failed",
    "expired": "cancelled",
    "cancelled": "cancelled",
}
"""How a batch has ended that has no results."""
_VERSION = "/v1"
_ANSWERED = range(200, 300)
# A reply's own name for what it is. Pictures and transcripts come without one.
_OPERATIONS = {
    "chat.completion": "chat",
    "text_completion": "chat",
    "response": "responses",
    "list": "embedding",
    "video": "video",
}


def batch_of(path: str) -> BatchAsked | None:
    """Return the batch whose results a file may be: it has one such file, and is known by it."""
    found = _FILE.fullmatch(bare_path(path))
    return None if found is None else BatchAsked(batch_id=found[1], mark="custom_id", line_of=line_of, is_file=True)


def line_of(result: object) -> Answered | None:
    """Return a line that was answered, or None for one that failed or costs nothing."""
    response, line_id = field_of(result, "response"), field_of(result, "custom_id")
    if field_of(response, "status_code") not in _ANSWERED or not isinstance(line_id, str):
        return None
    reply = field_of(response, "body")
    kind = field_of(reply, "object")
    if kind is None and isinstance(field_of(reply, "data"), list):
        return Answered(line_id, "image", reply)
    if kind is None and isinstance(field_of(reply, "text"), str):
        return Answered(line_id, "transcription", reply)
    operation = _OPERATIONS.get(kind) if isinstance(kind, str) else None
    return None if operation is None else Answered(line_id, operation, reply)


# Making them


def made_by(path: str, *, base_url: str, body: object, options: Mapping[str, Any]) -> Sequence[Intent] | None:
    """Return the calls in the file that a request makes a batch of, none where nobody saw its upload.

    None for another request.
    """
    if bare_path(path) != "/batches":
        return None
    file_id = fields_of(body, options).get("input_file_id")
    return UPLOADS.of(base_url.rstrip("/"), file_id) if isinstance(file_id, str) else ()


def is_asked_about(path: str) -> bool:
    """Tell whether one batch is asked about, or cancelled."""
    return _BATCH.fullmatch(bare_path(path)) is not None


def told_by(reply: object) -> BatchTold | None:
    """Return what a batch tells, None where it is none.

    Together's answer to one that is made has the batch within it. Its batches do not say that they are batches, and
    their status comes in capitals.
    """
    batch = reply if field_of(reply, "job") is None else field_of(reply, "job")
    batch_id, status = field_of(batch, "id"), field_of(batch, "status")
    if field_of(batch, "object") not in ("batch", None) or not isinstance(batch_id, str) or not batch_id:
        return None
    file_id = field_of(batch, "output_file_id")
    if isinstance(file_id, str) and file_id:
        return BatchTold((batch_id, file_id))
    return BatchTold((batch_id,), _ENDED.get(status.lower()) if isinstance(status, str) else None)


def upload_heard(dialect: Dialect, path: str, *, base_url: str, body: object, files: object) -> Hear | None:
    """Return what hears the id of a file of requests that is uploaded, None when it is another request."""
    if bare_path(path) != "/files" or field_of(body, "purpose") != "batch":
        return None
    requests = [
        in_batch(intent)
        for line in lines_of(next(uploads_in(files), None))
        if (intent := _intent_in(dialect, line, base_url)) is not None
    ]

    def hear(reply: object) -> None:
        file_id = field_of(reply, "id")
        if isinstance(file_id, str):
            UPLOADS.note(base_url.rstrip("/"), file_id, requests)

    return hear


def _intent_in(dialect: Dialect, line: bytes, base_url: str) -> Intent | None:
    """Return what a line of requests fixes, None for a line that costs nothing or is none."""
    asked: object = None
    with suppress(ValueError, RecursionError):
        asked = json.loads(line)
    url, body = field_of(asked, "url"), field_of(asked, "body")
    if not isinstance(url, str) or not isinstance(body, Mapping):
        return None
    path = bare_path(url)
    path = path.removeprefix(_VERSION)
    operation = operation_of(path)
    if operation is None:
        return None
    request = dialect.request_of(path, operation=operation, base_url=base_url, body=body, options={})
    return request.intent


def lines_of(upload: object) -> Iterator[bytes]:
    """Yield the lines of an upload. An open file is left where it stood; one that can be read once is not read."""
    if isinstance(upload, bytes | bytearray):
        yield from bytes(upload).splitlines()
    elif isinstance(upload, os.PathLike):
        with suppress(OSError), Path(upload).open("rb") as lines:
            yield from lines
    elif hasattr(upload, "seekable") and cast("IO[bytes]", upload).seekable():
        file = cast("IO[bytes]", upload)
        place = file.tell()
        try:
            yield from file
        finally:
            file.seek(place)
