"""Glances: reads that find a few rows by their keys, done for asyncio callers by threads that stay.

Handing each to a thread pool takes five times what it takes itself. Here those that wait together are read together,
and their loop is woken once for all of them. What may take long goes to a pool of its own, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Asked(NamedTuple):
    """One read, and whoever waits for it."""

    read: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Glances:
    """The threads of one engine that read for asyncio callers.

    threads: one where reads only compute, some where they wait for a server. together: how many one thread takes up.
    """

    def __init__(self, *, threads: int, together: int) -> None:
        self._count = threads
        self._together = together
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def read(self, read: Callable[[], T]) -> T:
        """Return what a read returns, or raise what it raises."""
        return await self.ask(read)

    def ask(self, read: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future of what a read returns, or raises."""
        if os.getpid() != self._pid:
            # A fork has none of the threads.
            self._start_afresh()
        if len(self._threads) < self._count:
            self._start_thread()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._asked.put(_Asked(read, loop, future))
        return future

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, args=(self._asked,), name="callfare-glances", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End the threads once everything asked for is answered. They start again when they are used again."""
        threads, asked = self._threads, self._asked
        is_ours = os.getpid() == self._pid
        self._start_afresh()
        for _ in threads if is_ours else ():
            asked.put(None)
        for thread in threads if is_ours else ():
            thread.join()

    def _serve(self, asked: queue.SimpleQueue[_Asked | None]) -> None:
        while (first := asked.get()) is not None:
            taken, is_over = [first], False
            with suppress(queue.Empty):
                while len(taken) < self._together and not is_over:
                    more = asked.get_nowait()
                    is_over = more is None
                    taken += [] if more is None else [more]
            self._answer(taken)
            if is_over:
                return

    @staticmethod
    def _answer(taken: list[_Asked]) -> None:
        answers: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, BaseException | None]]]
        answers = defaultdict(list)
        for one in taken:
            try:
                answers[one.loop].append((one.future, one.read(), None))
            except Exception as error:  # noqa: BLE001 - it belongs to the caller
                answers[one.loop].append((one.future, None, error))
        for loop, found in answers.items():
            # A loop that has closed meanwhile no longer waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, found)


def _resolve(found: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, answer, error in found:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)
