"""What a key may grant, by several processes at once; and who asked, whatever ends them. Each check can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callfare.ledger.rows import AuditRow, KeyDay, Transfer
from callfare.ledger.verify import verify
from callfare.store.sqlite import SqliteStore
from tests.support.books import Books
from tests.support.commands import asked_by, grant, make_key, revoke_key
from tests.support.fixtures import address, give_back, open_store

ROOT = Path(__file__).parents[2]
PROCESSES = ("ann", "ben", "cem", "dot")


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request, tmp_path):
    """A ledger under the real clock, and its address."""
    store = open_store(request.param, tmp_path, None)
    store.create()
    yield Books(store, None), address(request.param, tmp_path)
    store.close()
    give_back(tmp_path)


def grant_together(url: str, plant: str = "", grants: int = 20) -> int:
    """Have four processes grant a credit at a time, and return how many grants were accepted."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.auth.granting", url, name, str(grants), plant],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in PROCESSES
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    return sum(int(text) for text in said)


def what_is_wrong(books: Books, *, cap: int, accepted: int) -> list[str]:
    """Return what contradicts the cap, or who asked."""
    grants = [row for row in books.rows(Transfer) if row.kind == "grant"]
    audited = [row for row in books.rows(AuditRow) if row.operation == "credits.grant"]
    counted = sum(day.granted_nanocredits for day in books.rows(KeyDay)) // 1_000_000_000
    with books.store.one_instant() as scan:
        faults = [str(fault) for fault in verify(scan).faults]
    told = []
    if len(grants) > cap:
        told.append(f"{len(grants)} credits were granted under a cap of {cap}")
    if len(grants) != accepted:
        told.append(f"{len(grants)} grants stand where {accepted} were accepted")
    if {(row.account_id, row.object) for row in audited} != {(row.account_id, f"grant:{row.seq}") for row in grants}:
        told.append("not every grant tells who asked for it")
    if counted != len(grants):
        told.append(f"{counted} credits were counted of {len(grants)}")
    return told + faults


def test_four_processes_grant_exactly_what_their_key_may(ledger):
    books, url = ledger
    books.do(make_key(cap=50))

    accepted = grant_together(url)

    assert accepted == 50
    assert what_is_wrong(books, cap=50, accepted=accepted) == []


def test_a_revoked_key_grants_nothing_in_any_process(ledger):
    books, url = ledger
    books.do_all(make_key(cap=50), revoke_key())

    assert grant_together(url, grants=3) == 0


# Faults that these checks must find


def test_a_cap_that_is_counted_outside_the_transaction_is_found_out(ledger):
    books, url = ledger
    books.do(make_key(cap=15))

    accepted = grant_together(url, "count_in_memory")

    assert "60 credits were granted under a cap of 15" in what_is_wrong(books, cap=15, accepted=accepted)


def test_an_audit_row_outside_the_transaction_is_found_out(ledger):
    books, url = ledger
    books.do(make_key(cap=50))

    accepted = grant_together(url, "leave_the_audit_for_later", grants=3)

    assert "not every grant tells who asked for it" in what_is_wrong(books, cap=50, accepted=accepted)


def test_a_revoked_key_that_is_taken_is_found_out(ledger):
    books, url = ledger
    books.do_all(make_key(cap=50), revoke_key())

    assert grant_together(url, "take_ended_keys", grants=3) == 12


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_process_that_is_killed_leaves_effect_and_audit_row_or_neither(tmp_path, clock, is_committed):
    path = str(tmp_path / "callfare.db")
    store = SqliteStore(path, clock=clock)
    store.create()
    Books(store, clock).do(make_key())
    store.close()

    child = os.fork()
    if not child:
        killed = SqliteStore(path, clock=clock)
        if not is_committed:
            killed._check_process = lambda: os._exit(9) if killed._gate.is_mine() else None
        killed.apply([asked_by(grant("alice", 5, key="g1"), "key00001")])
        os._exit(9)
    os.waitpid(child, 0)

    books = Books(SqliteStore(path, clock=clock), clock)
    counts = (len(books.rows(Transfer)), len(books.rows(AuditRow)), len(books.rows(KeyDay)))
    books.store.close()
    assert counts == ((1, 1, 1) if is_committed else (0, 0, 0))
