"""Processes and disks that fail during an outage: killed in the middle, sharing a spool, locked out, without space."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callfare import Callfare, Credits, LedgerUnavailable
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.store import sqlite_file
from tests.spool.away import Away, MovedFile
from tests.support.processes import finish, start

ACTORS = "tests.spool.crashing"
IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


def begin(process: subprocess.Popen[str]) -> None:
    """Have a process go on."""
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


def is_clean(away: Away) -> bool:
    """Tell whether the books are sound, recomputed where the ledger is."""
    with Callfare(away.ledger) as here:
        return here.verify().is_clean


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_killed_during_an_outage_loses_no_call_of_the_sdk(away: Away, fake: FakeOpenAI) -> None:
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
    process = start(ACTORS, "die_in_the_middle_of_an_outage", away.url, fake.base_url)
    assert heard(process) == "open"
    away.begin()
    begin(process)
    assert [heard(process) for _ in range(5)] == ["called"] * 5

    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    away.end()

    called = 5 + said.count("called")
    with Callfare(away.url) as fare:
        fare.drain_spool()
        calls = fare.calls("r").items
        assert called <= len(calls) <= fake.count
        assert len({call.response_id or call.id for call in calls}) == len(calls)
        assert fare.balance("alice").spent == Credits(4 * len(calls))
        assert is_clean(away)
        assert fare.spool().waiting == 0


def test_the_calls_of_many_dead_processes_are_delivered_by_one_that_lives(tmp_path: Path) -> None:
    away = MovedFile(tmp_path / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 400, key="k")
        processes = [start("tests.spool.keeping", "record_and_wait", away.url, name) for name in range(4)]
        assert [heard(process) for process in processes] == ["ready"] * 4
        away.begin()
        for process in processes:
            begin(process)
        assert [heard(process) for process in processes] == ["10 kept"] * 4
        while_they_live = fare.spool().waiting
        for process in processes[:3]:
            process.kill()
            process.communicate()
        away.end()

        fare.drain_spool()
        # The one that lives delivers its own, and may have been the first to take what a dead one left.
        begin(processes[3])
        finish(processes[3])

        assert while_they_live == 40
        assert fare.spool().waiting == 0
        assert fare.balance("alice").available == Credits(240)
        assert is_clean(away)


def test_two_processes_that_start_at_once_do_not_deliver_the_same_file(tmp_path: Path) -> None:
    away = MovedFile(tmp_path / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 400, key="k")
        away.begin()
        for number in range(50):
            fare.record(**IMAGE, user="alice", key=str(number))
    away.end()

    drains = [start("tests.spool.keeping", "drain", away.url) for _ in range(2)]
    assert [heard(process) for process in drains] == ["ready"] * 2
    for process in drains:
        begin(process)
    delivered = [int(finish(process)[0]) for process in drains]

    assert sum(delivered) == 50
    with Callfare(away.url) as fare:
        assert fare.balance("alice").available == Credits(200)


def test_a_child_forked_during_an_outage_keeps_its_own_calls(tmp_path: Path) -> None:
    assert finish(start("tests.spool.keeping", "fork_during_an_outage", tmp_path)) == ["child 2", "parent 2", "88"]


def test_a_file_that_another_process_holds_on_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_BUSY_TIMEOUT_MS", 50)
    path = tmp_path / "ledger.db"
    with Callfare(f"sqlite:///{path}") as fare:
        fare.grant("alice", 100, key="k")
        fare._engine.store.close()
        other = start("tests.faults.filing", "hold_the_write_lock", path)
        assert heard(other) == "locked"

        charge = fare.record(**IMAGE, user="alice")

        begin(other)
        finish(other)
        fare.drain_spool()
        assert charge.is_spooled
        assert fare.balance("alice").available == Credits(96)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(fare: Callfare, *, until_spooled: bool) -> None:
    """Record large calls, at most a thousand."""
    for _ in range(1000):
        charge = fare.record(**IMAGE, user="alice", metadata={"note": "x" * 16_000})
        if until_spooled and charge.is_spooled:
            return


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_ledger_on_a_full_disk_is_spooled_for_on_another(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None
) -> None:
    monkeypatch.setenv("CALLFARE_SPOOL_DIR", str(tmp_path / "spools"))
    (disk / "ballast").write_bytes(b"\0" * 1_000_000)
    with Callfare(f"sqlite:///{disk}/ledger.db") as fare:
        fare.grant("alice", 10_000, key="k")

        fill(fare, until_spooled=True)
        kept = fare.spool().waiting
        (disk / "ballast").unlink()
        done = fare.drain_spool()

        assert (kept, done.delivered, done.refused) == (1, 1, 0)
        assert fare.verify().is_clean


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_for_both_says_the_whole_call_and_recovers(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    (disk / "ballast").write_bytes(b"\0" * 1_000_000)
    with Callfare(f"sqlite:///{disk}/ledger.db") as fare:
        fare.grant("alice", 10_000, key="k")

        with pytest.raises(LedgerUnavailable):
            fill(fare, until_spooled=False)
        assert '"metadata":"{\\"note\\":\\"xxxx' in caplog.text
        kept = fare.spool().waiting
        (disk / "ballast").unlink()
        done = fare.drain_spool()

        assert done.delivered <= kept
        assert fare.record(**IMAGE, user="alice").is_spooled is False
        assert fare.verify().is_clean
