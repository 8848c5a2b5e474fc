"""The walk through a ledger: all tables side by side, one account at a time. Reads rows; writes and repairs nothing.

Memory is bounded by the aggregates of one account: its lots, runs, jobs and roll-ups, and a few marks for each of its
transfers and events, which themselves are never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from callfare.ledger.rows import (
    HOUSE,
    RAW_USAGE,
    Account,
    ApiKey,
    AuditRow,
    Entry,
    Event,
    Grant,
    Hold,
    Job,
    Key,
    KeyDay,
    Pk,
    RawUsage,
    Retention,
    Rollup,
    Row,
    Run,
    Transfer,
    User,
)
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.ledger.verify.access import Access
from callfare.ledger.verify.answers import Answers
from callfare.ledger.verify.calls import Calls, response_name
from callfare.ledger.verify.findings import Findings, Progress, Stream, Verification, sealed
from callfare.ledger.verify.holders import Holders, RunTally, mark
from callfare.ledger.verify.marks import Marks
from callfare.ledger.verify.postings import Postings
from callfare.ledger.verify.sales import Sales, check_house

R = TypeVar("R", bound=Row)


class Scan(Protocol):
    """Yields all rows of a table with their seals, in the order of their primary key: `Store.scan`."""

    def __call__(self, table: type[R], after: Pk | None = None, /) -> Iterator[tuple[R, int]]:
        """Yield the rows of a table, or those after a key."""
        ...


def verify(scan: Scan, *, progress: Progress | None = None) -> Verification:
    """Return everything that is wrong with a ledger, recomputed from its history; nothing is.

    scan: must see the ledger as it stands at one instant. progress: called now and then with a table's name and how
    many of its rows have been read.
    """
    findings = Findings(progress)
    opened, named = _identities(scan, findings)
    walk = _Walk(scan, findings, named, raw_from_us=_raw_from(scan, findings))
    access = Access(findings, walk.house())
    access.read(scan(ApiKey), scan(AuditRow), scan(KeyDay), opened)
    check_house(scan(Delivery), scan(Quarantined), scan(Installation), findings)
    for account_id in walk.accounts():
        walk.account(account_id)
    return findings.verification()


def _identities(scan: Scan, findings: Findings) -> tuple[Marks, Marks]:
    """Return the accounts that are there, and those that users have; each must be there, and have one user only."""
    opened, named = Marks(), Marks()
    for account, _ in scan(Account):
        opened.add(account.account_id)
    opened.close()
    for user in sealed(User, scan(User), findings):
        named.add(user.account_id)
        if user.account_id not in opened:
            findings.wrong(user, "account_id", f"there is no account {user.account_id}")
    named.close()
    repeated = named.repeated()
    if repeated:
        for user, _ in scan(User):
            if user.account_id in repeated:
                findings.wrong(user, "account_id", f"account {user.account_id} has another user too")
    return opened, named


def _raw_from(scan: Scan, findings: Findings) -> int:
    """Return the instant from which on raw usage must be there."""
    from_us = 0
    for kept in sealed(Retention, scan(Retention), findings):
        if kept.kind != RAW_USAGE:
            findings.wrong(kept, "kind", f"rows of kind {kept.kind!r} are never removed")
        elif kept.before_us > kept.set_at_us:
            findings.wrong(kept, "before_us", "it lies after the instant at which it was set")
        else:
            from_us = kept.before_us
    return from_us


class _Walk:
    """All tables that belong to accounts, side by side."""

    def __init__(self, scan: Scan, findings: Findings, named: Marks, *, raw_from_us: int) -> None:
        self._raw_from_us = raw_from_us
        self._scan = scan
        self._findings = findings
        self._named = named
        self._accounts = Stream(Account, scan(Account), findings)
        self._grants = Stream(Grant, scan(Grant), findings)
        self._runs = Stream(Run, scan(Run), findings)
        self._jobs = Stream(Job, scan(Job), findings)
        self._holds = Stream(Hold, scan(Hold), findings)
        self._transfers = Stream(Transfer, scan(Transfer), findings)
        self._entries = Stream(Entry, scan(Entry), findings)
        self._events = Stream(Event, scan(Event), findings)
        self._raws = Stream(RawUsage, scan(RawUsage), findings)
        self._keys = Stream(Key, scan(Key), findings)
        self._rollups = Stream(Rollup, scan(Rollup), findings)
        self._orders = Stream(Order, scan(Order), findings)
        self._sales = Stream(Sale, scan(Sale), findings)
        self._customers = Stream(Customer, scan(Customer), findings)
        self._plans = Stream(Subscription, scan(Subscription), findings)
        self._streams: tuple[Stream[Any], ...] = (
            self._accounts, self._grants, self._runs, self._jobs, self._holds, self._transfers, self._entries,
            self._events, self._raws, self._keys, self._rollups, self._orders, self._sales,
            self._customers, self._plans,
        )  # fmt: skip

    def house(self) -> list[Key]:
        """Return the keys that belong to the house, which has nothing else."""
        return list(self._keys.of(HOUSE))

    def accounts(self) -> Iterator[int]:
        """Yield every account that any table has rows of, in order."""
        while True:
            heads = [stream.head.account_id for stream in self._streams if stream.head is not None]
            if not heads:
                return
            yield min(heads)

    def account(self, account_id: int) -> None:
        """Check everything that belongs to an account."""
        findings = self._findings
        rows = list(self._accounts.of(account_id))
        if not rows:
            findings.fault(Account, (account_id,), None, "other rows belong to it, and it is missing")
        holders = Holders(account_id, findings)
        sales = Sales(account_id, findings)
        sales.read(self._orders, self._sales, self._plans, self._customers)
        holders.read(self._grants, self._runs, self._jobs, self._holds, withhold=sales.withhold)
        postings = Postings(account_id, findings)
        postings.read(self._transfers, self._entries, holders)
        for run_id, run in holders.ends():
            column, message = _end_of(run_id, run, postings)
            if message:
                findings.fault(Run, (account_id, run_id), column, message)
        calls = Calls(account_id, findings, holders, postings)
        calls.read(self._events, self._raws, self._raw_from_us)
        forgotten = Answers(account_id, findings, holders, postings, calls=calls, sales=sales).read(self._keys)
        if forgotten:
            self._name_forgotten(account_id, forgotten)
        postings.close()
        sales.close(holders)
        holders.close()
        for row in rows:
            self._totals(row, holders, postings)
        calls.totals.compare(self._rollups)

    def _totals(self, row: Account, holders: Holders, postings: Postings) -> None:
        wrong = self._findings.wrong
        self._findings.held += holders.held
        if row.account_id not in self._named:
            wrong(row, "account_id", "no user has it")
        if not 0 <= row.held_nanocredits <= row.posted_nanocredits or row.debt_nanocredits < 0:
            wrong(row, "held_nanocredits", "0 ≤ held ≤ posted and 0 ≤ debt does not hold")
        for column, said, found, source in (
            ("posted_nanocredits", row.posted_nanocredits, postings.posted, "entries of its credit"),
            ("debt_nanocredits", row.debt_nanocredits, postings.owed, "entries of its receivable"),
            ("held_nanocredits", row.held_nanocredits, holders.held, "holds"),
            ("last_seq", row.last_seq, postings.count, "transfers, by their count,"),
        ):
            if said != found:
                wrong(row, column, f"it is {said}, its {source} come to {found}")

    def _name_forgotten(self, account_id: int, forgotten: set[int]) -> None:
        """Read the events once more, for the names of the keys that are missing."""
        names: dict[str, str] = {}
        for event, _ in self._scan(Event):
            if event.account_id == account_id and event.response_id:
                name = response_name(event)
                if event.key == name:
                    # The response stands for itself: its first call has its name as key.
                    forgotten.discard(hash(name))
                elif hash(name) in forgotten:
                    names.setdefault(name, event.key)
        for name, key in names.items():
            if hash(name) in forgotten:
                self._findings.fault(Key, (account_id, name), None, f"event {key} answers it, and it is missing")


def _end_of(run_id: str, run: RunTally, postings: Postings) -> tuple[str, str]:
    """Compare the end of a run with its transfer, and return the column that is wrong and why, empty when none is."""
    if not run.is_waived:
        if run.close_seq is None:
            return "close_seq", f"{run.used} was captured, and no transfer is named" if run.used else ""
        captured = postings.claim(run.close_seq, ("capture",), amount=run.used, run_id=run_id, reference=None)
        return "close_seq", captured
    if run.close_seq is None:
        return "close_seq", f"{run.waived} was waived, and no transfer is named" if run.waived else ""
    reason = postings.claim(run.close_seq, ("waive",), amount=None, run_id=run_id, reference=None)
    at = postings.find(run.close_seq)
    if reason or at is None:
        return "close_seq", reason
    used = postings.amount(at) - postings.receivable(at)
    # What was drawn until the end is not captured; from then on nothing is drawn.
    run.drawn += used
    run.chain -= mark(run.end_calls, 0) - mark(run.end_calls, used)
    run.states -= mark(0) - mark(used)
    paid = run.waived - postings.amount(at)
    if paid:
        lot = postings.claim(run.close_seq + 1, ("waive",), amount=paid, run_id=None, reference=run_id)
        return "receipt", f"{paid} of what was waived had been paid: {lot}" if lot else ""
    return "", ""
