"""A shop for tests: a ledger, payments over the real SDK, and the stand-in for Stripe in a process of its own.

Events are brought by the test, signed as Stripe signs them, so that it decides which come, when, and how often.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stripe import WebhookSignature

from callfare.answers import Plan
from callfare.clock import US_PER_S, ManualClock
from callfare.engine.engine import Engine
from callfare.facade import open_engine
from callfare.ledger.sale_rows import Delivery, Order, Quarantined, Sale, Subscription
from callfare.money import Credits, Usd
from callfare.payments.config import PaymentConfig
from callfare.payments.desk import Desk
from callfare.payments.packages import ForSale, seed_packages
from callfare.payments.stripe import StripeGateway
from callfare.payments.till import Till
from tests.support.books import Balance, Books
from tests.support.fake_stripe import TEST_KEY, FakeStripe

SECRET = "whsec_first"
OLD_SECRET = "whsec_old"
MONTHLY = Plan(
    id="plan_creator",
    name="Creator monthly",
    credits=Credits(300),
    price=Usd("9.00"),
    credits_per_usd=33,
    rolls_over=False,
)
ROLLING = replace(MONTHLY, id="plan_rolling", name="Creator rolling", rolls_over=True)
FOR_SALE = ForSale(seed_packages(), (MONTHLY, ROLLING))


def config_of(fake: FakeStripe, **more: Any) -> PaymentConfig:
    """Return payments that are set up with the stand-in."""
    told: dict[str, Any] = {
        "secret_key": TEST_KEY,
        "mode": "test",
        "webhook_secrets": (SECRET, OLD_SECRET),
        "success_url": "https://shop.example/done?sessionId={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/cancelled",
        "return_url": "https://shop.example/account",
        "api_url": fake.base_url,
        "methods": ("card", "us_bank_account"),
    }
    return PaymentConfig(**(told | more))


def till_of(engine: Engine, config: PaymentConfig) -> Till:
    """Return the payments of an engine, over the real SDK."""
    return Till(Desk(engine, StripeGateway(config.secret_key, api_url=config.api_url), config, FOR_SALE))


class Shop:
    """An open shop."""

    def __init__(self, fake: FakeStripe, engine: Engine, till: Till, clock: ManualClock) -> None:
        self.fake = fake
        self.engine = engine
        self.till = till
        self.clock = clock
        self.books = Books(engine.store, clock)

    # What buyers do

    async def checkout(self, product: str = "credits_2000", user: str = "alice", **more: Any) -> str:
        """Return the id of the session of a new checkout."""
        begun = await self.till.orders.checkout(user, f"{user}@example.com", product, **more)
        return begun.url.rpartition("/")[2].partition("?")[0].partition("#")[0]

    async def bought(self, product: str = "credits_2000", user: str = "alice", **more: Any) -> str:
        """Return the session of a checkout that was paid."""
        session = await self.checkout(product, user)
        self.fake.act("pay_session", session=session, **more)
        return session

    # What Stripe sends

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Return the stand-in's events, the oldest first, of some types or of all."""
        return [event for event in self.fake.events() if not types or event["type"] in types]

    async def tell(self, *told: dict[str, Any], secret: str = SECRET) -> None:
        """Bring events one after another, and wait until each has been worked on."""
        for event in told:
            await self.bring(json.dumps(event).encode(), secret=secret)

    async def bring(self, body: bytes, *, secret: str = SECRET, stamp_s: int | None = None) -> None:
        """Bring one message, signed now."""
        now_s = self.clock.now_us() // US_PER_S
        header = WebhookSignature.generate_signature_header(body.decode(), secret, stamp_s or now_s)
        await self.till.take(body, header)
        await self.till.idle()

    async def tell_all(self, *types: str) -> None:
        """Bring everything that has happened."""
        await self.tell(*self.events(*types))

    def advance(self, seconds: int) -> None:
        """Make it later, here and at Stripe."""
        self.fake.advance(seconds)
        self.clock.advance(seconds)

    # What is there

    def balance(self, user: str = "alice") -> Balance:
        """Return a user's balances."""
        return self.books.balance(user)

    def orders(self) -> list[Order]:
        """Return all orders."""
        return self.books.rows(Order)

    def sales(self) -> list[Sale]:
        """Return all payments."""
        return self.books.rows(Sale)

    def plans(self) -> list[Subscription]:
        """Return all plans."""
        return self.books.rows(Subscription)

    def quarantined(self) -> list[Quarantined]:
        """Return what was put aside."""
        return self.books.rows(Quarantined)

    def messages(self) -> dict[str, str]:
        """Return how each message stands."""
        return {row.event_type: row.state for row in self.books.rows(Delivery)}

    def messages_by_id(self) -> dict[str, str]:
        """Return how each message stands, by its id."""
        return {row.message_id: row.state for row in self.books.rows(Delivery)}

    def state(self) -> dict[str, Any]:
        """Return all that must not depend on the order of messages."""
        return {
            "balances": {user: self.balance(user) for user in ("alice", "bob")},
            "orders": [(row.order_id, row.state, row.session) for row in self.orders()],
            "sales": [
                (row.sale_id, row.captured, row.reversed, row.nanocredits, row.taken_back_nanocredits, row.dispute)
                for row in self.sales()
            ],
            "plans": [(row.subscription, row.status, row.period_end_us) for row in self.plans()],
        }

    def charge_of(self, number: int = 0) -> str:
        """Return the id of a charge at the stand-in, by when it was made."""
        made = [event["data"]["object"]["id"] for event in self.events("charge.succeeded", "charge.pending")]
        return str(list(dict.fromkeys(made))[number])


@asynccontextmanager
async def opened_shop(
    fake: FakeStripe, url: str = "memory://", *, for_sale: ForSale = FOR_SALE, engine: Engine | None = None, **more: Any
) -> AsyncIterator[Shop]:
    """Yield a shop, whose ledger must be right when it closes."""
    clock = ManualClock(datetime.now(UTC))
    if engine is None:
        engine = open_engine(url, (), seed_prices=True, markup=1, require_user=False, clock=clock)
    engine.create()
    config = config_of(fake, **more)
    gateway = StripeGateway(config.secret_key, api_url=config.api_url, timeout_s=60)
    till = Till(Desk(engine, gateway, config, for_sale))
    try:
        await till.desk.open()
        yield Shop(fake, engine, till, clock)
    finally:
        await till.stop()
        faults = engine.verify().faults
        engine.close()
    assert faults == ()


def shuffled(items: Iterable[Any], order: Iterable[int]) -> list[Any]:
    """Return items in an order, by their places."""
    there = list(items)
    return [there[place] for place in order]
