"""Verification of keys and audit rows: what was altered and sealed again still contradicts the answer that made it."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.ledger.rows import HOUSE, Account, ApiKey, AuditRow, Key, KeyDay
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import START
from tests.support.rich import write_rich_ledger
from tests.support.tables import changed, find, key_of, places, rows_of, verified, with_row


@pytest.fixture(scope="module")
def rich():
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return rows_of(books)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("family", "key00009"),
        ("mode", "live"),
        ("label", "another"),
        ("scopes", "all:read credits:grant credits:read"),
        ("networks", "0.0.0.0/0"),
        ("grant_cap_nanocredits", None),
        ("grant_cap_nanocredits", 2**62),
        ("created_at_us", 1),
        ("expires_at_us", None),
        ("expires_at_us", 2**63 - 1),
        ("rolled_to", "key00007"),
        ("digest", "short"),
        ("digest", "Z" * 64),
    ],
)
def test_what_a_key_was_made_for_cannot_be_altered_and_sealed_again(rich, column, value):
    key = find(rich, ApiKey, key_id="key00001")

    assert places(changed(rich, key, **{column: value}))


def test_a_key_cannot_be_brought_back(rich):
    key = find(rich, ApiKey, key_id="key00009")

    assert places(changed(rich, key, revoked_at_us=None)) == [("api_keys", ("key00009",), "revoked_at_us")]


def test_no_key_can_be_taken_away_or_slipped_in(rich):
    for row, _ in rich[ApiKey]:
        assert places(verified(with_row(rich, row, None)))
    key = find(rich, ApiKey, key_id="key00001")

    slipped_in = changed(rich, key, key_id="key00005")

    assert ("api_keys", ("key00005",), None) in places(slipped_in)


def test_what_was_granted_in_a_day_is_what_audit_rows_tell(rich):
    (day,) = [row for row, _ in rich[KeyDay]]
    grants = [row for row, _ in rich[AuditRow] if row.object.startswith("grant:")]

    assert places(changed(rich, day, granted_nanocredits=0)) == [("key_days", key_of(day), "granted_nanocredits")]
    assert places(verified(with_row(rich, day, None))) == [("key_days", key_of(day), None)]
    for row in grants:
        assert places(verified(with_row(rich, row, None))) == [("key_days", key_of(day), "granted_nanocredits")]
        assert places(changed(rich, row, state_after='{"nanocredits":1}'))
    assert len(grants) == 2


def test_an_audit_row_is_about_an_account_and_a_key_that_are_there(rich):
    row = next(row for row, _ in rich[AuditRow] if row.key_id == "key00002" and row.operation == "usage.record")

    assert places(changed(rich, row, account_id=7)) == [("audit", ("7", row.audit_id), "account_id")]
    assert places(changed(rich, row, key_id="nobody00")) == [("audit", key_of(row), "key_id")]


@pytest.mark.parametrize("text", ["", "null", "[]", '{"nanocredits":"12"}', "{", '{"nanocredits":1.5}'])
def test_an_audit_row_that_says_nonsense_stops_no_verification(rich, text):
    row = next(row for row, _ in rich[AuditRow] if row.object.startswith("grant:"))

    assert not changed(rich, row, state_after=text).is_clean


def test_the_house_has_answers_about_keys_and_nothing_else(rich):
    answer = next(row for row, _ in rich[Key] if row.account_id == HOUSE)
    account = rich[Account][0][0]

    assert places(changed(rich, answer, kind="grant"))
    assert places(changed(rich, answer, receipt="{}"))
    assert not changed(rich, account, account_id=HOUSE).is_clean
