"""Counting while a reply comes in: what was received so far, and whether the provider's own count is in.

A dialect has a tally for each kind of stream; events are objects or dictionaries. Pure. Refuses to keep any text: only
its length.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

_DATA = b"data:"


class Tally(Protocol):
    """What is known of a stream so far.

    reply: the part of the reply that can be read for ids and counts, as an object or a dictionary; None before any.
    written_bytes: the UTF-8 length of the text received.
    is_final: the provider's count is in, and nothing that follows will change it.
    is_counted: some count came that is the whole one if the stream ends well here.
    awaits_count: the text is complete, and the count is the next thing to come.
    """

    reply: object
    written_bytes: int
    is_final: bool
    is_counted: bool
    awaits_count: bool

    def take(self, event: object) -> bool:
        """Take in an event; return whether it exists only because we asked for it, and must be hidden."""
        ...

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event that is a piece of text and nothing else; return False, untaken, for any other.

        Almost all events are such pieces, and cost next to nothing here. May raise for what is no object of the SDK's.
        """
        ...


class Counting:
    """What every tally begins with."""

    __slots__ = ("awaits_count", "is_counted", "is_final", "reply", "written_bytes")

    def __init__(self) -> None:
        self.reply: object = None
        self.written_bytes = 0
        self.is_final = self.is_counted = self.awaits_count = False

    def takes_lightly(self, event: Any) -> bool:
        """Return False: no event is known to be mere text."""
        return False

    def end(self, reply: object) -> None:
        """Take this for the whole reply."""
        self.reply = reply
        self.is_final = self.is_counted = True


class ReplyTally(Counting):
    """A reply that comes whole, and is read or parsed later than it arrives."""

    __slots__ = ("_written_in",)

    def __init__(self, written_in: Callable[[object], int]) -> None:
        super().__init__()
        self._written_in = written_in

    def take(self, event: object) -> bool:
        """Take in the reply."""
        self.end(event)
        self.written_bytes = self._written_in(event)
        return False


def event_in(line: bytes) -> object:
    """Return the event in a line of server-sent events, or None for a line without one, such as its name or [DONE]."""
    if not line.startswith(_DATA) or line[len(_DATA) :].lstrip()[:1] != b"{":
        return None
    try:
        return json.loads(line[len(_DATA) :])
    except ValueError:
        return None
