"""API keys and audit rows: each key compared with the answer that made it, and what was granted with who granted it.

Batches of providers, which the house knows by name, are looked at for whether their owners are there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

from callfare.ledger.access import MADE, ROLLED, day_of
from callfare.ledger.audit import GRANTED
from callfare.ledger.batches import BATCH
from callfare.ledger.receipts import BatchReceipt, KeyReceipt
from callfare.ledger.rows import HOUSE, ApiKey, AuditRow, Key, KeyDay, Row
from callfare.ledger.verify.findings import Findings, sealed
from callfare.ledger.verify.holders import decoded
from callfare.ledger.verify.marks import Marks

# What is fixed when a key is made.
_FIXED = (
    "family", "mode", "label", "scopes", "digest", "pepper", "networks", "grant_cap_nanocredits", "created_at_us",
)  # fmt: skip
R = TypeVar("R", bound=Row)
_STATES = msgspec.json.Decoder(dict[str, Any])


Sealed: TypeAlias = Iterator[tuple[R, int]]


class Access:
    """What belongs to no account. Keeps the keys, and a sum for each family and day."""

    def __init__(self, findings: Findings, answers: list[Key]) -> None:
        self._findings = findings
        self._answers = answers
        self._made: dict[str, KeyReceipt] = {}
        self._heirs: dict[str, KeyReceipt] = {}
        self._families: dict[str, str] = {}
        self._revoked_at_us: dict[str, int | None] = {}
        self._granted: defaultdict[tuple[str, int], int] = defaultdict(int)

    def read(self, keys: Sealed[ApiKey], audit: Sealed[AuditRow], days: Sealed[KeyDay], opened: Marks) -> None:
        """Check keys, audit rows and what was granted. opened: the accounts that are there."""
        for answer in self._answers:
            self._answer(answer, opened)
        for row in sealed(ApiKey, keys, self._findings):
            self._key(row)
        for key_id in self._made.keys() - self._families.keys():
            self._findings.fault(ApiKey, (key_id,), None, "an answer tells of it, and it is missing")
        for asked in sealed(AuditRow, audit, self._findings):
            self._audit(asked, opened)
        for day in sealed(KeyDay, days, self._findings):
            said, found = day.granted_nanocredits, self._granted.pop((day.family, day.day_us), 0)
            if said != found:
                self._findings.wrong(day, "granted_nanocredits", f"it is {said}, its audit rows come to {found}")
        for family, day_us in self._granted:
            self._findings.fault(KeyDay, (family, day_us), None, "audit rows tell of grants, and it is missing")

    def _answer(self, answer: Key, opened: Marks) -> None:
        if answer.kind == BATCH:
            owner = decoded(answer.receipt, BatchReceipt)
            if owner is None or owner.account_id not in opened:
                self._findings.wrong(answer, "receipt", "it names no account that a batch belongs to")
            return
        receipt = decoded(answer.receipt, KeyReceipt)
        if answer.kind not in {MADE, ROLLED}:
            self._findings.wrong(answer, "kind", f"{answer.kind!r} is no kind of key that the house has")
        elif receipt is None:
            self._findings.wrong(answer, "receipt", "it is not the receipt of an API key")
        else:
            self._made[receipt.key_id] = receipt
            if receipt.replaces is not None:
                self._heirs[receipt.replaces] = receipt

    def _key(self, row: ApiKey) -> None:
        wrong = self._findings.wrong
        self._families[row.key_id] = row.family
        made = self._made.get(row.key_id)
        if made is None:
            wrong(row, None, "no answer tells that it was made")
            return
        for column in _FIXED:
            if getattr(row, column) != getattr(made, column):
                wrong(row, column, f"it is {getattr(row, column)!r}, and was made as {getattr(made, column)!r}")
        heir = self._heirs.get(row.key_id)
        ends_at_us = made.expires_at_us if heir is None else heir.replaced_ends_at_us
        if row.expires_at_us != ends_at_us:
            wrong(row, "expires_at_us", f"it is {row.expires_at_us}, and answers tell of {ends_at_us}")
        if row.rolled_to != (heir.key_id if heir else None):
            wrong(row, "rolled_to", f"it is {row.rolled_to!r}, and no answer tells of that")
        self._revoked_at_us[row.key_id] = row.revoked_at_us

    def _audit(self, row: AuditRow, opened: Marks) -> None:
        wrong = self._findings.wrong
        if row.account_id != HOUSE and row.account_id not in opened:
            wrong(row, "account_id", f"there is no account {row.account_id}")
        if row.object.startswith("key:"):
            key_id = row.object.removeprefix("key:")
            ended_at_us = _state_of(row.state_after).get("revoked_at_us")
            if ended_at_us is not None and self._revoked_at_us.get(key_id) != ended_at_us:
                self._findings.fault(ApiKey, (key_id,), "revoked_at_us", f"it was revoked at {ended_at_us}")
        if row.key_id is None:
            return
        family = self._families.get(row.key_id)
        if family is None:
            wrong(row, "key_id", f"there is no key {row.key_id!r}")
        elif row.object.startswith("grant:"):
            granted = _granted(row.state_after)
            if granted:
                self._granted[family, day_of(row.at_us)] += granted


def _granted(text: str | None) -> int:
    """Return what an audit row says was granted, 0 when it tells of no grant."""
    amount = _state_of(text).get(GRANTED, 0)
    return amount if isinstance(amount, int) else 0


def _state_of(text: str | None) -> dict[str, Any]:
    try:
        return _STATES.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
