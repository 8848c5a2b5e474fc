"""A store that is in use when its process forks: parent and child both go on, and neither loses what was answered."""

from __future__ import annotations

from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.processes import call

ACTORS = "tests.faults.forking"


def test_a_child_keeps_its_writes_when_its_parent_closes_the_ledger(tmp_path):
    said = call(ACTORS, "parent_closes_before_its_child", tmp_path / "callfare.db")

    assert said == ["child after", "child before", "parent"]


def test_children_of_a_busy_parent_write_without_hanging(tmp_path):
    said = call(ACTORS, "many_children_of_a_busy_parent", tmp_path / "callfare.db")

    assert said == ["20", "20"]
    assert faults(SqliteStore(str(tmp_path / "callfare.db"))) == []


def test_a_child_may_fork_again(tmp_path):
    said = call(ACTORS, "children_of_a_child", tmp_path / "callfare.db")

    assert said == ["child", "grandchild", "parent"]


def test_threads_of_a_child_share_an_inherited_committer(tmp_path):
    said = call(ACTORS, "children_that_share_a_committer", tmp_path / "callfare.db")

    assert said == ["9"]


def test_a_child_needs_no_lock_that_a_thread_of_its_parent_held(tmp_path):
    said = call(ACTORS, "forked_while_a_thread_holds_every_lock", tmp_path / "callfare.db")

    assert said == ["child 2", "child", "child again"]


def test_children_inherit_a_whole_ledger_in_memory(tmp_path):
    said = call(ACTORS, "forked_while_memory_is_written", tmp_path)

    assert said == [f"20 {tmp_path}"]


def test_a_fork_that_python_does_not_know_of_is_refused_with_the_reason(tmp_path):
    (said,) = call(ACTORS, "forked_behind_pythons_back", tmp_path / "callfare.db")

    assert said.startswith("misconfigured: this process was forked")


def test_a_fork_in_the_middle_of_a_long_read_is_refused_to_the_child_and_harmless_to_the_parent(tmp_path):
    refused, *counted = call(ACTORS, "forked_in_the_middle_of_a_long_read", tmp_path / "callfare.db")

    assert refused.startswith("misconfigured: this process was forked")
    assert counted == ["1", "2"]
