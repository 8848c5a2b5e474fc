"""The commands about Convex: its functions for a project, and the suite of all stores on somebody's own deployment."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callfare.checks import check_choice
from callfare.cli import show
from callfare.cli.session import Session
from callfare.errors import InvalidInput, LedgerNotEmpty, LedgerNotFound, Misconfigured

if TYPE_CHECKING:
    from callfare.cli.screen import Screen
    from callfare.store.convex import ConvexStore

# Where each test's own ledger stands among those that it makes: moves and restores have two.
_PLACES = ("0", "1")


def convex(
    session: Session,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="init.", show_default=False)],
    folder: Annotated[
        str, typer.Argument(metavar="[FOLDER]", help="The project's folder of functions.", show_default=False)
    ] = "convex",
) -> None:
    """Copy callfare's functions into a Convex project.

    `init` writes FOLDER/callfare anew, and FOLDER/schema.ts and FOLDER/tsconfig.json where there are none. Then deploy
    them with `npx convex deploy`, also after each upgrade of callfare.
    """
    from callfare.store.convex_files import copy_functions

    check_choice(action, "action", ("init",))
    path = Path(folder).absolute()
    if "\0" in folder or not folder:
        raise InvalidInput("folder is no name of a folder; give one such as convex", param="folder")
    done = copy_functions(path)
    answer = {"folder": str(path), "written": done.written, "kept": done.kept}
    session.answer(answer, lambda screen: _copied(screen, path, done.written, done.kept))


def _copied(screen: Screen, path: Path, written: list[str], kept: list[str]) -> None:
    screen.line(f"wrote {show.counted(len(written), 'file')} to {show.clean(str(path))}", "ok")
    if "schema.ts" in kept:
        screen.line("schema.ts is yours: spread callfareTables from ./callfare/tables into it", "warn")
    screen.line("next: npx convex dev, then npx convex env set CALLFARE_CONVEX_SECRET …")


def conformance(
    session: Session,
    *,
    only: Annotated[
        str | None, typer.Option("--only", metavar="WORDS", help="Only tests whose names have these words.")
    ] = None,
) -> None:
    """Run the suite of all stores on a Convex deployment of your own.

    A throw-away one: every test begins with an empty ledger and drops it at its end. A ledger with rows is refused, and
    so is a deployment that has not CALLFARE_CONVEX_THROWAWAY set to yes.
    """
    from callfare.store.open import open_store

    url = session.options.db or os.environ.get("CALLFARE_DATABASE_URL", "")
    if not url.startswith("convex:"):
        raise InvalidInput("the suite runs on a deployment of Convex: --db convex://…", param="db")
    if find_spec("pytest") is None or find_spec("psycopg") is None or find_spec("hypothesis") is None:
        raise Misconfigured("the suite needs its tools: pip install 'callfare[postgres,test]'")
    store: ConvexStore = open_store(url)  # type: ignore[assignment]  # by its address
    try:
        _refuse_used(store)
    finally:
        store.close()
    code = max(_run_suite(url, place, only) for place in _PLACES)
    session.answer({"is_passed": code == 0}, lambda screen: screen.line("the suite passed", "ok") if not code else None)
    raise typer.Exit(1 if code else 0)


def _refuse_used(store: ConvexStore) -> None:
    try:
        if any(store.facts().rows.values()):
            raise LedgerNotEmpty("the deployment holds a ledger with rows, which the suite would drop; use another one")
    except LedgerNotFound:
        pass
    store.upkeep().wipe()


def _run_suite(url: str, place: str, only: str | None) -> int:
    """Return pytest's exit code for the tests whose ledger has a place; those of one ledger have the first."""
    from callfare.store.convex_files import suite_folder

    folder = suite_folder()
    paths = (
        ["conformance", "scenarios", "property/test_ledgers.py"] if place == "0" else ["conformance/test_filling.py"]
    )
    words = f"deployed and ({only})" if only else "deployed"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--all"]
    command += ["-k", words, "--rootdir", str(folder.parent), *(str(folder / path) for path in paths)]
    environment = os.environ | {
        "CALLFARE_CONFORMANCE_URL": url,
        "CALLFARE_CONFORMANCE_PLACE": place,
        "PYTHONPATH": str(folder.parent),
    }
    code = subprocess.run(command, env=environment, check=False, stdout=sys.stderr).returncode  # noqa: S603 - our own tests
    nothing_to_run = 5
    return 0 if code == nothing_to_run and place != "0" else code
