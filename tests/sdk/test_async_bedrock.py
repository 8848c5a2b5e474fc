"""Amazon Bedrock through aiobotocore, in an environment of its own: aiohttp beside it changes what other SDKs use."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from callfare.devtools.fake_bedrock import FakeBedrock

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-assistants" / "bin" / "python"
SCRIPT = Path(__file__).parent / "foreign" / "async_bedrock.py"


def test_calls_of_the_async_client_are_charged_as_those_of_the_other(tmp_path):
    if not PYTHON.exists():
        pytest.skip("aiobotocore is not installed: ./run test --all does it")

    with FakeBedrock() as server:
        done = subprocess.run(
            [PYTHON, SCRIPT, server.base_url],
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        count = server.count

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # 5 at $3.30 and 57 at $16.50 a million, for each that was read to its end or to the end of its message.
    assert told["calls"][:5] == [["priced", 57, "0.000957", []]] * 5
    [[status, written, _, flags]] = told["calls"][5:]
    assert (status, written < 57, flags) == ("priced", True, ["estimated"])
    assert told["seen"] == {"reply": 57, "events": 46, "body": 57, "pieces": told["seen"]["pieces"], "chunks": 48}
    assert (told["refused"], count) == ("insufficient_credit", 6)
