"""Writers killed by kill -9 at random moments: what was answered is there, once; the same key gets the first answer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support.processes import call

# CALLFARE_KILLS=10000 is the long run.
KILLS = int(os.environ.get("CALLFARE_KILLS", "100"))


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    """A folder on a disk, where most kills hit before the commit, and one in memory, where most hit after it."""
    fast = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    if request.param == "disk" or not fast.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=fast) as made:
        yield Path(made)


def test_what_was_answered_survives_kill_9_and_happens_once(folder, seed):
    summary, *found = call(
        "tests.faults.crashing", "kill_writers", folder / "callfare.db", KILLS // 2, seed, timeout_s=60 + KILLS
    )

    print(summary)
    assert found in ([], [""])
    assert summary.startswith(f"{KILLS // 2} kills")
    assert summary.endswith(" 0 faults")
