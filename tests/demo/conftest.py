from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import pytest

from tests.demo.starting import DEMO, bare_environment


@dataclass(frozen=True)
class Told:
    """One run of the demo with --once --json."""

    lines: list[str]
    events: list[dict]
    errors: str
    exit_code: int

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture(scope="session")
def told(tmp_path_factory) -> Told:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*DEMO, "--once", "--json"],
        env=bare_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    return Told(lines, [json.loads(line) for line in lines], done.stderr, done.returncode)
