"""The PostgreSQL schema as others see it: the account leads, history stays, the specification's tables are views."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from hashlib import shake_128

import psycopg
import pytest
from psycopg.rows import dict_row

from callfare.committer import answers_of
from callfare.errors import InvalidInput
from callfare.ledger.rows import TABLES, Event
from callfare.store.postgres import PostgresStore
from tests.support.books import Books
from tests.support.catalogue import EXCEPTIONS, postgres_keys_without_the_account
from tests.support.commands import START, START_US, adjust, close, grant, open_run, record
from tests.support.fixtures import address, give_back
from tests.support.postgres import bin_folders, shared_server


@pytest.fixture
def url(tmp_path):
    yield address("postgres", tmp_path)
    give_back(tmp_path)


@pytest.fixture
def books(url, clock):
    store = PostgresStore(url, clock=clock)
    yield Books(store, clock)
    store.close()


@pytest.fixture
def database(url):
    with psycopg.connect(url, autocommit=True, options="-c search_path=callfare") as connection:
        yield connection


def asked(database, question: str) -> list[dict[str, object]]:
    """Return the rows of a question, column by name."""
    return database.cursor(row_factory=dict_row).execute(question).fetchall()


@pytest.mark.parametrize("version", bin_folders())
def test_the_account_leads_every_key(version):
    made = shared_server(version).new_ledger()

    with psycopg.connect(made) as connection:
        assert postgres_keys_without_the_account(connection) == []


def test_every_exception_is_there(database):
    assert postgres_keys_without_the_account(database, ()) == sorted(EXCEPTIONS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("CREATE TABLE coupons (code TEXT PRIMARY KEY, account_id BIGINT)", "coupons (code)"),
        ("CREATE TABLE coupons (account_id BIGINT, code TEXT UNIQUE)", "coupons (code)"),
        ("CREATE UNIQUE INDEX one_job_id ON jobs (job_id, account_id)", "jobs (job_id, account_id)"),
        ("CREATE UNIQUE INDEX one_name ON runs (lower(run_id))", "runs (lower(run_id))"),
        ('CREATE TABLE notes (account_id BIGINT, name TEXT REFERENCES identities ("user"))', "notes (name)"),
    ],
)
def test_a_key_that_the_account_does_not_lead_is_noticed(wrong, told):
    made = shared_server().new_ledger()

    with psycopg.connect(made, options="-c search_path=callfare") as connection:
        connection.execute(wrong)

        assert postgres_keys_without_the_account(connection) == [told]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_columns_stand_in_the_order_of_the_row_and_its_seal_is_last(database, table):
    row = asked(database, f"SELECT * FROM (VALUES (1)) AS one LEFT JOIN {table.table} ON false")  # noqa: S608 - our names

    assert list(row[0])[1:] == [*table.__struct_fields__, "seal"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("UPDATE accounts SET held_nanocredits = posted_nanocredits + 1", "check constraint"),
        ("UPDATE accounts SET held_nanocredits = -1", "check constraint"),
        ("UPDATE accounts SET posted_nanocredits = held_nanocredits - 1", "check constraint"),
        ("UPDATE accounts SET debt_nanocredits = -1", "check constraint"),
        ("UPDATE grants SET remaining_nanocredits = amount_nanocredits + 1", "check constraint"),
        ("UPDATE grants SET held_nanocredits = remaining_nanocredits + 1", "check constraint"),
        ("UPDATE runs SET used_nanocredits = held_nanocredits + 1", "check constraint"),
        ("UPDATE runs SET status = 'lost'", "check constraint"),
        ("UPDATE holds SET amount_nanocredits = 0", "check constraint"),
        ("UPDATE accounts SET posted_nanocredits = posted_nanocredits + 9223372036854775807", "out of range"),
    ],
)
def test_the_database_itself_refuses_what_the_rules_forbid(books, database, change, rule):
    books.do_all(grant("alice", 100), open_run("r1", hold=40))

    with pytest.raises(psycopg.Error, match=rule):
        database.execute(change)


HISTORY = [table for table in TABLES if table.is_history]


@pytest.mark.parametrize("table", HISTORY, ids=lambda table: table.table)
def test_history_cannot_be_altered(books, database, table):
    books.do_all(grant("alice", 100), record(1, user="alice", raw="{}"))
    column = table.__struct_fields__[table.pk_columns]

    with pytest.raises(psycopg.IntegrityError, match="history"):
        database.execute(f"UPDATE {table.table} SET {column} = {column}")  # noqa: S608 - names of our own tables


@pytest.mark.parametrize("table", [row for row in HISTORY if row.table != "raw_usage"], ids=lambda table: table.table)
def test_history_cannot_be_removed(books, database, table):
    books.do_all(grant("alice", 100), record(1, user="alice", raw="{}"))

    with pytest.raises(psycopg.IntegrityError, match="history"):
        database.execute(f"DELETE FROM {table.table}")  # noqa: S608 - names of our own tables


def test_users_show_what_is_available(books, database):
    books.do_all(
        grant("alice", 2000),
        grant("alice", 30, key="past", expires_at=START + timedelta(hours=1)),
        open_run("r1", hold="500.000000001"),
    )
    database.execute("UPDATE grants SET expires_at_us = 1, held_nanocredits = 0 WHERE grant_id = 2")

    (alice,) = asked(database, "SELECT * FROM users")

    assert (alice["externalId"], alice["email"], alice["stripeCustomerId"]) == ("alice", None, None)
    assert alice["creditsBalance"] == Decimal("1499.999999999")


def test_runs_calls_and_transfers_are_shown_as_the_specification_names_them(books, database):
    books.do_all(grant("alice", 2000, key="pi_1", paid_picousd=18_000_000_000_000), open_run("r1"))
    books.do_all(record("15.00003", run_id="r1"), adjust("15.00002"), close("r1"))

    runs = asked(database, 'SELECT "userId", "runId", status, "totalCostCents", calls, "startedAt" FROM workflow_runs')
    calls = asked(
        database, 'SELECT "runId", service, "inputTokens", "costCents" FROM usage_events ORDER BY "costCents"'
    )
    transfers = asked(database, 'SELECT number, type, credits, "amountCents" FROM transactions ORDER BY number')

    assert runs == [
        {"userId": "alice", "runId": "r1", "status": "completed", "totalCostCents": Decimal("15.00002"), "calls": 1,
         "startedAt": START_US // 1000}
    ]  # fmt: skip
    assert calls == [
        {"runId": "r1", "service": "openai", "inputTokens": 1000, "costCents": Decimal("-0.00001")},
        {"runId": "r1", "service": "openai", "inputTokens": 1000, "costCents": Decimal("15.00003")},
    ]
    assert transfers == [
        {"number": 1, "type": "grant", "credits": 2000, "amountCents": 1800},
        {"number": 2, "type": "capture", "credits": Decimal("15.00002"), "amountCents": None},
    ]


def test_what_no_index_can_hold_is_refused_and_its_neighbours_go_on(books):
    noise = shake_128(b"rare").digest(2000)
    too_long = "".join(chr(0x20000 + int.from_bytes(noise[at : at + 2])) for at in range(0, 2000, 2))

    refused, neighbour = answers_of(
        books.store,
        [record(1, user="alice", key="too long", model=too_long), record(2, user="alice", key="neighbour")],
    )

    assert isinstance(refused, InvalidInput)
    assert neighbour.debt_nanocredits == 2_000_000_000
    assert [event.key for event in books.rows(Event)] == ["neighbour"]
