"""`callfare spool`: what waits, what was refused, and having it delivered by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callfare import Callfare

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


@pytest.fixture
def waiting(folder, clock) -> Path:
    """callfare.db, with two calls of four cents each and one that contradicts a key left in its spool."""
    path = folder / "callfare.db"
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        fare.grant("alice", 100, key="k")
        fare.record(**IMAGE, user="alice", key="taken")
        path.rename(folder / "elsewhere.db")
        fare.record(**IMAGE, user="alice", key="one")
        fare.record(**IMAGE, user="alice", key="two")
        fare.record("gpt-5-mini", {"input_tokens": 1000}, user="alice", key="taken")
        (folder / "elsewhere.db").rename(path)
        # As a process would that was killed: nothing more is delivered.
        fare._engine.delivery._is_closed = True
        fare._engine.delivery._wake.ring()
    return path


def test_it_shows_what_waits_since_when_and_at_what_cost(cli, waiting):
    said = cli.text("spool")

    assert said.splitlines() == [
        f"3 calls waiting in {waiting}.spool",
        "  oldest  2026-03-02 12:00:00",
        "  cost    $0.08",
        "next: callfare spool drain",
    ]
    found = cli.json("spool")
    assert (found["waiting"], found["cost"], found["oldest_at"]) == (3, "0.08015", "2026-03-02T12:00:00Z")
    assert found["refused"] == []


def test_draining_delivers_and_keeps_what_is_refused(cli, waiting):
    result = cli("spool", "drain")

    assert result.exit_code == 0
    assert result.stdout == "2 calls delivered\n1 refused by the ledger; see callfare spool\n"
    assert "nothing waits in" in cli.text("spool")
    shown = cli.text("spool")
    assert "1 call refused by the ledger\n" in shown
    assert "usage taken: key_conflict: key 'taken' was used before" in shown
    assert shown.endswith("next: remove the reason, then callfare spool drain --refused\n")
    assert cli.json("balance", "alice")["available"] == "88"
    assert cli.json("spool", "drain", "--refused") == {"delivered": 0, "refused": 1, "waiting": 0}


def test_nothing_to_show_is_said(cli, folder):
    assert cli.text("spool") == f"nothing waits in {folder}/callfare.db.spool\n"
    assert cli.text("spool", "--db", "memory://") == "this ledger has no spool\n"
    assert cli.json("spool", "drain") == {"delivered": 0, "refused": 0, "waiting": 0}
    assert not (folder / "callfare.db.spool").exists()


def test_another_action_is_bad_input(cli):
    assert cli.error("spool", "flush", exit_code=2)["message"] == "action must be one of show, drain"


def test_draining_without_the_ledger_says_that_it_is_away(cli, waiting):
    waiting.rename(waiting.with_name("elsewhere.db"))

    error = cli.error("spool", "drain", exit_code=6)

    assert error["code"] == "ledger_unavailable"
    assert cli.json("spool")["waiting"] == 3


def test_the_doctor_tells_what_waits_and_what_was_refused(cli, waiting):
    before = {one["check"]: one for one in cli.json("doctor")["findings"]}["spool"]
    cli("spool", "drain")
    after = {one["check"]: one for one in cli.json("doctor")["findings"]}["spool"]

    assert (before["status"], before["figures"]["waiting"]) == ("warn", 3)
    assert before["message"] == f"3 calls of $0.08015 waiting in {waiting}.spool"
    assert (after["status"], after["figures"]["refused"]) == ("warn", 1)
    assert after["message"].startswith("1 call refused when delivered")


def test_a_spool_of_another_ledger_is_refused_with_the_way_out(cli, waiting, folder):
    (folder / "callfare.db.spool").rename(folder / "other.db.spool")

    error = cli.error("balance", "alice", "--db", "sqlite:///other.db", exit_code=7)

    assert error["code"] == "misconfigured"
    assert "holds calls for callfare.db, and this ledger is other.db" in error["message"]


def test_the_folder_can_be_named_in_the_environment(cli, waiting, folder):
    found = cli("--json", "spool", env={"CALLFARE_SPOOL_DIR": str(folder / "spools")})

    assert json.loads(found.stdout)["folder"].startswith(f"{folder}/spools/")
