"""Asking the processor for many messages: so many questions at once, so that nobody else's wait behind them."""

from __future__ import annotations

import asyncio
from collections import deque

from callfare.payments.gateway import Answering, Invoice, Payment, Session, Subscribed

AT_ONCE = 64


class _Turns:
    """So many turns. Whoever comes while one is free takes it without a look at those who wait."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return with a turn."""
        if self._free:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # The turn came, and nobody is there to take it.
                self.give()
            raise

    def give(self) -> None:
        """Give a turn to whoever waits longest."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._free += 1


class InTurn:
    """Asks what another one answers, and has whoever comes while many ask wait for a turn."""

    def __init__(self, answering: Answering, at_once: int = AT_ONCE) -> None:
        self._answering = answering
        self._turns = _Turns(at_once)

    async def session(self, session: str) -> Session:
        """Return a checkout with its lines. Raises ObjectGone."""
        await self._turns.take()
        try:
            return await self._answering.session(session)
        finally:
            self._turns.give()

    async def payment(self, payment: str) -> Payment:
        """Return a payment with what became of its money. Raises ObjectGone."""
        await self._turns.take()
        try:
            return await self._answering.payment(payment)
        finally:
            self._turns.give()

    async def invoice(self, invoice: str) -> Invoice:
        """Return an invoice with its lines. Raises ObjectGone."""
        await self._turns.take()
        try:
            return await self._answering.invoice(invoice)
        finally:
            self._turns.give()

    async def invoice_paid_by(self, payment: str) -> str | None:
        """Return the invoice that a payment was for, None when it was for none."""
        await self._turns.take()
        try:
            return await self._answering.invoice_paid_by(payment)
        finally:
            self._turns.give()

    async def plan(self, subscription: str) -> Subscribed:
        """Return a subscription as it stands. Raises ObjectGone."""
        await self._turns.take()
        try:
            return await self._answering.plan(subscription)
        finally:
            self._turns.give()
