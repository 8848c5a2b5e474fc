"""Faults planted in an operator's work: each must make the test fail that is there to find it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from callfare.clock import ManualClock
from callfare.engine import exporting, operations
from callfare.store import archive, memory, sqlite_file, sqlite_upkeep, upkeep
from callfare.store.memory import MemoryStore
from callfare.store.sqlite import SqliteStore
from tests.conformance import test_backups, test_exports, test_filling, test_retention
from tests.support.books import Books
from tests.support.commands import START
from tests.support.rich import write_rich_ledger

Plant = Callable[[pytest.MonkeyPatch], object]


@pytest.fixture
def make(tmp_path):
    """Makes empty SQLite ledgers."""
    clock = ManualClock(START)
    made: list[Books] = []

    def books() -> Books:
        store = SqliteStore(str(tmp_path / f"ledger-{len(made)}.db"), clock=clock)
        store.create()
        made.append(Books(store, clock))
        return made[-1]

    return books


@pytest.fixture
def unmade(tmp_path):
    """A SQLite ledger that is not there yet."""
    clock = ManualClock(START)
    return Books(SqliteStore(str(tmp_path / "other.db"), clock=clock), clock)


@pytest.fixture
def rich_backup(tmp_path):
    """A backup of a ledger with something of everything in it, and that ledger's rows."""
    clock = ManualClock(START)
    source = Books(MemoryStore(clock), clock)
    write_rich_ledger(source)
    operations.backup(source.store, clock, tmp_path / "rich.callfare")
    return tmp_path / "rich.callfare", source.all_rows()


def no_digest(patch: pytest.MonkeyPatch) -> None:
    def end(lines: Any, line: bytes) -> None:
        lines.footer = lines._archive._decoded(archive.msgspec.json.Decoder(archive.Footer), line)

    patch.setattr(archive._Lines, "_end", end)


def written_under_its_name(patch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def new_file(path: Any) -> Any:
        with path.open("wb") as file:
            yield file

    patch.setattr(archive, "new_file", new_file)


def used_while_filled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite_file.SqliteFile, "check_whole", lambda *_: None)
    patch.setattr(memory.MemoryStore, "_refuse_incomplete", lambda *_: None)


def filled_by_two(patch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def unchecked(filling: Any) -> Any:
        with sqlite_upkeep._transaction(filling._connection):
            yield

    patch.setattr(sqlite_upkeep.SqliteFilling, "_transaction", unchecked)


def from_the_beginning(patch: pytest.MonkeyPatch) -> None:
    real = operations.islice
    patch.setattr(operations, "islice", lambda rows, *bounds: real(rows, 0 if bounds[0] != 7 else 7))


def not_noted(patch: pytest.MonkeyPatch) -> None:
    def retained(before: Any, before_us: int, now_us: int) -> Any:
        return before or upkeep.Retention("raw_usage", 0, now_us)

    patch.setattr(upkeep, "retained", retained)


def noted_backwards(patch: pytest.MonkeyPatch) -> None:
    def retained(before: Any, before_us: int, now_us: int) -> Any:
        return upkeep.Retention("raw_usage", before_us, now_us)

    patch.setattr(upkeep, "retained", retained)


def whole_key_dropped(patch: pytest.MonkeyPatch) -> None:
    drop = sqlite_upkeep.SqliteUpkeep.drop_raw

    def drop_raw(self: Any, keys: Any, *, before_us: int, now_us: int) -> int:
        return drop(self, keys, before_us=2**62 if keys else before_us, now_us=2**62 if keys else now_us)

    patch.setattr(sqlite_upkeep.SqliteUpkeep, "drop_raw", drop_raw)


def torn_line_kept(patch: pytest.MonkeyPatch) -> None:
    real = exporting._cut

    def cut(stream: Any, export: Any) -> Any:
        _, last, rows = real(stream, export)
        return stream.seek(0, 2), last, rows

    patch.setattr(exporting, "_cut", cut)


def gone_on_one_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exporting.Export, "key_of", lambda *_: None)


def formulas_let_through(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exporting, "_with_apostrophe", lambda text: text)


BACKUPS: list[tuple[Plant, Any]] = [
    (no_digest, test_backups.test_an_altered_backup_is_refused_whichever_byte_was_changed),
    (no_digest, test_backups.test_a_row_left_out_of_a_backup_is_missed),
]
OTHERS: list[tuple[Plant, Any]] = [
    (written_under_its_name, test_backups.test_a_backup_that_fails_leaves_no_file),
    (gone_on_one_too_early, test_exports.test_what_was_written_since_an_export_was_cut_off_is_added_without_a_repeat),
]
FILLINGS: list[tuple[Plant, Any]] = [
    (used_while_filled, test_filling.test_every_use_of_a_ledger_that_is_being_filled_is_refused),
    (filled_by_two, test_filling.test_of_two_who_fill_one_ledger_only_one_goes_on),
]
RETENTION: list[tuple[Plant, Any]] = [
    (not_noted, test_retention.test_raw_usage_from_before_a_month_is_removed_and_nothing_else),
    (noted_backwards, test_retention.test_what_was_noted_never_goes_back),
    (whole_key_dropped, test_retention.test_only_what_is_as_old_as_is_said_is_dropped_whatever_is_named),
]


def named(plant: Any) -> str:
    return plant.__name__ if callable(plant) else ""


def fails(test: Any, *arguments: Any) -> None:
    """Return when a test fails. It fails by an assertion, or by an error that nobody expected."""
    try:
        test(*arguments)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails
        return
    raise AssertionError(f"{test.__name__} did not notice")


@pytest.mark.parametrize(("plant", "test"), BACKUPS, ids=named)
def test_a_fault_in_backups_is_noticed(plant, test, unmade, rich_backup, monkeypatch):
    plant(monkeypatch)

    fails(test, unmade, rich_backup)


def test_putting_rows_twice_is_noticed(make, rich_backup, monkeypatch):
    from_the_beginning(monkeypatch)

    fails(test_backups.test_a_restore_that_was_interrupted_goes_on_where_it_was, make(), rich_backup, monkeypatch)


@pytest.mark.parametrize(("plant", "test"), OTHERS, ids=named)
def test_a_fault_in_a_file_is_noticed(plant, test, make, tmp_path, monkeypatch):
    plant(monkeypatch)

    fails(test, make(), tmp_path)


def test_keeping_a_torn_line_is_noticed(make, tmp_path, monkeypatch):
    books = make()
    write_rich_ledger(books)
    torn_line_kept(monkeypatch)

    fails(test_exports.test_an_export_of_one_user_goes_on_within_that_user, books, tmp_path)


def test_letting_formulas_through_is_noticed(make, monkeypatch):
    formulas_let_through(monkeypatch)

    fails(test_exports.test_no_text_becomes_a_formula_in_a_spreadsheet, make())


@pytest.mark.parametrize(("plant", "test"), FILLINGS, ids=named)
def test_a_fault_in_filling_is_noticed(plant, test, make, monkeypatch):
    plant(monkeypatch)

    fails(test, make)


@pytest.mark.parametrize(("plant", "test"), RETENTION, ids=named)
def test_a_fault_in_retention_is_noticed(plant, test, make, monkeypatch):
    books = test_retention.with_three_months(make())
    plant(monkeypatch)

    fails(test, books)
