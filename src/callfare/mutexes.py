"""Locks and bells for code that may be interrupted: by a fork, by a signal's handler, by a collection of garbage.

A forked child finds the locks free: whoever held one in the parent is no thread of the child's, and never lets go. A
handler, or what a collection runs, comes in where its own thread holds a lock: a plain one would never let it go on.
What such a lock guards must be whole at any moment, as a few numbers or one table are. Refuses to guard more: what is
written in several steps has a restart of its own, or a gate that refuses whoever comes in like that.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from contextlib import AbstractContextManager, suppress

Mutex = AbstractContextManager[object]


def new_mutex(owner: object, name: str) -> Mutex:
    """Return a lock for an attribute of its owner, which has another one there after a fork."""
    place = id(owner)
    _OWNERS[place] = (weakref.ref(owner, lambda _: _OWNERS.pop(place, None)), name)
    return threading.RLock()


class Bell:
    """Wakes one thread that waits. Unlike an Event, it may be rung by what interrupts somebody who rings it."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Have the wait under way end, or the next one."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, seconds: float) -> None:
        """Return once it is rung, or after so many seconds."""
        with suppress(queue.Empty):
            self._rings.get(timeout=seconds)


class Turns:
    """So many at once. Unlike a Semaphore, it may be asked by what interrupts somebody who takes or gives back."""

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def take(self, seconds: float) -> bool:
        """Take a turn, waiting no longer than so many seconds; return whether there was one."""
        try:
            self._free.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        return True

    def give_back(self) -> None:
        """Let another have the turn."""
        self._free.put(None)


_OWNERS: dict[int, tuple[weakref.ref[object], str]] = {}


def _after_fork_in_child() -> None:
    for owner, name in list(_OWNERS.values()):
        if (held := owner()) is not None:
            setattr(held, name, threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
