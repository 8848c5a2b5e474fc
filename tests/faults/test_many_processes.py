"""Many processes at once, and some of them killed: what is answered is there, once, and nothing else is."""

from __future__ import annotations

import pytest

from tests.faults.fleet import run


@pytest.mark.parametrize("users", [1, 6], ids=["one account", "many accounts"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_sixteen_processes_write_one_ledger(new_traffic, kind, users, rounds):
    traffic = new_traffic(kind, users=users, batches=10 * rounds)

    verdict = run(traffic)

    assert verdict.faults == []
    assert verdict.answered > 300
    assert verdict.reads > 10


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_writers_are_killed_and_others_take_over(new_traffic, kind, rounds):
    traffic = new_traffic(kind, writers=6, users=3, batches=10**6, kills=40 * rounds)

    verdict = run(traffic)

    assert verdict.faults == []
    assert verdict.kills == 40 * rounds
