"""What verification says of a row that breaks one rule: each rule is broken once, and the reason is read."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.ledger.rows import (
    Account,
    Entry,
    Event,
    Grant,
    Hold,
    Job,
    Key,
    RawUsage,
    Rollup,
    Run,
    Transfer,
    User,
    digest_of,
    seal_of,
)
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import START, account_number, lines_of
from tests.support.rich import write_rich_ledger
from tests.support.tables import Rows, changed, find, key_of, rows_of, verified, with_row

BOB = account_number("bob")
OPEN = {"run_id": "open"}
DONE = {"run_id": "done"}
PENDING = {"job_id": "video-pending"}
DIRECT = {"key": "direct-1"}
# Another end than any run can have.
STRANGE = digest_of(b"done\x1fforgotten")

BROKEN = [
    # Users, accounts and lots
    (User, {"user": "bob"}, {"account_id": 7}, "there is no account 7"),
    (Account, {"account_id": BOB}, {"debt_nanocredits": -1}, "0 ≤ debt does not hold"),
    (Account, {"account_id": BOB}, {"last_seq": 1}, "transfers, by their count"),
    (Grant, {"reference": "purchase"}, {"held_nanocredits": 10**15}, "0 ≤ held ≤ remaining ≤ amount does not hold"),
    (Grant, {"reference": "purchase"}, {"amount_nanocredits": 1}, "499999999999 less than the entry that brought it"),
    (Grant, {"reference": "purchase"}, {"refunded_nanocredits": 0}, "20500000000 less than its refunds"),
    (Grant, {"reference": "purchase"}, {"source": "promo"}, "a promo does not come from sales"),
    (Grant, {"reference": "purchase"}, {"created_at_us": 0}, "its time and reference are not those of its transfer"),
    (Grant, {"reference": "first"}, {"paid_picousd": 1}, "a correction is not paid for and never expires"),
    (Grant, {"reference": "first"}, {"expires_at_us": 1}, "a correction is not paid for and never expires"),
    # Holds
    (Hold, {"hold_id": "open"}, {"amount_nanocredits": 0}, "a hold reserves more than nothing"),
    (Hold, {"hold_id": "open"}, {"hold_id": "done"}, "it is for no run that is open"),
    (Hold, {"hold_id": "open"}, {"hold_id": "job\x1fvideo-done"}, "it is for no job that is pending"),
    # Runs
    (Run, OPEN, {"closed_at_us": 1}, "it is open and has an end"),
    (Run, OPEN, {"used_nanocredits": 10**15}, "it has drawn 1000000000000000 of 46000000000"),
    (Run, OPEN, {"used_nanocredits": 6_625_000_001}, "1 more than what its events drew"),
    (Run, OPEN, {"held_nanocredits": 46_000_000_001}, "1 more than the holds for it"),
    (Run, DONE, {"calls": 1}, "less than its events come to"),
    (Run, DONE, {"calls": 1}, "its calls are not numbered from 1 on"),
    (Run, DONE, {"calls": 1}, "it counts 8 calls, the run has 1"),
    (Run, DONE, {"receipt": "no"}, "it is not the receipt of a run"),
    (Run, {"run_id": "over"}, {"debt_nanocredits": 1}, "less than its events come to"),
    (Run, {"run_id": "over"}, {"debt_nanocredits": 1}, "less than its debt transfers come to"),
    (Run, {"run_id": "waived"}, {"used_nanocredits": 1}, "a run that was waived captured something"),
    # Jobs
    (Job, PENDING, {"settled_at_us": 1}, "it is pending, and settled at 1"),
    (Job, PENDING, {"status": "completed"}, "it has completed, and no event stands for it"),
    (Job, PENDING, {"run_id": "done"}, "it is the charge of another job or run"),
    (Job, PENDING, {"charge": "no"}, "it is not a charge"),
    (Job, {"job_id": "video-done"}, {"status": "pending"}, "it is pending, and was charged"),
    (Job, {"job_id": "video-done"}, {"held_nanocredits": 1}, "1 more than the holds for it"),
    # Transfers
    (Transfer, {"kind": "charge"}, {"kind": "gift"}, "'gift' is no kind of transfer"),
    (Transfer, {"kind": "charge"}, {"entry_count": 7}, "it is 7, and there are 2 entries"),
    (Transfer, {"kind": "debt"}, {"run_id": None}, "a debt outside a run is part of its charge"),
    (Transfer, {"kind": "refund"}, {"reference": "gone"}, "there is no grant under the key that was refunded"),
    (Entry, {"account_kind": "sales"}, {"seq": 999}, "there is no transfer 999"),
    (Entry, {"account_kind": "sales"}, {"position": 5}, "1 should follow, so an entry before it is missing"),
    (Entry, {"account_kind": "sales"}, {"grant_id": 1}, "an entry of sales has the lot 1"),
    (Entry, {"account_kind": "breakage"}, {"account_kind": "sales"}, "a breakage never gives to 'sales'"),
    (Entry, {"account_kind": "customer"}, {"grant_id": None}, "an entry of customer has the lot None"),
    (Entry, {"account_kind": "customer"}, {"grant_id": 2}, "transfer 1 adds to the lot of another"),
    # Events
    (Event, DIRECT, {"workflow": "story"}, "it is outside a run"),
    (Event, {"key": "open-2"}, {"workflow": "tweet"}, "its run's is 'carousel'"),
    (Event, {"key": "open-2"}, {"used_after_nanocredits": 10**15}, "drawn cannot be"),
    (Event, {"key": "open-2"}, {"held_after_nanocredits": -1}, "drawn cannot be"),
    (Event, {"key": "open-2"}, {"call_number": 0}, "call 0 does not lie where its run has it"),
    (Event, {"key": "late"}, {"call_number": 1}, "call 1 does not lie where its run has it"),
    (Event, {"key": "large"}, {"call_number": 99}, "call 99 does not lie where its run has it"),
    (Event, {"key": "late"}, {"used_after_nanocredits": 1}, "its run had ended with"),
    (Event, {"key": "video-lost"}, {"flags": ""}, "job video-lost expired, and 6000000000 was expected of it"),
    (Event, {"key": "first#correction"}, {"counted": "no"}, "it is not JSON of meters and quantities"),
    (Event, {"key": "first#correction"}, {"nanocredits": -1}, "gave 1000000000 back"),
    (Event, {"key": "first#correction"}, {"debt_nanocredits": 1}, "1 of -1000000000 cannot be debt"),
    (Event, {"key": "first#correction"}, {"used_after_nanocredits": 1}, "its run had ended with"),
    (Event, {"kind": "waiver"}, {"picousd": 1}, "it does not waive what its run was charged"),
    (Event, {"kind": "waiver"}, {"call_number": 1}, "it does not waive what its run was charged"),
    (Event, {"key": "direct-1"}, {"charge_seq": 2}, "transfer 2 is a grant"),
    (Event, {"key": "late"}, {"key": "later"}, "names another run or reference"),
    # Roll-ups
    (Rollup, {"grain": "day"}, {"units": '{"input_tokens":"1"}'}, "input_tokens, output_tokens is not what its events"),
    (Rollup, {"grain": "day"}, {"units": "no"}, "it is not JSON of meters and quantities"),
    (Rollup, {"grain": "day"}, {"picousd": "no"}, "'no' is no number"),
    (Rollup, {"grain": "day"}, {"model": "gpt-6"}, "no event is counted here"),
    # Raw usage and keys
    (RawUsage, {"key": "first"}, {"recorded_at_us": 0}, "its event was recorded at another time"),
    (RawUsage, {"key": "first"}, {"key": "gone"}, "there is no event under this key"),
    (RawUsage, {"key": "first"}, {"key": "zzz"}, "there is no event under this key"),
    (Key, {"kind": "extend"}, {"kind": "gift"}, "'gift' is no kind of key"),
    (Key, {"kind": "extend"}, {"receipt": "{}"}, "it is not the receipt of an extension"),
    (Key, {"kind": "grant"}, {"receipt": "{}"}, "it is not the receipt of a grant"),
    (Key, {"kind": "refund"}, {"receipt": "{}"}, "it is not the receipt of this refund"),
    (Key, {"kind": "refund"}, {"at_us": 0}, "at that time"),
    (Key, {"kind": "close"}, {"receipt": "{}"}, "it is not the receipt of a run"),
    (Key, {"key": "close-1"}, {"fingerprint": STRANGE}, "it stands for no end of run done"),
    (Key, {"kind": "response"}, {"receipt": "gone"}, "there is no event 'gone' with its fingerprint and time"),
    (Key, {"kind": "response"}, {"fingerprint": 0}, "with its fingerprint and time"),
]


@pytest.fixture(scope="module")
def rich() -> Rows:
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return rows_of(books)


def _reasons(verification, table, key):
    return [fault.message for fault in verification.faults if (fault.table, fault.key) == (table.table, key)]


@pytest.mark.parametrize(
    ("table", "where", "columns", "reason"),
    BROKEN,
    ids=[f"{table.table} {' '.join(columns)} {number}" for number, (table, _, columns, _) in enumerate(BROKEN)],
)
def test_a_broken_rule_is_told_of_its_row(rich, table, where, columns, reason):
    row = find(rich, table, **where)
    key = tuple(
        str({**where, **columns}.get(name, part))
        for name, part in zip(type(row).__struct_fields__, key_of(row), strict=False)
    )

    verification = changed(rich, row, **columns)

    assert any(reason in message for message in _reasons(verification, table, key)), verification.faults


def test_an_answer_of_an_extension_that_draws_more_than_it_holds_is_told(rich):
    row = find(rich, Key, kind="extend")

    verification = changed(rich, row, receipt=row.receipt.replace('"used_nanocredits":', '"used_nanocredits":9'))

    assert any("drawn cannot be" in message for message in _reasons(verification, Key, key_of(row)))


def test_a_receipt_that_gives_back_less_than_nothing_is_told(rich):
    row = find(rich, Run, run_id="cancelled")

    verification = changed(
        rich, row, receipt=row.receipt.replace('given_back_nanocredits":', 'given_back_nanocredits":-')
    )

    assert _reasons(verification, Run, key_of(row)) == ["it gives back or waives less than nothing"]


def test_a_job_whose_lines_do_not_add_up_is_told(rich):
    row = find(rich, Job, **PENDING)

    verification = changed(rich, row, charge=row.charge.replace('\\"quantity\\":1000', '\\"quantity\\":999'))

    assert _reasons(verification, Job, key_of(row)) == ["input_tokens is 999, the usage says 1000"]


def test_a_missing_job_that_was_charged_is_told(rich):
    row = find(rich, Job, job_id="video-done")

    verification = verified(with_row(rich, row, None))

    assert _reasons(verification, Job, key_of(row)) == ["it was charged, and is missing"]


def test_a_charge_whose_call_is_missing_is_told(rich):
    row = find(rich, Event, key="direct-1")

    verification = verified(with_row(rich, row, None))

    key = (str(row.account_id), str(row.charge_seq))
    assert _reasons(verification, Transfer, key) == [
        "nothing stands behind this charge: what it was made for is missing"
    ]


def test_a_lot_that_was_broken_off_before_its_time_is_told(rich):
    row = find(rich, Grant, reference="plan")
    broken_off = find(rich, Transfer, kind="breakage")

    verification = changed(rich, row, expires_at_us=broken_off.at_us + 1)

    key = (str(row.account_id), str(broken_off.seq), "0")
    assert _reasons(verification, Entry, key) == [f"lot {row.grant_id} had not expired"]


def test_a_transfer_of_nothing_is_told(rich):
    forged = Transfer(BOB, find(rich, Account, account_id=BOB).last_seq + 1, "charge", 0, 0, None, None, 0)

    verification = verified({**rich, Transfer: [*rich[Transfer], (forged, seal_of(forged))]})

    assert "it moves nothing" in _reasons(verification, Transfer, key_of(forged))


def test_a_missing_account_is_told(rich):
    row = find(rich, Account, account_id=BOB)

    verification = verified(with_row(rich, row, None))

    assert _reasons(verification, Account, key_of(row)) == ["other rows belong to it, and it is missing"]


def test_a_charge_that_says_more_than_its_transfer_moved_is_told(rich):
    row = find(rich, Event, key="direct-1")

    verification = changed(
        rich, row, nanocredits=2_000_000_000, picousd=20_000_000_000, lines=lines_of(2_000_000_000, row.usage)
    )

    reason = f"transfer {row.charge_seq} moved 1000000000, not 2000000000"
    assert reason in _reasons(verification, Event, key_of(row))


def test_two_calls_that_claim_one_transfer_are_told(rich):
    row = find(rich, Event, key="direct-1")
    twin = replace(row, key="direct-2")

    verification = verified({**rich, Event: [*rich[Event], (twin, seal_of(twin))]})

    reason = f"transfer {row.charge_seq} is the effect of something else"
    assert reason in _reasons(verification, Event, key_of(twin))


def test_a_missing_waiver_is_told_of_its_run(rich):
    row = find(rich, Event, key="waiver:waived")

    verification = verified(with_row(rich, row, None))

    run = find(rich, Run, run_id="waived")
    assert any(
        "than its waiver, by waived_nanocredits" in message for message in _reasons(verification, Run, key_of(run))
    )
