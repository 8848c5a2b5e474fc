"""Results of OpenAI's batches: a file with a line for each request, in which the whole reply stands.

Which kind of call a line was follows from its reply. Refuses to charge moderations, which cost nothing, and lines that
the provider refused.
"""

from __future__ import annotations

import re

from callfare.capture.dialect import Answered, BatchAsked, bare_path
from callfare.usage.fields import field_of

_FILE = re.compile(r"/files/([^/]+)/content")
_ANSWERED = range(200, 300)
# A reply's own name for what it is. Pictures come without one.
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
    return None if found is None else BatchAsked(batch_id=found[1], mark="custom_id", line_of=line_of)


def line_of(result: object) -> Answered | None:
    """Return a line that was answered, or None for one that failed or costs nothing."""
    response, line_id = field_of(result, "response"), field_of(result, "custom_id")
    if field_of(response, "status_code") not in _ANSWERED or not isinstance(line_id, str):
        return None
    reply = field_of(response, "body")
    kind = field_of(reply, "object")
    if kind is None and isinstance(field_of(reply, "data"), list):
        return Answered(line_id, "image", reply)
    operation = _OPERATIONS.get(kind) if isinstance(kind, str) else None
    return None if operation is None else Answered(line_id, operation, reply)
