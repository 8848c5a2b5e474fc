"""Transfers and entries of one account, checked against each other and kept small: some fifty bytes a transfer.

What stands behind a transfer (an event, a run, a grant's key) claims it later; each may be claimed once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from callfare.ledger.accounts import (
    ACCOUNT_KINDS,
    BREAKAGE,
    CUSTOMER,
    PROMO,
    RECEIVABLE,
    REVENUE,
    SALES,
)
from callfare.ledger.rows import Entry, Grant, Transfer
from callfare.ledger.verify.findings import Findings, Stream
from callfare.ledger.verify.holders import Holders, LotTally
from callfare.money import INT64_MAX

_OUT, _IN = False, True
# Which accounts a transfer of a kind may take from and give to.
_SHAPES: dict[str, frozenset[tuple[str, bool]]] = {
    "grant": frozenset({(SALES, _OUT), (PROMO, _OUT), (CUSTOMER, _IN)}),
    "correction": frozenset({(REVENUE, _OUT), (CUSTOMER, _IN)}),
    "waive": frozenset({(PROMO, _OUT), (REVENUE, _IN), (RECEIVABLE, _IN), (CUSTOMER, _IN)}),
    "debt": frozenset({(RECEIVABLE, _OUT), (REVENUE, _IN)}),
    "charge": frozenset({(CUSTOMER, _OUT), (RECEIVABLE, _OUT), (REVENUE, _IN)}),
    "capture": frozenset({(CUSTOMER, _OUT), (RECEIVABLE, _OUT), (REVENUE, _IN)}),
    "repay": frozenset({(CUSTOMER, _OUT), (RECEIVABLE, _IN)}),
    "breakage": frozenset({(CUSTOMER, _OUT), (BREAKAGE, _IN)}),
    "refund": frozenset({(CUSTOMER, _OUT), (RECEIVABLE, _OUT), (SALES, _IN)}),
    "reinstate": frozenset({(SALES, _OUT), (CUSTOMER, _IN)}),
}
_KINDS = tuple(_SHAPES)
# What these moved follows from balances and times alone; nothing else stands behind them.
_UNCLAIMED = frozenset({"repay", "debt", "breakage"})
# The house's side of a lot, by its source.
_HOUSES = {"purchase": SALES, "plan": SALES, "promo": PROMO, "adjustment": PROMO}


class Postings:
    """The transfers of one account by their numbers."""

    def __init__(self, account_id: int, findings: Findings) -> None:
        self._account_id = account_id
        self._findings = findings
        self._starts: list[int] = []
        self._firsts: list[int] = []
        self._seqs = array("q")
        self._kinds = bytearray()
        self._amounts = array("q")
        self._receivables = array("q")
        self._references = array("q")
        self._runs = array("q")
        self._times = array("q")
        self._claimed = bytearray()
        self._refunds: dict[int, int] = {}
        self.posted = 0
        self.owed = 0

    # Reading

    def read(self, transfers: Stream[Transfer], entries: Stream[Entry], holders: Holders) -> None:
        """Take in the transfers and the entries of the account, side by side."""
        expected = 1
        for transfer in transfers.of(self._account_id):
            self._orphans(entries, transfer.seq)
            if transfer.seq != expected:
                missing = f"transfers {expected} to {transfer.seq - 1} are missing"
                self._findings.fault(Transfer, (self._account_id, expected), None, missing)
            expected = transfer.seq + 1
            legs = self._legs(entries, transfer.seq)
            self._check(transfer, legs, holders)
            self._keep(transfer, sum(leg.amount_nanocredits for leg in legs if leg.account_kind == RECEIVABLE))
        self._orphans(entries, None)

    def _orphans(self, entries: Stream[Entry], before: int | None) -> None:
        entry = entries.head
        while entry is not None and entry.account_id == self._account_id and (before is None or entry.seq < before):
            self._findings.wrong(entry, "seq", f"there is no transfer {entry.seq}")
            self._count(entry)
            entries.step()
            entry = entries.head

    def _legs(self, entries: Stream[Entry], seq: int) -> list[Entry]:
        legs: list[Entry] = []
        entry = entries.head
        while entry is not None and entry.seq == seq and entry.account_id == self._account_id:
            if entry.position != len(legs):
                self._findings.wrong(entry, "position", f"{len(legs)} should follow, so an entry before it is missing")
            legs.append(entry)
            entries.step()
            entry = entries.head
        return legs

    def _count(self, entry: Entry) -> None:
        if entry.account_kind in ACCOUNT_KINDS:
            self._findings.totals[entry.account_kind] += entry.amount_nanocredits
        if entry.account_kind == CUSTOMER:
            self.posted += entry.amount_nanocredits
        elif entry.account_kind == RECEIVABLE:
            self.owed -= entry.amount_nanocredits

    def _check(self, transfer: Transfer, legs: list[Entry], holders: Holders) -> None:
        wrong = self._findings.wrong
        shape = _SHAPES.get(transfer.kind)
        if shape is None:
            wrong(transfer, "kind", f"{transfer.kind!r} is no kind of transfer")
        balance = moved = 0
        for leg in legs:
            amount = leg.amount_nanocredits
            balance += amount
            moved += max(amount, 0)
            self._count(leg)
            if shape is not None and (leg.account_kind, amount > 0) not in shape:
                direction = "gives to" if amount > 0 else "takes from"
                wrong(leg, "account_kind", f"a {transfer.kind} never {direction} {leg.account_kind!r}")
            if leg.account_kind == CUSTOMER or leg.grant_id is not None:
                self._check_lot(transfer, leg, legs, holders)
        if balance:
            wrong(transfer, None, f"its entries sum to {balance}, not to zero")
        if moved != transfer.amount_nanocredits:
            wrong(transfer, "amount_nanocredits", f"it is {transfer.amount_nanocredits}, its entries move {moved}")
        if len(legs) != transfer.entry_count:
            wrong(transfer, "entry_count", f"it is {transfer.entry_count}, and there are {len(legs)} entries")
        if not legs and transfer.kind != "waive":
            wrong(transfer, None, "it moves nothing")
        self._check_run(transfer, holders)

    def _check_lot(self, transfer: Transfer, leg: Entry, legs: list[Entry], holders: Holders) -> None:
        if leg.grant_id is None or leg.account_kind != CUSTOMER:
            self._findings.wrong(leg, "grant_id", f"an entry of {leg.account_kind} has the lot {leg.grant_id}")
            return
        lot = holders.lot(leg.grant_id)
        if lot is None:
            return
        lot.remaining -= leg.amount_nanocredits
        if leg.amount_nanocredits > 0:
            lot.amount -= leg.amount_nanocredits
            if leg.grant_id != transfer.seq:
                self._findings.wrong(leg, "grant_id", f"transfer {transfer.seq} adds to the lot of another")
            else:
                self._check_birth(transfer, legs[0], lot)
        elif transfer.kind == "breakage" and (lot.expires_at_us is None or lot.expires_at_us > transfer.at_us):
            self._findings.wrong(leg, None, f"lot {leg.grant_id} had not expired")

    def _check_birth(self, transfer: Transfer, house: Entry, lot: LotTally) -> None:
        key = (self._account_id, transfer.seq)
        if transfer.kind == "grant":
            if house.account_kind != _HOUSES.get(lot.source):
                self._findings.fault(Grant, key, "source", f"a {lot.source} does not come from {house.account_kind}")
        elif transfer.kind == "reinstate":
            if lot.source not in {"purchase", "plan"} or lot.paid_picousd is not None:
                self._findings.fault(Grant, key, "source", "only what was paid for, and taken back, is given again")
        elif (lot.source, lot.paid_picousd, lot.expires_at_us) != ("adjustment", None, None):
            self._findings.fault(Grant, key, "source", f"a {transfer.kind} is not paid for and never expires")
        if (lot.created_at_us, lot.reference) != (transfer.at_us, transfer.reference):
            self._findings.fault(Grant, key, "reference", "its time and reference are not those of its transfer")

    def _check_run(self, transfer: Transfer, holders: Holders) -> None:
        if transfer.run_id is None:
            if transfer.kind == "debt":
                self._findings.wrong(transfer, "run_id", "a debt outside a run is part of its charge")
            return
        run = holders.run(transfer.run_id)
        if run is not None and transfer.kind == "debt":
            run.debt_posted -= transfer.amount_nanocredits

    def _keep(self, transfer: Transfer, receivable: int) -> None:
        if not self._starts or transfer.seq != self._seqs[-1] + 1:
            self._starts.append(transfer.seq)
            self._firsts.append(len(self._seqs))
        self._seqs.append(transfer.seq)
        self._kinds.append(_KINDS.index(transfer.kind) if transfer.kind in _SHAPES else 255)
        self._amounts.append(transfer.amount_nanocredits)
        self._receivables.append(max(-INT64_MAX, min(receivable, INT64_MAX)))
        self._references.append(_mark(transfer.reference))
        self._runs.append(_mark(transfer.run_id))
        self._times.append(transfer.at_us)
        self._claimed.append(transfer.kind in _UNCLAIMED)
        if transfer.kind == "refund":
            mark = _mark(transfer.reference)
            self._refunds[mark] = self._refunds.get(mark, 0) + transfer.amount_nanocredits
        elif transfer.kind == "reinstate":
            mark = _mark(transfer.reference)
            self._refunds[mark] = self._refunds.get(mark, 0) - transfer.amount_nanocredits

    # Asking

    @property
    def count(self) -> int:
        """How many transfers there are."""
        return len(self._seqs)

    def find(self, seq: int) -> int | None:
        """Return where a transfer stands, or None when there is none of this number."""
        part = bisect_right(self._starts, seq) - 1
        if part < 0:
            return None
        at = self._firsts[part] + seq - self._starts[part]
        return at if at < len(self._seqs) and self._seqs[at] == seq else None

    def kind(self, at: int) -> str:
        """Return the kind of a transfer, empty when it is none that is known."""
        code = self._kinds[at]
        return _KINDS[code] if code < len(_KINDS) else ""

    def amount(self, at: int) -> int:
        """Return what a transfer moved."""
        return self._amounts[at]

    def receivable(self, at: int) -> int:
        """Return what a transfer added to the receivable; debt is what it took from there."""
        return self._receivables[at]

    def repaid_by(self, seq: int) -> int:
        """Return what a grant paid of an older debt: it does so in the very next transfer."""
        at = self.find(seq + 1)
        return self._amounts[at] if at is not None and self.kind(at) == "repay" else 0

    def refunded(self, grant_key: str) -> int:
        """Return what was refunded of the grant that was made under a key."""
        return self._refunds.pop(_mark(grant_key), 0)

    def claim(
        self, seq: int, kinds: Sequence[str], *, amount: int | None, run_id: str | None, reference: str | None
    ) -> str:
        """Take a transfer as the effect of something, and return what does not fit, empty when all does.

        amount: None where the caller compares it.
        """
        at = self.find(seq)
        if at is None:
            return f"there is no transfer {seq}"
        if self._claimed[at]:
            return f"transfer {seq} is the effect of something else"
        self._claimed[at] = 1
        if self.kind(at) not in kinds:
            return f"transfer {seq} is a {self.kind(at)}"
        if (self._runs[at], self._references[at]) != (_mark(run_id), _mark(reference)):
            return f"transfer {seq} names another run or reference"
        if amount is not None and self._amounts[at] != amount:
            return f"transfer {seq} moved {self._amounts[at]}, not {amount}"
        return ""

    def claim_refund(self, at_us: int, taken: int, debt: int) -> bool:
        """Take the refund that moved these amounts at this instant; return whether there was one."""
        code = _KINDS.index("refund")
        at = self._kinds.find(code)
        while at >= 0:
            fits = (self._times[at], self._amounts[at], -self._receivables[at]) == (at_us, taken + debt, debt)
            if fits and not self._claimed[at]:
                self._claimed[at] = 1
                return True
            at = self._kinds.find(code, at + 1)
        return False

    def close(self) -> None:
        """Note every transfer that nothing stands behind, and every refund of nothing."""
        for at, kind in enumerate(self._kinds if self._refunds else ()):
            if self._references[at] in self._refunds and kind == _KINDS.index("refund"):
                key = (self._account_id, self._seqs[at])
                self._findings.fault(Transfer, key, "reference", "there is no grant under the key that was refunded")
        at = self._claimed.find(0)
        while at >= 0:
            missing = f"nothing stands behind this {self.kind(at) or 'transfer'}: what it was made for is missing"
            self._findings.fault(Transfer, (self._account_id, self._seqs[at]), None, missing)
            at = self._claimed.find(0, at + 1)


def _mark(text: str | None) -> int:
    return 0 if text is None else hash(text)
