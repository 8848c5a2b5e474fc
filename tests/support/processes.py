"""Other processes for tests of faults: each runs one function of a module under tests/, and speaks in lines of text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Return an environment in which another Python finds the tests, and callfare where this one found it."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def start(module: str, function: str, *arguments: object) -> subprocess.Popen[str]:
    """Start `function(*arguments)` of a module in another process, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.call", module, function, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: int = 150) -> list[str]:
    """Return the lines a process said, once it has ended well."""
    try:
        said, complaints = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complaints = process.communicate()
        raise AssertionError(f"it hung after saying {said!r}: {complaints}") from None
    assert process.returncode == 0, complaints
    return said.splitlines()


def call(module: str, function: str, *arguments: object, timeout_s: int = 150) -> list[str]:
    """Return the lines that a function says in another process."""
    return finish(start(module, function, *arguments), timeout_s)
