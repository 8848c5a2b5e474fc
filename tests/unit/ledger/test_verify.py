"""Verification of a ledger in memory: what it counts, what it names, and that it blames no ledger that is right."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.ledger.rows import (
    TABLES,
    Account,
    Entry,
    Event,
    Grant,
    Hold,
    Key,
    RawUsage,
    Retention,
    Rollup,
    Run,
    Transfer,
    User,
    seal_of,
)
from callfare.ledger.verify import Fault, verify
from callfare.store.memory import MemoryStore
from tests.support.anything import write_anything
from tests.support.books import Books
from tests.support.commands import START, expire, grant, open_run, record
from tests.support.rich import write_rich_ledger
from tests.support.tables import Rows, changed, find, key_of, places, rows_of, verified, with_row

# What moves no credit and is the sum of nothing: what a caller asked for, or was shown once.
TOLD_ONCE = {
    (Run, "asked_nanocredits"),
    (Run, "low_nanocredits"),
    (Run, "high_nanocredits"),
    (Event, "held_after_nanocredits"),
}
# The draw shown with a call that drew nothing, in a run whose draw was corrected while it was open, and with a
# correction that drew nothing: no other row tells of it.
SHOWN_ONLY = {"response:openai::resp_1#resp_1", "step:done:plan:1#resp_3", "unknown", "over-3#reprice"}


def _is_amount(column: str) -> bool:
    return column.endswith(("nanocredits", "picousd"))


AMOUNTS = [
    (table, column)
    for table in TABLES
    for column in table.__struct_fields__
    if _is_amount(column) and (table, column) not in TOLD_ONCE
]


@pytest.fixture
def ledger() -> Books:
    clock = ManualClock(START)
    return Books(MemoryStore(clock), clock)


@pytest.fixture(scope="module")
def rich() -> Rows:
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return rows_of(books)


# A ledger that is right


def test_an_empty_ledger_is_clean(ledger):
    verification = verify(ledger.store.scan)

    assert verification.is_clean
    assert verification.faults == ()
    assert set(verification.counted.values()) == {0}


def test_a_ledger_with_something_of_everything_is_clean(rich):
    verification = verified(rich)

    assert verification.faults == ()
    assert (verification.is_clean, verification.fault_count) == (True, 0)
    assert verification.counted == {table.table: len(rich[table]) for table in TABLES}
    assert all(verification.counted.values())
    # The open run holds 46 credits, the two pending jobs 9 and 4, and a disputed payment all of its 2,000.
    assert verification.held_nanocredits == 2_059_000_000_000


def test_a_ledger_is_still_clean_once_everything_has_expired(ledger):
    write_rich_ledger(ledger)
    ledger.do(grant("alice", 9, key="short", expires_at=START + timedelta(days=3)))
    ledger.advance(hours=24 * 400)
    ledger.do_all(expire("alice"), expire("bob"), expire("carol"))

    verification = verify(ledger.store.scan)

    assert verification.faults == ()
    # What a dispute withholds waits for its end, however long that takes.
    assert verification.held_nanocredits == 2_000_000_000_000
    assert all(run.status != "open" for run in ledger.rows(Run))


def test_totals_are_the_sums_of_entries_by_kind_of_account(ledger):
    ledger.do_all(
        grant("alice", 100),
        grant("alice", 20, key="promo", source="promo", expires_at=START + timedelta(hours=1)),
        open_run("r1", hold=30),
        record(5, run_id="r1"),
        grant("bob", 10),
        record(13, user="bob", key="direct"),
    )
    ledger.advance(hours=2)
    ledger.do(expire("alice"))

    verification = verify(ledger.store.scan)

    # Alice's run drew 5 of her promo and expired; the other 15 of it became breakage. Bob owes 3.
    assert verification.totals_nanocredits == {
        "breakage": 15_000_000_000,
        "customer": 100_000_000_000,
        "promo": -20_000_000_000,
        "receivable": -3_000_000_000,
        "revenue": 18_000_000_000,
        "sales": -110_000_000_000,
    }
    assert (verification.held_nanocredits, verification.debt_nanocredits) == (0, 3_000_000_000)


def test_progress_names_each_table_with_its_rows(rich):
    heard_of: dict[str, int] = {}

    verified(rich, lambda table, count: heard_of.update({table: count}))

    assert heard_of == {table.table: len(rich[table]) for table in TABLES}


@pytest.mark.parametrize("seed", range(60))
def test_no_ledger_that_commands_alone_have_written_is_blamed(ledger, seed):
    write_anything(ledger, random.Random(seed))

    assert verify(ledger.store.scan).faults == ()


# What was altered


def test_a_broken_seal_is_named_before_all_that_follows_from_it(rich):
    last = find(rich, Run, run_id="waived")
    rows = {**rich, Run: [pair for pair in rich[Run] if pair[0] is not last]}
    rows[Run].append((replace(last, used_nanocredits=7, calls=1), seal_of(last)))

    verification = verified(rows)

    assert verification.faults[0] == Fault("runs", key_of(last), None, "its seal does not fit what stands in it")
    assert verification.fault_count > 1


def test_at_most_a_hundred_faults_are_shown_and_all_are_counted(rich):
    rows = {table: [(row, seal + 1) for row, seal in pairs] for table, pairs in rich.items()}

    verification = verified(rows)

    assert len(verification.faults) == 100
    assert verification.fault_count == sum(len(pairs) for pairs in rich.values())


@pytest.mark.parametrize(("table", "column"), AMOUNTS, ids=lambda part: part if isinstance(part, str) else part.table)
def test_no_amount_can_be_altered_and_sealed_again(rich, table, column):
    hidden = [
        key_of(row)
        for row, _ in rich[table]
        for change in (1, -1)
        if changed(rich, row, **{column: _moved(getattr(row, column), change)}).is_clean
    ]

    if column == "used_after_nanocredits":
        hidden = [key for key in hidden if key[1] not in SHOWN_ONLY]
    assert hidden == []


def _moved(amount: int | str | None, change: int) -> int | str:
    return str(int(amount) + change) if isinstance(amount, str) else (amount or 0) + change


@pytest.mark.parametrize(
    "table", [User, Account, Grant, Run, Hold, Transfer, Entry, Event, Rollup], ids=lambda table: table.table
)
def test_no_row_can_be_taken_away_unseen(rich, table):
    unseen = [key_of(row) for row, _ in rich[table] if verified(with_row(rich, row, None)).is_clean]

    assert unseen == []


def test_the_keys_of_grants_refunds_and_responses_are_missed(rich):
    unseen = [row.kind for row, _ in rich[Key] if verified(with_row(rich, row, None)).is_clean]

    # Nothing but the key itself tells that a hold was extended, or under which key a run was closed.
    assert set(unseen) == {"extend", "close"}


def test_raw_usage_may_be_missing_from_before_the_time_that_is_noted_and_from_no_other(rich):
    noted = find(rich, Retention, kind="raw_usage")
    raws = sorted((raw for raw, _ in rich[RawUsage]), key=lambda raw: raw.recorded_at_us)
    last = raws[-1].recorded_at_us

    missing = verified({**rich, RawUsage: []})
    removed = verified({**with_row(rich, noted, replace(noted, before_us=last + 1, set_at_us=last + 1)), RawUsage: []})
    too_much = verified({**with_row(rich, noted, replace(noted, before_us=last, set_at_us=last)), RawUsage: []})

    assert {(fault.table, fault.message) for fault in missing.faults} == {
        ("raw_usage", "its event has its digest, and it is missing")
    }
    assert missing.fault_count == len(raws)
    assert removed.faults == ()
    assert {fault.key for fault in too_much.faults} == {key_of(raw) for raw in raws if raw.recorded_at_us == last}


def test_what_is_noted_of_retention_makes_sense(rich):
    noted = find(rich, Retention, kind="raw_usage")

    later = changed(rich, noted, before_us=noted.set_at_us + 1)
    other = changed(rich, noted, kind="events")

    assert places(later)[0] == ("retention", ("raw_usage",), "before_us")
    assert places(other)[0] == ("retention", ("events",), "kind")
