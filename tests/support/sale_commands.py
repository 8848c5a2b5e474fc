"""Commands about buying credits, with readable defaults: only what a test is about is said."""

from __future__ import annotations

from callfare.ids import order_id
from callfare.ledger.sale_commands import (
    ClaimCustomer,
    ClaimDelivery,
    ClaimQuarantined,
    DropCustomer,
    LinkCustomer,
    MirrorSubscription,
    MoveOrder,
    NoteFact,
    OpenOrder,
    Quarantine,
    SettleDelivery,
    SettleSale,
    TakeDelivery,
)
from tests.support.commands import START_US, Amount, account_number, fingerprint, nano

HOUR_US = 3600 * 1_000_000


def order_name(user: str = "alice", number: int = 1) -> str:
    """Return the id of the order that `open_order` opens."""
    return order_id(account_number(user), f"{number:016d}")


def open_order(
    user: str = "alice",
    number: int = 1,
    *,
    key: str | None = None,
    credits: Amount = 2000,
    subtotal: int = 1800,
    kind: str = "package",
    email: str | None = "alice@example.com",
) -> OpenOrder:
    """Open an order for the package Creator: 2,000 credits for $18.00."""
    return OpenOrder(
        user=user,
        new_account_id=account_number(user),
        email=email,
        key=key or f"order-{number}",
        suffix=f"{number:016d}",
        kind=kind,
        product="credits_2000",
        nanocredits=nano(credits),
        lots_end="never" if kind == "package" else "period",
        currency="usd",
        subtotal=subtotal,
        edition="0123456789abcdef",
        mode="test",
        instance="inst_1",
        request='{"mode":"payment"}',
        ends_at_us=START_US + 24 * HOUR_US,
        fingerprint=fingerprint(user, credits, subtotal, kind),
    )


def move_order(state: str = "open", version: int = 1, number: int = 1, *, user: str = "alice", **more) -> MoveOrder:
    """Move an order to a state."""
    return MoveOrder(user=user, order_id=order_name(user, number), seen_version=version, state=state, **more)


def settle_sale(
    version: int = 0,
    *,
    order_version: int = 1,
    user: str = "alice",
    number: int = 1,
    sale: str | None = None,
    credits: Amount = 2000,
    captured: int = 1800,
    paid_back: int = 0,
    dispute: str | None = None,
    state: str | None = "paid",
    source: str = "purchase",
    expires_at_us: int | None = None,
    message: str | None = None,
    claims: str | None = None,
) -> SettleSale:
    """Settle the payment of an order: by default it was paid for in full, in cents."""
    return SettleSale(
        user=user,
        order_id=order_name(user, number),
        sale_id=sale or order_name(user, number),
        seen_version=version,
        seen_order_version=order_version,
        source=source,
        mode="test",
        currency="usd",
        nanocredits=nano(credits),
        paid_picousd=captured * 10_000_000_000,
        expires_at_us=expires_at_us,
        invoice=None,
        payment="pi_1",
        captured=captured,
        reversed=paid_back,
        dispute=dispute,
        order_state=state,
        claims=claims,
        claimed_by=None if claims is None else "key:k",
        message_id=message,
    )


def claim_customer(user: str = "alice", *, mode: str = "test") -> ClaimCustomer:
    """Ask for a user's customer."""
    return ClaimCustomer(user=user, new_account_id=account_number(user), email="alice@example.com", mode=mode)


def link_customer(customer: str = "cus_1", attempt: int = 1, *, user: str = "alice") -> LinkCustomer:
    """Note a user's customer."""
    return LinkCustomer(user=user, mode="test", customer=customer, attempt=attempt)


def drop_customer(customer: str = "cus_1", *, user: str = "alice") -> DropCustomer:
    """Forget a user's customer."""
    return DropCustomer(user=user, mode="test", customer=customer)


def mirror(version: int = 0, status: str = "active", *, ended_at_us: int | None = None) -> MirrorSubscription:
    """Mirror a plan of alice's."""
    return MirrorSubscription(
        user="alice",
        order_id=order_name(),
        subscription="sub_1",
        seen_version=version,
        product="plan_creator",
        mode="test",
        customer="cus_1",
        status=status,
        is_ending=False,
        period_start_us=START_US,
        period_end_us=START_US + 720 * HOUR_US,
        ended_at_us=ended_at_us,
        created_at_us=START_US,
    )


def take(message: str = "evt_1", *, reason: str | None = None) -> TakeDelivery:
    """Keep a message."""
    return TakeDelivery(
        message_id=message,
        event_type="checkout.session.completed",
        object_id="cs_1",
        mode="test",
        api_version="2026-10-28.endive",
        said_at_us=START_US,
        body='{"id":"evt_1"}',
        reason=reason,
        claim_s=60,
    )


def claim(message: str = "evt_1") -> ClaimDelivery:
    """Claim a message for a minute."""
    return ClaimDelivery(message_id=message, claim_s=60)


def settle_message(state: str = "done", message: str = "evt_1", *, wait_s: int = 0) -> SettleDelivery:
    """Say how a message stands."""
    return SettleDelivery(message_id=message, state=state, reason=None, wait_s=wait_s)


def put_aside(item: str = "order:1", *, message: str | None = None) -> Quarantine:
    """Put a payment aside."""
    return Quarantine(
        item_id=item, mode="test", owner_id=1, reason="amount_differs", facts='{"a":1}', message_id=message
    )


def take_out(item: str = "order:1") -> ClaimQuarantined:
    """Take something out of quarantine."""
    return ClaimQuarantined(item_id=item, by="key:k", resolution="dismissed")


def note_fact(value: str = "inst_1", *, name: str = "instance", is_fixed: bool = True) -> NoteFact:
    """Keep a fact."""
    return NoteFact(name=name, value=value, is_fixed=is_fixed)
