"""Random commands: every store agrees with memory, and the books balance after each of them."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.property.ledgers import Ledgers, effort
from tests.support import seeds
from tests.support.fixtures import DEPLOYED

LONG = pytest.param("postgres", 60, marks=pytest.mark.all)
CONVEX = pytest.param("convex", 8, marks=pytest.mark.all)
KINDS = [("deployed", 8)] if DEPLOYED else [("sqlite", 60), ("postgres", 8), LONG, CONVEX]


@pytest.mark.parametrize(("kind", "examples"), KINDS)
def test_credits_are_conserved_after_any_commands(kind, examples):
    run_state_machine_as_test(seed(seeds.chosen)(partial(Ledgers, kind)), settings=effort(examples))
