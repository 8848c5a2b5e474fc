"""Settlements of streams that nobody finished, made in a thread of their own.

A stream may be collected at any moment and in any thread, even in one that holds the ledger's own mutex. What is left
to do then is only put into a queue, which is safe there, and done by this thread. Refuses to wait for long: the one who
left a stream goes on after a moment, settled or not.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from callfare.capture.base import Unharmed

WAIT_MS_MAX = 250
WAIT_AT_END_S_MAX = 10
_SETTLING = Unharmed("settle a call")


class Leftovers:
    """A queue and the thread that works it off. The thread is a daemon, started with the first stream."""

    def __init__(self) -> None:
        self._is_ending = False
        self._renew()
        os.register_at_fork(after_in_child=self._renew)
        atexit.register(self._finish)

    def _renew(self) -> None:
        """Begin without a thread: a forked child has none, and what its parent left is the parent's to do."""
        self._start = threading.RLock()
        self._thread: threading.Thread | None = None
        self._waiting: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()

    def make_ready(self) -> None:
        """Have the thread running. Called when a stream begins: while one is collected, no thread can be started."""
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._begin(threading.Thread(target=self._work, name="callfare-leftovers", daemon=True))

    def _begin(self, thread: threading.Thread) -> None:
        # Set first: whoever interrupts its start must not start another.
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise

    def leave(self, settle: Callable[[], None]) -> None:
        """Have a settlement made soon. Waits a moment for it, except in an event loop, which must not be held up."""
        done = threading.Event()
        self._waiting.put((settle, done))
        if self._is_ending:
            done.wait(WAIT_AT_END_S_MAX)
        elif not _is_in_event_loop():
            done.wait(WAIT_MS_MAX / 1000)

    def _finish(self) -> None:
        """Have everything settled before the process ends: an event loop did not wait, nor will the thread go on."""
        self._is_ending = True
        if self._thread is not None:
            self.leave(_nothing)

    def _work(self) -> None:
        while True:
            settle, done = self._waiting.get()
            with Unharmed("settle a stream that was left"):
                settle()
            done.set()
            # Nothing may stay referenced while waiting for the next.
            del settle, done


def _nothing() -> None:
    """Have nothing to settle, but a place in the queue."""


def settle_surely(settle: Callable[[], None]) -> None:
    """Settle a call, here or, where what a signal raises breaks in, in the thread of leftovers.

    settle: may be begun twice; the ledger hears of the call once.
    """
    try:
        with _SETTLING:
            settle()
    except BaseException:
        LEFTOVERS.make_ready()
        LEFTOVERS.leave(settle)
        raise


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


LEFTOVERS = Leftovers()
"""The one of this process: streams are collected without anything at hand that could carry it."""
