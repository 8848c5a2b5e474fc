"""Moving a whole ledger from one store into another: every row as it is, seals included. Decides nothing.

It is gone on with by the same call, as long as the source has not changed: what the target has begun to take is named
by a digest of all rows of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from callfare.engine.operations import Step, put_rows, told_of
from callfare.errors import Conflict, InvalidInput, LedgerCorrupt, LedgerIncomplete, LedgerNotFound
from callfare.ledger.rows import TABLES, Pk, Row
from callfare.ledger.verify import Scan, Verification, verify
from callfare.store.protocol import R, Store
from callfare.store.upkeep import Filling, not_empty

_DIGEST_BYTES = 32
_ROWS_PER_STEP = 2000
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A ledger that was moved into another store. fault_count: what `verify` found, in the source as in the target."""

    source: str
    target: str
    row_count: int
    rows: Mapping[str, int]
    digest: str
    fault_count: int


def move(
    source: Store,
    target: Store,
    *,
    is_anew: bool = False,
    with_faults: bool = False,
    progress: Step | None = None,
) -> Moved:
    """Fill an empty ledger with all rows of another, verify both, and open it. The source is only read.

    Until then every other use of the target raises LedgerIncomplete. Whatever is written to the source meanwhile would
    be missed, so it is looked at again at the end. is_anew: drop first what an unfinished move left. with_faults: open
    the target also when `verify` finds faults, which the source then has.

    Raises LedgerNotFound, LedgerNotEmpty, LedgerIncomplete, LedgerCorrupt, InvalidInput when the source has no rows,
    Conflict when it was written to meanwhile.
    """
    origin = source.facts()
    if not any(origin.rows.values()):
        raise InvalidInput(f"{origin.url} has no rows, so there is nothing to move", param="source")
    _refuse_rows(target)
    with source.one_instant() as scan:
        rows, digest, found = _verified(scan, "verifying the source", progress)
        if not found.is_clean and not with_faults:
            raise LedgerCorrupt(
                f"{origin.url} has {found.fault_count} faults, the first: {found.faults[0]}; nothing was moved; "
                "look at them with `callfare verify`, or move it as it is with --with-faults"
            )
        with target.upkeep().fill(f"move:{digest}", is_anew=is_anew) as filling:
            put_rows(_rows(scan), filling, told_of(progress, "moving"))
            _check_target(filling, rows, digest, progress, found.fault_count)
            _check_source(source, digest, progress)
            filling.finish()
    goal = target.facts()
    return Moved(
        source=origin.url,
        target=goal.url,
        row_count=sum(rows.values()),
        rows=rows,
        digest=digest,
        fault_count=found.fault_count,
    )


def _refuse_rows(target: Store) -> None:
    """Return when the target has no rows that anyone uses. Raises LedgerNotEmpty."""
    # One that is not there is made; one that somebody has begun to fill is looked at by `fill`.
    with suppress(LedgerNotFound, LedgerIncomplete):
        if any(target.facts().rows.values()):
            raise not_empty()


def _rows(scan: Scan) -> Iterator[tuple[Row, int]]:
    for table in TABLES:
        yield from scan(table)


class _Digests:
    """A scan that keeps, for each table, how many rows it has and a digest over them and their seals."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._done: dict[str, tuple[int, bytes]] = {}

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows of a table. The first time that somebody goes through all of it, it is digested."""
        if after is not None or table.table in self._done:
            yield from self._scan(table, after)
            return
        digest = blake2b(digest_size=_DIGEST_BYTES)
        count = 0
        for row, seal in self._scan(table):
            digest.update(b"%b,%d\n" % (_encode(row), seal))
            count += 1
            yield row, seal
        self._done[table.table] = count, digest.digest()

    def sums(self, told: Callable[[str, int], None] | None) -> tuple[dict[str, int], str]:
        """Return how many rows each table has, and a digest over all; what nobody has gone through yet is read."""
        for table in TABLES:
            for count, _ in enumerate(self.scan(table) if table.table not in self._done else (), start=1):
                if told is not None and not count % _ROWS_PER_STEP:
                    told(table.table, count)
        whole = blake2b(digest_size=_DIGEST_BYTES)
        for name, (_, digest) in sorted(self._done.items()):
            whole.update(name.encode() + b"\0" + digest)
        return {table.table: self._done[table.table][0] for table in TABLES}, whole.hexdigest()


def _verified(scan: Scan, doing: str, progress: Step | None) -> tuple[dict[str, int], str, Verification]:
    """Return how many rows each table has, a digest over all of them, and what verification found: read once."""
    digests = _Digests(scan)
    told = told_of(progress, doing)
    found = verify(digests.scan, progress=told)
    return *digests.sums(told), found


def _check_target(filling: Filling, rows: dict[str, int], digest: str, progress: Step | None, fault_count: int) -> None:
    """Return when the target has the very rows of the source, and by its own word no other faults."""
    arrived, arrived_digest, found = _verified(filling.scan, "verifying the target", progress)
    if (arrived, arrived_digest, found.fault_count) != (rows, digest, fault_count):
        raise LedgerCorrupt(
            "what arrived is not what was sent, and nothing was opened; begin again with --anew, and if that "
            "happens again, tell us"
        )


def _check_source(source: Store, digest: str, progress: Step | None) -> None:
    with source.one_instant() as scan:
        _, now = _Digests(scan).sums(told_of(progress, "reading the source again"))
    if now != digest:
        raise Conflict(
            "the source was written to while it was moved, and nothing was opened; stop what writes to it, then begin "
            "again with --anew"
        )
