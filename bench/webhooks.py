"""Signed webhooks taken and settled, a fifth of them replays, beside an app with one transaction for each message.

Stripe itself is left out: messages are written and signed before the clock starts, and what callfare asks is answered
at once, from memory. The app does not ask; it believes what the message says. Each purchase is its own user's.

Both are done with a message when it is kept, the order is paid and the credit is granted, all of it durable: that is
what is counted. Callfare answers Stripe as soon as the message is kept, and the times of an operation are those.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import asyncpg
from stripe import WebhookSignature

from bench.ledgers import count_all, postgres_ledger, quiet, sqlite_ledger
from bench.naive import CONNECTIONS
from bench.rounds import Stage, Variant, interleave
from bench.table import Row, at_least, rate_row
from callfare import AsyncCallfare
from callfare.clock import SystemClock
from callfare.ids import new_account_id, new_suffix, order_id
from callfare.ledger.receipts import OrderReceipt
from callfare.ledger.sale_commands import OpenOrder
from callfare.payments.config import PaymentConfig
from callfare.payments.desk import Desk
from callfare.payments.gateway import Payment, PaymentGateway, Session, SessionLine
from callfare.payments.packages import ForSale, seed_packages
from callfare.payments.stripe import API_VERSION
from callfare.payments.till import Till
from callfare.server.serving import settle_memory

_CALLERS = (32, 256)
_SECRET = "whsec_bench"
_CENTS = 1800
_CREDITS = 2000 * 10**9
_REPLAY_EVERY = 5
_AT_ONCE = 512
_SWITCH_INTERVAL_S = 0.001
# What a checkout says nothing about.
_UNSAID = (
    "after_expiration", "allow_promotion_codes", "billing_address_collection", "client_secret", "consent",
    "consent_collection", "currency_conversion", "customer_account", "customer_email", "discounts", "invoice", "locale",
    "origin_context", "payment_link", "payment_method_collection", "payment_method_configuration_details",
    "permissions", "recovered_from", "saved_payment_method_options", "setup_intent", "shipping_address_collection",
    "shipping_cost", "submit_type", "subscription", "ui_mode", "url", "wallet_options",
)  # fmt: skip
_SCHEMA = """
CREATE TABLE messages (event_id TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY, account_id BIGINT NOT NULL, amount BIGINT NOT NULL, state TEXT NOT NULL
);
CREATE TABLE balances (account_id BIGINT PRIMARY KEY, balance BIGINT NOT NULL);
CREATE TABLE grants (account_id BIGINT NOT NULL, order_id TEXT NOT NULL, amount BIGINT NOT NULL,
    PRIMARY KEY (account_id, order_id));
"""


def message(number: int, order: str, instance: str) -> bytes:
    """Return the message that an order was paid: the fields of one of Stripe's, and about as long."""
    nowhere = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    told = dict.fromkeys(_UNSAID) | {
        "id": f"cs_test_{number}", "object": "checkout.session", "client_reference_id": order, "status": "complete",
        "payment_status": "paid", "amount_subtotal": _CENTS, "amount_total": _CENTS, "currency": "usd",
        "livemode": False, "metadata": {"callfare_instance": instance, "callfare_order": order}, "mode": "payment",
        "payment_intent": f"pi_cs_test_{number}", "payment_method_types": ["card"], "created": 1_790_000_000 + number,
        "expires_at": 1_790_086_400 + number, "customer": f"cus_{number:014d}", "customer_creation": "always",
        "customer_details": {
            "address": nowhere, "email": f"buyer-{number}@example.com", "name": f"Buyer {number}", "phone": None,
            "tax_exempt": "none", "tax_ids": [],
        },
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "adaptive_pricing": {"enabled": False}, "custom_fields": [], "shipping_options": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "phone_number_collection": {"enabled": False},
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "invoice_creation": {"enabled": True, "invoice_data": dict.fromkeys(
            ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "metadata", "rendering_options")
        )},
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "success_url": "https://shop.example/credits/done?sessionId={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/credits", "collected_information": {"shipping_details": None},
    }  # fmt: skip
    event = {
        "id": f"evt_{number}", "object": "event", "api_version": API_VERSION, "created": 1_790_000_000 + number,
        "livemode": False, "pending_webhooks": 1, "type": "checkout.session.completed",
        "request": {"id": None, "idempotency_key": None}, "data": {"object": told},
    }  # fmt: skip
    return json.dumps(event).encode()


def signed(body: bytes) -> str:
    """Return the signature of a message, made now."""
    return WebhookSignature.generate_signature_header(body.decode(), _SECRET, SystemClock().now_us() // 1_000_000)


class Letters:
    """The messages of one side, ready to be brought."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: dict[int, str] = {}

    def sign(self, numbers: range) -> None:
        """Sign the messages of these numbers now, as their sender would."""
        self.signatures = {number: signed(self.bodies[number]) for number in map(self.one_of, numbers)}

    @staticmethod
    def one_of(number: int) -> int:
        """Return which message comes as a number: each fifth one is the one before it, again."""
        return number - (number % _REPLAY_EVERY == _REPLAY_EVERY - 1)


class AnsweringGateway:
    """Answers at once what Stripe would: every checkout of an order was paid, and no money has gone back."""

    api_version = API_VERSION

    def __init__(self) -> None:
        self.orders: dict[str, str] = {}
        self.instance = ""

    async def account(self) -> str:
        """Return the one account there is."""
        return "acct_bench"

    async def session(self, session: str) -> Session:
        """Return a paid checkout."""
        order = self.orders[session]
        stamp: Mapping[str, str] = {"callfare_instance": self.instance, "callfare_order": order}
        return Session(
            id=session, mode="test", stamp=stamp, status="complete", payment_status="paid", kind="payment",
            reference=order, customer=None, currency="usd", subtotal=_CENTS,
            lines=(SessionLine(quantity=1, subtotal=_CENTS),), payment=f"pi_{session}", subscription=None,
            invoice=None, url=None, expires_at_s=2**31,
        )  # fmt: skip

    async def payment(self, payment: str) -> Payment:
        """Return what was paid."""
        return Payment(
            id=payment, mode="test", captured=_CENTS, reversed=0, currency="usd", dispute=None, has_failed=False,
            customer=None,
        )  # fmt: skip


class Webhooks:
    """Callfare's side: messages of orders that are open."""

    def __init__(self, fare: AsyncCallfare) -> None:
        self._fare = fare
        self._gateway = AnsweringGateway()
        config = PaymentConfig(
            secret_key="sk_test_bench", mode="test", webhook_secrets=(_SECRET,), success_url="", cancel_url="",
            return_url="",
        )  # fmt: skip
        gateway = cast("PaymentGateway", self._gateway)
        self._till = Till(Desk(fare._engine, gateway, config, ForSale(seed_packages())))
        self.letters = Letters()
        self._settled: set[int] = set()

    async def open(self, orders: int) -> None:
        """Open so many orders, each of another user's."""
        await self._till.desk.open()
        instance = self._gateway.instance = await self._till.desk.instance()
        for first in range(0, orders, _AT_ONCE):
            numbers = range(first, min(orders, first + _AT_ONCE))
            await asyncio.gather(*(self._open(number, instance) for number in numbers))
        self.letters.bodies = [
            message(number, self._gateway.orders[f"cs_test_{number}"], instance) for number in range(orders)
        ]

    async def _open(self, number: int, instance: str) -> None:
        account_id, suffix = new_account_id(), new_suffix()
        command = OpenOrder(
            user=f"buyer-{number}", new_account_id=account_id, email=None, key=f"order-{number}", suffix=suffix,
            kind="package", product="credits_2000", nanocredits=_CREDITS, lots_end="never", currency="usd",
            subtotal=_CENTS, edition="bench", mode="test", instance=instance, request="{}", ends_at_us=None,
            fingerprint=number,
        )  # fmt: skip
        await self._till.desk.commit(command, OrderReceipt)
        self._gateway.orders[f"cs_test_{number}"] = order_id(account_id, suffix)

    async def take(self, number: int) -> None:
        """Take a message, which is settled beside."""
        number = Letters.one_of(number)
        await self._till.take(self.letters.bodies[number], self.letters.signatures[number])
        self._settled.add(number)

    async def finish(self) -> None:
        """Return when all messages that were taken are settled."""
        await self._till.idle()

    async def check(self) -> None:
        """Assert that each order whose message came was granted once."""
        rows = self._fare._engine.store.facts().rows
        assert rows["sales"] == rows["grants"] - 1 == len(self._settled), (rows, len(self._settled))


class OneByOne:
    """The app on PostgreSQL: a signature checked, a message kept and settled by single statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()
        self.letters = Letters()
        self._settled: set[int] = set()

    async def open(self, orders: int) -> None:
        """Make the tables, and so many orders."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await asyncpg.connect(self._url))
        async with self._connection() as connection:
            await connection.execute(_SCHEMA)
            numbers = range(orders)
            await connection.executemany(
                "INSERT INTO orders VALUES ($1, $2, $3, 'open')", [(f"ord_{n}", n, _CREDITS) for n in numbers]
            )
            await connection.executemany("INSERT INTO balances VALUES ($1, 0)", [(n,) for n in numbers])
            await connection.execute("ANALYZE")
        self.letters.bodies = [message(number, f"ord_{number}", "inst") for number in numbers]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def take(self, number: int) -> None:
        """Take a message and settle it."""
        number = Letters.one_of(number)
        body = self.letters.bodies[number]
        WebhookSignature.verify_header(body, self.letters.signatures[number], _SECRET, 300)
        event: dict[str, Any] = json.loads(body)
        order = event["data"]["object"]["client_reference_id"]
        async with self._connection() as connection, connection.transaction():
            kept = await connection.execute(
                "INSERT INTO messages VALUES ($1, $2, 'new') ON CONFLICT DO NOTHING", event["id"], body.decode()
            )
            if kept != "INSERT 0 0":
                row = await connection.fetchrow(
                    "SELECT account_id, amount, state FROM orders WHERE order_id = $1 FOR UPDATE", order
                )
                account, amount, state = row
                assert state == "open", order
                await connection.execute("INSERT INTO grants VALUES ($1, $2, $3)", account, order, amount)
                await connection.execute(
                    "UPDATE balances SET balance = balance + $2 WHERE account_id = $1", account, amount
                )
                await connection.execute("UPDATE orders SET state = 'paid' WHERE order_id = $1", order)
                await connection.execute("UPDATE messages SET state = 'done' WHERE event_id = $1", event["id"])
        self._settled.add(number)

    async def check(self) -> None:
        """Assert that each order whose message came was granted once."""
        async with self._connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM grants") == len(self._settled)

    async def close(self) -> None:
        """Close the connections."""
        while not self._free.empty():
            await self._free.get_nowait().close()


@contextmanager
def _as_served() -> Iterator[None]:
    """Have threads and the collector take turns as in `callfare serve`, which is who takes messages; for both sides."""
    before, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    settle_memory()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of webhooks."""
    with _as_served():
        return await _rows(stage)


async def _rows(stage: Stage) -> list[Row]:
    size, server = stage.size, stage.server
    operations = size.of(3072, size.callers(_CALLERS[-1]))
    # A cold sample of a quarter comes first, and none has fewer operations than callers.
    orders = len(_CALLERS) * (operations * (size.rounds + 1) + 2 * size.callers(_CALLERS[-1]))
    async with (
        postgres_ledger(server, 1) as ledger,
        sqlite_ledger(stage.folder / "webhooks.db", 1) as file,
    ):
        app = OneByOne(server.new_database())
        webhooks = {"PostgreSQL": Webhooks(ledger.fare), "SQLite": Webhooks(file.fare)}
        with quiet():
            for side in webhooks.values():
                await side.open(orders)
        await app.open(orders)
        ours = [
            _variant(f"{name}, webhooks, 20% replays, {callers}", size.callers(callers), operations, webhooks[name], at)
            for name in webhooks
            for at, callers in enumerate(_CALLERS)
        ]
        peer = Variant(
            f"one by one on PostgreSQL, {CONNECTIONS}",
            size.callers(CONNECTIONS),
            operations,
            app.take,
            app.check,
            prepare=app.letters.sign,
        )
        await interleave([*ours, peer], size.rounds, server.pid)
        for at, ledger_of in ((0, ledger), (len(_CALLERS), file)):
            await count_all(ours[at : at + len(_CALLERS)], ledger_of)
        await app.close()
    on_server, on_file = ours[: len(_CALLERS)], ours[len(_CALLERS) :]
    return [
        rate_row(on_server[0], peer=peer, against="one by one, 32"),
        rate_row(on_server[1], peer=peer, against="one by one, 32", bar=at_least(4, 8)),
        *(rate_row(variant) for variant in on_file),
        rate_row(peer),
    ]


def _variant(name: str, callers: int, operations: int, side: Webhooks, at: int) -> Variant:
    """Return a variant whose messages are its own: it begins where those of the others of its ledger end."""
    found = Variant(name, callers, operations, side.take, side.check, prepare=side.letters.sign, finish=side.finish)
    found.done = at * (len(side.letters.bodies) // len(_CALLERS)) // _REPLAY_EVERY * _REPLAY_EVERY
    return found
