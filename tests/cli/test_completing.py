"""Completion, as a real shell asks for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminals import SCRIPT

_ASK = """
eval "$(callfare completion bash)"
COMP_WORDS=({words}); COMP_CWORD={last}
_callfare_completion callfare
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(folder, *words):
    """The words that bash offers for the last of some words."""
    quoted = " ".join(f"'{word}'" for word in ("callfare", *words))
    path = {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}"}
    ask = _ASK.format(words=quoted, last=len(words))
    done = subprocess.run(
        ["bash", "-c", ask], cwd=folder, env=os.environ | path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("bal",), ["balance"]),
        (("pr",), ["price", "prices", "prune-raw"]),
        (("export", "--re"), ["--resume"]),
        (("usage", "alice", "--p"), ["--period"]),
        (("balance", "--js"), ["--json"]),
        (("demo", "x"), []),
    ],
)
def test_bash_is_offered_what_goes_on(folder, words, offered):
    assert completed(folder, *words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(cli, shell):
    assert "_CALLFARE_COMPLETE" in cli.text("completion", shell)
    assert cli.json("completion", shell)["shell"] == shell


def test_another_shell_is_refused(cli):
    assert cli.error("completion", "tcsh", exit_code=2)["param"] == "shell"
