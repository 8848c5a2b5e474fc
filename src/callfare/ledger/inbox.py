"""What a processor sends, kept until its effect stands; what fits nothing, put aside; facts of this installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.clock import US_PER_S
from callfare.errors import Conflict, NotFound
from callfare.ledger.keys import again
from callfare.ledger.receipts import DeliveryReceipt, FactReceipt, QuarantineReceipt
from callfare.ledger.rows import HOUSE
from callfare.ledger.sale_rows import Delivery, Installation, Quarantined

if TYPE_CHECKING:
    from callfare.ledger.sale_commands import (
        ClaimDelivery,
        ClaimQuarantined,
        NoteFact,
        Quarantine,
        SettleDelivery,
        TakeDelivery,
    )
    from callfare.ledger.state import Draft

WAITING, DONE, IGNORED = "waiting", "done", "ignored"


def take_delivery(draft: Draft, command: TakeDelivery, now_us: int) -> DeliveryReceipt:
    """Keep a message, claimed by whoever brings it. One that is known already is told of as it stands.

    reason: why there is nothing to do about it; then it is ignored.
    """
    known = draft.row(Delivery, HOUSE, command.message_id)
    if known is not None:
        return again(_receipt(known, is_claimed=False))
    is_ignored = command.reason is not None
    row = Delivery(
        account_id=HOUSE,
        message_id=command.message_id,
        event_type=command.event_type,
        object_id=command.object_id,
        mode=command.mode,
        api_version=command.api_version,
        said_at_us=command.said_at_us,
        body=command.body,
        state=IGNORED if is_ignored else WAITING,
        attempts=0 if is_ignored else 1,
        claimed_until_us=0 if is_ignored else now_us + command.claim_s * US_PER_S,
        reason=command.reason,
        received_at_us=now_us,
        settled_at_us=now_us if is_ignored else None,
    )
    draft.put(row)
    return _receipt(row, is_claimed=not is_ignored)


def claim_delivery(draft: Draft, command: ClaimDelivery, now_us: int) -> DeliveryReceipt:
    """Claim a message that waits and that nobody has now. An abandoned claim ends by itself.

    Raises NotFound.
    """
    row = _existing(draft, command.message_id)
    if row.state != WAITING or row.claimed_until_us > now_us:
        return again(_receipt(row, is_claimed=False))
    row = replace(row, attempts=row.attempts + 1, claimed_until_us=now_us + command.claim_s * US_PER_S)
    draft.put(row)
    return _receipt(row, is_claimed=True)


def settle_delivery(draft: Draft, command: SettleDelivery, now_us: int) -> DeliveryReceipt:
    """Say that a message is done or ignored, or when it is tried again. What is done stays so.

    Raises NotFound.
    """
    row = _existing(draft, command.message_id)
    if row.state == DONE:
        return again(_receipt(row, is_claimed=False))
    is_over = command.state != WAITING
    row = replace(
        row,
        state=command.state,
        reason=command.reason,
        claimed_until_us=0 if is_over else now_us + command.wait_s * US_PER_S,
        settled_at_us=now_us if is_over else None,
    )
    draft.put(row)
    return _receipt(row, is_claimed=False)


def mark_done(draft: Draft, message_id: str | None, now_us: int) -> None:
    """Mark a message done, in the transaction of its effect."""
    row = None if message_id is None else draft.row(Delivery, HOUSE, message_id)
    if row is not None and row.state != DONE:
        draft.put(replace(row, state=DONE, reason=None, claimed_until_us=0, settled_at_us=now_us))


def _existing(draft: Draft, message_id: str) -> Delivery:
    row = draft.row(Delivery, HOUSE, message_id)
    if row is None:
        raise NotFound(f"there is no message {message_id!r}", param="message_id")
    return row


def _receipt(row: Delivery, *, is_claimed: bool) -> DeliveryReceipt:
    return DeliveryReceipt(message_id=row.message_id, state=row.state, attempts=row.attempts, is_claimed=is_claimed)


def quarantine(draft: Draft, command: Quarantine, now_us: int) -> QuarantineReceipt:
    """Put something aside for a person, once, however often it is seen."""
    mark_done(draft, command.message_id, now_us)
    known = draft.row(Quarantined, HOUSE, command.item_id)
    if known is not None:
        return again(QuarantineReceipt(item_id=known.item_id, is_claimed=known.claimed_at_us is not None))
    row = Quarantined(
        account_id=HOUSE,
        item_id=command.item_id,
        mode=command.mode,
        owner_id=command.owner_id,
        reason=command.reason,
        facts=command.facts,
        created_at_us=now_us,
        claimed_at_us=None,
        claimed_by=None,
        resolution=None,
    )
    draft.put(row)
    return QuarantineReceipt(item_id=row.item_id, is_claimed=False)


def claim_quarantined(draft: Draft, command: ClaimQuarantined, now_us: int) -> QuarantineReceipt:
    """Take something out of quarantine.

    Raises NotFound, Conflict when somebody has done so.
    """
    resolve(draft, command.item_id, by=command.by, resolution=command.resolution, now_us=now_us)
    return QuarantineReceipt(item_id=command.item_id, is_claimed=True)


def resolve(draft: Draft, item_id: str, *, by: str, resolution: str, now_us: int) -> None:
    """Note who took something out of quarantine, and what became of it.

    Raises NotFound, Conflict when somebody has done so.
    """
    row = draft.row(Quarantined, HOUSE, item_id)
    if row is None:
        raise NotFound(f"there is nothing under {item_id!r} in quarantine", param="item_id")
    if row.claimed_at_us is not None:
        raise Conflict(f"{item_id} was claimed by {row.claimed_by} before: {row.resolution}", param="item_id")
    draft.put(replace(row, claimed_at_us=now_us, claimed_by=by, resolution=resolution))


def note_fact(draft: Draft, command: NoteFact, now_us: int) -> FactReceipt:
    """Keep a fact about this installation, and return it as it stands; what is fixed stays as it was first told."""
    known = draft.row(Installation, HOUSE, command.name)
    if known is not None and (command.is_fixed or known.value == command.value):
        return again(FactReceipt(name=known.name, value=known.value))
    draft.put(Installation(HOUSE, command.name, command.value, now_us))
    return FactReceipt(name=command.name, value=command.value)
