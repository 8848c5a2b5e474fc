"""The demo on Convex says what it says on a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.demo.masked import masked
from tests.demo.starting import DEMO, bare_environment

GOLDEN = Path(__file__).parents[1] / "demo" / "once.jsonl"
pytestmark = pytest.mark.all


def test_the_demo_tells_the_same_story_on_convex_and_never_its_secret(bridge, tmp_path):
    address = bridge.new_ledger()
    done = subprocess.run(
        [*DEMO, "--once", "--json", "--db", address],
        env=bare_environment(TMPDIR=str(tmp_path), XDG_STATE_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    # A refusal names the file it can be granted in, and no server's address.
    told = GOLDEN.read_text(encoding="utf-8").replace("callfare --db … grant user_456", "callfare grant user_456")
    assert masked(done.stdout.splitlines()) == told.splitlines()
    assert address.partition("://:")[2].partition("@")[0] not in done.stdout
