"""Idempotency keys: the first answer of a request, kept as long as the ledger. A refusal leaves no key behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from callfare.errors import KeyConflict
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import Key

if TYPE_CHECKING:
    from callfare.ledger.state import Draft

R = TypeVar("R", bound=Receipt)


def remember(
    draft: Draft, account_id: int, key: str, receipt: Receipt, *, kind: str, fingerprint: int, now_us: int
) -> None:
    """Keep the first answer under its key, in the same transaction as its effect."""
    text = msgspec.json.encode(receipt).decode()
    draft.put(Key(account_id, key, kind, fingerprint, text, now_us))


def recall(draft: Draft, account_id: int, key: str, answer: type[R], *, kind: str, fingerprint: int) -> R | None:
    """Return the first answer to a repeated request, or None when the key is new.

    Raises KeyConflict when the key stands for another request, or for a call.
    """
    row = draft.key(account_id, key)
    if row is None:
        if draft.event(account_id, key) is not None:
            raise KeyConflict(key)
        return None
    if row.kind != kind or row.fingerprint != fingerprint:
        raise KeyConflict(key)
    return again(msgspec.json.decode(row.receipt, type=answer))


def again(receipt: R) -> R:
    """Return a receipt marked as the answer to a repeated request."""
    return replace(receipt, is_replay=True)
