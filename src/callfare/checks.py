"""Checks on text and objects from outside, the same for every door. What passes is safe to store on any database."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping

from callfare.errors import InvalidInput, InvalidMetadata, InvalidUser

NAME_LENGTH_MAX = 255
RESPONSE_ID_LENGTH_MAX = 512
METADATA_BYTES_MAX = 16 * 1024
_DEPTH_MAX = 32
_UNCLEAN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_text(
    value: object, what: str, *, error: type[InvalidInput] = InvalidInput, length_max: int = NAME_LENGTH_MAX
) -> str:
    """Return text of 1 to `length_max` characters without control characters or lone surrogates, as it is.

    In UTF-8 it takes at most two and a half times as many bytes: four names together fit every database's index.
    Look-alikes stay apart: nothing is trimmed, folded or normalised. Text of a kind of one's own becomes plain text.
    Raises `error`.
    """
    if not isinstance(value, str):
        raise error(f"{what} is {type(value).__name__}; give text", param=what)
    if not value or len(value) > length_max:
        raise error(f"{what} has {len(value)} characters; give 1 to {length_max}", param=what)
    if not (value.isascii() and value.isprintable()):
        if any(unicodedata.category(c) in _UNCLEAN for c in value):
            raise error(f"{what} holds a control character or half a character; give clean text", param=what)
        if (size := len(value.encode())) > _bytes_max(length_max):
            raise error(f"{what} takes {size} bytes; {_bytes_max(length_max)} is the most", param=what)
    return str.__str__(value)


def check_user(user: object) -> str:
    """Return a user id.

    Raises InvalidUser when it is empty, longer than 255 characters or 637 bytes, or not clean text.
    """
    return check_text(user, "user", error=InvalidUser)


def clean_text(value: object, length_max: int = NAME_LENGTH_MAX) -> str:
    """Return what can be kept of text that nobody here wrote: cut, and without control characters. Never raises."""
    text = value if isinstance(value, str) else ""
    if len(text) <= length_max and text.isascii() and text.isprintable():
        return str.__str__(text)
    clean = "".join(c for c in text[:length_max] if unicodedata.category(c) not in _UNCLEAN)
    return clean.encode()[: _bytes_max(length_max)].decode(errors="ignore")


def _bytes_max(length_max: int) -> int:
    return length_max * 5 // 2


def check_whole(value: object, what: str, *, least: int, most: int) -> int:
    """Return a whole number within bounds.

    Raises InvalidInput for anything else, booleans included.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{what} must be a whole number from {least} to {most}", param=what)
    return int(value)


def check_choice(value: object, what: str, choices: tuple[str, ...]) -> str:
    """Return the one of a few words that is meant.

    Raises InvalidInput for any other.
    """
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    raise InvalidInput(f"{what} must be one of {', '.join(choices)}", param=what)


def json_text(value: object, what: str) -> str | None:
    """Return a JSON object as canonical text, or None for None.

    Raises InvalidMetadata when it is no object of plain JSON values, nests deeper than 32 or takes more than 16 KiB.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidMetadata(f"{what} is {type(value).__name__}; give a mapping of names to plain values", param=what)
    copy = _PlainCopy(what).of(value, _DEPTH_MAX)
    try:
        text = json.dumps(copy, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        size = len(text.encode())
    except (ValueError, UnicodeEncodeError) as error:
        raise InvalidMetadata(f"{what} is not plain JSON: {error}", param=what) from None
    if size > METADATA_BYTES_MAX:
        raise InvalidMetadata(f"{what} takes {size} bytes; {METADATA_BYTES_MAX} is the most", param=what)
    return text


class _PlainCopy:
    """Copies an object of plain values, and stops as soon as it must take more room than there is.

    An object may hold another one many times over, so that a small one takes a huge text.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._room = METADATA_BYTES_MAX

    def of(self, value: object, depth: int) -> object:
        """Return a copy of a value that may nest so deep."""
        self._take(1)
        if isinstance(value, str):
            self._take(len(value))
            if "\x00" in value:
                raise self._refusal("holds a NUL character")
            return value
        if value is None or isinstance(value, bool | int | float):
            return value
        if not isinstance(value, Mapping | list | tuple):
            raise self._refusal(f"holds a value of type {type(value).__name__}; give plain JSON values")
        if depth == 0:
            raise self._refusal(f"nests deeper than {_DEPTH_MAX} levels")
        if not isinstance(value, Mapping):
            return [self.of(part, depth - 1) for part in value]
        if not all(isinstance(name, str) for name in value):
            raise self._refusal("has a name that is not text")
        return {self.of(name, depth - 1): self.of(part, depth - 1) for name, part in value.items()}

    def _take(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise self._refusal(f"takes more than {METADATA_BYTES_MAX} bytes, which is the most")

    def _refusal(self, reason: str) -> InvalidMetadata:
        return InvalidMetadata(f"{self._what} {reason}", param=self._what)
