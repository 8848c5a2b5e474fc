"""The SQLite file as others see it: the four tables of the specification as views, history that cannot be changed."""

from __future__ import annotations

from datetime import timedelta

import apsw
import pytest

from callfare.ledger.rows import TABLES
from callfare.store.sqlite import SqliteStore
from tests.support.books import Books
from tests.support.catalogue import sqlite_keys_without_the_account
from tests.support.commands import START, START_US, adjust, asked_by, close, grant, open_run, record


@pytest.fixture
def books(tmp_path, clock):
    store = SqliteStore(str(tmp_path / "callfare.db"), clock=clock)
    store.create()
    yield Books(store, clock)
    store.close()


@pytest.fixture
def file(tmp_path, books):
    connection = apsw.Connection(str(tmp_path / "callfare.db"))
    yield connection
    connection.close()


def asked(file: apsw.Connection, question: str) -> list[dict[str, object]]:
    """Return the rows of a question, column by name."""
    cursor = file.execute(question)
    rows = cursor.fetchall()
    if not rows:
        return []
    names = [name for name, _ in file.execute(question).get_description()]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_users_show_what_is_available_and_what_they_are_called(books, file):
    books.do_all(grant("user_123", 2000), open_run("r1", "user_123", hold="500.000000001"))

    assert asked(file, "SELECT * FROM users") == [
        {
            "externalId": "user_123",
            "email": None,
            "stripeCustomerId": None,
            "creditsBalance": "1499.999999999",
            "subscriptionId": None,
            "subscriptionPlan": None,
            "subscriptionStatus": None,
            "subscriptionPeriodEnd": None,
        }
    ]


def test_credit_past_its_expiry_is_not_shown_as_a_balance(books, file):
    books.do_all(grant("alice", 70), grant("alice", 30, key="past", expires_at=START + timedelta(hours=1)))
    file.execute("UPDATE grants SET expires_at_us = 1 WHERE grant_id = 2")

    assert asked(file, "SELECT creditsBalance FROM users") == [{"creditsBalance": "70.000000000"}]


def test_workflow_runs_show_their_exact_cost_in_cents(books, file):
    books.do_all(grant("user_123", 2000), open_run("wrun_1", "user_123", workflow="story"))
    books.do_all(record("15.00003", run_id="wrun_1"), close("wrun_1"))

    assert asked(file, "SELECT * FROM workflow_runs") == [
        {
            "userId": "user_123",
            "runId": "wrun_1",
            "workflowType": "story",
            "status": "completed",
            "totalCostCents": "15.0000300000",
            "calls": 1,
            "startedAt": START_US // 1000,
            "completedAt": START_US // 1000,
        }
    ]


def test_usage_events_show_model_operation_tokens_and_cost(books, file):
    books.do_all(grant("user_123", 2000), open_run("r1", "user_123"), record("0.5", run_id="r1"))

    assert asked(file, "SELECT * FROM usage_events") == [
        {
            "userId": "user_123",
            "runId": "r1",
            "service": "openai",
            "model": "gpt-5-mini",
            "operation": "responses.create",
            "usage": '{"input_tokens":"1000","output_tokens":"200"}',
            "inputTokens": 1000,
            "outputTokens": 200,
            "durationSeconds": None,
            "costCents": "0.5000000000",
            "status": "priced",
            "timestamp": START_US // 1000,
        }
    ]


@pytest.mark.parametrize("meter", ["audio_seconds", "video_seconds"])
def test_usage_events_show_a_duration(books, file, meter):
    books.do(record(4, user="alice", usage=f'{{"{meter}":"8.47"}}'))

    assert asked(file, "SELECT durationSeconds, inputTokens FROM usage_events") == [
        {"durationSeconds": "8.47", "inputTokens": None}
    ]


def test_a_correction_that_gives_back_is_shown_below_zero(books, file):
    books.do_all(grant("alice", 10), record(4, user="alice"), adjust("3.5"))

    assert [row["costCents"] for row in asked(file, "SELECT costCents FROM usage_events ORDER BY costCents")] == [
        "-0.5000000000", "4.0000000000",
    ]  # fmt: skip


def test_transactions_show_payments_and_what_moved(books, file):
    books.do_all(grant("user_123", 2000, key="pi_1", paid_picousd=18_000_000_000_000), record("2.5", user="user_123"))

    assert asked(file, "SELECT * FROM transactions ORDER BY number") == [
        {
            "userId": "user_123",
            "number": 1,
            "type": "grant",
            "credits": "2000.000000000",
            "amountCents": 1800,
            "reference": "pi_1",
            "runId": None,
            "createdAt": START_US // 1000,
        },
        {
            "userId": "user_123",
            "number": 2,
            "type": "charge",
            "credits": "2.500000000",
            "amountCents": None,
            "reference": "call-1",
            "runId": None,
            "createdAt": START_US // 1000,
        },
    ]


HISTORY = [table for table in TABLES if table.is_history]


@pytest.mark.parametrize("table", HISTORY, ids=lambda table: table.table)
def test_history_cannot_be_altered(books, file, table):
    books.do_all(asked_by(grant("alice", 100)), record(1, user="alice", raw="{}"))
    column = table.__struct_fields__[table.pk_columns]

    with pytest.raises(apsw.ConstraintError, match="history"):
        file.execute(f"UPDATE {table.table} SET {column} = {column}")  # noqa: S608 - names of our own tables


@pytest.mark.parametrize("table", [row for row in HISTORY if row.table != "raw_usage"], ids=lambda table: table.table)
def test_history_cannot_be_removed(books, file, table):
    books.do_all(asked_by(grant("alice", 100)), record(1, user="alice", raw="{}"))

    with pytest.raises(apsw.ConstraintError, match="history"):
        file.execute(f"DELETE FROM {table.table}")  # noqa: S608 - names of our own tables


def test_raw_usage_may_be_dropped_by_age(books, file):
    books.do(record(1, user="alice", raw="{}"))

    file.execute("DELETE FROM raw_usage WHERE recorded_at_us <= ?", (START_US,))

    assert books.rows(TABLES[9]) == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_columns_stand_in_the_order_of_the_row_and_its_seal_is_last(file, table):
    columns = [row["name"] for row in asked(file, f"PRAGMA table_info({table.table})")]

    assert columns == [*table.__struct_fields__, "seal"]


@pytest.mark.parametrize("table", TABLES[1:], ids=lambda table: table.table)
def test_the_primary_key_is_that_of_the_row(file, table):
    columns = {row["pk"]: row["name"] for row in asked(file, f"PRAGMA table_info({table.table})")}

    assert [columns[place] for place in sorted(columns) if place] == list(table.__struct_fields__[: table.pk_columns])


def test_the_account_leads_every_key(file):
    assert sqlite_keys_without_the_account(file) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("CREATE TABLE coupons (code TEXT PRIMARY KEY, account_id INTEGER)", "coupons (code)"),
        ("CREATE TABLE coupons (account_id INTEGER PRIMARY KEY, code TEXT UNIQUE)", "coupons (code)"),
        ("CREATE UNIQUE INDEX one_job_id ON jobs (job_id, account_id)", "jobs (job_id, account_id)"),
        (
            "CREATE TABLE notes (account_id INTEGER PRIMARY KEY, name TEXT REFERENCES identities (user))",
            "notes (name)",
        ),
    ],
)
def test_a_key_that_the_account_does_not_lead_is_noticed(file, wrong, told):
    file.execute(wrong)

    assert sqlite_keys_without_the_account(file) == [told]


def test_every_table_is_strict(file):
    tables = asked(file, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")

    assert {row["name"]: row["strict"] for row in tables if row["name"] != "sqlite_schema"} == {
        table.table: 1 for table in TABLES
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("UPDATE accounts SET held_nanocredits = posted_nanocredits + 1", "CHECK"),
        ("UPDATE accounts SET held_nanocredits = -1", "CHECK"),
        ("UPDATE accounts SET debt_nanocredits = -1", "CHECK"),
        ("UPDATE grants SET remaining_nanocredits = amount_nanocredits + 1", "CHECK"),
        ("UPDATE grants SET held_nanocredits = remaining_nanocredits + 1", "CHECK"),
        ("UPDATE runs SET used_nanocredits = held_nanocredits + 1", "CHECK"),
        ("UPDATE runs SET status = 'lost'", "CHECK"),
        ("UPDATE holds SET amount_nanocredits = 0", "CHECK"),
        ("UPDATE accounts SET posted_nanocredits = 1.5", "REAL"),
        ("UPDATE accounts SET posted_nanocredits = posted_nanocredits + 9223372036854775807", "REAL"),
        ("UPDATE accounts SET posted_nanocredits = 'much'", "TEXT"),
    ],
)
def test_the_file_itself_refuses_what_the_rules_forbid(books, file, change, rule):
    books.do_all(grant("alice", 100), open_run("r1", hold=40))

    with pytest.raises(apsw.ConstraintError, match=rule):
        file.execute(change)


def test_commits_are_kept_through_power_loss(books):
    books.do(grant("alice", 1))

    writer = books.store._writer
    assert (writer.pragma("synchronous"), writer.pragma("journal_mode")) == (2, "wal")
