"""The command about the spool: what waits because the ledger could not take it, and having it delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from callfare.checks import check_choice
from callfare.cli import show
from callfare.cli.session import Session
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from callfare.answers import Delivered, SpoolReport
    from callfare.cli.screen import Screen

_CALLS_PER_REPORT = 1000


def spool(
    session: Session,
    action: Annotated[
        str, typer.Argument(metavar="[drain]", help="Deliver now what waits; without it, only look.")
    ] = "show",
    *,
    refused: Annotated[
        bool, typer.Option("--refused", help="With drain: try again what the ledger has refused before.")
    ] = False,
) -> None:
    """Show finished calls that the ledger could not take, or deliver them.

    They are delivered by themselves once the ledger is back; `drain` takes what processes left that have ended.
    """
    from callfare.engine import spooling

    is_drain = check_choice(action, "action", ("show", "drain")) == "drain"
    if refused and not is_drain:
        raise InvalidInput("--refused goes with drain: `callfare spool drain --refused`", param="refused")
    with session.engine() as engine:
        if not is_drain:
            found = spooling.report(engine)
            session.answer(found, lambda screen: _report(screen, session, found))
            return
        waiting = spooling.report(engine).waiting
        done = spooling.drain(engine, _progress(session, waiting), refused=refused)
        session.answer(done, lambda screen: _delivered(screen, session, done))


def _report(screen: Screen, session: Session, found: SpoolReport) -> None:
    if found.folder is None:
        screen.line("this ledger has no spool")
        return
    if found.waiting:
        screen.line(f"{show.counted(found.waiting, 'call')} waiting in {found.folder}", "warn")
        screen.pairs({"oldest": show.moment(found.oldest_at), "cost": show.short(found.cost)})
        screen.line(f"next: {session.command('spool', 'drain')}")
    else:
        screen.line(f"nothing waits in {found.folder}", "ok")
    if found.refused_count:
        screen.line(f"{show.counted(found.refused_count, 'call')} refused by the ledger", "fail")
        for call in found.refused:
            screen.line(show.clean(f"  {show.moment(call.at)}  {call.kind} {call.key}: {call.reason}"))
        screen.line(f"next: remove the reason, then {session.command('spool', 'drain', '--refused')}")
    for path in found.damaged:
        screen.line(f"{path} has lines that cannot be read", "fail")


def _delivered(screen: Screen, session: Session, done: Delivered) -> None:
    screen.line(f"{show.counted(done.delivered, 'call')} delivered", "ok")
    if done.refused:
        screen.line(f"{show.count(done.refused)} refused by the ledger; see {session.command('spool')}", "fail")
    if done.waiting:
        screen.line(f"{show.count(done.waiting)} wait in processes that are alive, and deliver them by themselves")


def _progress(session: Session, waiting: int) -> Callable[[int], None] | None:
    """Return a function that says how far a delivery has come; None where nobody is looking."""
    if session.options.json or not session.aside.is_terminal:
        return None
    told = 0

    def progress(count: int) -> None:
        nonlocal told
        if count - told >= _CALLS_PER_REPORT:
            told = count
            session.aside.line(f"{show.count(count)} of {show.count(max(count, waiting))} delivered", "below")

    return progress
