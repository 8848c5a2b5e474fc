"""What a verification finds: each fault with the row it is about, and what was counted on the way.

Rows whose seal is broken come first, for they were altered; what does not follow from history comes after, in the
order in which it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from callfare.ledger.accounts import ACCOUNT_KINDS
from callfare.ledger.rows import (
    TABLES,
    Account,
    Entry,
    Event,
    Grant,
    Hold,
    Job,
    Key,
    RawUsage,
    Rollup,
    Row,
    Run,
    Transfer,
    seal_of,
)
from callfare.ledger.sale_rows import Customer, Order, Sale, Subscription

FAULTS_SHOWN_MAX = 100
_ROWS_PER_PROGRESS = 10_000

Owned: TypeAlias = (
    Account
    | Grant
    | Run
    | Hold
    | Job
    | Transfer
    | Entry
    | Event
    | RawUsage
    | Key
    | Rollup
    | Order
    | Sale
    | Customer
    | Subscription
)
"""A row that belongs to an account: all but the one that names a user."""

R = TypeVar("R", bound=Row)
O = TypeVar("O", bound=Owned)  # noqa: E741 - the one letter that a row of an owner has
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is wrong. `key` is its primary key as text; `column` is None where the whole row is meant."""

    table: str
    key: tuple[str, ...]
    column: str | None
    message: str

    def __str__(self) -> str:
        column = f", {self.column}" if self.column else ""
        return f"{self.table} ({', '.join(self.key)}){column}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A whole ledger, recomputed. `faults` are the first hundred, the first wrong row first; `fault_count` is all.

    counted: rows read, by table. totals_nanocredits: the sum of all entries by kind of account; together they are zero.
    """

    is_clean: bool
    faults: tuple[Fault, ...]
    fault_count: int
    counted: Mapping[str, int]
    totals_nanocredits: Mapping[str, int]
    held_nanocredits: int
    debt_nanocredits: int


class Findings:
    """Gathers faults and counts while a ledger is walked through."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._altered: list[Fault] = []
        self._wrong: list[Fault] = []
        self._fault_count = 0
        self.counted = {table.table: 0 for table in TABLES}
        self.totals = dict.fromkeys(sorted(ACCOUNT_KINDS), 0)
        self.held = 0

    def altered(self, row: Row) -> None:
        """Note that the seal of a row does not fit its columns."""
        self._add(self._altered, row.table, row.pk[1:], None, "its seal does not fit what stands in it")

    def count(self, table: type[Row], rows: int) -> None:
        """Take down how many rows of a table have been read."""
        self.counted[table.table] = rows
        if self._progress is not None:
            self._progress(table.table, rows)

    def wrong(self, row: Row, column: str | None, message: str) -> None:
        """Note that something in a row does not follow from history."""
        self._add(self._wrong, row.table, row.pk[1:], column, message)

    def fault(self, table: type[Row], key: Iterable[object], column: str | None, message: str) -> None:
        """Note that something is wrong with a row that is not at hand, or not there."""
        self._add(self._wrong, table.table, key, column, message)

    def _add(self, faults: list[Fault], table: str, key: Iterable[object], column: str | None, message: str) -> None:
        self._fault_count += 1
        if len(faults) < FAULTS_SHOWN_MAX:
            faults.append(Fault(table, tuple(str(part) for part in key), column, message))

    def verification(self) -> Verification:
        """Return what was found."""
        return Verification(
            is_clean=not self._fault_count,
            faults=tuple((self._altered + self._wrong)[:FAULTS_SHOWN_MAX]),
            fault_count=self._fault_count,
            counted=self.counted,
            totals_nanocredits=self.totals,
            held_nanocredits=self.held,
            debt_nanocredits=-self.totals["receivable"],
        )


def sealed(table: type[R], rows: Iterator[tuple[R, int]], findings: Findings) -> Iterator[R]:
    """Yield a table's rows, each counted and compared with its seal."""
    count = 0
    for row, seal in rows:
        count += 1
        if seal_of(row) != seal:
            findings.altered(row)
        if not count % _ROWS_PER_PROGRESS:
            findings.count(table, count)
        yield row
    findings.count(table, count)


class Stream(Generic[O]):
    """One table's rows in the order of their keys, each read once and checked against its seal."""

    def __init__(self, table: type[O], rows: Iterator[tuple[O, int]], findings: Findings) -> None:
        self._rows = sealed(table, rows, findings)
        self.head = next(self._rows, None)

    def step(self) -> None:
        """Go on to the next row."""
        self.head = next(self._rows, None)

    def of(self, account_id: int) -> Iterator[O]:
        """Yield the rows of an account that the table now stands before."""
        row = self.head
        while row is not None and row.account_id == account_id:
            yield row
            row = self.head = next(self._rows, None)
