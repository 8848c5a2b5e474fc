"""What everything about payments stands on: the ledger, the processor, the clock, and how it is set up.

Finds an order by its id, which tells its account, and asks the ledger without blocking the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from callfare.clock import Clock
from callfare.errors import Misconfigured, NotFound, PaymentsUnavailable
from callfare.ids import new_id, order_owner
from callfare.ledger.commands import AuditNote, Command
from callfare.ledger.receipts import FactReceipt, Receipt
from callfare.ledger.rows import HOUSE, Row, User
from callfare.ledger.sale_commands import NoteFact
from callfare.ledger.sale_rows import Order, Sale
from callfare.payments.config import PaymentConfig
from callfare.payments.gateway import ACCOUNT, INSTANCE, ORDER, UNPERMITTED, PaymentGateway, ProcessorRefused
from callfare.payments.packages import ForSale
from callfare.payments.reads import Reads
from callfare.store.protocol import OrderNamed, Query, SaleNamed, Store, UserOf

_log = logging.getLogger("callfare.payments")

C = TypeVar("C", bound=Receipt)
R = TypeVar("R", bound=Row)
T = TypeVar("T")


class Ledger(Protocol):
    """An open ledger, as the engine is one."""

    store: Store
    clock: Clock

    async def commit_async(self, command: Command, kind: type[C]) -> C:
        """Apply a command and return its receipt once it is durable."""
        ...

    async def glance_async(self, read: Callable[[], T]) -> T:
        """Return what a short read returns."""
        ...


@dataclass(frozen=True, slots=True)
class Bought:
    """An order, whose it is, and what was settled of it, None before anything was."""

    user: str
    order: Order
    sale: Sale | None = None


@dataclass(slots=True)
class Desk:
    """One installation's payments: what is sold, to whom it is sold through, and where it is written down."""

    ledger: Ledger
    gateway: PaymentGateway
    config: PaymentConfig
    for_sale: ForSale
    reads: Reads = field(init=False)
    _instance: str | None = field(default=None)
    _is_confirmed: bool = field(default=False)

    def __post_init__(self) -> None:
        """Read on this ledger."""
        self.reads = Reads(self.ledger)

    @property
    def now_us(self) -> int:
        """The ledger's present."""
        return self.ledger.clock.now_us()

    async def commit(self, command: Command, kind: type[C]) -> C:
        """Apply a command and return its receipt once it is durable."""
        return await self.ledger.commit_async(command, kind)

    async def select(self, query: Query, table: type[R]) -> list[R]:
        """Return the rows that a query asks for."""
        store = self.ledger.store
        rows = await self.ledger.glance_async(lambda: store.select(query))
        return [row for row in rows if isinstance(row, table)]

    async def one(self, query: Query, table: type[R]) -> R | None:
        """Return the row that a query asks for, if there is one."""
        found = await self.select(query, table)
        return found[0] if found else None

    async def open(self) -> None:
        """Make sure that this ledger and this key belong together, as far as can be told now.

        While Stripe is away the key's account is not known: the ledger opens, and `confirm` is asked again before
        anything is sold or believed.

        Raises Misconfigured.
        """
        await self.agree_on_mode()
        await self.instance()
        try:
            await self.confirm()
        except PaymentsUnavailable as fault:
            _log.warning("the account of STRIPE_SECRET_KEY is not known yet: %s", fault.message)

    async def agree_on_mode(self) -> None:
        """Make sure that a ledger sees test keys or live ones, as the first was.

        Raises Misconfigured.
        """
        told = await self.fixed("stripe_mode", self.config.mode)
        if told != self.config.mode:
            raise Misconfigured(
                f"this ledger has been used with {told} keys of Stripe's, and STRIPE_SECRET_KEY is a "
                f"{self.config.mode} key; name another ledger with --db, or use the other key"
            )

    async def confirm(self) -> None:
        """Make sure that the key is of the account that this ledger has sold with. Once told, it is not asked again.

        Raises Misconfigured, PaymentsUnavailable.
        """
        if self._is_confirmed:
            return
        try:
            account = await self.gateway.account()
        except ProcessorRefused as refused:
            if refused.reason != UNPERMITTED:
                raise
            _log.warning("STRIPE_SECRET_KEY may not read its account, so it is not compared with the ledger's")
        else:
            told = await self.fixed("stripe_account", account)
            if told != account:
                raise Misconfigured(
                    f"this ledger has been used with Stripe's account {told}, and STRIPE_SECRET_KEY is of {account}; "
                    "name another ledger with --db, or use a key of that account"
                )
        self._is_confirmed = True

    async def fixed(self, name: str, value: str) -> str:
        """Keep a fact unless it is kept already, and return it as it stands."""
        return (await self.commit(NoteFact(name=name, value=value, is_fixed=True), FactReceipt)).value

    async def instance(self) -> str:
        """Return the name that this installation stamps on what it makes."""
        if self._instance is None:
            self._instance = await self.fixed("stripe_instance", new_id("inst"))
        return self._instance

    async def stamp(self, account_id: int, order_id: str | None = None) -> dict[str, str]:
        """Return the stamp of an object of ours."""
        stamp = {INSTANCE: await self.instance(), ACCOUNT: str(account_id)}
        return stamp if order_id is None else stamp | {ORDER: order_id}

    async def user_of(self, account_id: int) -> User | None:
        """Return the user behind an account."""
        return await self.one(UserOf(account_id=account_id), User)

    async def bought(self, order_id: str) -> Bought | None:
        """Return an order by its id, None when there is none."""
        account_id = order_owner(order_id)
        if account_id is None or account_id == HOUSE:
            return None
        # As of one instant, and together with whoever asks now: it is asked for with every message.
        orders, users, sales = await self.reads.ask(
            OrderNamed(account_id=account_id, order_id=order_id),
            UserOf(account_id=account_id),
            SaleNamed(account_id=account_id, sale_id=order_id),
        )
        for order, user in zip(orders, users, strict=False):
            assert isinstance(order, Order), order
            assert isinstance(user, User), user
            sale = next((row for row in sales if isinstance(row, Sale)), None)
            return Bought(user.user, order, sale)
        return None

    async def must_find(self, order_id: str) -> Bought:
        """Return an order by its id.

        Raises NotFound.
        """
        found = await self.bought(order_id)
        if found is None:
            raise NotFound("there is no such order", param="order")
        return found


def by_stripe(operation: str, message_id: str | None = None) -> AuditNote:
    """Return the note that the processor's word stands behind a write."""
    return AuditNote(
        id=new_id("aud"), principal="stripe", key_id=None, operation=f"stripe.{operation}", request_id=message_id
    )


async def shielded(work: Awaitable[T]) -> T:
    """Return what some work returns, which goes on when whoever waits for it has gone."""
    return await asyncio.shield(asyncio.ensure_future(work))
