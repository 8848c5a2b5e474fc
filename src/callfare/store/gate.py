"""The gate of a store: one thread at a time writes, and none ever waits for itself.

The garbage collector and signals run code in the middle of a write, on the writing thread. A plain lock would have
that code wait for ever, and one that lets its holder in again would have it write into the middle of another write.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from callfare.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Lets one thread pass at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: set[int] = set()

    def is_mine(self) -> bool:
        """Return whether this thread has passed the gate, or stands before it."""
        return threading.get_ident() in self._inside

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Wait until nobody else is inside, then hold the gate.

        Raises LedgerUnavailable to code that runs in the middle of this thread's own passage.
        """
        self._refuse_mine()
        me = threading.get_ident()
        try:
            # Marked before it is held, and unmarked after: whatever runs in between is seen to be inside.
            self._inside.add(me)
            with self._lock:
                yield
        finally:
            self._inside.discard(me)

    def hold(self) -> None:
        """Hold the gate until `let_go`, where no `with` block can. Raises as `passed` does."""
        self._refuse_mine()
        self._inside.add(threading.get_ident())
        self._lock.acquire()

    def let_go(self) -> None:
        """Let others pass again."""
        self._lock.release()
        self._inside.discard(threading.get_ident())

    def _refuse_mine(self) -> None:
        if self.is_mine():
            raise LedgerUnavailable("asked from inside a write, and not written; repeat with the same key")
