"""The failures that others have reported, and the tests that show they do not happen here: README.md has the table."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from tests.truth import anthropic_replies
from tests.truth.test_truth import rating_of, reading_of

TESTS = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
TABLE = {
    int(number): re.findall(r"`(\w+)`", named) for number, named in ROW.findall((TESTS / "truth/README.md").read_text())
}


@pytest.fixture(scope="module")
def defined():
    """The names of all tests there are."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    return {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}


def test_every_failure_has_a_row():
    assert list(TABLE) == list(range(1, 47))


@pytest.mark.parametrize("number", TABLE)
def test_every_failure_has_a_test_that_exists(number, defined):
    assert TABLE[number]
    assert set(TABLE[number]) <= defined


def test_a_test_that_is_gone_would_be_missed(defined):
    assert "test_that_was_removed" not in defined


def test_a_cache_within_a_batch_costs_half_of_its_own_rate():
    plain, batch = anthropic_replies.CASES[:2]

    costs = [Fraction(rating_of(case, reading_of(case, case.replies[0])).picousd, 10**12) for case in (plain, batch)]

    # 3 at $3, 2,000 at $0.30, 1,000 at $3.75, 500 at $6 and 100 at $15 a million.
    assert costs == [Fraction("0.008859"), Fraction("0.0044295")]
