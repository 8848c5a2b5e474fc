"""One stand-in: its world, the API in front of it, the deliveries behind it, and the task that keeps its time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from callfare.devtools.fake_stripe.api import Api
from callfare.devtools.fake_stripe.clock import FakeClock
from callfare.devtools.fake_stripe.deliveries import Deliveries, run_due
from callfare.devtools.fake_stripe.world import World
from callfare.ids import random_base62

_TICK_S: Final = 0.25


class Standin:
    """What the process holds; a reset puts a new world in the place of the old one."""

    def __init__(self, base_url: str, *, seed: str | None = None) -> None:
        self.base_url = base_url
        self.redirect_wait_s: float = 10
        self.begin(seed)
        self._ticking: asyncio.Task[None] | None = None

    def begin(self, seed: str | None) -> None:
        """Start with a new, empty world."""
        self.world = World(self.base_url, FakeClock(), seed or random_base62(12))
        self.deliveries = Deliveries(self.world)
        self.api = Api(self.world)

    async def reset(self, *, seed: str | None = None) -> None:
        """Forget everything."""
        await self.deliveries.close()
        self.begin(seed)

    async def start(self) -> None:
        """Begin to keep time."""
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Stop sending and keeping time."""
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        await self.deliveries.close()

    async def _tick(self) -> None:
        while True:
            run_due(self.world)
            await asyncio.sleep(_TICK_S)
