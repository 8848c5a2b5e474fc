"""An exception from a signal at any moment of a write, as a soft time limit has it: the next write goes on."""

from __future__ import annotations

import pytest

from tests.support.fixtures import address, give_back
from tests.support.processes import call


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The address of an empty ledger."""
    yield address(request.param, tmp_path)
    give_back(tmp_path)


def test_a_write_that_a_signal_interrupts_leaves_the_next_one_free(url, tmp_path):
    assert call("tests.faults.signalling", "interrupt_writes", url, tmp_path / "spool") == ["priced", "True"]
