"""What Mistral's SDK makes of a client, a request and an error, as plain objects. Refuses to import the SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from callfare.capture.single import NO_ANSWER

# Files are neither copied nor looked into.
_AS_GIVEN = ("file", "document", "ref_audio", "document_annotation_format", "bbox_annotation_format")
_ANSWERED = range(200, 300)


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a request with dictionaries for the SDK's objects; what can be read but once stays as it is."""
    return {name: value if name in _AS_GIVEN else _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping) and not hasattr(value, "model_dump"):
        return value
    return value.model_dump(exclude_unset=True) if hasattr(value, "model_dump") else value


def base_url_of(client: Any) -> str:
    """Return where a client of the SDK sends to."""
    return str(client.sdk_configuration.get_server_details()[0])


def answer_in(error: BaseException) -> object:
    """Return what Mistral answered where the SDK could make nothing of it; `NO_ANSWER` where it did not answer."""
    if getattr(error, "status_code", 0) not in _ANSWERED:
        return NO_ANSWER
    with suppress(ValueError, TypeError, RecursionError):
        return json.loads(getattr(error, "body", ""))
    return None
