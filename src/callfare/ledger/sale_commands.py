"""What can be asked of a ledger about buying credits. Checked values only, as in commands.py.

`seen_version` is the version of the row that the processor was asked about: when the row has moved since, what was
learnt may be older than what stands there, so nothing is written, and the receipt says `is_stale`.
"""

from __future__ import annotations

from callfare.ledger.commands import Command


class OpenOrder(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Write down what somebody wants to buy, before the processor hears of it. `suffix` makes the order's id."""

    user: str
    new_account_id: int
    email: str | None
    key: str
    suffix: str
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
    ends_at_us: int | None
    fingerprint: int


class MoveOrder(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Move an order along, and note what the processor calls it. What is None stays as it is.

    is_anew: it is asked for under a new attempt. message_id: the delivery that is done with it.
    """

    user: str
    order_id: str
    seen_version: int
    state: str
    request: str | None = None
    customer: str | None = None
    session: str | None = None
    url: str | None = None
    subscription: str | None = None
    reason: str | None = None
    ends_at_us: int | None = None
    is_anew: bool = False
    message_id: str | None = None


class SettleSale(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Bring a payment and its credits to what the processor says: grant once, take back, give back, withhold.

    nanocredits: what the payment grants, 0 as long as it has not been made. captured, reversed: in the currency's
    smallest unit. dispute: `open`, `won` or `lost`, None without one; while it is open the lot is withheld.
    order_state: None where the order stays as it is. claims: the quarantined item that this resolves, by whom.
    """

    user: str
    order_id: str
    sale_id: str
    seen_version: int
    seen_order_version: int
    source: str
    mode: str
    currency: str
    nanocredits: int
    paid_picousd: int | None
    expires_at_us: int | None
    invoice: str | None
    payment: str | None
    captured: int
    reversed: int
    dispute: str | None
    order_state: str | None = None
    session: str | None = None
    claims: str | None = None
    claimed_by: str | None = None
    message_id: str | None = None


class ClaimCustomer(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Make sure that a user has one row for whom the processor knows them as, in a mode."""

    user: str
    new_account_id: int
    email: str | None
    mode: str


class LinkCustomer(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Note whom the processor knows a user as; the first answer to an attempt stays."""

    user: str
    mode: str
    customer: str
    attempt: int


class DropCustomer(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Forget whom the processor knew a user as, when it no longer does. The next one is made under a new attempt."""

    user: str
    mode: str
    customer: str
    message_id: str | None = None


class MirrorSubscription(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Put a plan as it stands at the processor in the place of what is known of it. Grants nothing."""

    user: str
    order_id: str
    subscription: str
    seen_version: int
    product: str
    mode: str
    customer: str
    status: str
    is_ending: bool
    period_start_us: int | None
    period_end_us: int | None
    ended_at_us: int | None
    created_at_us: int
    message_id: str | None = None


class TakeDelivery(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Keep a message of the processor's, and claim it for whoever brings it. One that is there already stays."""

    message_id: str
    event_type: str
    object_id: str
    mode: str
    api_version: str
    said_at_us: int
    body: str
    reason: str | None
    claim_s: int


class ClaimDelivery(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Claim a message that waits, for some seconds, unless somebody else has it now."""

    message_id: str
    claim_s: int


class SettleDelivery(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Say that a message is done, ignored, or waits until it is tried again."""

    message_id: str
    state: str
    reason: str | None
    wait_s: int = 0


class Quarantine(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Put a payment that fits no order aside, once; with the order it claims to be for, where there is one."""

    item_id: str
    mode: str
    owner_id: int | None
    reason: str
    facts: str
    message_id: str | None = None


class ClaimQuarantined(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Take something out of quarantine without a grant. It can be claimed once."""

    item_id: str
    by: str
    resolution: str


class NoteFact(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Keep a fact about this installation. is_fixed: what stands there already stays."""

    name: str
    value: str
    is_fixed: bool


SaleCommand = (
    OpenOrder
    | MoveOrder
    | SettleSale
    | ClaimCustomer
    | LinkCustomer
    | DropCustomer
    | MirrorSubscription
    | TakeDelivery
    | ClaimDelivery
    | SettleDelivery
    | Quarantine
    | ClaimQuarantined
    | NoteFact
)
