"""Fulfilment: an order or an invoice is brought to what Stripe says now. One function behind three doors.

The webhook, the page a payer comes back to, and the reconciler all end here. What came with a message is a hint by
which the order is found; what is granted stands in the order, and whether it is, in what Stripe says when asked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import msgspec

from callfare.clock import US_PER_S
from callfare.errors import Conflict
from callfare.ledger.receipts import OrderReceipt, QuarantineReceipt, SaleReceipt, SubscriptionReceipt
from callfare.ledger.sale_commands import MirrorSubscription, MoveOrder, Quarantine, SettleSale
from callfare.ledger.sale_rows import Order, Sale, Subscription
from callfare.payments.desk import Bought, Desk, by_stripe
from callfare.payments.gateway import ORDER, Answering, Invoice, InvoiceLine, Payment, Session, Stamped, Subscribed
from callfare.payments.packages import PICOUSD_PER_CENT
from callfare.payments.quoting import differences, invoice_differences
from callfare.store.protocol import SaleNamed, SubscriptionNamed

_log = logging.getLogger("callfare.payments")

_TRIES = 8
# What makes an invoice one of a plan's months.
_MONTHS = frozenset({"subscription_create", "subscription_cycle"})


@dataclass(slots=True)
class Settled:
    """What came of it. state: of the order, or "ignored" with why. is_marked: its message was marked done with it."""

    state: str
    reason: str | None = None
    is_marked: bool = False
    orders: list[str] = field(default_factory=list)


def ignored(reason: str) -> Settled:
    """Return that nothing was to be done, and why."""
    return Settled("ignored", reason)


class OrderMissing(Conflict):
    """Something bears our stamp, and there is no order for it. It is kept and tried again."""


class Settlement:
    """Brings orders, invoices and plans to what Stripe says."""

    def __init__(self, desk: Desk, answering: Answering | None = None) -> None:
        self._desk = desk
        # None: whoever settles does not wait for a turn to ask.
        self._stripe = answering or desk.gateway

    # Orders

    async def order(
        self, order_id: str, *, session: str | None = None, message_id: str | None = None, seen: Bought | None = None
    ) -> Settled:
        """Bring an order to what Stripe says of its checkout and its payment, and tell what came of it.

        session: the checkout to look at where the order does not know it yet, as after a lost answer.
        seen: the order as it was just read, which saves reading it.

        Raises NotFound, PaymentsUnavailable.
        """
        for _ in range(_TRIES):
            bought, seen = seen or await self._desk.must_find(order_id), None
            settled = await self._settle_order(bought, bought.order.session or session, message_id)
            if settled is not None:
                settled.orders.append(order_id)
                return settled
        raise Conflict(f"order {order_id} moved each time that Stripe was asked; it is tried again", param="order")

    async def _settle_order(self, bought: Bought, session_id: str | None, message_id: str | None) -> Settled | None:
        """Return what came of it, None when the order has moved meanwhile."""
        order = bought.order
        if session_id is None:
            return Settled(order.state)
        sale = bought.sale
        session = await self._stripe.session(session_id)
        wrong = differences(order, session)
        if wrong and order.state != "paid":
            return await self._put_aside(bought, session, wrong, message_id)
        if order.kind == "plan":
            return await self._settle_plan(bought, session, message_id)
        payment = await self._stripe.payment(session.payment) if session.payment else None
        if _is_paid(order, session) or sale is not None:
            return await self._settle_sale(bought, sale, session, payment, message_id)
        return await self._move(bought, session, payment, message_id)

    async def _settle_sale(
        self, bought: Bought, sale: Sale | None, session: Session, payment: Payment | None, message_id: str | None
    ) -> Settled | None:
        order = bought.order
        is_paid = _is_paid(order, session)
        command = SettleSale(
            audit=by_stripe("settle", message_id),
            user=bought.user,
            order_id=order.order_id,
            sale_id=order.order_id,
            seen_version=sale.version if sale else 0,
            seen_order_version=order.version,
            source="purchase",
            mode=order.mode,
            currency=order.currency,
            nanocredits=order.nanocredits if is_paid else 0,
            paid_picousd=order.subtotal * PICOUSD_PER_CENT,
            expires_at_us=None,
            invoice=session.invoice,
            payment=session.payment,
            captured=payment.captured if payment else 0,
            reversed=payment.reversed if payment else 0,
            dispute=payment.dispute if payment else None,
            order_state="paid" if is_paid else None,
            session=session.id,
            message_id=message_id,
        )
        receipt = await self._desk.commit(command, SaleReceipt)
        if receipt.is_stale:
            return None
        return Settled("paid" if is_paid else order.state, is_marked=True)

    async def _move(
        self, bought: Bought, session: Session, payment: Payment | None, message_id: str | None
    ) -> Settled | None:
        """Note how far the buyer has come who has not paid."""
        order = bought.order
        state = _state_of(session, payment)
        if state not in _REACHED[order.state]:
            state = order.state
        moved = MoveOrder(
            user=bought.user,
            order_id=order.order_id,
            seen_version=order.version,
            state=state,
            session=session.id,
            url=session.url,
            message_id=message_id,
        )
        receipt = await self._desk.commit(moved, OrderReceipt)
        return None if receipt.is_stale else Settled(state, is_marked=True)

    async def _put_aside(
        self, bought: Bought, session: Session, wrong: list[str], message_id: str | None
    ) -> Settled | None:
        """Put an order whose checkout is not what was quoted into quarantine. Nothing is granted."""
        order = bought.order
        if session.payment_status == "unpaid" and session.status != "complete":
            # Nobody has paid for what differs, and nobody will get it.
            return Settled(order.state, ",".join(wrong))
        _log.error("order %s was put into quarantine: Stripe differs in %s", order.order_id, ", ".join(wrong))
        moved = MoveOrder(
            user=bought.user,
            order_id=order.order_id,
            seen_version=order.version,
            state="quarantined",
            reason=",".join(wrong),
            session=session.id,
        )
        if (await self._desk.commit(moved, OrderReceipt)).is_stale:
            return None
        await self.quarantine(f"order:{order.order_id}", order, ",".join(wrong), session, message_id)
        return Settled("quarantined", ",".join(wrong), is_marked=True)

    async def quarantine(self, item_id: str, order: Order, reason: str, found: Stamped, message_id: str | None) -> None:
        """Put a payment aside for a person, with what Stripe says of it."""
        command = Quarantine(
            audit=by_stripe("quarantine", message_id),
            item_id=item_id,
            mode=order.mode,
            owner_id=order.account_id,
            reason=reason,
            facts=msgspec.json.encode({"order": order.order_id, "found": found}).decode(),
            message_id=message_id,
        )
        await self._desk.commit(command, QuarantineReceipt)

    # Plans

    async def _settle_plan(self, bought: Bought, session: Session, message_id: str | None) -> Settled | None:
        """Link a plan to its order, and settle its first invoice; credit comes from invoices alone."""
        if session.subscription is None:
            return await self._move(bought, session, None, message_id)
        is_paid = session.status == "complete" and session.payment_status != "unpaid"
        moved = MoveOrder(
            user=bought.user,
            order_id=bought.order.order_id,
            seen_version=bought.order.version,
            state="paid" if is_paid else bought.order.state,
            session=session.id,
            subscription=session.subscription,
        )
        if (await self._desk.commit(moved, OrderReceipt)).is_stale:
            return None
        settled = await self.plan(session.subscription, message_id=None if session.invoice else message_id)
        if session.invoice is not None:
            return await self.invoice(session.invoice, message_id=message_id)
        return settled

    async def plan(self, subscription: str, *, message_id: str | None = None) -> Settled:
        """Mirror a plan as it stands at Stripe. Grants nothing.

        Raises PaymentsUnavailable, OrderMissing.
        """
        for _ in range(_TRIES):
            hint = await self._stripe.plan(subscription)
            bought = await self._owner(hint)
            if bought is None:
                return ignored("of another installation")
            query = SubscriptionNamed(account_id=bought.order.account_id, subscription=subscription)
            known = await self._desk.one(query, Subscription)
            # Asked again after the row was seen, so that what is learnt is not older than it.
            found = await self._stripe.plan(subscription)
            receipt = await self._desk.commit(_mirrored(bought, known, found, message_id), SubscriptionReceipt)
            if not receipt.is_stale:
                return Settled(found.status, is_marked=True, orders=[bought.order.order_id])
        raise Conflict(f"plan {subscription} moved each time that Stripe was asked; it is tried again")

    async def invoice(self, invoice: str, *, message_id: str | None = None) -> Settled:
        """Grant what a paid invoice of a plan bought, line by line, and bring it to what became of its money.

        Raises PaymentsUnavailable, OrderMissing.
        """
        for _ in range(_TRIES):
            found = await self._stripe.invoice(invoice)
            if found.subscription is None:
                return ignored("no invoice of a plan")
            bought = await self._owner(found)
            if bought is None:
                return ignored("of another installation")
            settled = await self._settle_invoice(bought, found, message_id)
            if settled is not None:
                settled.orders.append(bought.order.order_id)
                return settled
        raise Conflict(f"invoice {invoice} moved each time that Stripe was asked; it is tried again")

    async def _settle_invoice(self, bought: Bought, hint: Invoice, message_id: str | None) -> Settled | None:
        order = bought.order
        sales = {
            line.id: await self._desk.one(SaleNamed(account_id=order.account_id, sale_id=line.id), Sale)
            for line in hint.lines
        }
        # Asked again after the rows were seen, so that what is learnt is not older than they are.
        found = await self._stripe.invoice(hint.id)
        if not found.is_paid:
            return Settled("unpaid")
        payment = await self._stripe.payment(found.payment) if found.payment else None
        wrong = invoice_differences(order, found)
        late = await self._is_late(found)
        last: SaleReceipt | None = None
        aside: str | None = None
        for line in _months(found):
            sale = sales.get(line.id)
            if sale is None and (wrong or late):
                reason = ",".join(wrong) or "paid_after_the_end"
                _log.error("invoice %s of order %s needs a decision: %s", found.id, order.order_id, reason)
                await self.quarantine(f"line:{line.id}", order, reason, found, None)
                aside = reason
                continue
            last = await self._desk.commit(
                _month(bought, sale, found, line=line, payment=payment, message_id=message_id), SaleReceipt
            )
            if last.is_stale:
                return None
        return Settled("quarantined" if aside else "paid", aside, is_marked=last is not None)

    async def _is_late(self, invoice: Invoice) -> bool:
        """Tell whether a month was paid for after its plan had ended: a person decides whether to refund it."""
        if invoice.reason != "subscription_cycle" or invoice.subscription is None:
            return False
        plan = await self._stripe.plan(invoice.subscription)
        return plan.ended_at_s is not None and (invoice.paid_at_s or 0) > plan.ended_at_s

    async def _owner(self, found: Stamped) -> Bought | None:
        """Return the order that something was made for; None when another installation, or nobody, has stamped it.

        Raises OrderMissing.
        """
        instance, order_id = await self._desk.instance(), found.stamp.get(ORDER, "")
        bought = await self._desk.bought(order_id) if order_id else None
        if found.stamp.get("callfare_instance") != instance:
            return None
        if bought is None:
            raise OrderMissing(f"{found.id} bears our stamp, and there is no order {order_id[:60]!r}")
        return bought


def _is_paid(order: Order, session: Session) -> bool:
    """Tell whether a checkout was paid for: by its payment, never by its having been completed."""
    return session.payment_status == "paid" or (session.payment_status == "no_payment_required" and order.subtotal == 0)


def _state_of(session: Session, payment: Payment | None) -> str:
    if session.status == "expired":
        return "expired"
    if session.status != "complete":
        return "open"
    return "failed" if payment is not None and payment.has_failed else "awaiting_payment"


# Where what Stripe says of an unpaid checkout may lead, so that an order only goes forward.
_REACHED: dict[str, frozenset[str]] = {
    "created": frozenset({"open", "awaiting_payment", "failed", "expired"}),
    "open": frozenset({"open", "awaiting_payment", "failed", "expired"}),
    "awaiting_payment": frozenset({"awaiting_payment", "failed", "expired"}),
    "failed": frozenset({"failed"}),
    "expired": frozenset({"expired"}),
    "quarantined": frozenset({"quarantined"}),
    "paid": frozenset({"paid"}),
}


def _months(invoice: Invoice) -> list[InvoiceLine]:
    """Return the lines that are months of a plan. What changes a month that has begun is none, nor is a trial."""
    if invoice.reason not in _MONTHS:
        return []
    return [line for line in invoice.lines if line.is_plan and not line.is_proration and line.amount > 0]


def _month(
    bought: Bought,
    sale: Sale | None,
    invoice: Invoice,
    *,
    line: InvoiceLine,
    payment: Payment | None,
    message_id: str | None,
) -> SettleSale:
    order = bought.order
    return SettleSale(
        audit=by_stripe("invoice", message_id),
        user=bought.user,
        order_id=order.order_id,
        sale_id=line.id,
        seen_version=sale.version if sale else 0,
        seen_order_version=order.version,
        source="plan",
        mode=order.mode,
        currency=order.currency,
        nanocredits=order.nanocredits,
        paid_picousd=order.subtotal * PICOUSD_PER_CENT,
        expires_at_us=line.ends_at_s * US_PER_S if order.lots_end == "period" else None,
        invoice=invoice.id,
        payment=invoice.payment,
        captured=payment.captured if payment else 0,
        reversed=payment.reversed if payment else 0,
        dispute=payment.dispute if payment else None,
        message_id=message_id,
    )


def _mirrored(
    bought: Bought, known: Subscription | None, found: Subscribed, message_id: str | None
) -> MirrorSubscription:
    return MirrorSubscription(
        user=bought.user,
        order_id=bought.order.order_id,
        subscription=found.id,
        seen_version=known.version if known else 0,
        product=bought.order.product,
        mode=found.mode,
        customer=found.customer,
        status=found.status,
        is_ending=found.is_ending,
        period_start_us=_us(found.starts_at_s),
        period_end_us=_us(found.ends_at_s),
        ended_at_us=_us(found.ended_at_s),
        created_at_us=found.created_at_s * US_PER_S,
        message_id=message_id,
    )


def _us(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * US_PER_S
