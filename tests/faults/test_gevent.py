"""gevent: patched before callfare is imported it works; patched later it works or is refused, and never hangs."""

from __future__ import annotations

import importlib.util

import pytest

from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.processes import call

ACTORS = "tests.faults.patching"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")


def test_greenlets_share_one_committer(tmp_path):
    assert call(ACTORS, "patched_first", tmp_path / "callfare.db") == ["100 100"]
    assert faults(SqliteStore(str(tmp_path / "callfare.db"))) == []


def test_patching_too_late_is_refused_with_the_reason(tmp_path):
    (said,) = call(ACTORS, "patched_late", tmp_path / "callfare.db")

    assert said == "misconfigured: gevent patched threads after callfare was imported; call monkey.patch_all() first"


def test_patching_an_open_ledger_is_no_deadlock(tmp_path):
    (said,) = call(ACTORS, "patched_after_opening", tmp_path / "callfare.db")

    assert said in {"written", "misconfigured", "misconfigured written"}
