"""Where answers come from: the reading half of a ledger, in this process or behind a server. Nothing here writes."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from callfare.answers import (
    Balance,
    Call,
    Estimate,
    Package,
    RunSummary,
    UsageReport,
)
from callfare.engine.engine import Engine
from callfare.facade import Period
from callfare.mcp.prices import price_list
from callfare.mcp.wire import PriceBook
from callfare.pages import Page


class Reader(Protocol):
    """What the tools ask."""

    async def balance(self, user: str) -> Balance:
        """Return what a user has."""
        ...

    async def usage(
        self,
        user: str,
        period: Period = "month",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tz: str = "UTC",
    ) -> UsageReport:
        """Return a user's usage."""
        ...

    async def estimate(self, workflow: str, *, user: str | None = None) -> Estimate:
        """Return what a run is expected to cost."""
        ...

    async def history(self, user: str, limit: int = 10, cursor: str | None = None) -> Page[RunSummary]:
        """Return a page of a user's runs, newest first."""
        ...

    async def calls(
        self, run: str, *, user: str | None = None, limit: int = 200, cursor: str | None = None
    ) -> Page[Call]:
        """Return a page of a run's calls."""
        ...

    async def packages(self) -> tuple[Package, ...]:
        """Return what is for sale: packages, then plans."""
        ...

    async def prices(self) -> PriceBook:
        """Return the rates that are in force."""
        ...


class EngineReader:
    """Reads the ledger that is open in this process, as the routes of the server do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reports = engine.reports

    async def balance(self, user: str) -> Balance:
        """Return what a user has, all zero for one nobody has heard of."""
        return await self._engine.glance_async(lambda: self._reports.balance(user))

    async def usage(
        self,
        user: str,
        period: Period = "month",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tz: str = "UTC",
    ) -> UsageReport:
        """Return a user's usage in a period."""
        return await self._engine.read_async(lambda: self._reports.usage(user, period, since=since, until=until, tz=tz))

    async def estimate(self, workflow: str, *, user: str | None = None) -> Estimate:
        """Return what a run is expected to cost, beside what the user's have.

        Raises UnknownWorkflow.
        """
        return await self._engine.read_async(lambda: self._reports.estimate(workflow, user))

    async def history(self, user: str, limit: int = 10, cursor: str | None = None) -> Page[RunSummary]:
        """Return a page of a user's runs, newest first."""
        return await self._engine.read_async(lambda: self._reports.history(user, limit, cursor))

    async def calls(
        self, run: str, *, user: str | None = None, limit: int = 200, cursor: str | None = None
    ) -> Page[Call]:
        """Return a page of a run's calls.

        Raises RunNotFound.
        """
        return await self._engine.read_async(lambda: self._reports.calls(run, user, limit, cursor))

    async def packages(self) -> tuple[Package, ...]:
        """Return what is for sale."""
        return await self._engine.read_async(self._reports.packages)

    async def prices(self) -> PriceBook:
        """Return the rates that are in force."""
        return await self._engine.read_async(lambda: price_list(self._engine))
