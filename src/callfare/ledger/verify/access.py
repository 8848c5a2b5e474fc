"""API keys and audit rows: each key compared with the answer that made it, and what was granted with who granted it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

from callfare.ledger.access import MADE, ROLLED, day_of
from callfare.ledger.audit import GRANTED
from callfare.ledger.receipts import KeyReceipt
from callfare.ledger.rows import HOUSE, ApiKey, AuditRow, Key, KeyDay, Row
from callfare.ledger.verify.findings import Findings, sealed
from callfare.ledger.verify.holders import decoded
from callfare.ledger.verify.marks import Marks

_DIGEST = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64
# What is fixed when a key is made.
_FIXED = ("family", "mode", "label", "scopes", "networks", "grant_cap_nanocredits", "created_at_us")
R = TypeVar("R", bound=Row)
_GRANTS = msgspec.json.Decoder(dict[str, Any])


Sealed: TypeAlias = Iterator[tuple[R, int]]


class Access:
    """What belongs to no account. Keeps the keys, and a sum for each family and day."""

    def __init__(self, findings: Findings, answers: list[Key]) -> None:
        self._findings = findings
        self._answers = answers
        self._made: dict[str, KeyReceipt] = {}
        self._families: dict[str, str] = {}
        self._granted: defaultdict[tuple[str, int], int] = defaultdict(int)

    def read(self, keys: Sealed[ApiKey], audit: Sealed[AuditRow], days: Sealed[KeyDay], opened: Marks) -> None:
        """Check keys, audit rows and what was granted. opened: the accounts that are there."""
        for answer in self._answers:
            self._answer(answer)
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

    def _answer(self, answer: Key) -> None:
        receipt = decoded(answer.receipt, KeyReceipt)
        if answer.kind not in {MADE, ROLLED}:
            self._findings.wrong(answer, "kind", f"{answer.kind!r} is no kind of key that the house has")
        elif receipt is None:
            self._findings.wrong(answer, "receipt", "it is not the receipt of an API key")
        else:
            self._made[receipt.key_id] = receipt

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
        if len(row.digest) != _DIGEST_LENGTH or set(row.digest) - _DIGEST:
            wrong(row, "digest", "it is no digest")
        if made.expires_at_us != row.expires_at_us and (
            row.rolled_to is None or row.expires_at_us is None or row.expires_at_us > (made.expires_at_us or 2**63)
        ):
            wrong(row, "expires_at_us", "a key ends as it was made to, or sooner when it was rolled")
        if row.rolled_to is not None and row.rolled_to not in self._made:
            wrong(row, "rolled_to", f"there is no key {row.rolled_to!r}")

    def _audit(self, row: AuditRow, opened: Marks) -> None:
        wrong = self._findings.wrong
        if row.account_id != HOUSE and row.account_id not in opened:
            wrong(row, "account_id", f"there is no account {row.account_id}")
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
    try:
        amount = _GRANTS.decode(text or "{}").get(GRANTED, 0)
    except msgspec.DecodeError:
        return 0
    return amount if isinstance(amount, int) else 0
