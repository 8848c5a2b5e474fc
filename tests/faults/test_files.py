"""The file of a ledger: missing, foreign, damaged, newer, moved, read-only, full, busy, or on a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import apsw
import pytest

from callfare.errors import (
    CallfareError,
    LedgerCorrupt,
    LedgerNotFound,
    LedgerUnavailable,
    Misconfigured,
    SchemaNewer,
)
from callfare.ledger.rows import Key
from callfare.store import sqlite_file
from callfare.store.protocol import UserNamed
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import grant, record
from tests.support.processes import call, finish, start

ACTORS = "tests.faults.filing"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "callfare.db"


@pytest.fixture
def store(path: Path):
    store = SqliteStore(str(path))
    store.create()
    store.apply([grant("alice", 100)])
    yield store
    store.close()


def answer(store: SqliteStore, command) -> object:
    return store.apply([command])[0]


# Not there


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.apply([record(1, user="alice")]),
        lambda store: store.snapshot("alice"),
        lambda store: store.select(UserNamed(user="alice")),
        lambda store: list(store.scan(Key)),
        lambda store: store.facts(),
    ],
    ids=["apply", "snapshot", "select", "scan", "facts"],
)
def test_a_file_that_is_not_there_is_an_error_and_is_not_made(path, use):
    with pytest.raises(LedgerNotFound) as caught:
        use(SqliteStore(str(path)))

    assert str(path) in caught.value.message
    assert "callfare init" in caught.value.message
    assert list(path.parent.iterdir()) == []


def test_an_empty_file_is_no_ledger_until_it_is_created(path):
    path.touch()

    with pytest.raises(LedgerNotFound):
        SqliteStore(str(path), is_readonly=True).snapshot("alice")
    assert SqliteStore(str(path)).create()


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path):
    with pytest.raises(Misconfigured, match="there is no directory"):
        SqliteStore(str(tmp_path / "var" / "callfare.db")).create()

    assert list(tmp_path.iterdir()) == []


USES = [
    SqliteStore.create,
    lambda store: store.apply([grant()]),
    lambda store: store.snapshot("alice"),
    lambda store: store.facts(),
]


@pytest.fixture(params=["file as folder", "long name", "loop", "folder"])
def unusable(request, tmp_path) -> Path:
    (tmp_path / "notes").write_text("dear diary", encoding="utf-8")
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    (tmp_path / "folder.db").mkdir()
    names = {
        "file as folder": "notes/callfare.db",
        "long name": "n" * 300,
        "loop": "loop.db",
        "folder": "folder.db",
    }
    return tmp_path / names[request.param]


@pytest.mark.parametrize("use", USES, ids=["create", "apply", "snapshot", "facts"])
@pytest.mark.parametrize("is_readonly", [False, True])
def test_a_place_where_no_file_can_be_is_refused_with_a_sentence(unusable, use, is_readonly):
    with pytest.raises(Misconfigured, match=r"cannot be a ledger|is no file|there is no directory"):
        use(SqliteStore(str(unusable), is_readonly=is_readonly))


@pytest.mark.parametrize("use", USES[1:], ids=["apply", "snapshot", "facts"])
def test_a_link_to_nothing_is_no_ledger(tmp_path, use):
    (tmp_path / "callfare.db").symlink_to(tmp_path / "gone" / "callfare.db")

    with pytest.raises(LedgerNotFound):
        use(SqliteStore(str(tmp_path / "callfare.db")))


def test_a_ledger_is_made_where_a_link_points_and_not_where_there_is_no_folder(tmp_path):
    (tmp_path / "good.db").symlink_to(tmp_path / "ledger.db")
    (tmp_path / "bad.db").symlink_to(tmp_path / "gone" / "ledger.db")

    assert SqliteStore(str(tmp_path / "good.db")).create()
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Misconfigured, match="cannot be a ledger"):
        SqliteStore(str(tmp_path / "bad.db")).create()


def test_a_working_directory_that_has_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    with pytest.raises(Misconfigured, match="working directory"):
        SqliteStore("callfare.db")


def test_two_that_make_a_ledger_at_once_in_one_process_keep_the_locks_of_each_other(path, monkeypatch):
    path.touch()
    opened: list[object] = []
    monkeypatch.setattr(
        sqlite_file.os, "open", lambda *_: opened.append(None) or (_ for _ in ()).throw(FileExistsError)
    )

    assert SqliteStore(str(path)).create()

    assert opened == [None]


def test_a_ledger_is_made_once(path):
    store = SqliteStore(str(path))

    assert store.create()
    assert not store.create()


def test_only_its_owner_may_read_a_new_ledger(store, path):
    assert path.stat().st_mode & 0o777 == 0o600


# Somebody else's


@pytest.fixture
def foreign(path):
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('dear diary')")
    connection.close()
    return path


@pytest.mark.parametrize("version", [0, 1, 99])
def test_a_database_of_another_program_is_refused_and_not_touched(foreign, version):
    connection = apsw.Connection(str(foreign))
    connection.pragma("user_version", version)
    connection.close()
    before = foreign.read_bytes()

    for use in (SqliteStore.create, SqliteStore.facts, lambda store: store.apply([grant()])):
        with pytest.raises(Misconfigured, match="another program"):
            use(SqliteStore(str(foreign)))

    assert foreign.read_bytes() == before
    assert [file.name for file in foreign.parent.iterdir()] == [foreign.name]


def test_a_file_that_is_no_database_is_refused_and_not_touched(path):
    path.write_text("Dear diary, this is no database at all. " * 100, encoding="utf-8")
    before = path.read_bytes()

    with pytest.raises(LedgerCorrupt, match="not a callfare ledger"):
        SqliteStore(str(path)).create()

    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [1, 2, 10, 99, 100, 511])
def test_a_file_too_small_for_a_database_is_refused_and_not_touched(path, size):
    path.write_bytes(b"n" * size)

    for use in (SqliteStore.create, SqliteStore.facts, lambda store: store.apply([grant()])):
        with pytest.raises(LedgerCorrupt, match="not a callfare ledger"):
            use(SqliteStore(str(path)))

    assert path.read_bytes() == b"n" * size
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_empty_database_of_another_program_is_refused(path):
    connection = apsw.Connection(str(path))
    connection.pragma("application_id", 7)
    connection.close()

    with pytest.raises(Misconfigured, match="another program"):
        SqliteStore(str(path)).create()


def test_a_ledger_of_a_newer_callfare_is_refused_and_not_touched(store, path):
    store.close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 1000)
    connection.close()

    for is_readonly in (False, True):
        with pytest.raises(SchemaNewer, match="upgrade callfare"):
            SqliteStore(str(path), is_readonly=is_readonly).snapshot("alice")


def test_a_damaged_page_is_told_as_damage(store, path):
    for number in range(300):
        store.apply([grant("alice", 1, key=f"key-{number}")])
    store.close()
    with path.open("r+b") as file:
        for page in range(3, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)

    with pytest.raises(LedgerCorrupt):
        list(SqliteStore(str(path)).scan(Key))


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite_file.apsw, "sqlite_lib_version", lambda: "3.51.2")

    with pytest.raises(Misconfigured, match="upgrade apsw"):
        SqliteStore(str(path)).create()


# Taken away while it is open


@pytest.mark.parametrize("deed", ["deleted", "moved", "replaced"])
def test_a_file_taken_away_while_it_is_open_is_noticed(store, path, deed):
    if deed == "deleted":
        path.unlink()
    else:
        path.rename(path.with_name("elsewhere.db"))
    if deed == "replaced":
        shutil.copy(path.with_name("elsewhere.db"), path)

    for use in (lambda: store.apply([grant("alice", 1, key="more")]), lambda: store.snapshot("alice")):
        with pytest.raises(LedgerUnavailable):
            use()
    assert path.exists() == (deed == "replaced")


def test_a_file_that_comes_back_is_used_again(store, path):
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(LedgerUnavailable):
        store.snapshot("alice")

    path.with_name("elsewhere.db").rename(path)

    assert store.snapshot("alice") is not None
    assert not isinstance(answer(store, grant("alice", 1, key="more")), CallfareError)


# For reading only


def test_a_ledger_opened_for_reading_serves_reads_and_refuses_writes(store, path):
    reader = SqliteStore(str(path), is_readonly=True)

    assert reader.snapshot("alice") is not None
    assert len(list(reader.scan(Key))) == 1
    with pytest.raises(LedgerUnavailable, match="readonly"):
        reader.apply([grant("alice", 1, key="more")])


def test_a_reader_sees_what_is_written_beside_it(store, path):
    reader = SqliteStore(str(path), is_readonly=True)
    assert len(list(reader.scan(Key))) == 1

    store.apply([grant("alice", 1, key="more")])

    assert len(list(reader.scan(Key))) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the rights of others away")
@pytest.mark.parametrize("is_in_use", [False, True])
def test_a_file_and_folder_nobody_may_write_to_serve_reads(is_in_use):
    # pytest's own folders are closed to others.
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, check=True, text=True).stdout.strip())
    path = folder / "callfare.db"
    store = SqliteStore(str(path))
    store.create()
    store.apply([grant("alice", 100)])
    if not is_in_use:
        store.close()
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)

    said = call(ACTORS, "read_where_nothing_may_be_written", path, "ro")

    store.close()
    folder.chmod(0o755)
    shutil.rmtree(folder)
    assert said == ["True", "ledger_unavailable"]


# Full, busy, far away


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_refuses_writes_and_recovers_without_repair(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(disk)], check=True)
    try:
        (disk / "ballast").write_bytes(b"\0" * 1_500_000)

        said = call(ACTORS, "fill_the_disk", disk / "callfare.db")

        assert said == ["ledger_unavailable", "True", "True"]
        assert faults(SqliteStore(str(disk / "callfare.db"))) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_writer_that_holds_on_for_too_long_is_told_as_unavailable(store, path, monkeypatch):
    store.close()
    monkeypatch.setattr(sqlite_file, "_BUSY_TIMEOUT_MS", 50)
    other = start(ACTORS, "hold_the_write_lock", path)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"

    with pytest.raises(LedgerUnavailable, match="retry with the same key"):
        store.apply([grant("alice", 1, key="more")])
    assert store.snapshot("alice") is not None

    finish_with(other, "let go\n")
    assert not isinstance(answer(store, grant("alice", 1, key="more")), CallfareError)


def finish_with(process, word: str) -> None:
    process.stdin.write(word)
    process.stdin.flush()
    finish(process)


MOUNTS = """\
22 1 0:21 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/share rw,relatime shared:1 master:2 - nfs4 server:/export rw
31 22 0:41 / /mnt/with\\040space rw - cifs //server/share rw
32 22 0:42 / /mnt/share/local rw - ext4 /dev/vdb rw
33 22 0:43 / /mnt/cloud rw - fuse.s3fs bucket rw
34 22 0:44 / /mnt/sharewood rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/callfare", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/down", "nfs4"),
        ("/mnt/share/local/ledger", "ext4"),
        ("/mnt/sharewood", "ext4"),
        ("/mnt/with space/ledger", "cifs"),
        ("/mnt/cloud", "fuse.s3fs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path, monkeypatch, folder, kind):
    planted = tmp_path / "mountinfo"
    planted.write_text(MOUNTS, encoding="utf-8")
    monkeypatch.setattr(sqlite_file, "_MOUNTS", planted)

    assert sqlite_file._file_system_of(Path(folder)) == kind


def test_where_the_system_tells_of_no_mounts_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_MOUNTS", tmp_path / "nowhere")

    assert sqlite_file._file_system_of(tmp_path) == ""
    assert SqliteStore(str(tmp_path / "callfare.db")).create()


@pytest.fixture
def far_away(tmp_path, monkeypatch):
    folder = tmp_path / "share"
    folder.mkdir()
    planted = tmp_path / "mountinfo"
    planted.write_text(f"{MOUNTS}40 22 0:50 / {folder} rw - nfs server:/export rw\n", encoding="utf-8")
    monkeypatch.setattr(sqlite_file, "_MOUNTS", planted)
    return folder


def test_a_new_ledger_on_a_network_file_system_is_refused(far_away):
    with pytest.raises(Misconfigured, match="nfs, where SQLite cannot"):
        SqliteStore(str(far_away / "callfare.db")).create()

    assert list(far_away.iterdir()) == []


def test_a_link_to_a_network_file_system_is_seen_through(far_away, tmp_path):
    (tmp_path / "link").symlink_to(far_away)

    with pytest.raises(Misconfigured, match="nfs, where SQLite cannot"):
        SqliteStore(str(tmp_path / "link" / "callfare.db")).create()


def test_a_ledger_copied_to_a_network_file_system_is_refused_for_writing_and_served_for_reading(store, path, far_away):
    store.close()
    shutil.copy(path, far_away / "callfare.db")

    with pytest.raises(Misconfigured, match="nfs, where SQLite cannot"):
        SqliteStore(str(far_away / "callfare.db")).apply([grant("alice", 1, key="more")])
    assert SqliteStore(str(far_away / "callfare.db"), is_readonly=True).snapshot("alice") is not None


# Many at once


def test_many_threads_share_one_store(path):
    assert call(ACTORS, "many_threads", path) == ["0 320"]
    assert faults(SqliteStore(str(path))) == []


def test_closing_twice_is_harmless_and_use_opens_again(store):
    store.close()
    store.close()

    assert store.snapshot("alice") is not None
    assert not isinstance(answer(store, grant("alice", 1, key="more")), CallfareError)
