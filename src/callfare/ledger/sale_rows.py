"""The rows of buying credits: orders, payments, and what a processor says. Holds no rules.

Field order is column order in every store, as in rows.py; all of them are running state.
"""

from __future__ import annotations

from callfare.ledger.row import Row


class Order(Row, frozen=True, gc=False, array_like=True):
    """What somebody asked to buy, as it was quoted before the processor heard of it: the authority on what it is.

    `subtotal` is in the currency's smallest unit. `lots_end` says whether what is granted lasts: "never" or "period".
    `request` is what the processor is asked for, word for word, so that asking again under `attempt` is the same.
    """

    table = "orders"
    account_id: int
    order_id: str
    kind: str
    product: str
    nanocredits: int
    lots_end: str
    currency: str
    subtotal: int
    edition: str
    mode: str
    instance: str
    request: str
    attempt: int
    state: str
    version: int
    customer: str | None
    session: str | None
    url: str | None
    subscription: str | None
    reason: str | None
    created_at_us: int
    moved_at_us: int
    ends_at_us: int | None


class Sale(Row, frozen=True, gc=False, array_like=True):
    """A payment and what was granted for it: an order's, or that of one line of a plan's invoice.

    `captured` and `reversed` are in the currency's smallest unit; what is reversed takes that share of the credits
    back, rounded up. `nanocredits` is 0 as long as nothing was granted. `withheld` stands in holds of its own.
    """

    table = "sales"
    account_id: int
    sale_id: str
    order_id: str
    source: str
    mode: str
    currency: str
    invoice: str | None
    payment: str | None
    captured: int
    reversed: int
    dispute: str | None
    nanocredits: int
    taken_back_nanocredits: int
    withheld_nanocredits: int
    grant_id: int | None
    version: int
    created_at_us: int
    moved_at_us: int


class Customer(Row, frozen=True, gc=False, array_like=True):
    """Whom a processor knows a user as, in one mode; None until it has answered. One row however many ask at once."""

    table = "customers"
    account_id: int
    mode: str
    customer: str | None
    attempt: int
    created_at_us: int
    moved_at_us: int


class Subscription(Row, frozen=True, gc=False, array_like=True):
    """A plan as the processor says it stands. Says what somebody is entitled to, and grants nothing."""

    table = "subscriptions"
    account_id: int
    subscription: str
    order_id: str
    product: str
    mode: str
    customer: str
    status: str
    is_ending: int
    period_start_us: int | None
    period_end_us: int | None
    ended_at_us: int | None
    version: int
    created_at_us: int
    moved_at_us: int


class Delivery(Row, frozen=True, gc=False, array_like=True):
    """A message of the processor's, as it came. Belongs to the house; `done` is never said before its effect stands.

    state: "waiting", "done" or "ignored". A claim ends by itself at `claimed_until_us`.
    """

    table = "inbox"
    account_id: int
    message_id: str
    event_type: str
    object_id: str
    mode: str
    api_version: str
    said_at_us: int
    body: str
    state: str
    attempts: int
    claimed_until_us: int
    reason: str | None
    received_at_us: int
    settled_at_us: int | None


class Quarantined(Row, frozen=True, gc=False, array_like=True):
    """A payment that fits no order, put aside for a person. Belongs to the house; can be claimed once."""

    table = "quarantine"
    account_id: int
    item_id: str
    mode: str
    owner_id: int | None
    reason: str
    facts: str
    created_at_us: int
    claimed_at_us: int | None
    claimed_by: str | None
    resolution: str | None


class Installation(Row, frozen=True, gc=False, array_like=True):
    """A fact about this installation, such as the name it stamps on what it makes at the processor."""

    table = "installation"
    account_id: int
    name: str
    value: str
    set_at_us: int
