"""The command that looks on: a user's credits and runs as they change, until it is interrupted."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from callfare.cli import show, stories
from callfare.cli.reading import UserArgument, is_heard_of
from callfare.cli.session import Session
from callfare.errors import InvalidInput, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callfare.answers import Balance, RunSummary
    from callfare.callfare import Callfare
    from callfare.cli.screen import Screen
    from callfare.money import Credits

_EVERY_S_MIN, _EVERY_S_MAX = 0.1, 3600
_PAST_LOOKS = 60
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a user finds: the balance and the latest runs, newest first."""

    balance: Balance
    runs: Sequence[RunSummary]


def watch(
    session: Session,
    user: UserArgument,
    *,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How long to wait between looks.")] = 1.0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="How many runs to show, at most 200.")] = 10,
) -> None:
    """Show a user's credits and runs as they change, until Ctrl-C.

    On a terminal one picture, drawn again; in a pipe a line for each change, with --json a document in each line.
    """
    if not _EVERY_S_MIN <= every <= _EVERY_S_MAX:
        raise InvalidInput(f"--every is {every:g}; give {_EVERY_S_MIN} to {_EVERY_S_MAX} seconds", param="every")
    past: deque[Credits] = deque(maxlen=_PAST_LOOKS)
    is_drawn = session.screen.is_terminal and not session.options.json
    with session.fare() as fare, _until_resized() if is_drawn else nullcontext(threading.Event().wait) as wait:
        for look in _changes(session, fare, user, wait, every_s=every, limit=limit):
            past.append(look.balance.available)
            if is_drawn:
                _picture(session.screen, look, past)
            else:
                _line(session, look)


@contextmanager
def _until_resized() -> Iterator[Callable[[float], bool]]:
    """Give a wait of so many seconds that ends at once, and is true, when the terminal has another size.

    Signals come through a pipe: a handler that took a lock, as one that sets an event does, could wait there for ever
    for the code it interrupted.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)

    def wait(seconds: float) -> bool:
        is_told = bool(select.select([told], [], [], seconds)[0])
        if is_told:
            os.read(told, 65536)
        return is_told

    before = signal.signal(signal.SIGWINCH, lambda *_: None), signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    try:
        yield wait
    finally:
        signal.set_wakeup_fd(before[1])
        signal.signal(signal.SIGWINCH, before[0])
        os.close(told)
        os.close(tell)


def _changes(
    session: Session, fare: Callfare, user: str, wait: Callable[[float], bool], *, every_s: float, limit: int
) -> Iterator[Look]:
    """Yield what a look finds whenever that is something new. While the ledger is away there is nothing new.

    wait: takes seconds; when it is true, the last look is yielded once more.
    """
    last, is_away = None, False
    while True:
        try:
            found = Look(balance=fare.balance(user), runs=fare.history(user, limit).items)
        except LedgerUnavailable as error:
            if last is None:
                raise
            if not is_away:
                session.aside.line(f"{show.clean(error.message)}; looking on", "warn")
            is_away = True
        else:
            if is_away:
                session.aside.line("it answers again", "ok")
            if last is None and not is_heard_of(fare, found.balance):
                session.unheard_of(user)
            if found != last or is_away:
                last = found
                yield found
            is_away = False
        while wait(every_s):
            if last is not None:
                yield last


def _line(session: Session, look: Look) -> None:
    """Write a change as a line, at once."""
    from callfare.answers import plain

    screen = session.screen
    if session.options.json:
        screen.line(json.dumps(plain(look)))
    else:
        balance = look.balance
        runs = (f"{run.run_id} {run.status} {show.short(run.charged)}" for run in look.runs if run.closed_at is None)
        said = f"available {show.floored(balance.available)}  held {show.floored(balance.held)}"
        screen.line(show.clean("  ".join([said, *runs])))
    screen.flush()


def _picture(screen: Screen, look: Look, past: Sequence[Credits]) -> None:
    """Draw what was found, with how the available credit went so far."""
    from callfare.pages import Page

    screen.clear()
    stories.balance(screen, look.balance)
    if screen.has_blocks and len(past) > 1:
        screen.line(f"  {levels(past)}", "ok")
    screen.line()
    stories.history(screen, look.balance.user, Page(items=tuple(look.runs), next_cursor=None))
    screen.line("Ctrl-C ends this; it changes nothing", "below")
    screen.flush()


def levels(amounts: Sequence[Credits]) -> str:
    """Return amounts as a row of blocks, the highest for the greatest of them."""
    units = [max(0, amount.nanocredits) for amount in amounts]
    most = max(units) or 1
    return "".join(_LEVELS[min(len(_LEVELS) - 1, unit * len(_LEVELS) // most)] for unit in units)
