"""What is done to a ledger as a whole, by whoever runs it: its schema, filling an empty one, dropping raw usage by age.

None of it decides anything, and none of it is needed to meter, price or charge a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from callfare.errors import Conflict, LedgerIncomplete, LedgerNotEmpty
from callfare.ledger.rows import RAW_USAGE, Retention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from callfare.ledger.rows import Pk, Row
    from callfare.store.protocol import R


class Schema(NamedTuple):
    """The number of a ledger's schema, and that of the newest."""

    number: int
    newest: int


class Filling(Protocol):
    """A ledger that takes rows as they are, seals included. Everyone else is refused until it is whole.

    mark: what was noted with the rows that were put last; empty before the first.
    """

    mark: str

    def put(self, rows: Sequence[tuple[Row, int]], *, mark: str) -> None:
        """Add rows with their seals and note how far this has come, durably and in one transaction.

        Raises Conflict when another process fills the same ledger, LedgerCorrupt when a row breaks a rule.
        """
        ...

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows that have been put, as `Store.scan` does."""
        ...

    def finish(self) -> None:
        """Open the ledger to everyone."""
        ...


class Upkeep(Protocol):
    """The operator's side of a store."""

    def fill(self, source: str, *, is_anew: bool = False) -> AbstractContextManager[Filling]:
        """Give an empty ledger to fill, made where it is missing, or the one that this source has begun to fill.

        Until `finish` every other use of the ledger raises LedgerIncomplete, in this process and in any other, also
        when whoever filled it has died. is_anew: drop first what any source has begun to fill.

        Raises LedgerNotEmpty when there are rows, LedgerIncomplete when another source has begun.
        """
        ...

    def schema(self) -> Schema:
        """Return the ledger's schema, and the newest this callfare knows. Changes nothing.

        Raises LedgerNotFound, LedgerIncomplete, SchemaNewer.
        """
        ...

    def migrate(self) -> Schema:
        """Bring the schema of a ledger up to date, and return the one it had before and the one it has.

        Any number of processes may do so at once. Raises LedgerNotFound, LedgerIncomplete, SchemaNewer.
        """
        ...

    def raw_times(self, after: tuple[int, str] | None = None) -> list[tuple[int, str, int]]:
        """Return when raw usage was recorded: account, key and instant, in order of the keys, a page after a key."""
        ...

    def drop_raw(self, keys: Sequence[tuple[int, str]], *, before_us: int, now_us: int) -> int:
        """Remove those raw usage objects that were recorded before an instant, and return how many there were.

        That such may be missing from now on is noted in the same transaction; the instant noted never goes back.
        """
        ...


def retained(before: Retention | None, before_us: int, now_us: int) -> Retention:
    """Return what is noted of raw usage once all before an instant may be missing."""
    if before is not None and before.before_us >= before_us:
        return before
    return Retention(RAW_USAGE, before_us, now_us)


def incomplete() -> LedgerIncomplete:
    """Return the refusal of a ledger that is being filled."""
    return LedgerIncomplete(
        "the ledger is being restored, or moved here, and not yet whole; end it with the command that began it"
    )


def not_empty() -> LedgerNotEmpty:
    """Return the refusal to fill a ledger that has rows."""
    return LedgerNotEmpty(
        "the ledger has rows already; a backup is restored, and a ledger moved, into an empty or a new one"
    )


def other_source() -> LedgerIncomplete:
    """Return the refusal to fill a ledger with one thing that was begun with another."""
    return LedgerIncomplete(
        "the ledger is being restored from another backup, or moved from a ledger that has changed since; end that "
        "with what began it, or begin anew with --anew"
    )


def overtaken() -> Conflict:
    """Return the refusal to put rows where another process has put some meanwhile."""
    return Conflict("another process restores the same ledger; let one of them end")
