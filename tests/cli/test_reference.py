"""docs/reference/cli.md says what --help says: every command, every option and operand, every exit code, no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from callfare.cli import app, exits
from callfare.clock import SystemClock
from callfare.engine.doctor import examine
from callfare.facade import open_engine

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
ROOT = typer.main.get_command(app)
SHARED = {"db", "server", "key_file", "json", "book", "no_seed_prices", "markup"}
SHOWN = {name: command for name, command in ROOT.commands.items() if not command.hidden}


def sections():
    """Each command's section of the page, by the command's name."""
    parts = re.split(
        r"^### `callfare ([\w-]+)(.*)`$", re.split(r"^## Writing$", PAGE, flags=re.MULTILINE)[1], flags=re.MULTILINE
    )
    return {name: (operands, text) for name, operands, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}


def row_of(parameter):
    """The row of an option or an operand as the page must have it."""
    name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[-1]
    metavar = f" {parameter.metavar}" if parameter.param_type_name == "option" and parameter.metavar else ""
    return f"| `{name}{metavar}` | {parameter.help} |"


def test_the_page_has_a_section_for_every_command_and_no_other():
    assert set(sections()) == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_section_says_what_its_help_says(name):
    command = SHOWN[name]
    own = [parameter for parameter in command.params if parameter.name not in SHARED]

    operands, text = sections()[name]

    first = command.help.splitlines()[0]
    assert f"\n{first}\n" in text or f"\n{first} " in text
    assert operands.split() == [parameter.metavar for parameter in own if parameter.param_type_name == "argument"]
    rows = [row for row in re.findall(r"^\| `.*$", text, flags=re.MULTILINE) if name != "doctor"]
    assert rows == [row_of(parameter) for parameter in own]


def test_the_options_of_every_command_are_told_once():
    for command in SHOWN.values():
        shared = [row_of(parameter) for parameter in command.params if parameter.name in SHARED]
        assert "\n".join(shared) in PAGE.split("## Writing")[0]
        assert len(shared) == len(SHARED)


def test_the_page_has_every_exit_code():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, flags=re.MULTILINE)

    assert {int(code): meaning for code, meaning in rows} == exits.MEANINGS


def test_the_page_names_every_finding_of_the_doctor(tmp_path):
    engine = open_engine(
        f"sqlite:///{tmp_path}/x.db", (), seed_prices=True, markup=1, require_user=False, clock=SystemClock()
    )
    engine.store.create()

    findings = examine(engine)
    engine.close()

    named = re.findall(r"^\| `(\w+)` \|", sections()["doctor"][1], flags=re.MULTILINE)
    assert named == [finding.check for finding in findings]
