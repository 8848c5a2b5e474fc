"""Beginning to buy: the order is written down first, then Stripe is asked under a key that makes a repeat harmless."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from callfare.answers import Package, Plan
from callfare.checks import check_text, check_user
from callfare.clock import US_PER_S
from callfare.errors import InvalidInput, NotFound
from callfare.ids import made_key, new_account_id, new_id, new_suffix
from callfare.ledger.commands import AuditNote
from callfare.ledger.receipts import CustomerReceipt, OrderReceipt
from callfare.ledger.rows import User, digest_of
from callfare.ledger.sale_commands import ClaimCustomer, DropCustomer, LinkCustomer, MoveOrder, OpenOrder
from callfare.ledger.sale_rows import Order
from callfare.payments.desk import Bought, Desk
from callfare.payments.gateway import GoneCustomer, Session
from callfare.payments.packages import CURRENCY, cents_of, edition_of
from callfare.store.protocol import UserNamed

# How long a checkout may be paid: Stripe's own bound is a day.
_SESSION_S = 23 * 3600
# No more than that it may be one: which of them are, their hosts know.
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The address at which an order is paid. is_replay: the order was there already, under the same key."""

    url: str
    is_replay: bool


class Orders:
    """What buyers ask for: a checkout, or the portal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def checkout(
        self, user: str, email: str | None, product_id: str, *, key: str | None = None, note: AuditNote | None = None
    ) -> Checkout:
        """Return the address at which a user pays for a package or a plan. Nothing is granted before they have.

        key: names this request; a repeat returns the same address, and anything else under it is a conflict, before
        Stripe hears of it. note: who asks.

        Raises NotFound for what is not for sale, InvalidUser, InvalidInput for an email that is none, KeyConflict,
        Misconfigured for a key of another account, PaymentsUnavailable when Stripe does not answer.
        """
        product = self._desk.for_sale.find(product_id)
        if product is None:
            raise NotFound("that is not for sale", step="`callfare packages` lists what is", param="package_id")
        _check_buyer(user, email)
        await self._desk.confirm()
        before = await self._desk.one(UserNamed(user=user), User)
        opened = await self._open(user, email, product, key or made_key("checkout", new_id("key")), note)
        bought = await self._desk.must_find(opened.order_id)
        url = bought.order.url or await self._begin(bought, await self._customer(user, email, before))
        return Checkout(url=url, is_replay=opened.is_replay)

    async def portal(self, user: str, email: str | None) -> str:
        """Return the address at which a user sees and changes their payments.

        Raises InvalidUser, InvalidInput for an email that is none, Misconfigured for a key of another account,
        PaymentsUnavailable.
        """
        _check_buyer(user, email)
        await self._desk.confirm()
        customer = await self._customer(user, email, await self._desk.one(UserNamed(user=user), User))
        return_url = self._desk.config.return_url
        try:
            return await self._desk.gateway.portal(customer, return_url)
        except GoneCustomer:
            return await self._desk.gateway.portal(await self._another(user, email, customer), return_url)

    async def _open(
        self, user: str, email: str | None, product: Package, key: str, note: AuditNote | None
    ) -> OrderReceipt:
        desk = self._desk
        kind = "plan" if isinstance(product, Plan) else "package"
        lasts = kind == "package" or (isinstance(product, Plan) and product.rolls_over)
        edition = edition_of(product)
        command = OpenOrder(
            audit=note,
            user=user,
            new_account_id=new_account_id(),
            email=email,
            key=key,
            suffix=new_suffix(),
            kind=kind,
            product=product.id,
            nanocredits=product.credits.nanocredits,
            lots_end="never" if lasts else "period",
            currency=CURRENCY,
            subtotal=cents_of(product.price),
            edition=edition,
            mode=desk.config.mode,
            instance=await desk.instance(),
            request="{}",
            ends_at_us=desk.now_us + _SESSION_S * US_PER_S,
            fingerprint=_fingerprint(user, email, product.id, edition),
        )
        return await desk.commit(command, OrderReceipt)

    async def _begin(self, bought: Bought, customer: str) -> str:
        """Have Stripe make the checkout of an order, and return its address."""
        order = await self._asked(bought, customer, is_anew=False)
        try:
            session = await self._session(order)
        except GoneCustomer:
            another = await self._another(bought.user, None, order.customer or customer)
            order = await self._asked(Bought(bought.user, order), another, is_anew=True)
            session = await self._session(order)
        url = session.url or ""
        moved = MoveOrder(
            user=bought.user,
            order_id=order.order_id,
            seen_version=order.version,
            state="open",
            session=session.id,
            url=url,
            ends_at_us=session.expires_at_s * US_PER_S,
        )
        receipt = await self._desk.commit(moved, OrderReceipt)
        # Somebody else was faster: with the same key Stripe has told them the same.
        return (await self._desk.must_find(order.order_id)).order.url or url if receipt.is_stale else url

    async def _asked(self, bought: Bought, customer: str, *, is_anew: bool) -> Order:
        """Note exactly what Stripe will be asked for, before it is, and return the order as it then stands."""
        order = bought.order
        if order.request != "{}" and not is_anew:
            return order
        request = await self._request(order, customer)
        moved = MoveOrder(
            user=bought.user,
            order_id=order.order_id,
            seen_version=order.version,
            state=order.state,
            request=msgspec.json.encode(request).decode(),
            customer=customer,
            is_anew=is_anew,
        )
        await self._desk.commit(moved, OrderReceipt)
        return (await self._desk.must_find(order.order_id)).order

    async def _session(self, order: Order) -> Session:
        request = msgspec.json.decode(order.request, type=dict[str, Any])
        return await self._desk.gateway.make_session(request, key=f"{order.order_id}:{order.attempt}")

    async def _request(self, order: Order, customer: str) -> Mapping[str, object]:
        config, stamp = self._desk.config, await self._desk.stamp(order.account_id, order.order_id)
        product = self._desk.for_sale.find(order.product)
        price: dict[str, object] = {
            "currency": order.currency,
            "unit_amount": order.subtotal,
            "product_data": {"name": product.name if product else order.product},
        }
        request: dict[str, object] = {
            "mode": "payment",
            "customer": customer,
            "client_reference_id": order.order_id,
            "metadata": stamp,
            "success_url": config.success_url,
            "cancel_url": config.cancel_url,
            "expires_at": (order.ends_at_us or 0) // US_PER_S,
            "adaptive_pricing": {"enabled": False},
        }
        if order.kind == "plan":
            price |= {"recurring": {"interval": "month"}}
            request |= {"mode": "subscription", "subscription_data": {"metadata": stamp}}
        else:
            request |= {"payment_intent_data": {"metadata": stamp}, "invoice_creation": {"enabled": True}}
        if config.methods:
            request |= {"allowed_payment_method_types": list(config.methods)}
        if config.has_tax:
            request |= {
                "automatic_tax": {"enabled": True},
                "billing_address_collection": "required",
                "customer_update": {"address": "auto", "name": "auto"},
            }
        return request | {"line_items": [{"price_data": price, "quantity": 1}]}

    # Customers

    async def _customer(self, user: str, email: str | None, before: User | None) -> str:
        """Return whom Stripe knows a user as, made now where there is nobody; one however many ask at once.

        before: the user as they stood before this request, by which is known whether their address is another now.
        """
        desk = self._desk
        claimed = await desk.commit(
            ClaimCustomer(user=user, new_account_id=new_account_id(), email=email, mode=desk.config.mode),
            CustomerReceipt,
        )
        if claimed.customer is not None:
            if email is not None and before is not None and before.email != email:
                await self._note_email(claimed.customer, email)
            return claimed.customer
        return await self._made(user, email, claimed)

    async def _made(self, user: str, email: str | None, claimed: CustomerReceipt) -> str:
        desk = self._desk
        stamp = await desk.stamp(claimed.account_id)
        key = f"customer:{await desk.instance()}:{claimed.account_id}:{claimed.mode}:{claimed.attempt}"
        customer = await desk.gateway.make_customer(stamp, key=key)
        linked = await desk.commit(
            LinkCustomer(user=user, mode=claimed.mode, customer=customer, attempt=claimed.attempt), CustomerReceipt
        )
        known = linked.customer or customer
        if email is not None and not linked.is_replay:
            await self._note_email(known, email)
        return known

    async def _another(self, user: str, email: str | None, gone: str) -> str:
        """Return a customer in the place of one whom Stripe no longer knows."""
        mode = self._desk.config.mode
        dropped = await self._desk.commit(DropCustomer(user=user, mode=mode, customer=gone), CustomerReceipt)
        return dropped.customer or await self._made(user, email, dropped)

    async def _note_email(self, customer: str, email: str) -> None:
        """Tell Stripe where to write. A customer who is gone is found out where one is needed."""
        try:
            await self._desk.gateway.note_email(customer, email)
        except GoneCustomer:
            return


def _check_buyer(user: str, email: str | None) -> None:
    """Return when a user id is one, and an address may be one or is left out.

    Raises InvalidUser, InvalidInput.
    """
    check_user(user)
    if email is not None and not _EMAIL.fullmatch(check_text(email, "email")):
        raise InvalidInput("email is no address; give one such as user@example.com, or leave it out", param="email")


def _fingerprint(user: str, email: str | None, product_id: str, edition: str) -> int:
    """Return the number that tells one request to buy from another."""
    return digest_of("\x1f".join((user, product_id, edition, email or "")).encode("utf-8", "surrogatepass"))
