"""The spool's files: durable before anybody goes on, readable whatever a crash tore, and each one process's own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from callfare import spool as spooling
from callfare import spool_file
from callfare.errors import Misconfigured
from callfare.spool import Spool
from callfare.spool_file import Entry
from callfare.spool_place import Place, place_of
from tests.spool.power import Disk
from tests.support.commands import close, record
from tests.support.processes import finish, start
from tests.support.slow_store import until


def entry(number: int = 1) -> Entry:
    """A call that can be told from others by its key."""
    return Entry(command=record("4", user="alice", key=f"call-{number}"), at_us=number)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "ledger.db.spool", "ledger.db", is_beside=True)


@pytest.fixture
def spool(place: Place) -> Spool:
    return Spool(place)


def keys(spool: Spool) -> list[str]:
    """The keys that wait, as any process sees them."""
    return [waiting.command.key for waiting in spool.waiting()]  # type: ignore[union-attr, misc]


def only_file(spool: Spool) -> Path:
    [path] = spool.folder.glob("spool_*.jsonl")
    return path


# Durable


def test_what_was_kept_survives_power_loss_at_any_moment(spool, tmp_path):
    disk = Disk()

    with disk.watched():
        for number in range(1, 4):
            spool.keep([entry(number)])
            found = disk.after_power_loss(spool.folder, tmp_path / f"after-{number}")

            assert keys(Spool(Place(found, "ledger.db", is_beside=True))) == [
                f"call-{one}" for one in range(1, number + 1)
            ]


@pytest.mark.parametrize("left_out", ["file", "folder"])
def test_the_loss_of_power_shows_an_fsync_that_is_left_out(spool, tmp_path, monkeypatch, left_out):
    disk = Disk()
    if left_out == "folder":
        monkeypatch.setattr(spooling, "sync_folder", lambda _folder: None)
    with disk.watched(), monkeypatch.context() as patched:
        noting = os.fsync
        if left_out == "file":
            patched.setattr(os, "fsync", lambda fd: noting(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else None)
        spool.keep([entry()])

    found = disk.after_power_loss(spool.folder, tmp_path / "after")

    assert keys(Spool(Place(found, "ledger.db", is_beside=True))) == []


def test_only_the_owner_may_read_it(spool):
    spool.keep([entry()])
    spool.refuse([entry()])

    modes = {stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()}
    assert (stat.S_IMODE(spool.folder.stat().st_mode), modes) == (0o700, {0o600})


def test_threads_that_wait_together_share_an_fsync(spool, monkeypatch):
    spool.keep([entry(0)])
    fsync, counted, may_go = os.fsync, [], threading.Event()

    def slow(fd: int) -> None:
        counted.append(fd)
        may_go.wait(60)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    threads = [threading.Thread(target=spool.keep, args=([entry(number)],)) for number in range(1, 41)]
    threads[0].start()
    until(lambda: len(counted) == 1)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(spool._queue) == 39)
    may_go.set()
    for thread in threads:
        thread.join(60)

    assert len(counted) == 2
    assert sorted(keys(spool)) == sorted(f"call-{number}" for number in range(41))


# Torn and damaged


def test_a_torn_last_line_stops_nothing(spool, place, caplog):
    spool.keep([entry(1), entry(2)])
    with only_file(spool).open("ab") as file:
        file.write(b'12345678 {"command":{"type":"Rec')
    spool.close()

    after = Spool(place)
    [file] = after.left_over()

    assert [one.command.key for one in file.entries()] == ["call-1", "call-2"]
    assert file.damaged == 0
    assert "is torn" in caplog.text


def test_a_damaged_line_is_passed_over_and_its_file_is_kept(spool, place):
    spool.keep([entry(1), entry(2), entry(3)])
    path = only_file(spool)
    # Another amount, in the middle of the file: as good JSON as before.
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"nanocredits":4000000000', b'"nanocredits":1000000000')
    spool.close()
    path.write_bytes(b"".join(lines))

    after = Spool(place)
    [file] = after.left_over()
    read = [one.command.key for one in file.entries()]
    after.done(file)

    assert read == ["call-1", "call-3"]
    assert [kept.name for kept in after.damaged()] == [path.with_suffix(".damaged").name]
    assert not path.exists()


def test_the_damage_is_seen_by_the_checksum_alone(spool, monkeypatch):
    monkeypatch.setattr(spool_file, "_text_of", lambda line: line.rstrip(b"\n").partition(b" ")[2])
    spool.keep([entry(1)])
    path = only_file(spool)
    path.write_bytes(path.read_bytes().replace(b'"nanocredits":4000000000', b'"nanocredits":1000000000'))

    [found] = spool.waiting()

    assert found.command.nanocredits == 10**9


def test_a_file_whose_header_is_torn_holds_nothing_and_goes(spool, place):
    spool.keep([entry()])
    path = only_file(spool)
    spool.close()
    path.write_bytes(b'0bad {"led')

    after = Spool(place)
    after.check()
    [file] = after.left_over()
    assert list(file.entries()) == []
    after.done(file)

    assert list(after.folder.iterdir()) == []


def test_lines_of_an_earlier_callfare_can_be_read():
    # Written by the first version that had a spool; whatever commands gain later must have a default.
    path = Path(__file__).with_name("first_version.jsonl")

    found = list(spool_file.SpoolFile(path, -1).entries())

    assert [type(one.command).__name__ for one in found] == [
        "RecordUsage", "AdjustUsage", "PendJob", "SettleJob", "CloseRun",
    ]  # fmt: skip


# Whose


def test_a_spool_of_another_ledger_is_refused(spool, place):
    spool.keep([entry()])

    with pytest.raises(Misconfigured, match=r"holds calls for ledger\.db, and this ledger is other\.db"):
        Spool(place._replace(ledger="other.db")).check()
    Spool(place).check()


def test_a_file_of_a_living_process_is_its_own_and_that_of_a_dead_one_is_anybodys(place):
    process = start("tests.spool.keeping", "keep_and_wait", place.folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "kept\n"
    other = Spool(place)

    assert list(other.left_over()) == []
    assert keys(other) == ["call-1"]
    process.kill()
    process.communicate()

    [file] = other.left_over()
    assert [one.command.key for one in file.entries()] == ["call-1"]
    assert list(Spool(place).left_over()) == []


def test_a_child_begins_a_file_of_its_own_and_leaves_its_parents_alone(place):
    said = finish(start("tests.spool.keeping", "fork_and_keep", place.folder))

    assert said == ["parent still has its file: True", "child-1 parent-1 parent-2"]


def test_a_file_that_somebody_removed_takes_no_more_calls(spool):
    spool.keep([entry(1)])
    only_file(spool).unlink()

    spool.keep([entry(2)])

    assert keys(spool) == ["call-2"]
    first = spool.first_own()
    assert [one.command.key for one in first.entries()] == ["call-1"]


@pytest.mark.parametrize("is_held", [True, False], ids=["still held", "already let go"])
def test_a_new_file_that_somebody_takes_for_a_left_over_is_made_again(spool, place, monkeypatch, is_held):
    taken = _taken_before_its_lock(Spool(place), monkeypatch, is_held=is_held)

    spool.keep([entry(1)])

    assert len(taken) == 1
    assert keys(spool) == ["call-1"]
    assert only_file(spool) != taken[0].path


def test_the_race_for_a_new_file_is_seen_where_nobody_looks_at_its_name(spool, place, monkeypatch):
    monkeypatch.setattr(spooling, "is_still", lambda _file: True)
    _taken_before_its_lock(Spool(place), monkeypatch, is_held=False)

    spool.keep([entry(1)])

    assert keys(spool) == []


def _taken_before_its_lock(other, monkeypatch, *, is_held):
    """Have another process find a file between its making and its lock, as one that its owner has left."""
    taken = []
    flock = fcntl.flock

    def late(fd, how):
        if not taken:
            taken.append(None)
            [taken[0]] = other.left_over()
            if not is_held:
                other.done(taken[0])
        flock(fd, how)

    monkeypatch.setattr(spooling.fcntl, "flock", late)
    return taken


# In line


def test_what_stands_behind_is_not_written_once_nothing_waits(spool):
    spool.keep([entry(1)])
    behind = spool.hand_in([entry(2)], is_behind=True)
    spool.done(spool.first_own())

    assert spool.write(behind) is False
    assert keys(spool) == []
    assert not spool.has_waiting


def test_files_are_delivered_in_the_order_in_which_they_were_begun(spool, monkeypatch):
    monkeypatch.setattr(spooling, "_FILE_BYTES_MAX", 1)
    for number in range(12):
        spool.keep([entry(number)])

    delivered = []
    while (file := spool.first_own()) is not None:
        delivered += [one.at_us for one in file.entries()]
        spool.done(file)

    assert delivered == list(range(12))


def test_what_was_acknowledged_survives_an_interrupt_and_then_a_full_disk(spool, monkeypatch):
    spool.keep([entry(1)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            spool.keep([entry(2)])
    spool.keep([entry(3)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _no_space)
        with pytest.raises(OSError, match="No space"):
            spool.keep([entry(4)])

    assert keys(spool) == ["call-1", "call-3"]


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_after_an_error_of_the_disk_nothing_more_is_added_to_that_file(spool, monkeypatch, failing):
    spool.keep([entry(1)])
    first = only_file(spool)
    with monkeypatch.context() as patched:
        patched.setattr(os, failing, _no_space)
        with pytest.raises(OSError, match="No space"):
            spool.keep([entry(2)])

    spool.keep([entry(3)])

    assert b"call-3" not in first.read_bytes()
    assert keys(spool) == ["call-1", "call-3"]


def test_a_full_disk_leaves_no_empty_files(spool, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _no_space)
        for number in range(3):
            with pytest.raises(OSError, match="No space"):
                spool.keep([entry(number)])

    assert not spool.has_waiting
    assert list(spool.folder.glob("spool_*")) == []


def _interrupted(*_: object) -> int:
    raise KeyboardInterrupt


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


# Refused


def test_refused_calls_are_told_once_and_can_be_put_back_in_line(spool, place):
    refused = Entry(command=close("r1"), at_us=1, refusal="run_not_found: there is no run 'r1'")
    spool.folder.mkdir()
    spool.refuse([refused])
    spool.refuse([refused, Entry(command=close("r2"), at_us=2, refusal="run_not_found")])
    told = [one.command.run_id for one in spool.refused()]

    spool.try_refused_again()

    assert told == ["r1", "r2"]
    assert list(spool.refused()) == []
    assert [one.command.run_id for one in Spool(place).waiting()] == ["r1", "r1", "r2"]


def test_a_refusal_after_a_torn_one_stands_on_a_line_of_its_own(spool):
    spool.folder.mkdir()
    spool.refuse([entry(1)])
    with (spool.folder / "refused.jsonl").open("ab") as file:
        file.write(b"0123 {torn")

    spool.refuse([entry(2)])

    assert [one.command.key for one in spool.refused()] == ["call-1", "call-2"]


# Where


@pytest.mark.parametrize(
    ("url", "ledger"),
    [
        ("postgresql://app:secret@db.example:5432/shop", "postgresql://db.example:5432/shop"),
        ("postgresql://db.example:5432/shop?sslmode=require&password=secret", "postgresql://db.example:5432/shop"),
        ("postgresql:///shop?host=/run/pg&user=app", "postgresql:///shop?host=/run/pg"),
        ("postgresql://a:1,b:2/shop", "postgresql://a:1,b:2/shop"),
    ],
)
def test_a_servers_spool_is_named_after_the_database_alone(url, ledger, tmp_path):
    place = place_of(url, file=None, folder=None, state=str(tmp_path))

    assert place.ledger == ledger
    assert place.folder.parent == tmp_path / "callfare"
    assert "secret" not in str(place)


def test_a_given_folder_holds_the_spools_of_several_ledgers(tmp_path):
    one, two, beside = (
        place_of(f"sqlite:///{name}", file=Path(f"/srv/{name}"), folder=folder, state=None)
        for name, folder in (("a.db", tmp_path), ("b.db", tmp_path), ("a.db", None))
    )

    assert one.folder.parent == two.folder.parent == tmp_path
    assert one.folder != two.folder
    assert beside == (Path("/srv/a.db.spool"), "a.db", True)
    alice, bob, here, there = (
        place_of(url, file=None, folder=tmp_path, state=None)
        for url in (
            "postgresql://alice@h", "postgresql://bob@h", "postgresql:///shop?hostaddr=10.0.0.1",
            "postgresql:///shop?hostaddr=10.0.0.2",
        )
    )  # fmt: skip
    assert len({alice, bob, here, there}) == 4
    assert place_of("memory://", file=None, folder=tmp_path, state=None) is None


async def test_tasks_wait_for_the_disk_without_holding_up_their_loop(spool, monkeypatch):
    spool.keep([entry(0)])
    fsync, began, may_go = os.fsync, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(fd: int) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(began.set)
        may_go.wait(60)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    lines = [spool.hand_in([entry(number)], is_behind=True) for number in range(1, 101)]
    writing = [asyncio.to_thread(spool.write, one) for one in lines]
    tasks = asyncio.gather(*writing)
    await began.wait()
    may_go.set()

    assert await tasks == [True] * 100
    assert len(keys(spool)) == 101
