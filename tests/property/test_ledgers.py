"""Random commands: every store agrees with memory, and the books balance after each of them."""

from __future__ import annotations

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.property.ledgers import SEED, Ledgers, effort


def test_credits_are_conserved_after_any_commands():
    print(f"CALLFARE_SEED={SEED}")

    run_state_machine_as_test(seed(SEED)(Ledgers), settings=effort(60))
