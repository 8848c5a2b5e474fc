"""Locks that a forked child finds free: whoever held one in the parent is no thread of the child's, and never lets go.

What such a lock guards must be whole at any moment, as a few numbers or one table are. Refuses to guard more: what is
written in several steps has a restart of its own.
"""

from __future__ import annotations

import os
import threading
import weakref


def new_mutex(owner: object, name: str) -> threading.Lock:
    """Return a lock for an attribute of its owner, which has another one there after a fork."""
    place = id(owner)
    _OWNERS[place] = (weakref.ref(owner, lambda _: _OWNERS.pop(place, None)), name)
    return threading.Lock()


_OWNERS: dict[int, tuple[weakref.ref[object], str]] = {}


def _after_fork_in_child() -> None:
    for owner, name in list(_OWNERS.values()):
        if (held := owner()) is not None:
            setattr(held, name, threading.Lock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
