"""Looks keys up for many requests at once: those that wait together are answered by one hop to a thread.

A look-up begins after whoever waits for it has asked, so a key that was revoked before is never found alive.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from callfare.engine.engine import Engine
from callfare.ledger.rows import ApiKey
from callfare.store.protocol import ApiKeyNamed

if TYPE_CHECKING:
    Waiting = dict[str, asyncio.Future[ApiKey | None]]


class Lookup:
    """API keys by their public ids, for the requests of one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: Waiting = {}
        self._task: asyncio.Task[None] | None = None

    async def row_of(self, key_id: str) -> ApiKey | None:
        """Return the row of a key as it is after this was asked, None when there is none.

        Raises LedgerUnavailable, LedgerNotFound.
        """
        found = self._waiting.get(key_id)
        if found is None:
            found = self._waiting[key_id] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._answer())
        # A request that is cancelled leaves the answer to the others.
        return await asyncio.shield(found)

    async def _answer(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, {}
                try:
                    rows = await self._engine.glance_async(partial(self._rows, list(asked)))
                except BaseException as error:
                    for future in asked.values():
                        _fail(future, error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for future, row in zip(asked.values(), rows, strict=True):
                    if not future.done():
                        future.set_result(row)
        finally:
            self._task = None

    def _rows(self, key_ids: list[str]) -> list[ApiKey | None]:
        return [self._row(key_id) for key_id in key_ids]

    def _row(self, key_id: str) -> ApiKey | None:
        for row in self._engine.store.select(ApiKeyNamed(key_id=key_id)):
            assert isinstance(row, ApiKey), row
            return row
        return None


def _fail(future: asyncio.Future[ApiKey | None], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
        return
    future.set_exception(error)
    # Whoever waited may have gone; then nobody hears of it.
    future.exception()
