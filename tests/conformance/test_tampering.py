"""Whatever is changed in a ledger file from outside, `verify` names the row. One copy of the file for each change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from callfare.clock import ManualClock
from callfare.errors import LedgerCorrupt
from callfare.ledger.rows import TABLES
from callfare.ledger.verify import verify
from callfare.store.sqlite import SqliteStore
from callfare.store.statements import load_migrations
from tests.support import tamper
from tests.support.books import Books
from tests.support.commands import START
from tests.support.rich import write_rich_ledger

# Amounts that are told once and are not the sum of anything: what a caller asked for or was shown at the time. They
# move no credit; the seal alone guards them. The draw shown with a call follows from the others where it drew anything,
# which tests/unit/ledger/test_verify.py shows for each row.
TOLD_ONCE = {
    ("runs", "asked_nanocredits"),
    ("runs", "low_nanocredits"),
    ("runs", "high_nanocredits"),
    ("events", "held_after_nanocredits"),
    ("events", "used_after_nanocredits"),
}


def _columns() -> list[tuple[str, str]]:
    """Every column of every table, as the schema has them."""
    connection = apsw.Connection(":memory:")
    for step in load_migrations("sqlite"):
        connection.execute(step.sql)
    return connection.execute(
        "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    ).fetchall()


def _is_money(column: str) -> bool:
    return column.endswith(("nanocredits", "picousd"))


COLUMNS = _columns()
ALTERED = [(table, column, "alter") for table, column in COLUMNS]
RESEALED = [
    (table, column, "reseal") for table, column in COLUMNS if _is_money(column) and (table, column) not in TOLD_ONCE
]
DELETED = [(table.table, "", "delete") for table in TABLES if table.is_history]
GARBLED = ("events", "model", "garble")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with something of everything in it, in one file without a log."""
    path = tmp_path_factory.mktemp("ledger") / "callfare.db"
    clock = ManualClock(START)
    store = SqliteStore(str(path), clock=clock)
    store.create()
    write_rich_ledger(Books(store, clock))
    store.close()
    return path


@pytest.fixture(scope="module")
def tampered(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], dict[str, object]]:
    """What another process did to copies of the ledger, by what was wished for."""
    wishes = [*ALTERED, *RESEALED, *DELETED, GARBLED]
    command = [sys.executable, str(Path(tamper.__file__)), str(ledger), str(tmp_path_factory.mktemp("tampered"))]
    named = json.dumps([{"table": table, "column": column, "how": how} for table, column, how in wishes])
    done = subprocess.run(command, input=named, capture_output=True, check=True, text=True).stdout
    return dict(zip(wishes, json.loads(done), strict=True))


def _verified(path: object):
    store = SqliteStore(str(path))
    verification = verify(store.scan)
    store.close()
    return verification


def test_a_file_that_nobody_touched_is_clean(ledger):
    verification = _verified(ledger)

    assert verification.faults == ()
    assert verification.is_clean


def test_every_table_of_the_schema_is_verified():
    assert {table for table, _ in COLUMNS} == {table.table for table in TABLES}


@pytest.mark.parametrize(("table", "column", "how"), ALTERED, ids=lambda part: part)
def test_an_altered_column_is_found_and_its_row_named_first(tampered, table, column, how):
    done = tampered[table, column, how]

    verification = _verified(done["file"])

    assert not verification.is_clean
    assert (verification.faults[0].table, list(verification.faults[0].key)) == (table, done["key"])


@pytest.mark.parametrize(("table", "column", "how"), RESEALED, ids=lambda part: part)
def test_an_amount_that_was_sealed_again_does_not_add_up(tampered, table, column, how):
    done = tampered[table, column, how]

    verification = _verified(done["file"])

    assert not verification.is_clean
    assert all("seal" not in fault.message for fault in verification.faults)


@pytest.mark.parametrize(("table", "column", "how"), DELETED, ids=lambda part: part)
def test_a_row_taken_out_of_history_is_missed(tampered, table, column, how):
    done = tampered[table, column, how]

    verification = _verified(done["file"])

    assert not verification.is_clean
    assert all("seal" not in fault.message for fault in verification.faults)


def test_bytes_that_are_no_text_are_a_damaged_row_and_not_a_crash(tampered):
    done = tampered[GARBLED]

    with pytest.raises(LedgerCorrupt, match="events holds text that cannot be read, in the row after"):
        _verified(done["file"])
