"""Reconciliation: what messages should have told and did not, by a timer and by hand. A second run changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from callfare.clock import US_PER_S
from callfare.errors import CallfareError, InvalidInput, NotFound, PaymentsUnavailable
from callfare.ledger.receipts import FactReceipt, OrderReceipt
from callfare.ledger.rows import HOUSE
from callfare.ledger.sale_commands import MoveOrder, NoteFact
from callfare.ledger.sale_rows import Installation, Order, Sale, Subscription
from callfare.payments.desk import Desk
from callfare.payments.events import WANTED
from callfare.payments.gateway import INSTANCE, ObjectGone
from callfare.payments.inbox import Inbox
from callfare.payments.settlement import Settlement
from callfare.store.protocol import FactNamed, LiveSubscriptions, SalesPaidBy, UnsettledOrders

_log = logging.getLogger("callfare.payments")

_CURSOR = "stripe_cursor"
# A process that listed and then died has moved no cursor, and Stripe's clock is not ours: look an hour further back.
_OVERLAP_S = 3600
_BACK_S = 30 * 24 * 3600
# An order younger than this is still being paid for.
_SETTLED_AFTER_S = 120
_LOST_AFTER_S = 25 * 3600
_PAGE = 100
_TYPES_MAX = 20
_INVOICES = 3


@dataclass(slots=True, kw_only=True)
class Reconciled:
    """What a run has seen. unmatched: payments of ours that nothing was granted for."""

    events: int = 0
    messages: int = 0
    orders: int = 0
    plans: int = 0
    payments: int = 0
    granted: int = 0
    unmatched: list[str] = field(default_factory=list)


class Reconciler:
    """Looks at Stripe's lists, and brings what they tell through the door that messages come through."""

    def __init__(self, desk: Desk, settlement: Settlement, inbox: Inbox) -> None:
        self._desk = desk
        self._settlement = settlement
        self._inbox = inbox

    async def run(self) -> Reconciled:
        """Look at everything, settle what was missed, and tell what still does not fit.

        Raises Misconfigured for a key of another account, PaymentsUnavailable.
        """
        await self._desk.confirm()
        done = Reconciled()
        began_s = self._desk.now_us // US_PER_S
        since_s = await self._since(began_s)
        await self._events(done, since_s)
        await self._orders(done)
        await self._plans(done)
        await self._money(done, since_s)
        await self._desk.commit(NoteFact(name=_CURSOR, value=str(began_s), is_fixed=False), FactReceipt)
        if done.unmatched:
            _log.error("%d payments of ours have granted nothing: %s", len(done.unmatched), ", ".join(done.unmatched))
        return done

    async def _since(self, now_s: int) -> int:
        """Return from when on to look. Stripe lists events of the last 30 days."""
        row = await self._desk.one(FactNamed(account_id=HOUSE, name=_CURSOR), Installation)
        return max(now_s - _BACK_S, int(row.value) - _OVERLAP_S if row is not None else 0)

    async def _events(self, done: Reconciled, since_s: int) -> None:
        for start in range(0, len(WANTED), _TYPES_MAX):
            async for happening in self._desk.gateway.happenings(WANTED[start : start + _TYPES_MAX], since_s=since_s):
                done.events += 1
                try:
                    message = await self._inbox.keep(happening.body)
                except InvalidInput:
                    continue
                if message is not None:
                    done.messages += 1
                    await self._inbox.work(message)
        for message_id in await self._inbox.due(_PAGE):
            if await self._inbox.claim(message_id):
                done.messages += 1
                await self._inbox.work_again(message_id)

    async def _orders(self, done: Reconciled) -> None:
        before_us = self._desk.now_us - _SETTLED_AFTER_S * US_PER_S
        account_id, order_id = -1, ""
        while True:
            query = UnsettledOrders(
                before_us=before_us, after_account_id=account_id, after_order_id=order_id, limit=_PAGE
            )
            page = await self._desk.select(query, Order)
            for order in page:
                done.orders += 1
                await self._order(order)
                account_id, order_id = order.account_id, order.order_id
            if len(page) < _PAGE:
                return

    async def _order(self, order: Order) -> None:
        if order.session is not None:
            await self._attempt(self._settlement.order(order.order_id))
        elif order.created_at_us < self._desk.now_us - _LOST_AFTER_S * US_PER_S:
            # Nobody was ever told where to pay for it; a checkout that was made and not heard of has ended too.
            user = await self._desk.user_of(order.account_id)
            if user is not None:
                moved = MoveOrder(user=user.user, order_id=order.order_id, seen_version=order.version, state="expired")
                await self._desk.commit(moved, OrderReceipt)

    async def _plans(self, done: Reconciled) -> None:
        account_id, subscription = -1, ""
        while True:
            query = LiveSubscriptions(after_account_id=account_id, after_subscription=subscription, limit=_PAGE)
            page = await self._desk.select(query, Subscription)
            for row in page:
                done.plans += 1
                await self._attempt(self._settlement.plan(row.subscription))
                await self._attempt(self._months(row.subscription))
                account_id, subscription = row.account_id, row.subscription
            if len(page) < _PAGE:
                return

    async def _months(self, subscription: str) -> None:
        for invoice in await self._desk.gateway.invoices_of(subscription, limit=_INVOICES):
            await self._attempt(self._settlement.invoice(invoice))

    async def _money(self, done: Reconciled, since_s: int) -> None:
        """Compare each payment that bears our stamp with what was granted for it."""
        instance = await self._desk.instance()
        async for found in self._desk.gateway.payments_since(since_s):
            if found.stamp.get(INSTANCE) != instance:
                continue
            done.payments += 1
            if await self._has_granted(found.id):
                continue
            await self._attempt(self._inbox.payment(found.id))
            if await self._has_granted(found.id):
                done.granted += 1
            else:
                done.unmatched.append(found.id)

    async def _has_granted(self, payment: str) -> bool:
        return any(sale.grant_id is not None for sale in await self._desk.select(SalesPaidBy(payment=payment), Sale))

    @staticmethod
    async def _attempt(work: object) -> None:
        """Do one thing of many. What Stripe does not know any more, or contradicts itself, is told in the log."""
        try:
            await work  # type: ignore[misc]  # any of the settlement's coroutines
        except (ObjectGone, NotFound) as gone:
            _log.warning("payments: %s", gone.message)
        except PaymentsUnavailable:
            raise
        except CallfareError as fault:
            _log.error("payments: %s: %s", fault.code, fault.message)
