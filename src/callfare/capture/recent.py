"""Replies that were metered lately, by their ids, so that another layer that hears of one does not count it again.

A wrapped client meters a call before a framework over it tells its listeners; two listeners may hear of one call. The
first that claims an id counts it. Refuses to remember for ever: the ledger itself knows a repeated reply of one
provider.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextvars import ContextVar

_KEPT = 10_000


class Recent:
    """The latest ids. Safe in threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._mutex = threading.Lock()

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


class Heard:
    """A call that a framework said it begins. A wrapped client's call made within it is the same one."""

    __slots__ = ("is_metered",)

    def __init__(self) -> None:
        self.is_metered = False


_HEARD: ContextVar[Heard | None] = ContextVar("callfare_heard_call", default=None)


def hear() -> Heard:
    """Return a note of the call that begins in this context. Frameworks do not always tell a reply's id at its end."""
    heard = Heard()
    _HEARD.set(heard)
    return heard


def note_metered() -> None:
    """Have the framework's call in this context, if there is one, not counted: a wrapped client meters it."""
    heard = _HEARD.get()
    if heard is not None:
        heard.is_metered = True
