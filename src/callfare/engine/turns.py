"""Turns: long work of many callers on one event loop, a little at a time, so that short work need not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

# So many calls take about two milliseconds to rate.
_PER_TURN = 32


class Turns:
    """One queue for long work: of those who wait only the first goes on, with everybody's short work in between."""

    def __init__(self) -> None:
        self._lane = asyncio.Lock()

    async def each(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Return what some work makes of each item."""
        done: list[T] = []
        async with self._lane:
            # Whoever comes with much has just had it read, which was a turn of its own.
            if len(items) > _PER_TURN:
                await asyncio.sleep(0)
            for start in range(0, len(items), _PER_TURN):
                done += map(work, items[start : start + _PER_TURN])
                if start + _PER_TURN < len(items):
                    await asyncio.sleep(0)
        return done
