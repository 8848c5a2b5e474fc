"""What a request may be at most, checked before any of it is understood."""

from __future__ import annotations

import re

from callfare.errors import BodyTooLarge, InvalidInput

BODY_BYTES_MAX = 1024 * 1024
BATCH_EVENTS_MAX = 1000
DEADLINE_S = 10
LONG_DEADLINE_S = 600
RETRY_AFTER_S = 2
DEPTH_MAX = 40

_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_size(size: int) -> None:
    """Return when a body of so many bytes is taken.

    Raises BodyTooLarge.
    """
    if size > BODY_BYTES_MAX:
        raise BodyTooLarge(f"the body is above {BODY_BYTES_MAX} bytes; send it in parts")


def check_depth(body: bytes) -> None:
    """Return when a JSON text nests no deeper than 40 levels, without parsing it.

    Raises InvalidInput, also for brackets that do not match.
    """
    # Each round takes the innermost pairs away, so what is left after 40 of them lies deeper, or was never closed.
    brackets = _TEXTS.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        if not brackets:
            return
        brackets = _without_pairs(brackets)
    if brackets:
        raise InvalidInput(f"the body is no JSON, or nests deeper than {DEPTH_MAX} levels", param="body")


def _without_pairs(brackets: bytes) -> bytes:
    return _PAIRS.sub(b"", brackets)


_PAIRS = re.compile(rb"(?:\[\]|\{\})+")
