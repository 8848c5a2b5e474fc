"""Commands for whoever runs a ledger: its schema, backups, retention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from callfare.cli import exits, given, show
from callfare.cli.session import Session
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from callfare.answers import Backup, Exported, Migrated, Pruned, Restored
    from callfare.cli.screen import Screen
    from callfare.engine.moving import Moved
    from callfare.engine.operations import Step

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The backup's file.", show_default=False)]


def backup(session: Session, file: FileArgument) -> None:
    """Write the whole ledger to a new file, while others go on.

    Every row as it stands at one instant, with a digest; the file is there once it is whole and on the disk.
    """
    from callfare.engine import operations

    with session.engine() as engine, steps(session) as told:
        made = operations.backup(engine.store, engine.clock, file, told)
    session.answer(made, lambda screen: _backed_up(screen, made))


def restore(
    session: Session,
    file: FileArgument,
    *,
    anew: Annotated[bool, typer.Option("--anew", help="Drop first what an unfinished restore left.")] = False,
    with_faults: Annotated[
        bool, typer.Option("--with-faults", help="Open the ledger though verify finds faults in it.")
    ] = False,
) -> None:
    """Fill an empty ledger from a backup, verify it, then open it.

    The backup may be of any store. Until the ledger is open everyone else is refused; when this is interrupted, the
    same command goes on.
    """
    from callfare.engine import operations

    session.refuse_passing()
    with session.engine() as engine, steps(session) as told:
        done = operations.restore(engine.store, file, is_anew=anew, with_faults=with_faults, progress=told)
    session.answer(done, lambda screen: _restored(screen, done))


def migrate_store(
    session: Session,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The address of the ledger to move.", show_default=False)
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The address of an empty or a new one.", show_default=False)
    ],
    *,
    anew: Annotated[bool, typer.Option("--anew", help="Drop first what an unfinished move left.")] = False,
    with_faults: Annotated[
        bool, typer.Option("--with-faults", help="Move the ledger though verify finds faults in it.")
    ] = False,
) -> None:
    """Move a whole ledger to another store, verify both, then open it.

    Between SQLite, PostgreSQL and Convex, every row as it is; the source is only read. When this is interrupted, the
    same command goes on. Stop what writes to the source before.
    """
    from callfare.engine import moving
    from callfare.store.open import open_store

    stores = [open_store(given.ledger_address(text, name)) for text, name in ((source, "source"), (target, "target"))]
    try:
        with steps(session) as told:
            done = moving.move(*stores, is_anew=anew, with_faults=with_faults, progress=told)
    finally:
        for store in stores:
            store.close()
    session.answer(done, lambda screen: _moved(screen, done))


def prune_raw(
    session: Session,
    *,
    before: Annotated[
        str, typer.Option("--before", metavar="MONTH", help="The first month that is kept, such as 2026-08.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be removed, remove nothing.")] = False,
) -> None:
    """Remove the providers' raw usage objects of older months.

    Nothing else is touched: charges, entries and keys stay, verify stays clean, and explain says what was removed.
    """
    from callfare.engine import operations

    with session.engine() as engine, steps(session) as told:
        done = operations.prune_raw(engine.store, engine.clock, before, is_dry_run=dry_run, progress=told)
    session.answer(done, lambda screen: _pruned(screen, done))


def export(
    session: Session,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="users, accounts, grants, runs, jobs, transfers, entries, events or raw_usage.",
            show_default=False,
        ),
    ],
    *,
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="csv or jsonl.")] = "csv",
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user's rows.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only rows from this date or time on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only rows from before this date or time.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="A new file; standard output if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a FILE that was cut off.")] = False,
) -> None:
    """Write the rows of a kind as CSV or JSON Lines, amounts exact.

    In the order of their keys, as the ledger stands at one instant. An export that was cut off goes on after its last
    whole line.
    """
    from callfare.engine.exporting import Export, export_file, export_to

    wanted = Export(
        kind,
        format=format,
        user=user,
        since=None if since is None else given.moment(since, "since"),
        until=None if until is None else given.moment(until, "until"),
    )
    if out is None and (resume or session.options.json):
        raise InvalidInput("the rows go to standard output; with --resume or --json, give --out FILE", param="out")
    with session.engine() as engine, steps(session) as told:
        if out is None:
            export_to(session.screen.binary, engine.store, wanted, told)
            return
        done = export_file(out, engine.store, wanted, is_resumed=resume, progress=told)
    session.answer(done, lambda screen: _exported(screen, done))


def migrate(
    session: Session,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only look; end with 7 when the schema is not the newest.")
    ] = False,
) -> None:
    """Bring the ledger's schema up to date, and say from where to where.

    Any number of processes may do so at once. A ledger that is not there is not made: init does that.
    """
    from callfare.engine import operations

    with session.engine() as engine:
        found = operations.migrate(engine.store, is_check=check)
    session.answer(found, lambda screen: _migrated(screen, found))
    if found.is_pending:
        raise typer.Exit(exits.MISCONFIGURED)


def _exported(screen: Screen, done: Exported) -> None:
    went_on = f", {show.count(done.resumed_after)} of them before" if done.resumed_after else ""
    screen.line(f"exported {show.counted(done.row_count, 'row')}{went_on} to {show.clean(done.path)}", "ok")


def _pruned(screen: Screen, done: Pruned) -> None:
    said = "would be removed" if done.is_dry_run else "removed"
    screen.line(f"{show.counted(done.row_count, 'raw usage object')} from before {done.before:%Y-%m} {said}")
    screen.pairs({month: show.counted(count, "object") for month, count in done.months.items()})


def _migrated(screen: Screen, found: Migrated) -> None:
    if found.is_pending:
        screen.line(f"the schema is {found.before}, this callfare needs {found.newest}; run `callfare migrate`", "warn")
    elif found.before == found.after:
        screen.line(f"the schema is {found.after}, the newest", "ok")
    else:
        screen.line(f"the schema went from {found.before} to {found.after}", "ok")


def _backed_up(screen: Screen, made: Backup) -> None:
    screen.line(f"backed up {show.counted(made.row_count, 'row')} to {show.clean(made.path)}", "ok")
    _rows(screen, made)


def _restored(screen: Screen, done: Restored) -> None:
    if done.fault_count:
        screen.line(f"restored with {show.counted(done.fault_count, 'fault')}; `callfare verify` names them", "fail")
    else:
        screen.line(f"restored {show.counted(done.row_count, 'row')}, and the ledger is sound", "ok")
    _rows(screen, done)


def _moved(screen: Screen, done: Moved) -> None:
    rows = show.counted(done.row_count, "row")
    if done.fault_count:
        faults = show.counted(done.fault_count, "fault")
        screen.line(f"moved {rows} with {faults}; `callfare verify` names them", "fail")
    else:
        screen.line(f"moved {rows}, and both ledgers are sound", "ok")
    screen.pairs({"from": show.clean(done.source), "to": show.clean(done.target)})
    screen.pairs({table: show.counted(count, "row") for table, count in done.rows.items() if count})
    screen.pairs({"digest": done.digest})


def _rows(screen: Screen, of: Backup | Restored) -> None:
    screen.pairs({table: show.counted(count, "row") for table, count in of.rows.items() if count})
    screen.pairs({"as of": of.taken_at.isoformat(), "digest": of.digest})


@contextmanager
def steps(session: Session) -> Iterator[Step | None]:
    """Give a function that shows each step of long work and how many rows it has done; None where nobody is looking."""
    if session.options.json or not session.aside.is_terminal:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"))
    tasks: dict[str, TaskID] = {}
    done: dict[str, dict[str, int]] = {}
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:

        def told(doing: str, table: str, count: int) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=None)
            of_step = done.setdefault(doing, {})
            of_step[table] = count
            bars.update(tasks[doing], completed=sum(of_step.values()))

        yield told
