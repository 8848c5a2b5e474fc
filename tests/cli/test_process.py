"""The console script as a process: in pipes, on terminals, and how soon and how quietly it is done."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from callfare import Callfare
from tests.cli.terminals import SCRIPT

COMMANDS = (
    "init", "grant", "balance", "usage", "history", "calls", "transactions", "estimate", "packages", "price", "explain",
    "reprice", "verify", "doctor", "serve", "mcp", "config", "migrate", "backup", "restore", "export", "prune-raw",
)  # fmt: skip
IMAGE = {"images": 4, "input_tokens": 1200, "output_tokens": 3168, "output_image_tokens": 3168}
# What only some commands need; --help must not wait for any of it.
LATE = {
    "callfare.cli.charge_story", "callfare.devtools", "callfare.engine.doctor", "callfare.mcp", "callfare.server",
    "fastapi", "genai_prices", "httpx", "httpx2",
    "importlib.metadata", "markdown_it", "mcp", "openai", "pydantic", "pygments", "rich", "starlette",
}  # fmt: skip


def test_the_console_script_answers(script):
    made = script.run("grant", "alice", "2000", "--key", "welcome")
    asked = script.run("balance", "alice", "--json")

    assert (made.returncode, asked.returncode) == (0, 0)
    assert json.loads(asked.stdout)["available"] == "2000"
    assert asked.stderr == ""


def test_python_m_callfare_is_the_same(folder):
    done = subprocess.run(
        [sys.executable, "-m", "callfare", "--version"], cwd=folder, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("callfare 0.")


def test_a_refusal_ends_with_its_code_and_no_traceback(script, folder):
    refused = script.run("balance", "alice")

    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith(f"error: there is no ledger at {folder}/callfare.db; ")
    assert refused.stderr.count("\n") == 1


def test_bytes_that_are_no_text_are_refused_and_not_a_crash(folder):
    done = subprocess.run([SCRIPT, "balance", b"a\xff"], cwd=folder, capture_output=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith(b"error: user holds ")


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS)], ids=lambda words: words and words[0])
def test_help_tells_the_command_and_imports_nothing_it_does_not_need(words):
    program = (
        "import sys\n"
        "from callfare.cli import main\n"
        f"sys.argv = ['callfare', *{words!r}, '--help']\n"
        "try:\n    main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("Usage: callfare ")
    assert LATE & set(done.stderr.splitlines()) == set()


@pytest.mark.usefixtures("written")
def test_a_pipe_gets_bare_lines(script):
    said = script.run("calls", "story-1", FORCE_COLOR="1").stdout

    assert "\x1b" not in said
    assert "─" not in said
    assert len(said.splitlines()) == 4


@pytest.mark.usefixtures("written")
def test_a_terminal_gets_rules_and_bars_and_styles(script):
    said, code = script.on_terminal("usage", "alice", "--since", "2026-03-01", "--until", "2026-04-01")

    assert code == 0
    assert "\x1b[1mworkflow  calls  credits   cost  besides" in said
    assert "2026-03-02      3    32.04  $0.32  + 1 unpriced  ████████████████████████" in said


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_whose_user_wants_no_colour_gets_none(script, environment):
    said, _ = script.on_terminal("doctor", **environment)

    assert not re.search(r"\x1b\[[0-9;]*m", said)
    assert "warn  unattributed" in said


@pytest.mark.usefixtures("written")
def test_a_narrow_terminal_wraps_and_keeps_ids_whole(script, written):
    said, _ = script.on_terminal("calls", "story-1", columns=60, NO_COLOR="1")

    assert f"\n  {written['first']}\n" in said
    assert "\n  1,200 input_tokens, of which 800 cached_input_tokens;\n  345 output_tokens\n" in said


@pytest.mark.parametrize("columns", [80, 120])
def test_no_table_is_wider_than_its_terminal_and_no_unit_is_torn(script, folder, columns):
    with Callfare("sqlite:///callfare.db") as fare:
        fare.grant("alice", 500, key="g")
        with fare.run("carousel", user="alice") as run:
            run.record("gpt-image-1", IMAGE, attributes={"size": "1024x1024"}, step="outline-of-the-story")
            run.record("model-9", {"input_tokens": 7})
        fare.open_run("carousel", user="alice")

    for words in (("usage", "alice"), ("history", "alice"), ("calls", run.id), ("transactions", "alice")):
        said, code = script.on_terminal(*words, columns=columns, NO_COLOR="1")

        assert code == 0
        assert max(map(len, said.splitlines())) <= columns, said
        assert "3,168 output_image_tokens" in said or words[0] not in {"usage", "calls"}
        assert "unpriced" in said or words[0] == "transactions"


@pytest.mark.usefixtures("written")
def test_a_terminal_without_utf_8_gets_what_it_can_show(script):
    said, code = script.on_terminal("usage", "bob", "--since", "2026-02-01", PYTHONIOENCODING="ascii")

    assert code == 0
    assert said.isascii()
    assert "########################" in said


@pytest.mark.usefixtures("written")
def test_verify_shows_its_progress_on_a_terminal_and_in_no_pipe(script):
    on_terminal, code = script.on_terminal("verify")
    piped = script.run("verify")

    assert code == piped.returncode == 0
    assert "verifying" in on_terminal
    assert "the ledger is sound" in on_terminal
    assert piped.stderr == ""


@pytest.mark.usefixtures("written")
def test_json_is_the_same_on_a_terminal_and_in_a_pipe(script):
    on_terminal, _ = script.on_terminal("balance", "alice", "--json")

    assert on_terminal == script.run("balance", "alice", "--json").stdout


def test_a_reader_that_went_away_ends_the_command_quietly(folder):
    theirs, ours = os.pipe()
    os.close(theirs)

    done = subprocess.run([SCRIPT, "packages"], cwd=folder, stdout=ours, stderr=subprocess.PIPE, check=False)
    os.close(ours)

    assert (done.returncode, done.stderr) == (141, b"")


def test_help_for_a_reader_that_went_away_is_quiet_too(folder):
    theirs, ours = os.pipe()
    os.close(theirs)

    done = subprocess.run([SCRIPT, "--help"], cwd=folder, stdout=ours, stderr=subprocess.PIPE, check=False)
    os.close(ours)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [("packages",), ("--help",), ("grant", "alice", "5"), ("packages", "--json")])
def test_a_full_disk_is_one_line_and_a_code_of_its_own(folder, words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([SCRIPT, *words], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 74
    assert done.stderr.splitlines()[-1] == (
        "error: the answer could not be written: No space left on device; what the command changed stands"
    )
    assert "Traceback" not in done.stderr


def test_an_error_that_cannot_be_written_keeps_its_code(folder):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [SCRIPT, "balance", "alice"], cwd=folder, stdout=subprocess.PIPE, stderr=full, check=False
        )

    assert (done.returncode, done.stdout) == (4, b"")


def test_a_command_without_a_standard_output_says_so_and_does_nothing(folder):
    done = subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(SCRIPT)} grant alice 5 >&-"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 74
    assert done.stderr.startswith("error: the answer could not be written: ")
    assert list(folder.iterdir()) == []


def test_demo_is_there_and_not_in_the_list(script):
    assert "demo" not in script.run("--help").stdout
    told = script.run("demo", "--help")
    assert told.returncode == 0
    assert "--once" in told.stdout
