"""API keys: made, rolled, revoked, and bounded in what they grant a day. Knows digests; no secret comes here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.clock import US_PER_S, moment_of
from callfare.errors import Conflict, GrantCapReached, NotFound, Unauthorized
from callfare.ledger.commands import MakeKey, NoteKeyUse, RevokeKey, RollKey
from callfare.ledger.keys import again, recall, remember
from callfare.ledger.receipts import KeyReceipt
from callfare.ledger.rows import HOUSE, ApiKey, KeyDay
from callfare.money import Credits, in_range

if TYPE_CHECKING:
    from callfare.ledger.state import Draft

DAY_US = 24 * 3600 * US_PER_S
# The kinds of answers that the house remembers.
MADE = "make_key"
ROLLED = "roll_key"


def steer_key(draft: Draft, command: MakeKey | RollKey | RevokeKey | NoteKeyUse, now_us: int) -> KeyReceipt:
    """Make, roll or revoke a key, or note its use.

    Raises NotFound, Conflict when it has ended, KeyConflict.
    """
    match command:
        case MakeKey():
            return _make(draft, command, now_us)
        case RollKey():
            return _roll(draft, command, now_us)
        case RevokeKey():
            return _revoke(draft, command, now_us)
        case NoteKeyUse():
            return _note_use(draft, command)


def day_of(now_us: int) -> int:
    """Return the instant at which a UTC day began."""
    return now_us - now_us % DAY_US


def count_grant(draft: Draft, key_id: str, nanocredits: int, now_us: int) -> None:
    """Count what a key grants against what its family may grant in this UTC day.

    Raises Unauthorized when the key has ended meanwhile, GrantCapReached.
    """
    row = draft.api_key(key_id)
    if row is None or not row.is_live(now_us):
        raise Unauthorized("the key is not valid, or no longer")
    day_us = day_of(now_us)
    day = draft.key_day(row.family, day_us) or KeyDay(row.family, day_us, 0)
    granted = day.granted_nanocredits + nanocredits
    if row.grant_cap_nanocredits is not None and granted > row.grant_cap_nanocredits:
        raise GrantCapReached(
            key_id,
            cap=Credits.of_units(row.grant_cap_nanocredits),
            granted=Credits.of_units(day.granted_nanocredits),
            asked=Credits.of_units(nanocredits),
            resets_at=moment_of(day_us + DAY_US).isoformat(),
        )
    counted = in_range(granted, "what the key has granted today", param="credits")
    draft.put(replace(day, granted_nanocredits=counted))


def _make(draft: Draft, command: MakeKey, now_us: int) -> KeyReceipt:
    first = recall(draft, HOUSE, command.key, KeyReceipt, kind=MADE, fingerprint=command.fingerprint)
    if first is not None:
        return first
    made = ApiKey(
        key_id=command.key_id,
        family=command.key_id,
        mode=command.mode,
        label=command.label,
        scopes=command.scopes,
        digest=command.digest,
        pepper=command.pepper,
        user=command.user,
        networks=command.networks,
        grant_cap_nanocredits=command.grant_cap_nanocredits,
        created_at_us=now_us,
        expires_at_us=command.expires_at_us,
        revoked_at_us=None,
        rolled_to=None,
        used_at_us=None,
    )
    return _put_new(draft, made, command, MADE, now_us)


def _roll(draft: Draft, command: RollKey, now_us: int) -> KeyReceipt:
    first = recall(draft, HOUSE, command.key, KeyReceipt, kind=ROLLED, fingerprint=command.fingerprint)
    if first is not None:
        return first
    old = _existing(draft, command.key_id)
    if not old.is_live(now_us) or old.rolled_to is not None:
        raise Conflict(f"key {old.key_id} has ended or was rolled before; make a new one", param="key_id")
    lifetime_us = None if old.expires_at_us is None else old.expires_at_us - old.created_at_us
    ends_at_us = now_us + command.overlap_s * US_PER_S
    new = replace(
        old,
        key_id=command.new_key_id,
        digest=command.digest,
        pepper=command.pepper,
        created_at_us=now_us,
        expires_at_us=None if lifetime_us is None else now_us + lifetime_us,
        used_at_us=None,
    )
    ends_at_us = ends_at_us if old.expires_at_us is None else min(old.expires_at_us, ends_at_us)
    old = replace(old, expires_at_us=ends_at_us, rolled_to=new.key_id)
    receipt = _put_new(draft, new, command, ROLLED, now_us, replaced=old)
    draft.put(old)
    return receipt


def _put_new(
    draft: Draft,
    row: ApiKey,
    command: MakeKey | RollKey,
    kind: str,
    now_us: int,
    *,
    replaced: ApiKey | None = None,
) -> KeyReceipt:
    if draft.api_key(row.key_id) is not None:
        raise Conflict(f"there is a key {row.key_id} already; ask again, with a fresh id", param="key_id")
    draft.put(row)
    receipt = receipt_of(row, replaced=replaced)
    remember(draft, HOUSE, command.key, receipt, kind=kind, fingerprint=command.fingerprint, now_us=now_us)
    return receipt


def _revoke(draft: Draft, command: RevokeKey, now_us: int) -> KeyReceipt:
    row = _existing(draft, command.key_id)
    if row.revoked_at_us is not None:
        return again(receipt_of(row))
    row = replace(row, revoked_at_us=now_us)
    draft.put(row)
    return receipt_of(row)


def _note_use(draft: Draft, command: NoteKeyUse) -> KeyReceipt:
    row = _existing(draft, command.key_id)
    if command.at_us > (row.used_at_us or 0):
        row = replace(row, used_at_us=command.at_us)
        draft.put(row)
    return receipt_of(row)


def _existing(draft: Draft, key_id: str) -> ApiKey:
    row = draft.api_key(key_id)
    if row is None:
        raise NotFound(f"there is no key {key_id!r}", step="list them with `callfare keys list`", param="key_id")
    return row


def receipt_of(row: ApiKey, *, replaced: ApiKey | None = None) -> KeyReceipt:
    """Return what may be told of a key."""
    return KeyReceipt(
        key_id=row.key_id,
        family=row.family,
        mode=row.mode,
        label=row.label,
        scopes=row.scopes,
        digest=row.digest,
        pepper=row.pepper,
        user=row.user,
        networks=row.networks,
        grant_cap_nanocredits=row.grant_cap_nanocredits,
        created_at_us=row.created_at_us,
        expires_at_us=row.expires_at_us,
        revoked_at_us=row.revoked_at_us,
        replaces=replaced.key_id if replaced else None,
        replaced_ends_at_us=replaced.expires_at_us if replaced else None,
    )
