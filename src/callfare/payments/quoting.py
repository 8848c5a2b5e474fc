"""What Stripe says compared with what was quoted. Pure: a signature proves who brought a figure, not that it is so."""

from __future__ import annotations

from callfare.ledger.sale_rows import Order
from callfare.payments.gateway import INSTANCE, Invoice, Session


def differences(order: Order, session: Session) -> list[str]:
    """Return in what a checkout is not what was quoted; in nothing, when it may be granted for."""
    compared = {
        "session": (order.session or session.id, session.id),
        "reference": (order.order_id, session.reference),
        "instance": (order.instance, session.stamp.get(INSTANCE)),
        "mode": (order.mode, session.mode),
        "kind": ("subscription" if order.kind == "plan" else "payment", session.kind),
        "customer": (order.customer or session.customer, session.customer),
        "currency": (order.currency, session.currency),
        "subtotal": (order.subtotal, session.subtotal),
        "lines": ([(1, order.subtotal)], [(line.quantity, line.subtotal) for line in session.lines]),
    }
    return [name for name, (quoted, found) in compared.items() if quoted != found]


def invoice_differences(order: Order, invoice: Invoice) -> list[str]:
    """Return in what an invoice is not the month that was quoted."""
    months = [line for line in invoice.lines if line.is_plan and not line.is_proration and line.amount]
    compared = {
        "mode": (order.mode, invoice.mode),
        "kind": (order.kind, "plan"),
        "subscription": (order.subscription or invoice.subscription, invoice.subscription),
        "customer": (order.customer or invoice.customer, invoice.customer),
        "currency": (order.currency, invoice.currency),
        "lines": ({(1, order.subtotal)}, {(line.quantity, line.amount) for line in months} or {(1, order.subtotal)}),
    }
    return [name for name, (quoted, found) in compared.items() if quoted != found]
