"""Answers of the ledger, in its own units. Kept as JSON beside the key, so a repeat gets the first answer again."""

from __future__ import annotations

import msgspec


class Receipt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of all receipts. `is_replay` is true for a repeated request."""

    is_replay: bool = False


class GrantReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A grant as it was posted; `repaid` went to an older debt."""

    account_id: int
    key: str
    grant_id: int
    source: str
    nanocredits: int
    paid_picousd: int | None
    repaid_nanocredits: int
    available_nanocredits: int
    expires_at_us: int | None


class OpenReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """An open run, with its hold and draw as they are now."""

    account_id: int
    run_id: str
    status: str
    asked_nanocredits: int
    held_nanocredits: int
    used_nanocredits: int
    expires_at_us: int


class ExtendReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A run after its hold grew or was renewed."""

    account_id: int
    run_id: str
    held_nanocredits: int
    used_nanocredits: int
    expires_at_us: int


class CloseReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A settled run. charged = captured + debt; waived was taken over by the house."""

    account_id: int
    run_id: str
    outcome: str
    captured_nanocredits: int
    given_back_nanocredits: int
    debt_nanocredits: int
    waived_nanocredits: int
    charged_nanocredits: int
    cost_picousd: int
    calls: int
    unpriced_calls: int
    closed_at_us: int


class ChargeReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A recorded call. `held_after`, `used_after` and `run_expires_at` are its run's, zero outside a run."""

    account_id: int
    key: str
    run_id: str | None
    status: str
    flags: str
    nanocredits: int
    picousd: int
    debt_nanocredits: int
    edition: str
    lines: str
    held_after_nanocredits: int
    used_after_nanocredits: int
    run_expires_at_us: int = 0


class BatchReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """Whose a batch is: its account, and its run where it has one. is_own: the run was opened for the batch alone."""

    account_id: int
    run_id: str | None
    is_own: bool


class JobReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A long job and what is held for it. `run_held` and `run_used` are its run's, zero outside a run."""

    account_id: int
    job_id: str
    status: str
    held_nanocredits: int
    run_id: str | None
    run_held_nanocredits: int
    run_used_nanocredits: int
    run_expires_at_us: int


class RefundReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A refund: what was taken from the lot, and what became debt."""

    account_id: int
    key: str
    taken_nanocredits: int
    debt_nanocredits: int


class ExpiryReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """An account after everything due has been settled."""

    account_id: int
    changes: int


class CheckReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """It is noted who has the ledger recomputed."""


class KeyReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """An API key as it was made, rolled or revoked. Nothing in it is secret.

    replaces: the key whose place it took, which ends at `replaced_ends_at`.
    """

    key_id: str
    family: str
    mode: str
    label: str
    scopes: str
    digest: str
    pepper: str
    user: str | None
    networks: str | None
    grant_cap_nanocredits: int | None
    created_at_us: int
    expires_at_us: int | None
    revoked_at_us: int | None
    replaces: str | None = None
    replaced_ends_at_us: int | None = None


class ReinstateReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """Credit that was taken back and is given again, in the lot `grant_id`."""

    account_id: int
    key: str
    grant_id: int
    nanocredits: int


class OrderReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """An order as it stands. is_stale: it has moved since it was looked at, and nothing was written."""

    account_id: int
    order_id: str
    product: str
    nanocredits: int
    currency: str
    subtotal: int
    edition: str
    mode: str
    state: str
    version: int
    is_stale: bool = False


class SaleReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A payment and its credits. is_stale: it has moved since it was looked at, and nothing was written."""

    account_id: int
    order_id: str
    sale_id: str
    nanocredits: int
    taken_back_nanocredits: int
    withheld_nanocredits: int
    version: int
    grant_id: int | None
    is_stale: bool = False


class CustomerReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """Whom the processor knows a user as, None until it has answered this attempt."""

    account_id: int
    mode: str
    customer: str | None
    attempt: int


class SubscriptionReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A plan as it was mirrored. is_stale: it has moved since it was looked at, and nothing was written."""

    account_id: int
    subscription: str
    status: str
    version: int
    is_stale: bool = False


class DeliveryReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A message as it stands. is_claimed: whoever asked may work on it now."""

    message_id: str
    state: str
    attempts: int
    is_claimed: bool


class QuarantineReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """Something in quarantine."""

    item_id: str
    is_claimed: bool


class FactReceipt(Receipt, frozen=True, gc=False, kw_only=True):
    """A fact about this installation as it stands."""

    name: str
    value: str
