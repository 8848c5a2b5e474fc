"""Replies that were metered lately, by their ids, so that another layer that hears of one does not count it again.

A wrapped client meters a call before a framework over it tells its listeners; two listeners may hear of one call. The
first that claims an id counts it. Refuses to remember for ever: the ledger itself knows a repeated reply of one
provider.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

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
