"""Looks keys up for many requests at once, and balances with them: those that wait together share one look.

A look begins after whoever waits for it has asked, so a key that was revoked before is never found alive, and a balance
knows of every write that was answered before.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from callfare.engine.engine import Engine
from callfare.store.protocol import Look, Seen

if TYPE_CHECKING:
    Waiting = dict[Look, list[asyncio.Future[Seen]]]


class Lookup:
    """What the requests of one event loop must know first. One look is out at a time; the next takes all who wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: Waiting = {}
        self._is_out = False

    async def look(self, asked: Look) -> Seen:
        """Return a key and an account as they are after this was asked.

        Raises LedgerUnavailable, LedgerNotFound.
        """
        loop = asyncio.get_running_loop()
        # A future for each, so that a request that is cancelled takes nobody with it.
        found: asyncio.Future[Seen] = loop.create_future()
        self._waiting.setdefault(asked, []).append(found)
        if not self._is_out:
            self._is_out = True
            # At the end of this round of the loop, so that all who ask in it share the look.
            loop.call_soon(self._begin)
        return await found

    def _begin(self) -> None:
        asked, self._waiting = self._waiting, {}
        read = partial(self._engine.store.look, list(asked))
        self._engine.glance(read).add_done_callback(partial(self._end, asked))

    def _end(self, asked: Waiting, done: asyncio.Future[list[Seen]]) -> None:
        self._is_out = bool(self._waiting)
        if self._waiting:
            self._begin()
        if done.cancelled():
            for future in _of(asked):
                future.cancel()
            return
        error = done.exception()
        if error is not None:
            for future in _of(asked):
                future.set_exception(error)
                # Whoever waited may have gone; then nobody hears of it.
                future.exception()
            return
        for futures, seen in zip(asked.values(), done.result(), strict=True):
            for future in futures:
                if not future.done():
                    future.set_result(seen)


def _of(asked: Waiting) -> list[asyncio.Future[Seen]]:
    return [future for futures in asked.values() for future in futures if not future.done()]
