"""kill -9 in the middle of an operator's work: nothing half done is ever taken for done, and it goes on."""

from __future__ import annotations

import os
import signal

import pytest

from callfare.clock import ManualClock
from callfare.engine import operations
from callfare.store.memory import MemoryStore
from callfare.store.open import open_store
from tests.migration.older import make_old_database, make_old_file
from tests.support.books import Books
from tests.support.commands import START
from tests.support.postgres import shared_server
from tests.support.processes import call, finish, start
from tests.support.rich import write_rich_ledger

ACTORS = "tests.faults.operating"
# Answers of each writer before a backup begins; CALLFARE_LOAD=1000 is the long run.
LOAD = os.environ.get("CALLFARE_LOAD", "40")


@pytest.fixture(params=["sqlite", "postgres"])
def new_address(request, tmp_path):
    """Gives addresses where there is no ledger."""
    made: list[str] = []

    def new() -> str:
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path}/ledger-{len(list(tmp_path.iterdir()))}.db"
        made.append(shared_server().new_database())
        return made[-1]

    yield new
    for url in made:
        shared_server().drop_database(url)


@pytest.fixture
def backup(tmp_path):
    """A backup of a ledger with something of everything in it."""
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    operations.backup(books.store, clock, tmp_path / "rich.callfare")
    return tmp_path / "rich.callfare"


@pytest.fixture
def rich(new_address, backup):
    """The address of a ledger with something of everything in it."""
    url = new_address()
    store = open_store(url)
    operations.restore(store, backup)
    store.close()
    return url


def test_a_backup_that_is_killed_never_has_its_name_before_it_is_whole(rich, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()

    kills, *wrong = call(ACTORS, "kill_backups", rich, folder)

    assert int(kills) >= 15
    assert wrong == []


def test_a_restore_that_is_killed_again_and_again_goes_on_to_the_end(rich, new_address, backup):
    kills, *wrong = call(ACTORS, "kill_restores", backup, new_address(), rich)

    assert int(kills) >= 5
    assert wrong == []


def test_a_restore_killed_before_any_statement_can_be_ended(tmp_path, backup):
    folder = tmp_path / "restored"
    folder.mkdir()
    wanted = f"sqlite:///{tmp_path}/wanted.db"
    operations.restore(open_store(wanted), backup)

    kills, *wrong = call(ACTORS, "kill_restores_at_statements", backup, folder, wanted, timeout_s=200)

    assert int(kills) >= 20
    assert wrong == []


def test_an_export_that_is_killed_again_and_again_has_every_line_once(rich, tmp_path):
    kills, *wrong = call(ACTORS, "kill_exports", rich, tmp_path / "entries.csv")

    assert int(kills) >= 8
    assert wrong == []


def test_a_prune_killed_at_any_step_leaves_a_clean_ledger_and_is_ended_by_the_next(rich):
    kills, *wrong = call(ACTORS, "kill_prunes", rich)

    assert int(kills) >= 3
    assert wrong == []


def test_a_migration_killed_before_any_statement_is_ended_by_the_next(tmp_path):
    make_old_file(tmp_path / "old.db")
    folder = tmp_path / "copies"
    folder.mkdir()

    kills, *wrong = call(ACTORS, "kill_migrations", tmp_path / "old.db", folder)

    assert int(kills) >= 5
    assert wrong == []


def test_of_processes_that_migrate_at_once_one_does_though_another_is_killed_in_the_middle():
    url = shared_server().new_database()
    make_old_database(url)
    killed = start(ACTORS, "hold_a_migration", url)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "ready\n"
    others = [start(ACTORS, "migrate", url) for _ in range(3)]
    for other in others:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()

    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    said = sorted(line for other in others for line in finish(other))

    assert said == ["1 to 4", "4 to 4", "4 to 4"]
    shared_server().drop_database(url)


def test_a_backup_under_load_has_all_that_was_answered_before_it_began(new_address, tmp_path):
    figures, *wrong = call(ACTORS, "back_up_under_load", new_address(), tmp_path, LOAD, timeout_s=300)

    begun, answered, kept = map(int, figures.split())
    print(f"{begun} answers before, {kept} kept, {answered} in the end")
    assert wrong == []
    assert begun <= kept
    assert answered >= begun
