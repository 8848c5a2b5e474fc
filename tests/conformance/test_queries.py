"""Queries: bounded answers in a stated order, pages that join without a gap, scans in the order of keys."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from callfare.ledger.rows import TABLES, Entry, Event, Key, Retention, Run, Transfer, User
from callfare.store.protocol import (
    ApiKeyNamed,
    ApiKeysAfter,
    AuditBefore,
    AuditOf,
    CustomerOf,
    DeliveryNamed,
    EntriesOf,
    EventNamed,
    EventsBetween,
    EventsOfRun,
    FactNamed,
    GrantNumbered,
    InboxDue,
    JobsNamed,
    KeyDayOf,
    KeyNamed,
    LiveSubscriptions,
    OrderNamed,
    OrdersOf,
    QuarantineAfter,
    RawOf,
    RollupsOf,
    RunsAmong,
    RunsNamed,
    RunsOf,
    SaleNamed,
    SalesPaidBy,
    SubscriptionNamed,
    SubscriptionsOf,
    TransfersOf,
    UnpricedEvents,
    UnsettledOrders,
    UserNamed,
    UserOf,
)
from tests.support import sale_commands as sales
from tests.support.books import Books
from tests.support.commands import (
    START_US,
    account_number,
    adjust,
    asked_by,
    close,
    grant,
    make_key,
    open_run,
    pend,
    record,
)

ALICE, BOB = account_number("alice"), account_number("bob")
LATEST_US = 2**62
MINUTE_US = 60_000_000
NO_QUERY_FINDS_ANYTHING = [
    ApiKeyNamed(key_id="ghost"),
    ApiKeysAfter(after_key_id="", limit=10),
    KeyDayOf(family="ghost", day_us=0),
    AuditBefore(before_id="~", limit=10),
    AuditOf(account_id=7, before_id="~", limit=10),
    UserNamed(user="nobody"),
    UserOf(account_id=7),
    RunsNamed(run_id="ghost"),
    RunsAmong(run_ids='["ghost"]'),
    RunsOf(account_id=7, before_us=LATEST_US, before_run_id="", limit=10),
    EventsOfRun(account_id=7, run_id="ghost", after_number=0, after_key="", limit=10),
    EventsBetween(account_id=7, since_us=0, until_us=LATEST_US),
    EventNamed(account_id=7, key="ghost"),
    UnpricedEvents(after_account_id=-1, after_key="", limit=10),
    RawOf(account_id=7, key="ghost"),
    TransfersOf(account_id=7, before_seq=LATEST_US, limit=10),
    EntriesOf(account_id=7, seq=1),
    GrantNumbered(account_id=7, grant_id=1),
    KeyNamed(account_id=7, key="ghost"),
    JobsNamed(job_id="ghost"),
    OrderNamed(account_id=7, order_id="ghost"),
    OrdersOf(account_id=7, limit=10),
    UnsettledOrders(before_us=LATEST_US, after_account_id=-1, after_order_id="", limit=10),
    SaleNamed(account_id=7, sale_id="ghost"),
    SalesPaidBy(payment="pi_ghost"),
    CustomerOf(account_id=7, mode="test"),
    SubscriptionNamed(account_id=7, subscription="ghost"),
    SubscriptionsOf(account_id=7),
    LiveSubscriptions(after_account_id=-1, after_subscription="", limit=10),
    DeliveryNamed(account_id=0, message_id="ghost"),
    InboxDue(now_us=LATEST_US, limit=10),
    QuarantineAfter(after_item_id="", limit=10),
    FactNamed(account_id=0, name="ghost"),
    RollupsOf(account_id=7, grain="day", since_us=0, until_us=LATEST_US),
]


@pytest.mark.parametrize("query", NO_QUERY_FINDS_ANYTHING, ids=lambda query: type(query).__name__)
def test_what_is_not_there_is_an_empty_answer(books: Books, query):
    assert books.store.select(query) == []
    books.do_all(grant("alice", 100), open_run("r1"), record(1, run_id="r1", raw="{}"), pend(5, run_id="r1"))
    assert books.store.select(query) == []


def test_runs_are_found_by_many_ids_at_once(books: Books):
    books.do_all(
        grant("alice", 500), grant("bob", 100), open_run("r2"), open_run("r1"), open_run("r1", "bob"), open_run("R1")
    )
    owners = sorted([ALICE, BOB])

    found = books.store.select(RunsAmong(run_ids='["r2","r1","ghost","\u00e9"]'))

    assert [(row.run_id, row.account_id) for row in found] == [("r1", owners[0]), ("r1", owners[1]), ("r2", ALICE)]
    assert books.store.select(RunsAmong(run_ids="[]")) == []


def test_users_are_found_by_name_and_by_account(books: Books):
    books.do_all(grant("alice", 1), grant("bob", 1))

    (by_name,) = books.store.select(UserNamed(user="bob"))
    (by_account,) = books.store.select(UserOf(account_id=BOB))

    assert by_name == by_account == User("bob", BOB, None, None, START_US)


def test_runs_of_one_id_are_found_whosesoever_they_are(books: Books):
    books.do_all(grant("alice", 100), grant("bob", 100), open_run("r1", "alice"), open_run("r1", "bob"))

    runs = books.store.select(RunsNamed(run_id="r1"))

    assert [run.account_id for run in runs] == sorted([ALICE, BOB])


def test_runs_of_an_account_come_newest_first_and_in_pages(books: Books):
    books.do_all(grant("alice", 100), grant("bob", 100), open_run("hers not", "bob"))
    for number in range(7):
        books.do(open_run(f"r{number}", hold=1))
        books.advance(seconds=60 if number % 2 else 0)

    seen, before = [], (LATEST_US, "")
    while page := books.store.select(RunsOf(account_id=ALICE, before_us=before[0], before_run_id=before[1], limit=3)):
        seen += [run.run_id for run in page]
        before = (page[-1].opened_at_us, page[-1].run_id)

    assert seen == ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]


def test_runs_opened_at_one_instant_come_in_the_reverse_of_their_ids(books: Books):
    names = ["a", "ab", "b", "\u00e4", "\U0001f680", "aa", "B"]
    books.do(grant("alice", 100))
    books.do_all(*(open_run(name, hold=1) for name in names))

    runs = books.store.select(RunsOf(account_id=ALICE, before_us=LATEST_US, before_run_id="", limit=100))

    assert [run.run_id for run in runs] == sorted(names, key=str.encode, reverse=True)


def test_calls_of_a_run_come_in_their_order_and_in_pages(books: Books):
    books.do_all(grant("alice", 100), open_run("r1"), open_run("r2", hold=1))
    books.do_all(*(record(1, run_id="r1", key=f"call-{9 - number}") for number in range(8)))
    books.do(record(1, run_id="r2", key="another's"))

    seen, after = [], (0, "")
    while page := books.store.select(
        EventsOfRun(account_id=ALICE, run_id="r1", after_number=after[0], after_key=after[1], limit=3)
    ):
        seen += [event.key for event in page]
        after = (page[-1].call_number, page[-1].key)

    assert seen == [f"call-{9 - number}" for number in range(8)]


def test_a_correction_stands_beside_the_call_it_corrects(books: Books):
    books.do_all(grant("alice", 100), open_run("r1"))
    books.do_all(record(1, run_id="r1", key="a"), record(1, run_id="r1", key="b"), adjust(2, key="a"))

    events = books.store.select(EventsOfRun(account_id=ALICE, run_id="r1", after_number=0, after_key="", limit=9))

    assert [event.key for event in events] == ["a", "a#correction", "b"]


def test_calls_of_a_window_include_its_beginning_and_not_its_end(books: Books):
    books.do(grant("alice", 100))
    for minute in (4, 3, 2, 1):
        books.do(record(1, user="alice", key=f"minute-{minute}", at_us=START_US + minute * MINUTE_US))
    books.do(record(1, user="bob", at_us=START_US + 2 * MINUTE_US))

    events = books.store.select(
        EventsBetween(account_id=ALICE, since_us=START_US + 2 * MINUTE_US, until_us=START_US + 4 * MINUTE_US)
    )

    assert [event.key for event in events] == ["minute-2", "minute-3"]


def test_unpriced_calls_of_everybody_come_in_pages_until_they_have_a_price(books: Books):
    for user in ("alice", "bob"):
        books.do(record(1, user=user, key="priced"))
        books.do_all(*(record(0, user=user, key=f"unpriced-{number}", is_unpriced=True) for number in range(3)))
    books.do(adjust(4, key="unpriced-1", kind="reprice"))

    seen, after = [], (-1, "")
    while page := books.store.select(UnpricedEvents(after_account_id=after[0], after_key=after[1], limit=2)):
        seen += [(event.account_id, event.key) for event in page]
        after = seen[-1]

    assert seen == sorted([
        (ALICE, "unpriced-0"), (ALICE, "unpriced-2"), (BOB, "unpriced-0"), (BOB, "unpriced-1"), (BOB, "unpriced-2"),
    ])  # fmt: skip


def test_transfers_come_newest_first_and_in_pages(books: Books):
    books.do_all(*(grant("alice", number, key=f"g{number}") for number in range(1, 8)))

    seen, before = [], LATEST_US
    while page := books.store.select(TransfersOf(account_id=ALICE, before_seq=before, limit=3)):
        seen += [transfer.seq for transfer in page]
        before = seen[-1]

    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_the_entries_of_a_transfer_come_in_their_positions(books: Books):
    books.do_all(grant("alice", 1, key="a"), grant("alice", 1, key="b"), record("2.5", user="alice"))

    entries = books.store.select(EntriesOf(account_id=ALICE, seq=3))

    assert entries == [
        Entry(ALICE, 3, 0, "customer", 1, -1_000_000_000),
        Entry(ALICE, 3, 1, "customer", 2, -1_000_000_000),
        Entry(ALICE, 3, 2, "receivable", None, -500_000_000),
        Entry(ALICE, 3, 3, "revenue", None, 2_500_000_000),
    ]


def test_a_lot_that_is_used_up_is_still_found(books: Books):
    books.do_all(grant("alice", 5), record(5, user="alice"))

    (lot,) = books.store.select(GrantNumbered(account_id=ALICE, grant_id=1))

    assert (lot.amount_nanocredits, lot.remaining_nanocredits) == (5_000_000_000, 0)


def test_keys_jobs_events_and_raw_usage_are_found_by_name(books: Books):
    books.do_all(grant("alice", 50), record(5, user="alice", raw='{"n":1}'), pend(5, user="alice"))

    (key,) = books.store.select(KeyNamed(account_id=ALICE, key="grant-1"))
    (job,) = books.store.select(JobsNamed(job_id="video-1"))
    (event,) = books.store.select(EventNamed(account_id=ALICE, key="call-1"))
    (raw,) = books.store.select(RawOf(account_id=ALICE, key="call-1"))

    assert (key.kind, job.status, event.nanocredits, raw.raw) == ("grant", "pending", 5_000_000_000, '{"n":1}')


def test_roll_ups_come_by_grain_and_by_when_they_start(books: Books):
    quarter_us, day_us = 15 * MINUTE_US, 24 * 60 * MINUTE_US
    books.do(grant("alice", 100))
    for key, at_us in (
        ("a", START_US),
        ("b", START_US + quarter_us - 1),
        ("c", START_US + quarter_us),
        ("d", START_US + day_us),
    ):
        books.do(record(1, user="alice", key=key, at_us=at_us))

    quarters = books.store.select(
        RollupsOf(account_id=ALICE, grain="quarter", since_us=START_US, until_us=START_US + day_us)
    )
    days = books.store.select(RollupsOf(account_id=ALICE, grain="day", since_us=0, until_us=LATEST_US))

    assert [(row.start_us, row.calls) for row in quarters] == [(START_US, 2), (START_US + quarter_us, 1)]
    assert [(row.start_us, row.calls) for row in days] == [(START_US - day_us // 2, 3), (START_US + day_us // 2, 1)]


def test_roll_ups_keep_workflows_models_and_operations_apart(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", workflow="story"))
    books.do_all(
        record(1, run_id="r1", key="a"), record(1, user="alice", key="b"), record(1, run_id="r1", key="c", model="x")
    )

    rows = books.store.select(RollupsOf(account_id=ALICE, grain="day", since_us=0, until_us=LATEST_US))

    assert [(row.workflow, row.model, row.calls) for row in rows] == [
        ("", "gpt-5-mini", 1), ("story", "gpt-5-mini", 1), ("story", "x", 1),
    ]  # fmt: skip


def test_usage_before_1970_and_after_2200_falls_into_its_own_day(books: Books):
    day_us = 24 * 60 * MINUTE_US
    books.do_all(record(1, user="alice", key="a", at_us=-1), record(1, user="alice", key="b", at_us=80_000 * day_us))

    rows = books.store.select(RollupsOf(account_id=ALICE, grain="day", since_us=-LATEST_US, until_us=LATEST_US))

    assert [row.start_us for row in rows] == [-day_us, 80_000 * day_us]


# Scans and facts


def test_a_scan_yields_every_row_once_in_the_order_of_keys(books: Books):
    books.do(grant("alice", 5000))
    books.do(open_run("r1", hold=3000))
    for first in range(0, 2400, 400):
        books.batch(*(record(1, run_id="r1", key=f"call-{number}") for number in range(first, first + 400)))

    keys = [event.key for event in books.rows(Event)]

    assert len(keys) == 2400
    assert keys == sorted(keys)


@pytest.mark.parametrize("table", [table for table in TABLES if table is not Retention], ids=lambda table: table.table)
def test_a_scan_goes_on_after_a_key(books: Books, table):
    for user in ("alice", "bob", "carol"):
        books.do(make_key(f"key-{user}", key=user))
        books.do_all(
            asked_by(grant(user, 100), f"key-{user}"), open_run("r1", user, hold=10), open_run("r2", user, hold=10)
        )
        number = account_number(user)
        books.do(record(1, run_id="r1", account_id=number, raw="{}"))
        books.do_all(pend(5, run_id="r1", account_id=number), record(1, user=user, key="other", raw="{}"))
        books.do_all(
            sales.open_order(user, kind="plan"),
            sales.settle_sale(user=user),
            sales.claim_customer(user),
            replace(sales.mirror(), user=user, order_id=sales.order_name(user)),
            sales.take(f"evt_{user}"),
            sales.put_aside(f"order:{user}"),
            sales.note_fact(name=user),
        )
    whole = list(books.store.scan(table))

    for count, (row, _) in enumerate(whole, start=1):
        assert list(books.store.scan(table, row.pk)) == whole[count:]
    assert len(whole) >= 3


def test_a_snapshot_of_a_stranger_is_none(books: Books):
    books.do(grant("alice", 1))

    assert books.store.snapshot("Alice") is None


def test_a_snapshot_tells_what_open_runs_have_drawn_and_no_other(books: Books):
    books.do_all(grant("alice", 100), grant("bob", 100))
    books.do_all(
        open_run("r1", hold=10), open_run("r2", hold=10, ttl_s=60), open_run("r3", hold=10), open_run("r4", "bob")
    )
    books.do_all(*(record(3, run_id=f"r{number}", key=f"call-{number}") for number in (1, 2, 3, 4)))
    books.do(close("r3"))
    books.advance(seconds=60)

    assert books.balance().spent == "3"
    assert books.balance("bob").spent == "3"


def test_a_store_says_how_much_it_holds(books: Books):
    books.do_all(grant("alice", 100), open_run("r1"), record(1, run_id="r1"))

    facts = books.store.facts()

    assert facts.rows == {table.table: len(books.rows(table)) for table in TABLES}
    assert facts.rows["events"] == 1
    assert (len(books.rows(Transfer)), len(books.rows(Key)), len(books.rows(Run))) == (1, 1, 1)
