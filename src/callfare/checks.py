"""Checks on text and objects from outside, the same for every door. What passes is safe to store on any database."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping

from callfare.errors import InvalidInput, InvalidMetadata, InvalidUser

NAME_LENGTH_MAX = 255
METADATA_BYTES_MAX = 16 * 1024
_DEPTH_MAX = 32
_UNCLEAN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_text(
    value: object, what: str, *, error: type[InvalidInput] = InvalidInput, length_max: int = NAME_LENGTH_MAX
) -> str:
    """Return text of 1 to `length_max` characters without control characters or lone surrogates, as it is.

    Look-alikes stay apart: nothing is trimmed, folded or normalised. Raises `error`.
    """
    if not isinstance(value, str):
        raise error(f"{what} is {type(value).__name__}; give text", param=what)
    if not value or len(value) > length_max:
        raise error(f"{what} has {len(value)} characters; give 1 to {length_max}", param=what)
    if not (value.isascii() and value.isprintable()) and any(unicodedata.category(c) in _UNCLEAN for c in value):
        raise error(f"{what} holds a control character or half a character; give clean text", param=what)
    return value


def check_user(user: object) -> str:
    """Return a user id.

    Raises InvalidUser when it is empty, longer than 255 characters or not clean text.
    """
    return check_text(user, "user", error=InvalidUser)


def clean_text(value: object, length_max: int = NAME_LENGTH_MAX) -> str:
    """Return what can be kept of text that nobody here wrote: cut, and without control characters. Never raises."""
    text = value if isinstance(value, str) else ""
    return "".join(c for c in text[:length_max] if unicodedata.category(c) not in _UNCLEAN)


def check_whole(value: object, what: str, *, least: int, most: int) -> int:
    """Return a whole number within bounds.

    Raises InvalidInput for anything else, booleans included.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{what} must be a whole number from {least} to {most}", param=what)
    return value


def json_text(value: object, what: str) -> str | None:
    """Return a JSON object as canonical text, or None for None.

    Raises InvalidMetadata when it is no object of plain JSON values, nests deeper than 32 or takes more than 16 KiB.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidMetadata(f"{what} is {type(value).__name__}; give a mapping of names to plain values", param=what)
    _check_plain(value, what, _DEPTH_MAX)
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise InvalidMetadata(f"{what} is not plain JSON: {error}", param=what) from None
    if size > METADATA_BYTES_MAX:
        raise InvalidMetadata(f"{what} takes {size} bytes; {METADATA_BYTES_MAX} is the most", param=what)
    return text


def _check_plain(value: object, what: str, depth: int) -> None:
    if depth == 0:
        raise InvalidMetadata(f"{what} nests deeper than {_DEPTH_MAX} levels", param=what)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise InvalidMetadata(f"{what} has a name that is not text", param=what)
        parts = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        parts = []
        if isinstance(value, str) and "\x00" in value:
            raise InvalidMetadata(f"{what} holds a NUL character", param=what)
    for part in parts:
        _check_plain(part, what, depth - 1)
