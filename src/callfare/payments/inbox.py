"""Stripe's messages: believed once signed, kept before they are understood, and worked on until their effect stands."""

from __future__ import annotations

import logging
import re

from callfare.clock import US_PER_S
from callfare.errors import CallfareError, InvalidInput, PaymentsUnavailable
from callfare.ids import order_owner
from callfare.ledger.receipts import CustomerReceipt, DeliveryReceipt
from callfare.ledger.rows import HOUSE
from callfare.ledger.sale_commands import ClaimDelivery, DropCustomer, SettleDelivery, TakeDelivery
from callfare.ledger.sale_rows import Delivery, Sale
from callfare.payments import events
from callfare.payments.asking import InTurn
from callfare.payments.desk import Desk
from callfare.payments.events import Message, read_message
from callfare.payments.gateway import ACCOUNT, INSTANCE, ORDER, ObjectGone
from callfare.payments.settlement import OrderMissing, Settled, Settlement, ignored
from callfare.payments.stripe import is_signed
from callfare.store.protocol import DeliveryNamed, InboxDue, SalesPaidBy

_log = logging.getLogger("callfare.payments")

TOLERANCE_S = 300
CLAIM_S = 60
_WAIT_S_MAX = 3600
_STAMP = re.compile(r"(?:^|,)t=(\d{1,15})(?:,|$)")


class Inbox:
    """Takes messages, and works on them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stripe = InTurn(desk.gateway)
        self._settlement = Settlement(desk, self._stripe)

    # Taking

    async def take(self, body: bytes, signature: str | None) -> Message | None:
        """Keep a message that Stripe has signed, and return it when there is work to do about it now.

        Raises InvalidInput for what is not signed, or signed too long ago or ahead of time, or no event.
        """
        self._check_signature(body, signature)
        return await self.keep(body)

    async def keep(self, body: bytes) -> Message | None:
        """Keep a message that is known to be Stripe's, and return it when there is work to do about it now.

        One that is there already is found out in the transaction that would keep it, which then writes nothing.

        Raises InvalidInput.
        """
        message = read_message(body)
        command = TakeDelivery(
            message_id=message.id,
            event_type=message.type,
            object_id=message.object_id,
            mode=message.mode,
            api_version=message.api_version,
            said_at_us=message.said_at_s * US_PER_S,
            body=body.decode("utf-8"),
            reason=self._refusal(message),
            claim_s=CLAIM_S,
        )
        receipt = await self._desk.commit(command, DeliveryReceipt)
        return message if receipt.is_claimed else None

    def _check_signature(self, body: bytes, signature: str | None) -> None:
        if not is_signed(body, signature, self._desk.config.webhook_secrets):
            raise InvalidInput("the signature does not fit the body", param="Stripe-Signature")
        stamps = _STAMP.findall(signature or "")
        now_s = self._desk.now_us // US_PER_S
        if len(stamps) != 1 or abs(int(stamps[0]) - now_s) > TOLERANCE_S:
            raise InvalidInput("the message was signed too long ago, or ahead of time", param="Stripe-Signature")

    def _refusal(self, message: Message) -> str | None:
        """Return why nothing is done about a message, None when something is."""
        if message.mode != self._desk.config.mode:
            _log.warning("message %s is of %s mode, and this ledger is not", message.id, message.mode)
            return "of the other mode"
        if message.account is not None:
            return "of a connected account"
        if not message.type.startswith(_OURS):
            return "of no interest"
        if message.api_version and message.api_version != self._desk.gateway.api_version:
            # What it is about is asked for anew, so its shape does no harm; the endpoint is to be put right.
            _log.warning("message %s is of version %s; see `callfare stripe doctor`", message.id, message.api_version)
        return None

    # Working

    async def due(self, limit: int = 50) -> list[str]:
        """Return the messages that wait and that nobody works on, the longest waiting first."""
        rows = await self._desk.select(InboxDue(now_us=self._desk.now_us, limit=limit), Delivery)
        return [row.message_id for row in rows]

    async def claim(self, message_id: str) -> bool:
        """Claim a message, and tell whether nobody else has it."""
        receipt = await self._desk.commit(ClaimDelivery(message_id=message_id, claim_s=CLAIM_S), DeliveryReceipt)
        return receipt.is_claimed

    async def work_again(self, message_id: str) -> Settled | None:
        """Do what a message asks for that was kept before and is claimed now."""
        row = await self._desk.one(DeliveryNamed(account_id=HOUSE, message_id=message_id), Delivery)
        if row is None or row.state != "waiting":
            return None
        return await self.work(read_message(row.body.encode()), attempts=row.attempts)

    async def work(self, message: Message, *, attempts: int = 1) -> Settled | None:
        """Do what a claimed message asks for; when it cannot be done now it waits, longer each time.

        A fault of ours leaves the claim to end by itself, so that another process tries.
        """
        message_id = message.id
        try:
            settled = await self._dispatch(message)
        except OrderMissing as missing:
            _log.error("message %s: %s", message_id, missing.message)
            await self._wait(message_id, attempts, missing)
            return None
        except (PaymentsUnavailable, CallfareError) as fault:
            _log.warning("message %s waits: %s", message_id, fault.code)
            await self._wait(message_id, attempts, fault)
            return None
        if settled.state != "ignored" and message.type in events.ALARMS:
            _log.warning("%s: %s", message.object_id, events.ALARMS[message.type])
        if not settled.is_marked:
            state = "ignored" if settled.state == "ignored" else "done"
            await self._say(message_id, state, settled.reason)
        return settled

    async def _wait(self, message_id: str, attempts: int, fault: CallfareError) -> None:
        wait_s = min(5 * 2 ** min(attempts, 12), _WAIT_S_MAX)
        await self._say(message_id, "waiting", f"{fault.code}: {fault.message}"[:200], wait_s=wait_s)

    async def _say(self, message_id: str, state: str, reason: str | None, *, wait_s: int = 0) -> None:
        command = SettleDelivery(message_id=message_id, state=state, reason=reason, wait_s=wait_s)
        await self._desk.commit(command, DeliveryReceipt)

    async def _dispatch(self, message: Message) -> Settled:
        # With another account's key, Stripe would know nothing of what any message is about.
        await self._desk.confirm()
        try:
            if message.type.startswith("checkout.session."):
                return await self._checkout(message)
            if message.type.startswith("invoice."):
                return await self._settlement.invoice(message.object_id, message_id=message.id)
            if message.type.startswith("customer.subscription."):
                return await self._settlement.plan(message.object_id, message_id=message.id)
            if message.type in events.CUSTOMERS:
                return await self._customer(message)
            return await self._money(message)
        except ObjectGone:
            return ignored("Stripe does not know what it is about")

    async def _checkout(self, message: Message) -> Settled:
        order_id = message.hint("client_reference_id") or ""
        seen = await self._desk.bought(order_id)
        if seen is None:
            if message.hint("metadata", INSTANCE) == await self._desk.instance():
                raise OrderMissing(f"{message.object_id} bears our stamp, and there is no order {order_id!r}")
            return ignored("of another installation")
        return await self._settlement.order(order_id, session=message.object_id, message_id=message.id, seen=seen)

    async def _money(self, message: Message) -> Settled:
        """Settle whatever a payment was for: an order, or the invoice of a plan."""
        payment = message.object_id if message.type.startswith("payment_intent.") else message.hint("payment_intent")
        return await self.payment(payment, message_id=message.id) if payment else ignored("of no payment")

    async def payment(self, payment: str, *, message_id: str | None = None) -> Settled:
        """Settle whatever a payment was for.

        Raises PaymentsUnavailable, OrderMissing.
        """
        for sale in await self._desk.select(SalesPaidBy(payment=payment), Sale):
            if sale.invoice is not None and sale.source == "plan":
                return await self._settlement.invoice(sale.invoice, message_id=message_id)
            return await self._settlement.order(sale.order_id, message_id=message_id)
        found = await self._stripe.payment(payment)
        order_id = found.stamp.get(ORDER, "")
        if order_owner(order_id) is None:
            invoice = await self._stripe.invoice_paid_by(payment)
            if invoice is None:
                return ignored("of another installation")
            return await self._settlement.invoice(invoice, message_id=message_id)
        if await self._desk.bought(order_id) is None:
            if found.stamp.get(INSTANCE) == await self._desk.instance():
                raise OrderMissing(f"{payment} bears our stamp, and there is no order {order_id!r}")
            return ignored("of another installation")
        return await self._settlement.order(order_id, message_id=message_id)

    async def _customer(self, message: Message) -> Settled:
        account = message.hint("metadata", ACCOUNT) or ""
        is_ours = message.hint("metadata", INSTANCE) == await self._desk.instance()
        user = await self._desk.user_of(int(account)) if is_ours and account.isdecimal() and len(account) < 20 else None  # noqa: PLR2004 - digits of 63 bits
        if user is None:
            return ignored("of another installation")
        command = DropCustomer(
            user=user.user, mode=self._desk.config.mode, customer=message.object_id, message_id=message.id
        )
        await self._desk.commit(command, CustomerReceipt)
        return Settled("dropped", is_marked=True)


_OURS = tuple({*events.CHECKOUT, *events.MONEY, *events.PLANS, *events.INVOICES, *events.CUSTOMERS})
