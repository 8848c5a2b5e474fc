"""Replies that were metered lately, by their ids, so that another layer that hears of one does not count it again.

A wrapped client meters a call before a framework over it tells its listeners; two listeners may hear of one call. The
first that claims an id counts it. Refuses to remember for ever: the ledger itself knows a repeated reply of one
provider.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from contextvars import ContextVar

from callfare.mutexes import new_mutex
from callfare.usage.quantities import Quantity

_KEPT = 10_000
_NOTES_KEPT = 100


class Recent:
    """The latest ids. Safe in threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._mutex = new_mutex(self, "_mutex")

    def claim(self, response_id: str) -> bool:
        """Return whether nobody has claimed this id before; an empty one is anybody's."""
        if not response_id:
            return True
        with self._mutex:
            if response_id in self._ids:
                return False
            self._ids[response_id] = None
            if len(self._ids) > self._kept:
                self._ids.popitem(last=False)
        return True


RECENT = Recent()
"""The one of this process."""


class Note:
    """A wrapped client's call within a framework's. It has a count once it is settled."""

    __slots__ = ("input_tokens", "is_over", "is_settled")

    def __init__(self) -> None:
        self.is_settled = self.is_over = False
        self.input_tokens: Quantity | None = None

    def settled(self, usage: Mapping[str, Quantity]) -> None:
        """Know what the call read."""
        self.is_settled = True
        self.input_tokens = usage.get("input_tokens")

    def released(self) -> None:
        """Forget the call: it was not made."""
        self.is_over = True


class Heard:
    """A call that a framework said it begins. A wrapped client's call made within it may be the same one.

    above: the one in whose context it begins.
    """

    __slots__ = ("_notes", "above", "is_over")

    def __init__(self, above: Heard | None = None) -> None:
        self.above = above
        self.is_over = False
        self._notes: deque[Note] = deque(maxlen=_NOTES_KEPT)

    def note(self, note: Note) -> None:
        """Take note of a wrapped client's call."""
        self._notes.append(note)

    def is_told_again(self, usage: Mapping[str, Quantity]) -> bool:
        """Whether a wrapped client made the call that used this, rather than another one meanwhile.

        While a stream is read, the same context may make calls of its own: those read something else.
        """
        read = usage.get("input_tokens")
        notes = [note for note in self._notes if not note.is_over]
        told = [note.input_tokens for note in notes if note.is_settled]
        # What holds several calls tells their sum.
        return bool(notes) and (
            read is None or len(told) < len(notes) or read in told or read == sum(count or 0 for count in told)
        )


_HEARD: ContextVar[Heard | None] = ContextVar("callfare_heard_call", default=None)


def hear() -> Heard:
    """Return a note of the call that begins in this context. Frameworks do not always tell a reply's id at its end."""
    above = _HEARD.get()
    while above is not None and above.is_over:
        above = above.above
    heard = Heard(above)
    _HEARD.set(heard)
    return heard


def note_metered() -> Note | None:
    """Have a wrapped client's call known to the frameworks' calls it is made within; None where there is none."""
    heard = _HEARD.get()
    if heard is None:
        return None
    note = Note()
    while heard is not None:
        if not heard.is_over:
            heard.note(note)
        heard = heard.above
    return note
