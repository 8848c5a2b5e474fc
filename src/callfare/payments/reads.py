"""Reads of many messages at once: what is asked for in one tick of the event loop is read together, as of one instant.

Keeps nothing: a row is never older than the question that it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from callfare.ledger.rows import Row
from callfare.store.protocol import Query, Store

T = TypeVar("T")
_TOGETHER = 128


class Reader(Protocol):
    """Whoever reads a store without blocking the loop."""

    store: Store

    async def glance_async(self, read: Callable[[], T]) -> T:
        """Return what a short read returns."""
        ...


class _Asked(NamedTuple):
    """What one caller asks, and the caller's future."""

    queries: Sequence[Query]
    future: asyncio.Future[list[list[Row]]]


class Reads:
    """Answers questions, those of one tick by one read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._ticks: dict[asyncio.AbstractEventLoop, list[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, *queries: Query) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant, which is not before it was asked.

        Raises LedgerUnavailable.
        """
        loop = asyncio.get_running_loop()
        asked = self._ticks.get(loop)
        if asked is None:
            asked = self._ticks[loop] = []
            loop.call_soon(self._end_tick, loop)
        one = _Asked(queries, loop.create_future())
        asked.append(one)
        return await one.future

    def _end_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        asked = self._ticks.pop(loop)
        for start in range(0, len(asked), _TOGETHER):
            task = loop.create_task(self._answer(asked[start : start + _TOGETHER]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: list[_Asked]) -> None:
        queries = [query for one in asked for query in one.queries]
        store = self._reader.store
        try:
            rows = iter(await self._reader.glance_async(lambda: store.select_all(queries)))
        except Exception as fault:  # noqa: BLE001 - it belongs to those who asked
            for one in asked:
                if not one.future.done():
                    one.future.set_exception(fault)
            return
        for one in asked:
            answer = [next(rows) for _ in one.queries]
            # A caller who has gone takes nobody else's answer along.
            if not one.future.done():
                one.future.set_result(answer)
