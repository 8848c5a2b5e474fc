"""Where a variant's time goes: deterministic profiles of the event loop's thread and of the committer's.

Under it everything is two to three times slower, functions that are called often most of all: read it for shares and
for numbers of calls, not for rates.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_LINES = 25


class Profiles:
    """A profile of each thread that begins while it is on, and of the one that turned it on."""

    def __init__(self) -> None:
        self._by_thread: dict[str, cProfile.Profile] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Profile this thread and all that begin inside. A thread that began before is not seen."""
        threading.setprofile(self._begin)
        mine = self._by_thread["event loop"] = cProfile.Profile()
        mine.enable()
        try:
            yield
        finally:
            mine.disable()
            threading.setprofile(None)  # type: ignore[arg-type]

    def _begin(self, _frame: FrameType, _event: str, _argument: Any) -> None:
        """Take the place of the hook that each new thread starts with."""
        profile = cProfile.Profile()
        self._by_thread[threading.current_thread().name] = profile
        profile.enable()

    def text(self, operations: int) -> str:
        """Return the dearest functions of each thread, by their own time and by all time under them."""
        parts = []
        for name, profile in self._by_thread.items():
            profile.create_stats()
            for order in ("tottime", "cumulative"):
                out = io.StringIO()
                stats = pstats.Stats(profile, stream=out)
                stats.strip_dirs().sort_stats(order).print_stats(_LINES)
                parts.append(f"== {name}, {operations:,} operations, by {order}\n{out.getvalue().strip()}\n")
        return "\n".join(parts)
