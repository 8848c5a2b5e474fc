"""Killed at every step of keeping and delivering: what was acknowledged is in the ledger once, after the next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import call


def sweep(folder: Path, plant: str = "none", first: int = 0) -> tuple[int, list[str]]:
    """Return how many steps a life has, and what was wrong after dying at each from the first one on."""
    number, *found = call("tests.spool.crashing", "die_at_every_step", folder, plant, first, timeout_s=200)
    return int(number), [fault for fault in found if fault]


def test_killed_at_every_step_nothing_is_lost_and_nothing_doubled(tmp_path):
    steps, found = sweep(tmp_path)

    assert found == []
    assert steps > 30


@pytest.mark.parametrize(
    ("plant", "first", "seen"),
    [
        ("remove_before_delivering", 20, "was acknowledged and is lost"),
        ("drop_keys", 20, "is there 2 times"),
        ("acknowledge_before_writing", 0, "was acknowledged and is lost"),
    ],
)
def test_the_sweep_sees_a_planted_bug(tmp_path, plant, first, seen):
    _, found = sweep(tmp_path, plant, first)

    assert any(seen in fault for fault in found)
