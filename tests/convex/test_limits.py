"""What one transaction of Convex may do: a batch that comes near it is halved, with everything else that goes on."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from callfare.committer import answers_of
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.rows import RawUsage
from callfare.store import convex
from callfare.store.convex import ConvexStore
from callfare.store.convex_tables import size_of
from tests.support import sale_commands as sales
from tests.support.commands import grant, open_run, record

RANGES, DOCUMENTS, BYTES = 4096, 16_000, 16 * 1024 * 1024


def test_text_is_as_large_as_its_bytes():
    assert size_of(["€" * 10, 5, None, "abc"]) == 9 + 30 + 9 + 9 + 9 + 3


def within(seen):
    """Tell whether every mutation that was counted left room below what Convex allows."""
    return (
        seen["mutation.most.ranges"] < RANGES
        and seen["mutation.most.documentsWritten"] < DOCUMENTS
        and seen["mutation.most.bytesWritten"] < BYTES
        and seen["mutation.most.bytesRead"] < BYTES
    )


def all_done(answers):
    return [answer for answer in answers if isinstance(answer, CallfareError)] == []


def wide(user, lots):
    """Commands that give a user so many lots of a credit each."""
    return [grant(user, 1, key=f"lot-{number}") for number in range(lots)]


@pytest.fixture
def many_lots(books):
    """Thirty users with forty lots each, and for each a run that holds all of them."""
    users = [f"user-{number}" for number in range(30)]
    for user in users:
        books.batch(*wide(user, 40))
    return [open_run(f"run-{user}", user, hold=40) for user in users]


@pytest.mark.all
def test_a_batch_of_many_documents_is_halved(books, bridge, address, many_lots):
    bridge.control(address)

    assert all_done(books.batch(*many_lots))

    seen = bridge.control(address)
    assert seen["mutations"] >= 2
    assert within(seen)
    assert {books.balance(f"user-{number}").held for number in range(30)} == {"40"}


@pytest.mark.all
def test_a_batch_leaves_room_for_three_who_read_everything_meanwhile(books, bridge, address, many_lots):
    with ExitStack() as readings:
        for _ in range(3):
            readings.enter_context(books.store.one_instant())
        bridge.control(address)

        assert all_done(books.batch(*many_lots[:10]))
        seen = bridge.control(address)
        assert within(seen)
        assert seen["mutation.most.ranges"] > RANGES * 2 // 3
        with pytest.raises(LedgerUnavailable, match="readings of the whole ledger are under way"):
            readings.enter_context(books.store.one_instant())
    with books.store.one_instant():
        pass


@pytest.mark.all
def test_a_batch_of_much_text_is_halved_by_its_bytes(books, bridge, address):
    books.do(grant("alice", 1000))
    bridge.control(address)
    raw = f'"{"€" * 46_000}"'

    assert all_done(books.batch(*(record("0.1", user="alice", key=f"call-{number}", raw=raw) for number in range(128))))

    seen = bridge.control(address)
    assert seen["mutations"] >= 3
    assert within(seen)


@pytest.mark.all
def test_a_batch_of_payments_and_plans_is_within_the_limits(books, bridge, address):
    users = [f"user-{number}" for number in range(128)]
    assert all_done(books.batch(*(sales.open_order(user) for user in users)))
    bridge.control(address)

    assert all_done(books.batch(*(sales.settle_sale(user=user) for user in users)))

    seen = bridge.control(address)
    assert within(seen)
    assert seen["mutation.most.ranges"] < RANGES // 3
    assert books.balance("user-127").posted == "2000"


@pytest.mark.all
def test_a_batch_that_is_not_halved_is_refused_by_convex(books, many_lots, monkeypatch):
    """A fault planted: nothing is ever large."""
    monkeypatch.setattr(convex, "_is_large", lambda *_: False)
    monkeypatch.setattr(ConvexStore, "max_batch", 10_000)
    raw = f'"{"€" * 46_000}"'

    with pytest.raises(CallfareError, match="Convex"):
        books.batch(*(record("0.1", user="user-1", key=f"call-{number}", raw=raw) for number in range(128)), *many_lots)


@pytest.mark.all
def test_what_is_too_large_for_a_document_is_refused_and_fails_no_neighbour(books):
    books.do(grant("alice", 100))
    large = record("1", user="alice", key="large", raw=f'"{"x" * 1_100_000}"')
    neighbours = [record("1", user="alice", key=f"call-{number}") for number in range(3)]

    answers = answers_of(books.store, [neighbours[0], large, *neighbours[1:]])

    assert [getattr(answer, "code", None) for answer in answers] == [None, "invalid_input", None, None]
    assert "Convex cannot hold this" in str(answers[1])
    assert books.balance().available == "97"


@pytest.mark.all
def test_a_document_of_nearly_a_mebibyte_is_kept_whole(books):
    books.do(grant("alice", 100))
    raw = '"' + "€" * 340_000 + '\\u0000"'

    books.do(record("1", user="alice", key="large", raw=raw))

    assert [row.raw for row in books.rows(RawUsage)] == [raw]
