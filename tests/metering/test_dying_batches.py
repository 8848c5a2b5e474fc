"""A process that dies while it makes or reads a batch: what it was told holds, and what is held for nothing expires."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare, Credits
from callfare.clock import ManualClock, SystemClock, moment_of
from callfare.devtools.fake_openai import FakeOpenAI
from tests.support.processes import start

LEFT = Credits("9.9951395")
HOUR_US = 3600 * 1_000_000
# A batch is bound by the second write: after that it is known, and its hold waits for a week.
BOUND_STEP = 3


def lived(folder: Path, fake: FakeOpenAI, step: int, plant: str = "none") -> tuple[str, list[str]]:
    """Return the address of a ledger on which a process has lived until a step, and what it said."""
    url = f"sqlite:///{folder}/{step}.db"
    with Callfare(url) as fare:
        fare.grant("alice", 10, key="k")
    process = start("tests.metering.dying", "live", url, fake.base_url, step, plant)
    said, complaints = process.communicate(timeout=120)
    assert process.returncode in {0, 9}, complaints
    return url, said.split()


def faults_after(url: str, fake: FakeOpenAI, said: list[str], *, hours: int) -> list[str]:
    """Return what is wrong once somebody else has read all that was told of, and so many hours later; nothing is."""
    found: list[str] = []
    told = dict(zip(said[::2], said[1::2], strict=False))
    with Callfare(url) as fare, OpenAI(base_url=fake.base_url, api_key="none") as bare:
        reader = fare.wrap(bare, user="bob")
        if "made" in told:
            for _ in range(2):
                output = reader.batches.retrieve(told["made"]).output_file_id
            reader.files.content(output)
            alice = fare.balance("alice")
            if (alice.available, alice.held, fare.usage("bob").calls) != (LEFT, Credits(0), 0):
                found.append(f"a batch that its maker knew of: {alice}, and bob had {fare.usage('bob').calls} calls")
        found += [] if fare.verify().is_clean else ["the books are wrong"]
    later_us = SystemClock().now_us() + hours * HOUR_US
    with Callfare(url, clock=ManualClock(moment_of(later_us))) as later:
        held = later.balance("alice").held
        if held:
            found.append(f"{held} are held for too long")
    return found


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_process_that_dies_around_the_making_of_a_batch_leaves_no_hold_for_long(
    tmp_path: Path, fake: FakeOpenAI, step: int
):
    url, said = lived(tmp_path, fake, step)

    assert said == []
    assert faults_after(url, fake, said, hours=2 if step < BOUND_STEP else 8 * 24) == []
    assert fake.counts["POST /v1/batches"] == (step > 1)


@pytest.mark.all
def test_a_batch_of_a_process_that_dies_is_its_makers_or_holds_nothing_for_long(tmp_path: Path, fake: FakeOpenAI):
    steps = 0
    while True:
        url, said = lived(tmp_path, fake, steps)
        assert faults_after(url, fake, said, hours=2 if steps < BOUND_STEP else 8 * 24) == [], steps
        if said[-1:] == ["survived"]:
            break
        steps += 1

    # To open and to bind; to name its file; to claim, to record two lines and to end: before and after each.
    assert steps == 14


def test_the_sweep_sees_a_batch_that_its_maker_knew_of_before_the_ledger_did(tmp_path: Path, fake: FakeOpenAI):
    url, said = lived(tmp_path, fake, 2, "answer before binding")

    assert faults_after(url, fake, said, hours=2)[0].startswith("a batch that its maker knew of")
