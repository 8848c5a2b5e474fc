"""The command that records usage events from a file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from callfare.cli import exits, show
from callfare.cli.operating import steps
from callfare.cli.session import Session
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callfare.cli.screen import Screen
    from callfare.engine.importing import Imported

_STANDARD_INPUT = "-"


def import_(
    session: Session,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON Lines; - for standard input.", show_default=False)
    ],
    *,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="csv or jsonl, where the name does not say it.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="The user of rows that name neither user nor run.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Names this import for ever, for rows without a key of their own; the file's name if not given.",
        ),
    ] = None,
    fates: Annotated[
        str | None, typer.Option("--fates", metavar="FILE", help="A new file for what became of each row.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --fates: go on after the last row in it.")] = False,
) -> None:
    """Record usage events from a file, each once, and charge them.

    Reading a file again records nothing twice. A row that cannot be taken is refused by itself, and the command then
    ends with 2. The columns are those of the how-to.
    """
    from callfare.auth.principal import LOCAL_PRINCIPAL
    from callfare.engine import importing
    from callfare.engine.imported_rows import Import, format_of
    from callfare.engine.on_behalf import OnBehalf

    if resume and fates is None:
        raise InvalidInput("--resume goes on after the rows in --fates FILE", param="resume")
    if file == _STANDARD_INPUT and name is None:
        raise InvalidInput("what comes from standard input has no name; give --name", param="name")
    kind = format_of(file, format)
    session.refuse_passing()
    with (
        _opened(file) as rows,
        session.engine() as engine,
        nullcontext() if fates is None else importing.fates_in(fates, is_resumed=resume) as written,
        steps(session) as told,
    ):
        wanted = Import(path=file, format=kind, name=Path(file).name if name is None else name, user=user)
        record = partial(OnBehalf(engine).record, note=LOCAL_PRINCIPAL.note("usage.record"))
        done = asyncio.run(importing.import_rows(rows, wanted, record, fates=written, progress=told))
    session.answer(done, lambda screen: _imported(screen, done))
    if done.refused:
        raise typer.Exit(exits.BAD_INPUT)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Open what is to be read for as long as the block lasts.

    Raises InvalidInput when it cannot be.
    """
    if file == _STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below, where errors of the block are not those of opening
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{file[:255]!r} cannot be read: {reason.lower()}", param="file") from None
    with stream:
        yield stream


def _imported(screen: Screen, done: Imported) -> None:
    after = f" after the first {show.count(done.resumed_after)}" if done.resumed_after else ""
    screen.line(f"read {show.counted(done.row_count, 'row')}{after} of {show.clean(done.path)}", "ok")
    screen.pairs(
        {
            "recorded": show.count(done.recorded),
            "there before": show.count(done.repeated) if done.repeated else "",
            "in the spool": show.count(done.spooled) if done.spooled else "",
            "unpriced": show.count(done.unpriced) if done.unpriced else "",
            "refused": show.count(done.refused) if done.refused else "",
            "charged": f"{show.exact(done.credits)} credits",
            "cost": show.exact(done.cost),
        }
    )
    for row in done.refusals:
        screen.line(show.clean(f"row {row.row}, line {row.line}, refused: {row.message} ({row.code})"), "fail")
    if done.refused > len(done.refusals):
        screen.line(f"and {show.count(done.refused - len(done.refusals))} more; --fates FILE tells of each")
