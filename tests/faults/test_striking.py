"""What a signal's handler or a collection may do at any line of what its thread is doing: nothing of it hangs."""

from __future__ import annotations

import pytest

from tests.support.fixtures import address, give_back
from tests.support.processes import call

ACTORS = "tests.faults.striking"


@pytest.fixture(params=[61, pytest.param(3, marks=pytest.mark.all)])
def step(request):
    """How many lines lie between two places that are struck."""
    return request.param


def lines(function, *arguments):
    """Return over how many lines strikes were spread; what hung says something else."""
    [said] = call(ACTORS, function, *arguments, timeout_s=200)
    return int(said)


def test_a_call_that_is_kept_may_be_interrupted_by_another(tmp_path, step):
    assert lines("keep", tmp_path, step) > 300


def test_a_lock_that_its_own_holder_waits_for_is_seen(tmp_path):
    assert call(ACTORS, "keep_with_a_lock_that_is_held_once", tmp_path) == ["hangs"]


def test_a_delivery_may_be_interrupted_by_a_call(tmp_path, step):
    assert lines("deliver", tmp_path, step) > 300


def test_a_call_to_a_server_may_be_interrupted_by_another(tmp_path, step):
    assert lines("ask_a_server", tmp_path, step) > 300


def test_a_read_from_postgresql_may_be_interrupted_by_another(tmp_path, step):
    url = address("postgres", tmp_path)

    assert lines("read_from_postgres", url, step) > 50
    give_back(tmp_path)
