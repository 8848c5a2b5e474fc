"""Where an operation's time goes: deterministic profiles of the event loop's thread and of the committer's.

Under it everything is two to three times slower, and functions that are called often most of all: read it for shares
and numbers of calls, not for rates. What waits for the disk or the server stands under the built-in that waits.
"""

from __future__ import annotations

import cProfile
import pstats
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bench.ledgers import Ledger, postgres_ledger, sqlite_ledger, told_by_server
from bench.rounds import Stage, Variant
from callfare.committer import Committer

_LINES = 25
_OPERATIONS = 10_240
# Store, work, callers.
WORKLOADS = {
    f"{store}-{work}": (store, callers, method)
    for store in ("sqlite", "postgres")
    for work, callers, method in (
        ("one-caller", 1, "record_in_one"),
        ("one-run", 256, "record_in_one"),
        ("spread", 256, "record_spread"),
        ("open-close", 256, "open_and_close"),
    )
}


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
        name = threading.current_thread().name
        if name.startswith("callfare"):
            profile = self._by_thread[name] = cProfile.Profile()
            profile.enable()

    def text(self, operations: int) -> str:
        """Return the dearest functions of each thread, by their own time and by all time under them."""
        parts = []
        for name, profile in self._by_thread.items():
            profile.create_stats()
            found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
            for title, column in (("own time", 2), ("time with what it calls", 3)):
                parts.append(f"\n{name}, by {title}\n   calls/op   own us/op  with us/op  function")
                for function, figures in sorted(found.items(), key=lambda item: -item[1][column])[:_LINES]:
                    calls, own_s, with_s = figures[1], figures[2], figures[3]
                    parts.append(
                        f"{calls / operations:11.3f} {own_s / operations * 1e6:11.2f} {with_s / operations * 1e6:11.2f}"
                        f"  {_named(function)}"
                    )
        return "\n".join(parts)


def _named(function: tuple[str, int, str]) -> str:
    file, line, name = function
    return name if file == "~" else f"{name} ({'/'.join(Path(file).parts[-2:])}:{line})"


async def profile(name: str, stage: Stage) -> str:
    """Return the profile of a workload."""
    store, callers, method = WORKLOADS[name]
    users = 1 if method == "open_and_close" else stage.size.users
    opened = (
        sqlite_ledger(stage.folder / "profile.db", users) if store == "sqlite" else postgres_ledger(stage.server, users)
    )
    async with opened as ledger:
        operations = stage.size.of(_OPERATIONS if callers > 1 else _OPERATIONS // 20, callers)
        variant = Variant(name, callers, operations, getattr(ledger, method), ledger.check)
        bare = await variant.sample(stage.server.pid)
        with told_by_server(ledger, _LINES) as statements:
            counted = await variant.sample(stage.server.pid)
        profiles = Profiles()
        _begin_new_thread(ledger)
        with profiles.on():
            sample = await variant.sample(stage.server.pid)
    return (
        f"{name}: {callers} callers, {sample.operations:,} operations at {sample.rate:,.0f}/s under the profile; "
        f"without it {bare.rate:,.0f}/s, {bare.client_us:.0f} us of this process each\n"
        f"{_of_server(statements, counted.operations)}{profiles.text(sample.operations)}"
    )


def _of_server(statements: list[tuple[str, int, float]], operations: int) -> str:
    """Return the server's dearest statements as text: its processes are no threads of ours."""
    if not statements:
        return ""
    lines = [
        f"{calls / operations:11.4f} {seconds / operations * 1e6:11.2f}  {' '.join(query.split())[:100]}"
        for query, calls, seconds in statements
    ]
    return "\n".join(["\nthe server's statements", "   calls/op       us/op  statement", *lines, ""])


def _begin_new_thread(ledger: Ledger) -> None:
    """Give a ledger another committer, whose thread has not begun yet and so will be seen."""
    engine = ledger.fare._engine
    engine._committer.close()
    engine._committer = Committer(engine.store)
