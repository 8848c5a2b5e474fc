"""Raw usage is kept for some months: what is removed is noted, and nothing else is touched."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from callfare.clock import US_PER_S
from callfare.engine import operations
from callfare.errors import InvalidTime
from callfare.ledger.rows import RawUsage, Retention
from callfare.ledger.verify import verify
from callfare.store.upkeep import retained
from tests.support.books import Books
from tests.support.commands import START_US, grant, record
from tests.support.rich import write_rich_ledger

DAY_S = 86_400


@pytest.fixture
def three_months(books: Books) -> Books:
    return with_three_months(books)


def with_three_months(books: Books) -> Books:
    """Record calls in November and December 2026 and two in January 2027; the last one without a usage object."""
    books.do(grant("alice", 100))
    for days, key in ((0, "november"), (20, "december"), (25, "january")):
        books.advance(seconds=days * DAY_S)
        books.do(record(1, user="alice", key=key, raw='{"total_tokens":1200}'))
    books.do(record(1, user="alice", key="without"))
    return books


def pruned(books: Books, month: str, **named):
    return operations.prune_raw(books.store, books.clock, month, **named)


def raws(books: Books) -> set[str]:
    return {raw.key for raw in books.rows(RawUsage)}


def test_raw_usage_from_before_a_month_is_removed_and_nothing_else(three_months):
    before = three_months.all_rows()

    done = pruned(three_months, "2027-01")

    after = three_months.all_rows()
    assert (done.row_count, done.months) == (2, {"2026-11": 1, "2026-12": 1})
    assert done.before == datetime(2027, 1, 1, tzinfo=UTC)
    assert raws(three_months) == {"january"}
    untouched = before.keys() - {"raw_usage", "retention"}
    assert {table: after[table] for table in untouched} == {table: before[table] for table in untouched}
    assert verify(three_months.store.scan).faults == ()


def test_a_dry_run_counts_and_changes_nothing(three_months):
    before = three_months.all_rows()

    done = pruned(three_months, "2027-01", is_dry_run=True)

    assert (done.row_count, done.is_dry_run) == (2, True)
    assert three_months.all_rows() == before


def test_one_that_is_missing_from_after_is_still_named(three_months):
    pruned(three_months, "2026-12")
    kept = {table: [row for row, _ in rows] for table, rows in three_months.all_rows().items()}

    def scan(table):
        return ((row, seal) for row, seal in three_months.store.scan(table) if getattr(row, "key", "") != "december"
                or table is not RawUsage)  # fmt: skip

    found = verify(scan)

    assert len(kept["raw_usage"]) == 2
    assert [(fault.table, fault.key[1], fault.message) for fault in found.faults] == [
        ("raw_usage", "december", "its event has its digest, and it is missing")
    ]


def test_what_was_noted_never_goes_back(three_months):
    pruned(three_months, "2027-01")

    again = pruned(three_months, "2026-12")

    assert again.row_count == 0
    assert [row.before_us for row in three_months.rows(Retention)] == [1_798_761_600 * US_PER_S]
    assert verify(three_months.store.scan).faults == ()


def test_it_is_noted_also_where_nothing_is_old_enough(three_months):
    assert pruned(three_months, "2020-01").row_count == 0

    assert [row.before_us for row in three_months.rows(Retention)] == [1_577_836_800 * US_PER_S]


def test_only_what_is_as_old_as_is_said_is_dropped_whatever_is_named(three_months):
    keys = [row[:2] for row in three_months.store.upkeep().raw_times()]

    dropped = three_months.store.upkeep().drop_raw(keys, before_us=START_US + 1, now_us=three_months.clock.now_us())

    assert (len(keys), dropped) == (3, 1)
    assert raws(three_months) == {"december", "january"}


def test_a_backup_takes_along_what_was_noted(three_months, make_books, tmp_path):
    pruned(three_months, "2027-01")
    operations.backup(three_months.store, three_months.clock, tmp_path / "ledger")
    other = make_books()

    operations.restore(other.store, tmp_path / "ledger")

    assert other.all_rows() == three_months.all_rows()
    assert verify(other.store.scan).faults == ()


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-1", "2026-11-01", "1999-12", "", "x", "٢٠٢٦-٠٨"])
def test_what_is_no_month_is_refused(books: Books, month):
    with pytest.raises(InvalidTime, match="before is no month; give one such as 2026-08"):
        pruned(books, month)


def test_a_month_that_has_not_begun_is_refused(books: Books):
    with pytest.raises(InvalidTime, match="2026-12 has not begun"):
        pruned(books, "2026-12")


def test_pages_of_raw_usage_go_on_after_a_key(books: Books):
    write_rich_ledger(books)
    upkeep = books.store.upkeep()

    whole = upkeep.raw_times()

    assert [row[:2] for row in whole] == [(raw.account_id, raw.key) for raw in books.rows(RawUsage)]
    for count, row in enumerate(whole, start=1):
        assert upkeep.raw_times(row[:2]) == whole[count:]


def test_retention_that_is_noted_later_wins():
    first = retained(None, 10, 20)

    assert retained(first, 5, 30) is first
    assert retained(first, 11, 30) == Retention("raw_usage", 11, 30)
