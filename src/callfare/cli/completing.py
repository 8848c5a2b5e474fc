"""Completion in a shell: the script that a shell reads, and the words that go on from what was typed."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from callfare.checks import check_choice
from callfare.cli.session import Session

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_CALLFARE_COMPLETE"


def completion(
    session: Session,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Write the script by which a shell completes callfare's commands and options.

    For bash: eval "$(callfare completion bash)", in the shell or in its start-up file.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # there, but not re-exported

    shell = check_choice(shell, "shell", _SHELLS)
    script = get_completion_script(prog_name="callfare", complete_var=_VARIABLE, shell=shell)
    session.answer({"shell": shell, "script": script}, lambda screen: screen.line(script))


def is_asked() -> bool:
    """Return whether a shell asks for words in place of running a command, and be ready to answer it."""
    if _VARIABLE not in os.environ:
        return False
    from typer.completion import completion_init  # type: ignore[attr-defined]  # there, but not re-exported

    completion_init()
    return True
