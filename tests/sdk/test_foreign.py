"""SDKs that need aiohttp, in an environment of their own: beside it other SDKs use other connections.

Amazon Bedrock through aiobotocore, Fireworks, and xAI, whose tests run there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from callfare.devtools.fake_bedrock import FakeBedrock
from callfare.devtools.fake_siblings import FakeTogether

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-assistants" / "bin" / "python"
FOREIGN = Path(__file__).parent / "foreign"


def done_there(*command, folder):
    """Return what a command of that environment's Python prints."""
    if not PYTHON.exists():
        pytest.skip("these SDKs are not installed: ./run test --all does it")
    done = subprocess.run(
        [PYTHON, *command],
        cwd=folder,
        env=os.environ | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told_by(script, address, folder):
    """Return what a script prints that calls a stand-in."""
    return json.loads(done_there(FOREIGN / script, address, folder=folder))


def test_calls_of_xai_are_charged_as_it_says():
    # What stands above them needs SDKs that are not there.
    alone = [f"--confcutdir={FOREIGN}", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-q"]

    files = [FOREIGN / f"xai_{name}.py" for name in ("calls", "streams", "batches", "requests")]
    files.append(FOREIGN / "fireworks_requests.py")
    told = done_there("-m", "pytest", "-p", "tests.sdk.foreign.xai_kinds", *files, *alone, folder=ROOT)

    assert re.search(r"^\d+ passed in", told, re.MULTILINE)


def test_calls_of_fireworks_are_charged_at_its_prices(tmp_path):
    with FakeTogether() as server:
        told = told_by("fireworks_calls.py", server.base_url, tmp_path)

    # 4 at $0.15, one cached at $0.015, and 57 at $0.60 a million.
    assert told == [["fireworks", "priced", "0.000034815", []]] * 4


def test_calls_of_the_async_client_are_charged_as_those_of_the_other(tmp_path):
    with FakeBedrock() as server:
        told = told_by("async_bedrock.py", server.base_url, tmp_path)
        count = server.count

    # 5 at $3.30 and 57 at $16.50 a million, for each that was read to its end or to the end of its message.
    assert told["calls"][:5] == [["priced", 57, "0.000957", []]] * 5
    [[status, written, _, flags]] = told["calls"][5:]
    assert (status, written < 57, flags) == ("priced", True, ["estimated"])
    assert told["seen"] == {"reply": 57, "events": 46, "body": 57, "pieces": told["seen"]["pieces"], "chunks": 48}
    assert (told["refused"], count) == ("insufficient_credit", 6)
