"""Orders, customers and plans as a processor knows them: what is written before it is asked, and what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.errors import Conflict, NotFound
from callfare.ids import order_id
from callfare.ledger.accounts import ensure_account
from callfare.ledger.inbox import mark_done
from callfare.ledger.keys import again, recall, remember
from callfare.ledger.receipts import CustomerReceipt, OrderReceipt, SubscriptionReceipt
from callfare.ledger.sale_rows import Customer, Order, Subscription

if TYPE_CHECKING:
    from callfare.ledger.rows import User
    from callfare.ledger.sale_commands import (
        ClaimCustomer,
        DropCustomer,
        LinkCustomer,
        MirrorSubscription,
        MoveOrder,
        OpenOrder,
    )
    from callfare.ledger.state import Draft

ORDERED = "order"
# Where an order may go from each state. What was paid stays so: its reversal stands in the sale.
NEXT: dict[str, frozenset[str]] = {
    "created": frozenset({"created", "open", "awaiting_payment", "paid", "failed", "expired", "quarantined"}),
    "open": frozenset({"open", "awaiting_payment", "paid", "failed", "expired", "quarantined"}),
    "awaiting_payment": frozenset({"awaiting_payment", "paid", "failed", "expired", "quarantined"}),
    "failed": frozenset({"failed", "paid", "quarantined"}),
    "expired": frozenset({"expired", "paid", "quarantined"}),
    "quarantined": frozenset({"quarantined", "paid"}),
    "paid": frozenset({"paid"}),
}
UNSETTLED = ("created", "open", "awaiting_payment")


def open_order(draft: Draft, command: OpenOrder, now_us: int) -> OrderReceipt:
    """Write an order down. A repeat under the same key gets the first one.

    Raises KeyConflict.
    """
    account_id = ensure_account(draft, command.user, command.new_account_id, now_us).account_id
    first = recall(draft, account_id, command.key, OrderReceipt, kind=ORDERED, fingerprint=command.fingerprint)
    if first is not None:
        return first
    _note_email(draft, command.user, command.email)
    order = Order(
        account_id=account_id,
        order_id=order_id(account_id, command.suffix),
        kind=command.kind,
        product=command.product,
        nanocredits=command.nanocredits,
        lots_end=command.lots_end,
        currency=command.currency,
        subtotal=command.subtotal,
        edition=command.edition,
        mode=command.mode,
        instance=command.instance,
        request=command.request,
        attempt=1,
        state="created",
        version=1,
        customer=None,
        session=None,
        url=None,
        subscription=None,
        reason=None,
        created_at_us=now_us,
        moved_at_us=now_us,
        ends_at_us=command.ends_at_us,
    )
    if draft.has(order.pk):
        raise Conflict(f"there is an order {order.order_id} already; ask again, with a fresh id", param="order_id")
    draft.put(order)
    receipt = order_receipt(order)
    remember(draft, account_id, command.key, receipt, kind=ORDERED, fingerprint=command.fingerprint, now_us=now_us)
    return receipt


def move_order(draft: Draft, command: MoveOrder, now_us: int) -> OrderReceipt:
    """Move an order along, unless it has moved since it was looked at.

    Raises NotFound, Conflict for a step that no order takes.
    """
    order = find_order(draft, known_user(draft, command.user).account_id, command.order_id)
    if order.version != command.seen_version:
        return order_receipt(order, is_stale=True)
    moved = replace(
        order,
        state=command.state,
        attempt=order.attempt + command.is_anew,
        request=command.request or order.request,
        customer=command.customer or order.customer,
        session=command.session or order.session,
        url=command.url or order.url,
        subscription=command.subscription or order.subscription,
        reason=command.reason or order.reason,
        ends_at_us=command.ends_at_us or order.ends_at_us,
    )
    mark_done(draft, command.message_id, now_us)
    if moved == order:
        return again(order_receipt(order))
    return order_receipt(put_order(draft, order, moved, now_us))


def put_order(draft: Draft, before: Order, after: Order, now_us: int) -> Order:
    """Write an order that has moved, under its next version.

    Raises Conflict for a step that no order takes.
    """
    if after.state not in NEXT[before.state]:
        raise Conflict(f"order {before.order_id} is {before.state}, and cannot become {after.state}", param="order_id")
    moved = replace(after, version=before.version + 1, moved_at_us=now_us)
    draft.put(moved)
    return moved


def find_order(draft: Draft, account_id: int, name: str) -> Order:
    """Return an order of an account.

    Raises NotFound.
    """
    order = draft.row(Order, account_id, name)
    if order is None:
        raise NotFound(f"there is no order {name!r}", param="order_id")
    return order


def known_user(draft: Draft, user: str) -> User:
    """Return the row of a user.

    Raises NotFound.
    """
    found = draft.user(user)
    if found is None:
        raise NotFound("there is no such user", param="user")
    return found


def order_receipt(order: Order, *, is_stale: bool = False) -> OrderReceipt:
    """Return the answer about an order."""
    return OrderReceipt(
        account_id=order.account_id,
        order_id=order.order_id,
        product=order.product,
        nanocredits=order.nanocredits,
        currency=order.currency,
        subtotal=order.subtotal,
        edition=order.edition,
        mode=order.mode,
        state=order.state,
        version=order.version,
        is_stale=is_stale,
        is_replay=is_stale,
    )


# Customers


def claim_customer(draft: Draft, command: ClaimCustomer, now_us: int) -> CustomerReceipt:
    """Make sure that there is one row for whom the processor knows a user as."""
    account_id = ensure_account(draft, command.user, command.new_account_id, now_us).account_id
    _note_email(draft, command.user, command.email)
    known = draft.row(Customer, account_id, command.mode)
    if known is not None:
        return again(_customer_receipt(known))
    row = Customer(account_id, command.mode, None, 1, now_us, now_us)
    draft.put(row)
    return _customer_receipt(row)


def link_customer(draft: Draft, command: LinkCustomer, now_us: int) -> CustomerReceipt:
    """Note whom the processor knows a user as. The first answer to an attempt stays; a late one changes nothing.

    Raises NotFound.
    """
    user = known_user(draft, command.user)
    row = draft.row(Customer, user.account_id, command.mode)
    if row is None:
        raise NotFound(f"nobody has asked for a customer of {command.user!r} yet", param="user")
    if row.customer is not None or row.attempt != command.attempt:
        return again(_customer_receipt(row))
    row = replace(row, customer=command.customer, moved_at_us=now_us)
    draft.put(row)
    draft.put(replace(user, stripe_customer_id=command.customer))
    return _customer_receipt(row)


def drop_customer(draft: Draft, command: DropCustomer, now_us: int) -> CustomerReceipt:
    """Forget whom the processor knew a user as, when that is who is named.

    Raises NotFound.
    """
    user = known_user(draft, command.user)
    row = draft.row(Customer, user.account_id, command.mode)
    mark_done(draft, command.message_id, now_us)
    if row is None or row.customer != command.customer:
        return again(_customer_receipt(row or Customer(user.account_id, command.mode, None, 0, now_us, now_us)))
    row = replace(row, customer=None, attempt=row.attempt + 1, moved_at_us=now_us)
    draft.put(row)
    if user.stripe_customer_id == command.customer:
        draft.put(replace(user, stripe_customer_id=None))
    return _customer_receipt(row)


def _note_email(draft: Draft, name: str, email: str | None) -> None:
    user = known_user(draft, name)
    if email is not None and email != user.email:
        draft.put(replace(user, email=email))


def _customer_receipt(row: Customer) -> CustomerReceipt:
    return CustomerReceipt(account_id=row.account_id, mode=row.mode, customer=row.customer, attempt=row.attempt)


# Plans


def mirror_subscription(draft: Draft, command: MirrorSubscription, now_us: int) -> SubscriptionReceipt:
    """Put a plan as it stands at the processor in the place of what is known of it, unless that has moved.

    Raises NotFound.
    """
    account_id = known_user(draft, command.user).account_id
    known = draft.row(Subscription, account_id, command.subscription)
    if (known.version if known else 0) != command.seen_version:
        assert known is not None, command
        return _subscription_receipt(known, is_stale=True)
    find_order(draft, account_id, command.order_id)
    version = known.version if known else 0
    row = Subscription(
        account_id=account_id,
        subscription=command.subscription,
        order_id=command.order_id,
        product=command.product,
        mode=command.mode,
        customer=command.customer,
        status=command.status,
        is_ending=int(command.is_ending),
        period_start_us=command.period_start_us,
        period_end_us=command.period_end_us,
        ended_at_us=command.ended_at_us,
        version=version,
        created_at_us=command.created_at_us,
        moved_at_us=known.moved_at_us if known else now_us,
    )
    mark_done(draft, command.message_id, now_us)
    if row == known:
        return again(_subscription_receipt(row))
    row = replace(row, version=version + 1, moved_at_us=now_us)
    draft.put(row)
    return _subscription_receipt(row)


def _subscription_receipt(row: Subscription, *, is_stale: bool = False) -> SubscriptionReceipt:
    return SubscriptionReceipt(
        account_id=row.account_id,
        subscription=row.subscription,
        status=row.status,
        version=row.version,
        is_stale=is_stale,
        is_replay=is_stale,
    )
