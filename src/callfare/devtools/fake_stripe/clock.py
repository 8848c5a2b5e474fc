"""The stand-in's own time: it runs with the machine's, or stands still, and jumps when a test says so.

What shall happen later is kept with its time. Jumping ahead passes every such time on the way, in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from callfare.clock import US_PER_S, SystemClock

Action = Callable[[], None]


@dataclass(order=True)
class Timer:
    """Something that happens at a time, unless it is called off."""

    at_s: int
    number: int
    action: Action = field(compare=False)
    is_off: bool = field(default=False, compare=False)


class FakeClock:
    """Seconds since 1970 that can be set, and what waits for them."""

    def __init__(self, start_s: int | None = None) -> None:
        self._system = SystemClock()
        self._numbers = count(1)
        self._timers: list[Timer] = []
        self._stands_at: int | None = None
        self._ahead_s = 0
        if start_s is not None:
            self._ahead_s = start_s - self._system_s()

    def _system_s(self) -> int:
        return self._system.now_us() // US_PER_S

    def now_s(self) -> int:
        """Return the present second."""
        return self._stands_at if self._stands_at is not None else self._system_s() + self._ahead_s

    def set(self, now_s: int) -> None:
        """Make it this second; what was due meanwhile has to be run by `due`."""
        if self._stands_at is not None:
            self._stands_at = now_s
        self._ahead_s = now_s - self._system_s()

    def stand(self, *, still: bool) -> None:
        """Stop the time where it is, or let it run on from there."""
        now = self.now_s()
        self._stands_at = now if still else None
        self._ahead_s = now - self._system_s()

    @property
    def is_still(self) -> bool:
        """Whether time was stopped."""
        return self._stands_at is not None

    def at(self, when_s: int, action: Action) -> Timer:
        """Have something happen at a time, at once when that has passed."""
        timer = Timer(when_s, next(self._numbers), action)
        heapq.heappush(self._timers, timer)
        return timer

    def next_s(self) -> int | None:
        """Return when the next thing happens, None when nothing waits."""
        while self._timers and self._timers[0].is_off:
            heapq.heappop(self._timers)
        return self._timers[0].at_s if self._timers else None

    def due(self) -> Timer | None:
        """Take out the first thing whose time has come, None when there is none."""
        first = self.next_s()
        return heapq.heappop(self._timers) if first is not None and first <= self.now_s() else None
