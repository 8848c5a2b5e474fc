"""API keys and audit rows on every store: kept once, counted exactly, gone with what they are about."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from callfare.errors import (
    CallfareError,
    Conflict,
    GrantCapReached,
    InsufficientCredit,
    KeyConflict,
    NotFound,
    Unauthorized,
)
from callfare.ledger.rows import HOUSE, ApiKey, AuditRow, Grant, Key, KeyDay
from callfare.ledger.verify import verify
from callfare.store.protocol import ApiKeyNamed, ApiKeysAfter, AuditBefore, AuditOf, KeyDayOf
from tests.support.commands import (
    HOUR_S,
    START,
    START_US,
    account_number,
    asked_by,
    close,
    grant,
    make_key,
    note,
    note_use,
    open_run,
    pend,
    record,
    revoke_key,
    roll_key,
    settle,
)

DAY_US = 24 * 3600 * 1_000_000
TODAY_US = START_US - 12 * 3600 * 1_000_000
TOMORROW_US = TODAY_US + DAY_US


def key_row(books, key_id: str = "key00001") -> ApiKey:
    return next(row for row in books.rows(ApiKey) if row.key_id == key_id)


def granted(books) -> dict[tuple[str, int], int]:
    return {(day.family, day.day_us): day.granted_nanocredits for day in books.rows(KeyDay)}


# Keys


def test_a_key_is_kept_as_it_was_made(books):
    receipt = books.do(make_key(cap="12.5", user="alice", expires_at=START + timedelta(days=30)))

    assert books.reopened().rows(ApiKey) == [
        ApiKey(
            key_id="key00001",
            family="key00001",
            mode="test",
            label="a key",
            scopes="credits:grant credits:read",
            digest="0" * 56 + "30303031",
            pepper="a1b2c3d4",
            user="alice",
            networks=None,
            grant_cap_nanocredits=12_500_000_000,
            created_at_us=START_US,
            expires_at_us=START_US + 30 * DAY_US,
            revoked_at_us=None,
            rolled_to=None,
            used_at_us=None,
        )
    ]
    assert (receipt.key_id, receipt.is_replay) == ("key00001", False)


def test_a_repeated_request_gets_the_first_key_and_makes_no_other(books):
    books.do(make_key("key00001"))

    again = books.do(make_key("key00002"))

    assert (again.key_id, again.is_replay) == ("key00001", True)
    assert [row.key_id for row in books.rows(ApiKey)] == ["key00001"]


def test_the_same_request_key_with_another_request_is_a_conflict(books):
    books.do(make_key(cap=5))

    with pytest.raises(KeyConflict):
        books.do(make_key("key00002", cap=6))


def test_an_id_that_is_taken_is_refused(books):
    books.do(make_key())

    with pytest.raises(Conflict):
        books.do(make_key(key="make-2"))


def test_a_rolled_key_gives_its_place_to_one_like_it_and_ends_after_the_overlap(books):
    books.do(make_key(cap=7, user="alice"))
    books.advance(hours=1)

    receipt = books.do(roll_key(overlap_s=2 * HOUR_S))

    old, new = key_row(books), key_row(books, "key00002")
    assert (old.expires_at_us, old.rolled_to) == (START_US + 3 * 3600 * 1_000_000, "key00002")
    assert (new.family, new.scopes, new.user, new.grant_cap_nanocredits) == (
        "key00001", "credits:grant credits:read", "alice", 7_000_000_000,
    )  # fmt: skip
    assert (new.digest, new.expires_at_us, new.created_at_us) == ("1" * 64, None, START_US + 3600 * 1_000_000)
    assert (receipt.key_id, receipt.replaces) == ("key00002", "key00001")


def test_a_rolled_key_lives_as_long_as_the_one_before(books):
    books.do(make_key(expires_at=START + timedelta(hours=10)))
    books.advance(hours=9)

    books.do(roll_key(overlap_s=24 * HOUR_S))

    # The old one still ends when it would have; the new one has ten hours of its own.
    assert key_row(books).expires_at_us == START_US + 10 * 3600 * 1_000_000
    assert key_row(books, "key00002").expires_at_us == START_US + 19 * 3600 * 1_000_000


def test_rolling_twice_by_one_request_makes_one_key(books):
    books.do(make_key())
    first = books.do(roll_key())

    again = books.do(roll_key(new_key_id="key00003"))

    assert (first.key_id, again.key_id, again.is_replay) == ("key00002", "key00002", True)
    assert len(books.rows(ApiKey)) == 2


@pytest.mark.parametrize("ended", ["revoked", "expired", "rolled"])
def test_a_key_that_has_ended_cannot_be_rolled(books, ended):
    books.do(make_key(expires_at=START + timedelta(hours=1)))
    if ended == "revoked":
        books.do(revoke_key())
    elif ended == "expired":
        books.advance(hours=1)
    else:
        books.do(roll_key())

    with pytest.raises(Conflict):
        books.do(roll_key(new_key_id="key00003", key="roll-2"))


def test_a_key_is_revoked_once(books):
    books.do(make_key())
    books.do(revoke_key())
    books.advance(hours=1)

    again = books.do(revoke_key())

    assert (again.is_replay, again.revoked_at_us) == (True, START_US)
    assert key_row(books).revoked_at_us == START_US


@pytest.mark.parametrize("command", [revoke_key("nobody00"), roll_key("nobody00"), note_use("nobody00")])
def test_a_key_that_is_not_there_is_not_found(books, command):
    with pytest.raises(NotFound):
        books.do(command)


def test_the_last_use_of_a_key_only_moves_forward(books):
    books.do(make_key())
    books.do_all(note_use(at_us=START_US + 60_000_000), note_use(at_us=START_US))

    assert key_row(books).used_at_us == START_US + 60_000_000


# What a key may grant


def test_a_key_grants_up_to_its_cap_and_not_a_nanocredit_more(books):
    books.do(make_key(cap=100))
    books.do(asked_by(grant("alice", 60, key="g1"), "key00001", number=1))

    with pytest.raises(GrantCapReached) as refused:
        books.do(asked_by(grant("bob", "40.000000001", key="g2"), "key00001", number=2))
    books.do(asked_by(grant("bob", 40, key="g3"), "key00001", number=3))

    assert refused.value.facts() | {"message": ""} == {
        "code": "grant_cap_reached",
        "message": "",
        "param": "credits",
        "key_id": "key00001",
        "cap": "100",
        "granted": "60",
        "asked": "40.000000001",
        "resets_at": "2026-11-24T00:00:00+00:00",
    }
    assert granted(books) == {("key00001", TODAY_US): 100_000_000_000}
    assert books.balance("bob").available == "40"


def test_the_next_utc_day_begins_at_nothing(books):
    books.do(make_key(cap=100))
    books.do(asked_by(grant("alice", 100, key="g1"), "key00001", number=1))
    books.advance(hours=12)

    books.do(asked_by(grant("alice", 100, key="g2"), "key00001", number=2))

    assert granted(books) == {
        ("key00001", TODAY_US): 100_000_000_000,
        ("key00001", TOMORROW_US): 100_000_000_000,
    }


def test_a_repeated_grant_is_counted_once(books):
    books.do(make_key(cap=100))
    books.do(asked_by(grant("alice", 100, key="g1"), "key00001", number=1))

    again = books.do(asked_by(grant("alice", 100, key="g1"), "key00001", number=2))

    assert again.is_replay
    assert granted(books) == {("key00001", TODAY_US): 100_000_000_000}


def test_a_refused_grant_is_not_counted(books):
    books.do(make_key(cap=100))

    answers = books.batch(
        asked_by(grant("alice", 60, key="g1", expires_at=START - timedelta(hours=1)), "key00001", number=1)
    )

    assert isinstance(answers[0], CallfareError)
    assert books.rows(KeyDay) == []
    assert books.rows(AuditRow) == []


def test_a_batch_counts_one_grant_after_another(books):
    books.do(make_key(cap=100))

    answers = books.batch(
        *(asked_by(grant(f"user-{number}", 30, key="g"), "key00001", number=number) for number in range(1, 6))
    )

    assert [isinstance(answer, GrantCapReached) for answer in answers] == [False, False, False, True, True]
    assert granted(books) == {("key00001", TODAY_US): 90_000_000_000}
    assert len(books.rows(Grant)) == 3


def test_a_key_and_the_one_that_took_its_place_share_their_cap(books):
    books.do_all(make_key(cap=100), roll_key())
    books.do(asked_by(grant("alice", 70, key="g1"), "key00001", number=1))

    with pytest.raises(GrantCapReached):
        books.do(asked_by(grant("alice", 31, key="g2"), "key00002", number=2))
    books.do(asked_by(grant("alice", 30, key="g3"), "key00002", number=3))

    assert granted(books) == {("key00001", TODAY_US): 100_000_000_000}


def test_a_key_without_a_cap_is_counted_and_not_bounded(books):
    books.do(make_key(cap=None))

    books.do(asked_by(grant("alice", 9_000_000, key="g1"), "key00001", number=1))

    assert granted(books) == {("key00001", TODAY_US): 9_000_000_000_000_000}


@pytest.mark.parametrize("end", ["revoked", "expired", "unknown"])
def test_a_key_that_ended_after_it_was_let_in_grants_nothing(books, end):
    books.do(make_key(expires_at=START + timedelta(hours=1)))
    if end == "revoked":
        books.do(revoke_key())
    elif end == "expired":
        books.advance(hours=1)
    key_id = "nobody00" if end == "unknown" else "key00001"

    with pytest.raises(Unauthorized):
        books.do(asked_by(grant("alice", 1, key="g1"), key_id))

    assert books.rows(Grant) == []


# Who asked


def test_an_audit_row_tells_who_asked_for_what(books):
    books.do(make_key())
    books.do(asked_by(grant("alice", 5, key="g1", source="promo"), "key00001", number=7))

    (row,) = books.reopened().rows(AuditRow)

    assert row == AuditRow(
        account_id=account_number("alice"),
        audit_id="aud_1k0y1an0c000000000000000007",
        at_us=START_US,
        principal="key:key00001",
        key_id="key00001",
        operation="credits.grant",
        object="grant:1",
        request_key="g1",
        request_id="req_7",
        state_before=None,
        state_after='{"nanocredits":5000000000,"source":"promo"}',
    )


def test_what_one_request_records_for_one_account_has_one_audit_row_that_names_every_event(books):
    books.do_all(grant("alice", 500), grant("bob", 500), open_run("r1"))
    calls = [
        record(1, run_id="r1", key="c1"),
        record(2, run_id="ghost", key="c2"),
        record(3, user="bob", key="c3"),
        record(4, run_id="r1", key="c4"),
        record(1, run_id="r1", key="c1"),
    ]

    books.batch(*(asked_by(call, number=1) for call in calls), asked_by(record(5, run_id="r1", key="c5"), number=2))
    books.do(asked_by(record(6, run_id="r1", key="c6"), number=1))

    found = sorted((row.request_id, row.object, row.request_key, row.state_after) for row in books.rows(AuditRow))
    assert found == [
        ("req_1", "event:c3", "c3", None),
        ("req_1", "event:c6", "c6", None),
        ("req_1", "events:2", None, '{"events":["c1","c4"]}'),
        ("req_2", "event:c5", "c5", None),
    ]


def test_every_kind_of_write_names_its_object(books):
    books.do_all(
        grant("alice", 500),
        asked_by(open_run("r1"), number=1),
        asked_by(record(1, run_id="r1", key="c1"), number=2),
        asked_by(pend(3, job_id="video-1", run_id="r1"), number=3),
        asked_by(settle("video-1"), number=4),
        asked_by(close("r1", key="end-1"), number=5),
        make_key(audit=note("keys.make", number=6)),
        roll_key(audit=note("keys.roll", number=7)),
        revoke_key(audit=note("keys.revoke", number=8)),
    )

    rows = sorted(books.rows(AuditRow), key=lambda row: row.request_id)

    assert [(row.object, row.request_key) for row in rows] == [
        ("run:r1", None),
        ("event:c1", "c1"),
        ("job:video-1", None),
        ("job:video-1", None),
        ("run:r1", "end-1"),
        ("key:key00001", "make-1"),
        ("key:key00002", "roll-1"),
        ("key:key00001", None),
    ]
    assert [row.account_id for row in rows[5:]] == [HOUSE, HOUSE, HOUSE]
    assert json.loads(rows[4].state_before) == {"status": "open"}
    assert json.loads(rows[4].state_after) == {"status": "completed", "charged_nanocredits": 4_000_000_000}
    assert json.loads(rows[7].state_after) == {"revoked_at_us": START_US}


def test_a_refusal_leaves_no_audit_row(books):
    with pytest.raises(InsufficientCredit):
        books.do(asked_by(open_run("r1", hold=40)))

    assert books.rows(AuditRow) == []


def test_a_repeat_leaves_no_second_audit_row(books):
    books.do(grant("alice", 100))
    for number, command in enumerate([open_run("r1"), record(1, run_id="r1"), close("r1"), grant("alice", 1, key="g")]):
        books.do(asked_by(command, number=number))
        again = books.do(asked_by(command, number=number + 50))
        assert again.is_replay

    assert sorted(row.request_id for row in books.rows(AuditRow)) == ["req_0", "req_1", "req_2", "req_3"]


def test_a_long_job_keeps_the_note_of_its_beginning_for_itself(books):
    books.do(grant("alice", 100))
    charge = asked_by(record(3, user="alice", key="video-1"), number=1)

    books.do(replace(pend(), charge=charge, audit=note("usage.record", number=2)))
    books.do(settle("video-1"))

    assert [row.audit_id[-1] for row in books.rows(AuditRow)] == ["2"]


def test_a_command_without_a_note_leaves_no_audit_row(books):
    books.do_all(grant("alice", 100), make_key(), record(1, user="alice"))

    assert books.rows(AuditRow) == []


# Reading


def test_keys_are_found_by_their_public_id(books):
    books.do_all(make_key("key00001"), make_key("key00002", key="make-2"))

    assert [row.key_id for row in books.store.select(ApiKeyNamed(key_id="key00002"))] == ["key00002"]
    assert books.store.select(ApiKeyNamed(key_id="key00003")) == []


def test_keys_are_listed_in_pages(books):
    books.do_all(*(make_key(f"key0000{number}", key=f"make-{number}") for number in range(1, 6)))

    first = books.store.select(ApiKeysAfter(after_key_id="", limit=2))
    rest = books.store.select(ApiKeysAfter(after_key_id="key00002", limit=9))

    assert [row.key_id for row in first] == ["key00001", "key00002"]
    assert [row.key_id for row in rest] == ["key00003", "key00004", "key00005"]


def test_what_a_family_granted_in_a_day_is_found(books):
    books.do(make_key())
    books.do(asked_by(grant("alice", 5, key="g1"), "key00001"))

    assert books.store.select(KeyDayOf(family="key00001", day_us=TODAY_US)) == [
        KeyDay("key00001", TODAY_US, 5_000_000_000)
    ]
    assert books.store.select(KeyDayOf(family="key00001", day_us=TOMORROW_US)) == []


def test_audit_rows_are_read_newest_first_of_all_and_of_one_account(books):
    books.do_all(
        *(
            asked_by(grant(user, 5, key=f"g{number}"), number=number)
            for number, user in enumerate(["alice", "bob", "alice", "bob"], start=1)
        )
    )
    end = "aud_~"

    everyone = books.store.select(AuditBefore(before_id=end, limit=3))
    older = books.store.select(AuditBefore(before_id=everyone[-1].audit_id, limit=3))
    alice = books.store.select(AuditOf(account_id=account_number("alice"), before_id=end, limit=9))

    assert [row.audit_id[-1] for row in everyone] == ["4", "3", "2"]
    assert [row.audit_id[-1] for row in older] == ["1"]
    assert [row.audit_id[-1] for row in alice] == ["3", "1"]


# The whole


def test_a_ledger_with_keys_and_audit_rows_is_clean(books):
    books.do_all(
        make_key(audit=note("keys.make", number=1)),
        roll_key(audit=note("keys.roll", number=2)),
        asked_by(grant("alice", 5, key="g1"), "key00001", number=3),
        asked_by(grant("alice", 6, key="g2"), "key00002", number=4),
        revoke_key(audit=note("keys.revoke", number=5)),
    )

    with books.store.one_instant() as scan:
        assert verify(scan).faults == ()
    assert [(row.account_id, row.kind) for row in books.rows(Key) if row.account_id == HOUSE] == [
        (HOUSE, "make_key"),
        (HOUSE, "roll_key"),
    ]
