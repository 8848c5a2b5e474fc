"""Messages of sessions: what they say, read no further than it is needed. Most are pieces of sound, and long.

Refuses to raise: what cannot be read says nothing.
"""

from __future__ import annotations

import json

import msgspec
from msgspec import Raw, Struct

from callfare.usage.fields import field_of, label_of

_DIGITS_MAX = 4000
"""Numbers longer than this are none that anything counts up to."""
_QUOTES = 2


class Brief(Struct):
    """What nearly every message needs to be read for. Pieces of text and sound stay as they came."""

    type: str = ""
    response_id: str = ""
    stream_id: str | None = None
    delta: Raw = Raw()
    audio: Raw = Raw()

    @staticmethod
    def sound_bytes(piece: Raw) -> int:
        """Return how many bytes of sound a piece has, in base64 as it came."""
        return max(len(memoryview(piece)) - _QUOTES, 0) * 3 // 4


_BRIEF = msgspec.json.Decoder(Brief)
_TEXT = msgspec.json.Decoder(str)


def brief_of(message: str | bytes) -> Brief:
    """Return the beginning of what a message says."""
    try:
        return _BRIEF.decode(message)
    except (ValueError, RecursionError):
        whole = message_of(message)
        stream_id = field_of(whole, "stream_id")
        return Brief(
            type=label_of(field_of(whole, "type")),
            response_id=label_of(field_of(whole, "response_id")),
            stream_id=label_of(stream_id) or None,
        )


def message_of(message: str | bytes) -> object:
    """Return all that a message says, or None for what is no JSON."""
    try:
        return json.loads(message, parse_int=_number)
    except (ValueError, RecursionError):
        return None


def text_of(piece: Raw) -> str:
    """Return a piece of text, or "" for anything else."""
    try:
        return _TEXT.decode(piece)
    except (ValueError, RecursionError):
        return ""


def _number(digits: str) -> object:
    return int(digits) if len(digits) <= _DIGITS_MAX else float("inf")
