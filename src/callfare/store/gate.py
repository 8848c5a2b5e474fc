"""The gate of a store: one thread at a time writes, and none ever waits for itself.

The garbage collector and signals run code in the middle of a write, on the writing thread. A plain lock would have
that code wait for ever, and one that lets its holder in again would have it write into the middle of another write.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from callfare.errors import LedgerUnavailable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Gate:
    """Lets one thread pass at a time."""

    def __init__(self) -> None:
        # It knows its owner by itself: a marker of ours would stay behind when a signal's exception came at its end.
        self._lock = threading.RLock()

    def is_mine(self) -> bool:
        """Return whether this thread has passed the gate."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - Condition asks the same

    def passed(self) -> AbstractContextManager[object]:
        """Return what waits until nobody else is inside, then holds the gate, for a `with` block.

        Raises LedgerUnavailable to code that runs in the middle of this thread's own passage.
        """
        self._refuse_mine()
        return self._lock

    def hold(self) -> None:
        """Hold the gate until `let_go`, where no `with` block can. Raises as `passed` does."""
        self._refuse_mine()
        self._lock.acquire()

    def let_go(self) -> None:
        """Let others pass again."""
        self._lock.release()

    def _refuse_mine(self) -> None:
        if self.is_mine():
            raise LedgerUnavailable("asked from inside a write, and not written; repeat with the same key")
