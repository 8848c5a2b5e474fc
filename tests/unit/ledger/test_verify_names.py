"""The row, and where it can be told the column, that verification names for each way in which a ledger can be wrong."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.ledger.rows import Account, Entry, Event, Grant, Job, Key, RawUsage, Row, Run, Transfer, User, seal_of
from callfare.ledger.verify import Fault
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import START, account_number
from tests.support.rich import write_rich_ledger
from tests.support.tables import Rows, changed, find, key_of, places, rows_of, verified, with_row

ALICE = str(account_number("alice"))


@pytest.fixture(scope="module")
def rich() -> Rows:
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return rows_of(books)


def test_a_missing_transfer_is_named_by_its_number(rich):
    transfer = find(rich, Transfer, account_id=account_number("alice"), seq=3)

    verification = verified(with_row(rich, transfer, None))

    assert verification.faults[0].table == "transfers" or verification.faults[0].table == "entries"
    assert Fault("transfers", (ALICE, "3"), None, "transfers 3 to 3 are missing") in verification.faults


def test_a_missing_user_is_named_by_the_account(rich):
    user = find(rich, User, user="bob")

    verification = verified(with_row(rich, user, None))

    assert verification.faults == (Fault("accounts", (str(account_number("bob")),), "account_id", "no user has it"),)


def test_a_second_user_of_an_account_is_named(rich):
    other = User("zoe", account_number("bob"), None, None, 0)
    rows = {**rich, User: [*rich[User], (other, seal_of(other))]}

    verification = verified(rows)

    assert [(fault.table, fault.key) for fault in verification.faults] == [
        ("identities", ("bob",)),
        ("identities", ("zoe",)),
    ]


def test_a_missing_run_is_named_once(rich):
    run = find(rich, Run, run_id="done")

    verification = verified(with_row(rich, run, None))

    assert [fault.table for fault in verification.faults if fault.key == (ALICE, "done")] == ["runs"]


def test_a_missing_answer_of_a_response_is_named(rich):
    key = find(rich, Key, key="response:openai::resp_2")

    verification = verified(with_row(rich, key, None))

    assert [(fault.table, fault.key) for fault in verification.faults] == [("keys", key_of(key))]


def test_entries_that_do_not_sum_to_zero_are_named_with_their_transfer(rich):
    entry = find(rich, Entry, account_kind="sales")

    verification = changed(rich, entry, amount_nanocredits=entry.amount_nanocredits - 1)

    assert verification.faults[0] == Fault(
        "transfers", (ALICE, str(entry.seq)), None, "its entries sum to -1, not to zero"
    )


def test_credit_that_comes_from_nowhere_is_named(rich):
    """A forged promotion: a transfer with entries that balance, a lot, and totals that agree."""
    account = find(rich, Account, account_id=account_number("carol"))
    seq = account.last_seq + 1
    forged: dict[type[Row], list[Row]] = {
        Transfer: [Transfer(account.account_id, seq, "grant", 500, 2, None, "gift", 0)],
        Entry: [
            Entry(account.account_id, seq, 0, "promo", None, -500),
            Entry(account.account_id, seq, 1, "customer", seq, 500),
        ],
        Grant: [Grant(account.account_id, seq, "promo", 500, 500, 0, None, "gift", 0, None)],
    }
    rows = with_row(rich, account, replace(account, posted_nanocredits=500, last_seq=seq))
    for table, added in forged.items():
        rows[table] = [*rows[table], *((row, seal_of(row)) for row in added)]

    verification = verified(rows)

    assert [(fault.table, fault.key) for fault in verification.faults] == [
        ("transfers", (str(account.account_id), str(seq)))
    ]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"kind": "gift"}, "kind"),
        ({"run_id": "r9"}, None),
        ({"amount_nanocredits": 1}, "amount_nanocredits"),
        ({"entry_count": 9}, "entry_count"),
    ],
)
def test_a_transfer_that_is_not_what_it_says_is_named(rich, columns, named):
    transfer = find(rich, Transfer, kind="charge")

    verification = changed(rich, transfer, **columns)

    assert not verification.is_clean
    if named:
        assert ("transfers", key_of(transfer), named) in places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"nanocredits": 7}, "nanocredits"),
        ({"picousd": 7}, "picousd"),
        ({"lines": "[]"}, "lines"),
        ({"lines": "{"}, "lines"),
        ({"usage": '{"input_tokens":"999","output_tokens":"200"}'}, "lines"),
        ({"usage": '{"input_tokens":"1e9"}'}, "usage"),
        ({"usage": "[]"}, "usage"),
        ({"markup": "2"}, "lines"),
        ({"markup": "9" * 500}, "lines"),
        ({"status": "free"}, "status"),
        ({"status": "unpriced"}, "status"),
        ({"flags": "attempt"}, "nanocredits"),
        ({"flags": "gift"}, "flags"),
        ({"kind": "gift"}, "kind"),
        ({"charge_seq": 1}, "charge_seq"),
        ({"charge_seq": 99}, "charge_seq"),
        ({"charge_seq": None}, "charge_seq"),
        ({"debt_nanocredits": 1}, "debt_nanocredits"),
        ({"debt_nanocredits": -1}, "debt_nanocredits"),
        ({"corrects": "direct-1"}, "corrects"),
        ({"workflow": "story"}, "run_id"),
    ],
)
def test_a_charge_that_is_not_what_it_says_is_named_with_its_column(rich, columns, named):
    event = find(rich, Event, key="direct-1")

    verification = changed(rich, event, **columns)

    assert ("events", key_of(event), named) in places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"corrects": "first"}, "corrects"),
        ({"nanocredits": -1}, "nanocredits"),
        ({"counted": "{}"}, "counted"),
        ({"counted": "no"}, "counted"),
        ({"model": "gpt-6"}, "model"),
        ({"at_us": 0}, "at_us"),
        ({"flags": "now_priced"}, "flags"),
    ],
)
def test_a_correction_that_does_not_fit_its_call_is_named_with_its_column(rich, columns, named):
    event = find(rich, Event, key="guessed#correction")

    verification = changed(rich, event, **columns)

    assert ("events", key_of(event), named) in places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"workflow": "tweet"}, None),
        ({"status": "expired"}, "receipt"),
        ({"close_seq": None}, "close_seq"),
        ({"close_seq": 1}, "close_seq"),
        ({"receipt": None}, "receipt"),
        ({"receipt": "{}"}, "receipt"),
        ({"calls": 4}, "calls"),
        ({"unpriced_calls": 4}, "unpriced_calls"),
        ({"held_nanocredits": 4}, "held_nanocredits"),
    ],
)
def test_a_run_that_is_not_what_happened_is_named_with_its_column(rich, columns, named):
    run = find(rich, Run, run_id="done")

    verification = changed(rich, run, **columns)

    assert not verification.is_clean
    if named:
        assert ("runs", key_of(run), named) in places(verification)


@pytest.mark.parametrize(
    "column",
    [
        "captured_nanocredits",
        "debt_nanocredits",
        "waived_nanocredits",
        "charged_nanocredits",
        "cost_picousd",
        "calls",
        "unpriced_calls",
        "closed_at_us",
    ],
)
@pytest.mark.parametrize("run_id", ["done", "waived", "over", "left"])
def test_a_forged_receipt_of_a_run_is_named(rich, run_id, column):
    run = find(rich, Run, run_id=run_id)
    receipt = msgspec.json.decode(run.receipt)
    receipt[column] += 1

    verification = changed(rich, run, receipt=msgspec.json.encode(receipt).decode())

    assert ("runs", key_of(run), "receipt") in places(verification)


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("purchase", "nanocredits"),
        ("purchase", "paid_picousd"),
        ("purchase", "grant_id"),
        ("second", "repaid_nanocredits"),
        ("refund-1", "taken_nanocredits"),
        ("refund-1", "debt_nanocredits"),
        ("close-1", "captured_nanocredits"),
        ("close-2", "cost_picousd"),
    ],
)
def test_a_forged_answer_is_named(rich, key, column):
    row = find(rich, Key, key=key)
    receipt = msgspec.json.decode(row.receipt)
    receipt[column] += 1

    verification = changed(rich, row, receipt=msgspec.json.encode(receipt).decode())

    assert ("keys", key_of(row), "receipt") in places(verification)


def test_a_forged_charge_of_a_pending_job_is_named(rich):
    job = find(rich, Job, job_id="video-pending")

    verification = changed(rich, job, charge=job.charge.replace('"nanocredits":9000000000', '"nanocredits":1'))

    assert ("jobs", key_of(job), "charge") in places(verification)


def test_raw_usage_that_is_not_what_was_charged_is_named(rich):
    raw = rich[RawUsage][0][0]

    verification = changed(rich, raw, raw='{"prompt_tokens":1}')

    assert places(verification) == [("raw_usage", key_of(raw), "raw")]


def test_a_fault_reads_as_a_sentence():
    fault = Fault("runs", ("7", "r1"), "calls", "it is 1 more than its events come to")

    assert str(fault) == "runs (7, r1), calls: it is 1 more than its events come to"
