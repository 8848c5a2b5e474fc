"""How late this machine is: what of a wait is not the product's, but that of other processes on busy processors.

A bound on time is a bound on ours. Whoever subtracts this from what a clock says may keep it tight on any machine.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

_TICK_S = 0.01


class Lateness:
    """A thread that wants to run every hundredth of a second while the block lasts, and sums up how late it comes."""

    def __init__(self) -> None:
        self._late_and_due_s = 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._late_and_due_s = 0.0, time.monotonic() + _TICK_S
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            now_s = time.monotonic()
            late_s, due_s = self._late_and_due_s
            self._late_and_due_s = late_s + max(0.0, now_s - due_s), now_s + _TICK_S

    def elapsed_s(self) -> float:
        """Return a clock's seconds without those in which this process could not run. Differences count, as ever."""
        now_s = time.monotonic()
        late_s, due_s = self._late_and_due_s
        return now_s - late_s - max(0.0, now_s - due_s)
