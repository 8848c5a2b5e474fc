"""Bodies of requests as the stand-ins read them: JSON, or a form with files. Unreadable ones have no fields."""

from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, cast
from urllib.parse import parse_qsl

Json = dict[str, Any]


def fields_of(kind: str, body: bytes) -> tuple[Json, bytes]:
    """Return the fields of a body and its first uploaded file, empty where there is none.

    kind: the request's Content-Type; a body without one is a file. A form's fields are text, and `uploads` is the
    number of its files.
    """
    if kind.startswith("multipart/form-data"):
        return _form_fields(kind, body)
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode("utf-8", "replace"))), b""
    if not kind:
        return {}, body
    try:
        fields = json.loads(body) if body else {}
    except ValueError:
        fields = {}
    return (fields if isinstance(fields, dict) else {}), b""


def _form_fields(kind: str, body: bytes) -> tuple[Json, bytes]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body)
    fields: Json = {}
    uploads: list[bytes] = []
    for part in message.iter_parts():
        content = cast("bytes", part.get_payload(decode=True))
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            uploads.append(content)
        else:
            fields[str(name).removesuffix("[]")] = content.decode("utf-8", "replace")
    fields["uploads"] = len(uploads)
    return fields, uploads[0] if uploads else b""
