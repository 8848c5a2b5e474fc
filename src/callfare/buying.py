"""Buying credits, for both façades: what is for sale, a checkout, and the portal. Nothing here grants any.

Where the ledger is here, Stripe is asked from here, with the key in STRIPE_SECRET_KEY; where it is behind a server, the
server asks. What was paid is granted by the server that Stripe's messages come to, or by `callfare stripe reconcile`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from callfare.answers import Package
from callfare.checks import check_text, check_user
from callfare.engine.engine import Engine
from callfare.engine.requests import local_note, stored_key
from callfare.errors import PaymentsNotConfigured
from callfare.facade import Facade
from callfare.ids import new_id
from callfare.payments.opening import open_till
from callfare.payments.packages import offered

if TYPE_CHECKING:
    from callfare.payments.till import Till

PUBLIC_VARIABLE = "CALLFARE_PUBLIC_URL"


class Buying(Facade):
    """What programs that wait do about buying."""

    def packages(self) -> tuple[Package, ...]:
        """Return what is for sale: the packages of credits, then the plans.

        Raises LedgerUnavailable where a server has to be asked and does not answer.
        """
        return self._engine.reports.packages()

    def checkout(self, user: str, package_id: str, *, email: str | None = None, key: str | None = None) -> str:
        """Return the address at which a user pays for a package or a plan. Credit comes once it is paid.

        package_id: of `packages`. email: where Stripe writes to; what is known already when None. key: names this
        request; made when None, and a repeat returns the same address.

        Raises NotFound, InvalidUser, InvalidInput, KeyConflict, PaymentsNotConfigured, PaymentsUnavailable,
        LedgerUnavailable, Misconfigured for a key that is not of this ledger's account.
        """
        far = self._engine.elsewhere
        if far is not None:
            return far.checkout(user, package_id, email=email, key=key)
        return _apart(lambda: _checkout(self._engine, user, package_id, email=email, key=key))

    def portal(self, user: str, *, email: str | None = None) -> str:
        """Return the address at which a user sees what they paid, changes their card and ends a plan. It lasts minutes.

        email: where Stripe writes to; what is known already when None.

        Raises InvalidUser, InvalidInput, PaymentsNotConfigured, PaymentsUnavailable, LedgerUnavailable, Misconfigured
        for a key that is not of this ledger's account.
        """
        far = self._engine.elsewhere
        if far is not None:
            return far.portal(user, email=email)
        return _apart(lambda: _portal(self._engine, user, email))


class AsyncBuying(Facade):
    """What programs with a loop do about buying."""

    async def packages(self) -> tuple[Package, ...]:
        """Return what is for sale: the packages of credits, then the plans.

        Raises LedgerUnavailable where a server has to be asked and does not answer.
        """
        return await self._engine.read_async(self._engine.reports.packages)

    async def checkout(self, user: str, package_id: str, *, email: str | None = None, key: str | None = None) -> str:
        """Return the address at which a user pays for a package or a plan. Credit comes once it is paid.

        package_id: of `packages`. email: where Stripe writes to; what is known already when None. key: names this
        request; made when None, and a repeat returns the same address.

        Raises NotFound, InvalidUser, InvalidInput, KeyConflict, PaymentsNotConfigured, PaymentsUnavailable,
        LedgerUnavailable, Misconfigured for a key that is not of this ledger's account.
        """
        far = self._engine.elsewhere
        if far is not None:
            return await self._engine.read_async(lambda: far.checkout(user, package_id, email=email, key=key))
        return await _checkout(self._engine, user, package_id, email=email, key=key)

    async def portal(self, user: str, *, email: str | None = None) -> str:
        """Return the address at which a user sees what they paid, changes their card and ends a plan. It lasts minutes.

        email: where Stripe writes to; what is known already when None.

        Raises InvalidUser, InvalidInput, PaymentsNotConfigured, PaymentsUnavailable, LedgerUnavailable, Misconfigured
        for a key that is not of this ledger's account.
        """
        far = self._engine.elsewhere
        if far is not None:
            return await self._engine.read_async(lambda: far.portal(user, email=email))
        return await _portal(self._engine, user, email)


async def _checkout(engine: Engine, user: str, package_id: str, *, email: str | None, key: str | None) -> str:
    user, package_id = check_user(user), check_text(package_id, "package_id")
    named = stored_key(new_id("key") if key is None else check_text(key, "key"))
    async with _till(engine) as till:
        note = local_note("checkout.create")
        return (await till.orders.checkout(user, email, package_id, key=named, note=note)).url


async def _portal(engine: Engine, user: str, email: str | None) -> str:
    user = check_user(user)
    async with _till(engine) as till:
        return await till.orders.portal(user, email)


@asynccontextmanager
async def _till(engine: Engine) -> AsyncIterator[Till]:
    """Yield payments of this loop: connections stay with the loop that they were made on."""
    till = open_till(engine, offered(engine.settings), os.environ.get(PUBLIC_VARIABLE) or None)
    if till is None:
        raise PaymentsNotConfigured("set STRIPE_SECRET_KEY, or ask a server that sells")
    try:
        await engine.create_async()
        await till.desk.open()
        yield till
    finally:
        await till.stop()


def _apart(work: Callable[[], Coroutine[Any, Any, str]]) -> str:
    """Return what some work returns, done in a thread of its own: a loop may be running in this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="callfare-buying") as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
