"""What is done to a ledger as a whole: backup, restore, schema, retention. Moves rows, and decides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from callfare.answers import Backup, Migrated, Pruned, Restored
from callfare.clock import Clock, instant_of, moment_of
from callfare.errors import InvalidInput, InvalidTime, LedgerCorrupt
from callfare.ledger.rows import Row
from callfare.ledger.verify import verify
from callfare.store.archive import FORMAT, Archive, Header, write_archive
from callfare.store.protocol import Store
from callfare.store.upkeep import Filling

Step: TypeAlias = Callable[[str, str, int], None]
"""Told now and then what is being done, with which table, and how many of its rows have been."""

_ROWS_PER_PUT = 2000
_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])", re.ASCII)


def backup(store: Store, clock: Clock, path: str | Path, progress: Step | None = None) -> Backup:
    """Write all rows, as they stand at one instant, to a new file, which is there once it is whole and on the disk.

    Raises LedgerNotFound, Misconfigured when the file is there already or cannot be written.
    """
    file = file_of(path)
    facts = store.facts()
    taken_at = moment_of(clock.now_us())
    header = Header(
        callfare_backup=FORMAT,
        schema=facts.schema_version,
        taken_at=taken_at.isoformat(),
        engine=facts.engine,
        ledger=facts.url,
    )
    with store.one_instant() as scan:
        footer = write_archive(file, header, scan, told_of(progress, "backing up"))
    return Backup(
        path=str(file),
        taken_at=taken_at,
        row_count=sum(footer.rows.values()),
        rows=footer.rows,
        digest=footer.digest,
    )


def restore(
    store: Store,
    path: str | Path,
    *,
    is_anew: bool = False,
    with_faults: bool = False,
    progress: Step | None = None,
) -> Restored:
    """Fill an empty ledger with a backup, verify it, and open it. What was begun and not ended is gone on with.

    Until it is whole and sound, every other use of the ledger raises LedgerIncomplete. is_anew: drop first what an
    unfinished restore left. with_faults: open the ledger also when `verify` finds faults, which the backup then had.

    Raises BackupInvalid, LedgerNotEmpty, LedgerIncomplete, LedgerCorrupt, Misconfigured.
    """
    file = file_of(path)
    archive = Archive(file)
    header, footer = archive.check(told_of(progress, "checking"))
    with store.upkeep().fill(footer.digest, is_anew=is_anew) as filling:
        put_rows(archive.rows(), filling, told_of(progress, "restoring"))
        found = verify(filling.scan, progress=told_of(progress, "verifying"))
        if not found.is_clean and not with_faults:
            raise LedgerCorrupt(
                f"{file} holds a ledger with {found.fault_count} faults, the first: {found.faults[0]}; nothing was "
                "opened; restore an older backup with --anew, or open this one as it is with --with-faults"
            )
        filling.finish()
    return Restored(
        path=str(file),
        taken_at=datetime.fromisoformat(header.taken_at),
        row_count=sum(footer.rows.values()),
        rows=footer.rows,
        digest=footer.digest,
        fault_count=found.fault_count,
    )


def put_rows(rows: Iterator[tuple[Row, int]], filling: Filling, told: Callable[[str, int], None] | None) -> None:
    """Put the rows of a source that are not there yet. The mark is the number of those that are."""
    number = 0
    counts: dict[str, int] = {}
    for row, _ in islice(rows, int(filling.mark or 0)):
        number += 1
        counts[row.table] = counts.get(row.table, 0) + 1
    while batch := list(islice(rows, _ROWS_PER_PUT)):
        number += len(batch)
        filling.put(batch, mark=str(number))
        for row, _ in batch:
            counts[row.table] = counts.get(row.table, 0) + 1
        if told is not None:
            told(batch[-1][0].table, counts[batch[-1][0].table])


def prune_raw(
    store: Store, clock: Clock, before: str, *, is_dry_run: bool = False, progress: Step | None = None
) -> Pruned:
    """Remove the providers' raw usage objects recorded before a month, and note in the ledger that they may be missing.

    before: such as "2026-08", in UTC. No row of the ledger itself is touched. In batches, so that others go on; when it
    is interrupted, the same call removes the rest. is_dry_run: count only.

    Raises InvalidTime, LedgerNotFound, LedgerUnavailable.
    """
    before_us = _month(before, clock.now_us())
    upkeep = store.upkeep()
    if not is_dry_run:
        # Noted also where nothing is old enough; each batch that removes something notes it in its own transaction.
        upkeep.drop_raw([], before_us=before_us, now_us=clock.now_us())
    told = told_of(progress, "counting" if is_dry_run else "removing")
    months: dict[str, int] = {}
    row_count, seen = 0, 0
    after: tuple[int, str] | None = None
    while page := upkeep.raw_times(after):
        after = page[-1][:2]
        old = [(account_id, key, at_us) for account_id, key, at_us in page if at_us < before_us]
        row_count += len(old)
        if old and not is_dry_run:
            dropped = upkeep.drop_raw([row[:2] for row in old], before_us=before_us, now_us=clock.now_us())
            # Another prune may have been faster.
            row_count -= len(old) - dropped
        for *_, at_us in old:
            month = f"{moment_of(at_us):%Y-%m}"
            months[month] = months.get(month, 0) + 1
        seen += len(page)
        if told is not None:
            told("raw_usage", seen)
    months = dict(sorted(months.items()))
    return Pruned(before=moment_of(before_us), row_count=row_count, months=months, is_dry_run=is_dry_run)


def _month(text: object, now_us: int) -> int:
    """Return the instant at which a month begins. Raises InvalidTime unless it has begun."""
    if not isinstance(text, str) or not _MONTH.fullmatch(text):
        raise InvalidTime("before is no month; give one such as 2026-08", param="before")
    begin_us = instant_of(datetime.fromisoformat(f"{text}-01T00:00:00+00:00"), "before")
    if begin_us > now_us:
        raise InvalidTime(f"{text} has not begun; give a month that has", param="before")
    return begin_us


def migrate(store: Store, *, is_check: bool = False) -> Migrated:
    """Bring a ledger's schema up to date, which any number of processes may do at once. is_check: only look.

    Raises LedgerNotFound, LedgerIncomplete, SchemaNewer.
    """
    upkeep = store.upkeep()
    found = upkeep.schema() if is_check else upkeep.migrate()
    after = found.number if is_check else found.newest
    return Migrated(before=found.number, after=after, newest=found.newest, is_pending=after < found.newest)


def file_of(path: object) -> Path:
    """Return a file as it was named, absolute. Raises InvalidInput for what cannot name one."""
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path) or not Path(path).name:
        raise InvalidInput("file is no name of a file; give one such as ledger.callfare", param="file")
    return Path(path).absolute()


def told_of(progress: Step | None, doing: str) -> Callable[[str, int], None] | None:
    """Return what tells how far one step has come, None where nobody listens."""
    if progress is None:
        return None

    def told(table: str, count: int) -> None:
        progress(doing, table, count)

    return told
