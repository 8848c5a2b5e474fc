"""docs/start.md, followed by the letter: each block in its order, against the stand-in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from callfare.devtools.fake_openai import FakeOpenAI

PAGE = Path(__file__).parents[2] / "docs" / "start.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks() -> Iterator[tuple[str, str]]:
    yield from (found.groups() for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8")))


def test_each_block_runs_and_prints_what_the_page_says(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = ""
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        for language, text in blocks():
            if language == "python":
                exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102 - readers run it too
                printed = capsys.readouterr().out
            elif language == "text":
                assert printed == text
            else:
                follow(text)


def follow(commands: str) -> None:
    """Run the lines of a shell block that are callfare's own; the others set up what is set up here."""
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        if program == "callfare":
            start = Path(sys.executable).with_name("callfare")
            done = subprocess.run(
                [start, *arguments], env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_all_of_the_page_is_followed():
    languages = [language for language, _ in blocks()]

    assert languages.count("python") == 7
    assert languages.count("text") == 7
    assert set(languages) == {"sh", "python", "text"}
