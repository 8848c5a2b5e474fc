"""Batches of a provider's: the first claim says whose one is, and a run of its own may take another's hold over."""

from __future__ import annotations

import threading

import msgspec
import pytest

from callfare.errors import InsufficientCredit, NotFound, RunClosed, RunNotFound
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.batches import BATCH
from callfare.ledger.receipts import BatchReceipt
from callfare.ledger.rows import Key
from tests.support.books import Balance, Books
from tests.support.commands import (
    HOUR_S,
    account_number,
    claim,
    close,
    extend,
    grant,
    heard,
    nano,
    open_run,
    record,
)

ALICE, BOB = account_number("alice"), account_number("bob")
WEEK_S = 7 * 24 * HOUR_S


def test_the_first_claim_of_a_batch_stands(books: Books):
    books.do_all(grant(), grant("bob", key="grant-2"))

    first = books.do(claim(user="alice"))
    second = books.do(claim(user="bob"))

    assert (first.account_id, first.run_id, first.is_own, first.is_replay) == (ALICE, None, False, False)
    assert (second.account_id, second.is_replay) == (ALICE, True)


def test_a_batch_is_known_by_the_names_of_its_files_too(books: Books):
    books.do_all(grant(), open_run("batch-1"), claim("b1", run_id="batch-1", ttl_s=WEEK_S))

    books.do(claim("b1", "file-1", is_known_only=True))
    found = books.do(claim("file-1", user="bob"))

    assert (found.account_id, found.run_id, found.is_own) == (ALICE, "batch-1", True)


def test_a_batch_that_nobody_claimed_is_not_known(books: Books):
    books.do_all(grant())

    with pytest.raises(NotFound):
        books.do(claim(is_known_only=True))
    assert books.do(claim(user="bob")).account_id == BOB


def test_a_claim_for_a_run_that_is_not_there_is_refused_and_claims_nothing(books: Books):
    books.do_all(grant())

    with pytest.raises(RunNotFound):
        books.do(claim(run_id="batch-1"))
    assert books.do(claim(user="bob")).account_id == BOB


def test_a_claim_by_nobody_s_name_opens_their_account(books: Books):
    found = books.do(claim(user=UNATTRIBUTED))

    assert found.account_id == account_number(UNATTRIBUTED)


def test_a_claimed_batch_s_hold_lasts_as_long_as_it_is_told(books: Books):
    books.do_all(grant(), open_run("batch-1", hold=40, ttl_s=HOUR_S))

    books.do(claim(run_id="batch-1", ttl_s=WEEK_S))
    books.advance(seconds=WEEK_S - 1)
    assert books.balance().held == "40"
    books.advance(seconds=2)

    assert books.balance() == Balance(posted="100", held="0", available="100")


def test_a_batch_that_nobody_claimed_in_time_gives_its_hold_back(books: Books):
    books.do_all(grant(), open_run("batch-1", hold=40, ttl_s=HOUR_S))

    books.advance(seconds=HOUR_S + 1)

    assert books.balance().available == "100"


def test_a_line_is_charged_once_to_the_owner(books: Books):
    books.do_all(grant(), open_run("batch-1", hold=40), claim(run_id="batch-1", ttl_s=WEEK_S))
    line = heard(15, "b1/a", run_id="batch-1", account_id=ALICE)

    first, second = books.do(line), books.do(line)
    books.do(close("batch-1"))

    assert (first.is_replay, second.is_replay) == (False, True)
    assert books.balance() == Balance(posted="85", held="0", available="85")


def test_claims_by_several_processes_at_the_same_time_have_one_winner(books: Books):
    ready, found = threading.Barrier(6), []

    def work(user: str) -> None:
        here = books.reopened()
        ready.wait(120)
        found.extend(here.do(claim(f"b{number}", user=user)) for number in range(10))

    threads = [threading.Thread(target=work, args=(f"user-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 60
    assert sum(not receipt.is_replay for receipt in found) == 10
    rows = [row for row in books.rows(Key) if row.kind == BATCH]
    assert len(rows) == 10
    owners = {msgspec.json.decode(row.receipt, type=BatchReceipt).account_id for row in rows}
    assert {receipt.account_id for receipt in found} == owners


# A hold out of another's


def test_a_run_takes_its_hold_out_of_another_s(books: Books):
    books.do_all(grant(), open_run("r1", hold=40))

    books.do(open_run("batch-1", hold=60, parent="r1", from_parent=30))

    assert (books.run("r1").held_nanocredits, books.run("batch-1").held_nanocredits) == (nano(10), nano(60))
    assert books.balance() == Balance(posted="100", held="70", available="30")


def test_no_more_is_handed_over_than_the_other_s_hold_has_left(books: Books):
    books.do_all(grant(), open_run("r1", hold=40), record(35, run_id="r1"))

    books.do(open_run("batch-1", hold=20, parent="r1", from_parent=20))

    assert (books.run("r1").held_nanocredits, books.balance().held) == (nano(35), "55")


def test_what_neither_holds_nor_is_available_is_refused(books: Books):
    books.do_all(grant(), open_run("r1", hold=40))

    with pytest.raises(InsufficientCredit) as refused:
        books.do(open_run("batch-1", hold=101, parent="r1", from_parent=40))

    assert (refused.value.needed.nanocredits, refused.value.available.nanocredits) == (nano(61), nano(60))
    assert books.run("r1").held_nanocredits == nano(40)


def test_a_run_that_has_ended_hands_nothing_over(books: Books):
    books.do_all(grant(), open_run("r1", hold=40), close("r1"))

    with pytest.raises(RunClosed):
        books.do(open_run("batch-1", hold=20, parent="r1", from_parent=20))
    with pytest.raises(RunNotFound):
        books.do(open_run("batch-1", hold=20, parent="r2", from_parent=20))
    assert books.balance().available == "100"


def test_somebody_else_s_run_hands_nothing_over(books: Books):
    books.do_all(grant(), grant("bob", key="grant-2"), open_run("r1", hold=40))

    with pytest.raises(RunNotFound):
        books.do(open_run("batch-1", "bob", hold=20, parent="r1", from_parent=20))


def test_what_was_handed_over_comes_back_to_the_account(books: Books):
    books.do_all(grant(), open_run("r1", hold=40), open_run("batch-1", hold=30, parent="r1", from_parent=30))

    books.do_all(close("batch-1", "cancelled"), extend("r1", 5), close("r1"))

    assert books.balance() == Balance(posted="100", held="0", available="100")
