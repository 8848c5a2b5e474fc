"""Commands that look a ledger over: whether its books balance, and what its operator should know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from callfare.cli import exits, show
from callfare.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callfare.cli.screen import Screen
    from callfare.engine.findings import Finding
    from callfare.ledger.verify import Verification

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def verify(session: Session) -> None:
    """Recompute the ledger from its history; name wrong rows.

    Ends with exit code 1 when there are any, the first wrong row named first.
    """
    with session.engine() as engine:
        rows = None if engine.elsewhere is not None else engine.store.facts().rows
        with _progress(session, "verifying", rows) as progress:
            found = engine.verify(progress)
    session.answer(found, lambda screen: _verified(screen, found))
    if not found.is_clean:
        raise typer.Exit(exits.FAULTS)


def doctor(session: Session) -> None:
    """Look the ledger over, and say what its operator should know.

    The file, SQLite, the schema, the clock, prices, usage without user or price, retries, packages that sell below
    cost, debts, and what waits to be settled. Ends with exit code 1 when something has failed.
    """
    from callfare.engine.doctor import examine, worst

    with session.engine() as engine, _progress(session, "looking", None) as progress:
        findings = tuple(
            replace(finding, next_step=session.pasteable(finding.next_step or "") or None)
            for finding in examine(engine, progress)
        )
    status = worst(findings)
    session.answer({"status": status, "findings": findings}, lambda screen: _findings(screen, findings))
    if status == "fail":
        raise typer.Exit(exits.FAULTS)


def _verified(screen: Screen, found: Verification) -> None:
    from callfare.money import Credits

    rows = sum(found.counted.values())
    if found.is_clean:
        screen.line(f"the ledger is sound: {show.counted(rows, 'row')} recomputed", "ok")
    else:
        faults = show.counted(found.fault_count, "fault")
        screen.line(f"the ledger has {faults} in {show.counted(rows, 'row')}", "fail")
        screen.line(f"first: {show.clean(str(found.faults[0]))}")
        for fault in found.faults[1:]:
            screen.line(f"then:  {show.clean(str(fault))}")
        if found.fault_count > len(found.faults):
            screen.line(f"and {show.count(found.fault_count - len(found.faults))} more")
    screen.pairs({table: show.counted(count, "row") for table, count in found.counted.items() if count})
    screen.pairs(
        {
            "held": f"{show.exact(Credits.of_units(found.held_nanocredits))} credits",
            "debt": f"{show.exact(Credits.of_units(found.debt_nanocredits))} credits",
        }
    )


def _findings(screen: Screen, findings: tuple[Finding, ...]) -> None:
    indent = max(len(finding.check) for finding in findings) + 8
    for finding in findings:
        head = f"{_MARKS[finding.status]}  {finding.check}"
        says = _wrapped(screen, show.clean(finding.message), indent)
        screen.line(f"{head:<{indent}}{says[0]}", finding.status)
        for line in says[1:]:
            screen.line(f"{'':{indent}}{line}", finding.status)
        for line in (
            _wrapped(screen, f"next: {show.clean(finding.next_step or '')}", indent) if finding.next_step else ()
        ):
            screen.line(f"{'':{indent}}{line}")
    counts = {status: sum(finding.status == status for finding in findings) for status in ("fail", "warn", "ok")}
    screen.line(f"{counts['fail']} failed, {counts['warn']} to look at, {counts['ok']} fine")


def _wrapped(screen: Screen, text: str, indent: int) -> list[str]:
    """Return a text in lines that fit a terminal, and in one line anywhere else."""
    return show.fold(text, screen.width - indent) if screen.is_terminal else [text]


@contextmanager
def _progress(
    session: Session, title: str, rows: Mapping[str, int] | None
) -> Iterator[Callable[[str, int], None] | None]:
    """Give a function that shows how far a pass over all rows has come; None where nobody is looking."""
    if session.options.json or not session.aside.is_terminal:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    read: dict[str, int] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None if rows is None else sum(rows.values()))

        def progress(table: str, count: int) -> None:
            read[table] = count
            bars.update(task, completed=sum(read.values()))

        yield progress
