"""The walk through a ledger: all tables side by side, one account at a time. Reads rows; writes and repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from callfare.ledger.rows import TABLES, Row
from callfare.ledger.verify.findings import Findings, Progress, Verification

R = TypeVar("R", bound=Row)


class Scan(Protocol):
    """Yields all rows of a table with their seals, in the order of their primary key: `Store.scan`."""

    def __call__(self, table: type[R], /) -> Iterator[tuple[R, int]]: ...


def verify(scan: Scan, *, progress: Progress | None = None) -> Verification:
    """Return everything that is wrong with a ledger, recomputed from its history; nothing is.

    progress: called now and then with a table's name and how many of its rows have been read.
    """
    findings = Findings(progress)
    for table in TABLES:
        for row, seal in scan(table):
            findings.read(row, seal)
    return findings.verification()
