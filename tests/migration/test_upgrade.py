"""From the schema of any earlier callfare to the newest: the same schema as a new ledger, and every row as it was."""

from __future__ import annotations

import apsw
import psycopg
import pytest

from callfare.clock import ManualClock
from callfare.engine import operations
from callfare.errors import LedgerNotFound, SchemaNewer, SchemaOlder
from callfare.ledger.verify import verify
from callfare.store.postgres import PostgresStore
from callfare.store.sqlite import SqliteStore
from callfare.store.statements import load_migrations
from tests.migration.older import make_old_database, make_old_file, rows_of_old
from tests.support.commands import START, grant
from tests.support.postgres import shared_server

NEWEST = load_migrations("sqlite")[-1].number
CATALOGUE = """
    SELECT 'column', table_name, column_name, data_type, is_nullable, collation_name
    FROM information_schema.columns WHERE table_schema = 'callfare'
    UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'callfare'
    UNION ALL SELECT 'rule', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
    FROM pg_constraint WHERE connamespace = to_regnamespace('callfare')
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', ''
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'view', viewname, definition, '', '', '' FROM pg_views WHERE schemaname = 'callfare'
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def databases():
    """The addresses of two empty PostgreSQL databases."""
    urls = [shared_server().new_database() for _ in range(2)]
    yield urls
    for url in urls:
        shared_server().drop_database(url)


def schema_of(path):
    """Everything that a SQLite file's schema has."""
    connection = apsw.Connection(str(path))
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    numbers = [connection.pragma("application_id"), connection.pragma("user_version")]
    connection.close()
    return found, numbers


def catalogue_of(url):
    """Everything that a PostgreSQL ledger's schema has."""
    with psycopg.connect(url) as connection:
        return connection.execute(CATALOGUE).fetchall()


def test_both_dialects_have_the_same_steps():
    assert [step.number for step in load_migrations("sqlite")] == [step.number for step in load_migrations("postgres")]


def test_a_file_of_the_first_schema_becomes_one_like_a_new_ledger(tmp_path):
    make_old_file(tmp_path / "old.db")
    SqliteStore(str(tmp_path / "new.db")).create()
    store = SqliteStore(str(tmp_path / "old.db"), clock=ManualClock(START))

    done = operations.migrate(store)

    assert (done.before, done.after, done.is_pending) == (1, NEWEST, False)
    assert schema_of(tmp_path / "old.db") == schema_of(tmp_path / "new.db")
    assert {table: list(store.scan(table)) for table in rows_of_old()} == rows_of_old()
    assert operations.migrate(store).before == NEWEST


def test_a_database_of_the_first_schema_becomes_one_like_a_new_ledger(databases):
    old, new = databases
    make_old_database(old)
    PostgresStore(new).create()
    store = PostgresStore(old, clock=ManualClock(START))

    done = operations.migrate(store)

    assert (done.before, done.after, done.is_pending) == (1, NEWEST, False)
    assert catalogue_of(old) == catalogue_of(new)
    assert {table: list(store.scan(table)) for table in rows_of_old()} == rows_of_old()
    assert operations.migrate(store).before == NEWEST
    store.close()


def test_a_file_opened_for_writing_is_brought_up_to_date_and_goes_on(tmp_path):
    make_old_file(tmp_path / "old.db")
    store = SqliteStore(str(tmp_path / "old.db"), clock=ManualClock(START))

    (answer,) = store.apply([grant("zoe", 5, key="after")])

    assert answer.nanocredits == 5_000_000_000
    assert store.facts().schema_version == NEWEST
    # The first schema's raw usage is all there; retention was never set.
    assert verify(store.scan).faults == ()


def test_a_file_opened_for_reading_only_is_left_as_it_is(tmp_path):
    make_old_file(tmp_path / "old.db")

    with pytest.raises(SchemaOlder, match=f"has schema 1, this callfare needs {NEWEST}; run `callfare migrate`"):
        SqliteStore(str(tmp_path / "old.db"), is_readonly=True).snapshot("alice")

    assert schema_of(tmp_path / "old.db")[1][1] == 1


def test_a_database_is_left_as_it_is_until_somebody_migrates_it(databases):
    old, _ = databases
    make_old_database(old)
    store = PostgresStore(old)

    with pytest.raises(SchemaOlder):
        store.snapshot("alice")
    checked = operations.migrate(store, is_check=True)
    with pytest.raises(SchemaOlder):
        store.apply([grant("alice", 1)])
    store.create()

    assert (checked.before, checked.after, checked.is_pending) == (1, 1, True)
    assert store.snapshot("alice") is not None
    store.close()


def test_a_check_changes_nothing(tmp_path):
    make_old_file(tmp_path / "old.db")
    before = schema_of(tmp_path / "old.db")

    checked = operations.migrate(SqliteStore(str(tmp_path / "old.db")), is_check=True)

    assert (checked.before, checked.newest, checked.is_pending) == (1, NEWEST, True)
    assert schema_of(tmp_path / "old.db") == before


def test_an_older_callfare_refuses_a_newer_schema(tmp_path, databases, monkeypatch):
    SqliteStore(str(tmp_path / "new.db")).create()
    PostgresStore(databases[0]).create()

    for module in ("sqlite_file", "postgres_server", "sqlite_upkeep", "postgres_upkeep"):
        monkeypatch.setattr(f"callfare.store.{module}.load_migrations", lambda dialect: load_migrations(dialect)[:1])
    for store in (SqliteStore(str(tmp_path / "new.db")), PostgresStore(databases[0])):
        for used in (lambda s: s.apply([grant("alice", 1)]), lambda s: s.snapshot("alice"), operations.migrate):
            with pytest.raises(SchemaNewer, match=f"has schema {NEWEST}, this callfare knows 1; upgrade callfare"):
                used(store)


def test_nothing_is_made_where_there_is_no_ledger(tmp_path, databases):
    for store in (SqliteStore(str(tmp_path / "none.db")), PostgresStore(databases[0])):
        for is_check in (False, True):
            with pytest.raises(LedgerNotFound):
                operations.migrate(store, is_check=is_check)

    assert list(tmp_path.iterdir()) == []
    assert catalogue_of(databases[0]) == []
