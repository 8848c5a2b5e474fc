"""Audit rows: who asked for a write, kept in the same transaction as its effect. A refusal and a repeat leave none.

A write has a row of its own, save for usage: what one request records for one account in one transaction has one row
together, which names every event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from callfare.ids import base32
from callfare.ledger import receipts
from callfare.ledger.commands import ClaimBatch, Command, GrantCredit, RecordUsage, RefundGrant, RevokeKey, RollKey
from callfare.ledger.rows import HOUSE, AuditRow, digest_of

if TYPE_CHECKING:
    from callfare.ledger.commands import AuditNote
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk, Row
    from callfare.ledger.state import Draft

GRANTED = "nanocredits"
_TIME_CHARACTERS = 11
_OWN_CHARACTERS = 16
_NOTE_CHARACTERS = 8
_DIGEST_CHARACTERS = 8
_DIGEST_BITS = 2**40 - 1


def write(draft: Draft, note: AuditNote, command: Command, receipt: Receipt, now_us: int) -> None:
    """Keep who asked for a command that was accepted."""
    account_id: int = getattr(receipt, "account_id", HOUSE)
    row = AuditRow(
        account_id=account_id,
        audit_id=_id_of(now_us, note.id[-_OWN_CHARACTERS:]),
        at_us=now_us,
        principal=note.principal,
        key_id=note.key_id,
        operation=note.operation,
        object=command.names[0] if isinstance(command, ClaimBatch) else _object_of(command, receipt),
        request_key=getattr(command, "key", None),
        request_id=note.request_id,
        state_before=_text(_before(command, receipt)),
        state_after=_text(_after(command, receipt)),
    )
    assert not draft.has(row.pk), f"one note stands for one command: {note}"
    draft.put(row)


class UsageAudit:
    """Who asked for the usage of one transaction, request by request."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, str], tuple[AuditNote, list[str]]] = {}

    def add(self, command: Command, receipt: Receipt) -> None:
        """Note an accepted command, where it is usage that somebody asked for, and no repeat."""
        note = command.audit
        if note is None or type(command) is not RecordUsage or receipt.is_replay:
            return
        assert isinstance(receipt, receipts.ChargeReceipt), receipt
        self._asked.setdefault((receipt.account_id, note.id), (note, []))[1].append(receipt.key)

    def rows(self, now_us: int) -> dict[Pk, Row]:
        """Return the rows by their primary keys."""
        rows: dict[Pk, Row] = {}
        for (account_id, _), (note, keys) in self._asked.items():
            # A request may reach over several transactions, and no event is recorded in two of them.
            own = note.id[-_NOTE_CHARACTERS:] + base32(digest_of(keys[0].encode()) & _DIGEST_BITS, _DIGEST_CHARACTERS)
            is_one = len(keys) == 1
            row = AuditRow(
                account_id=account_id,
                audit_id=_id_of(now_us, own),
                at_us=now_us,
                principal=note.principal,
                key_id=note.key_id,
                operation=note.operation,
                object=f"event:{keys[0]}" if is_one else f"events:{len(keys)}",
                request_key=keys[0] if is_one else None,
                request_id=note.request_id,
                state_before=None,
                state_after=None if is_one else _text({"events": keys}),
            )
            rows[row.pk] = row
        return rows


def _id_of(now_us: int, own: str) -> str:
    """Return the id of a row, by when it was decided, so that rows are read in that order."""
    return f"aud_{_time_of(now_us)}{own}"


@lru_cache(maxsize=2)
def _time_of(now_us: int) -> str:
    return base32(now_us, _TIME_CHARACTERS)


def _object_of(command: Command, receipt: Receipt) -> str:
    match receipt:
        case receipts.GrantReceipt():
            return f"grant:{receipt.grant_id}"
        case receipts.RefundReceipt():
            return f"grant:{command.grant_key}" if isinstance(command, RefundGrant) else "grant"
        case receipts.OpenReceipt() | receipts.ExtendReceipt() | receipts.CloseReceipt():
            return f"run:{receipt.run_id}"
        case receipts.ChargeReceipt():
            return f"event:{receipt.key}"
        case receipts.JobReceipt():
            return f"job:{receipt.job_id}"
        case receipts.KeyReceipt():
            return f"key:{receipt.key_id}"
        case receipts.CheckReceipt():
            return "ledger"
        case receipts.OrderReceipt() | receipts.SaleReceipt():
            return f"order:{receipt.order_id}"
        case receipts.CustomerReceipt():
            return f"customer:{receipt.mode}"
        case receipts.SubscriptionReceipt():
            return f"subscription:{receipt.subscription}"
        case receipts.QuarantineReceipt():
            return f"quarantine:{receipt.item_id}"
        case _:
            return "account"


def _before(command: Command, receipt: Receipt) -> dict[str, object] | None:
    match command, receipt:
        case RevokeKey(), _:
            return {"revoked_at_us": None}
        case RollKey(), _:
            return {"key_id": command.key_id}
        case _, receipts.CloseReceipt():
            return {"status": "open"}
        case _:
            return None


def _after(command: Command, receipt: Receipt) -> dict[str, object] | None:
    match receipt:
        case receipts.GrantReceipt() if isinstance(command, GrantCredit):
            return {GRANTED: receipt.nanocredits, "source": receipt.source}
        case receipts.RefundReceipt():
            return {"taken_nanocredits": receipt.taken_nanocredits, "debt_nanocredits": receipt.debt_nanocredits}
        case receipts.OpenReceipt() | receipts.ExtendReceipt():
            return {"held_nanocredits": receipt.held_nanocredits}
        case receipts.CloseReceipt():
            return {"status": receipt.outcome, "charged_nanocredits": receipt.charged_nanocredits}
        case receipts.BatchReceipt():
            return {"run_id": receipt.run_id}
        case receipts.JobReceipt():
            return {"status": receipt.status}
        case receipts.OrderReceipt():
            return {"state": receipt.state}
        case receipts.SaleReceipt():
            return {
                "granted_nanocredits": receipt.nanocredits,
                "taken_back_nanocredits": receipt.taken_back_nanocredits,
                "withheld_nanocredits": receipt.withheld_nanocredits,
            }
        case receipts.KeyReceipt() if isinstance(command, RevokeKey):
            return {"revoked_at_us": receipt.revoked_at_us}
        case receipts.KeyReceipt():
            return {
                "scopes": receipt.scopes,
                "grant_cap_nanocredits": receipt.grant_cap_nanocredits,
                "expires_at_us": receipt.expires_at_us,
            }
        case _:
            return None


def _text(state: dict[str, object] | None) -> str | None:
    return None if state is None else msgspec.json.encode(state).decode()
