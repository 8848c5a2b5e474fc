"""Every kind of command, while every other answer is lost or write refused: the same rows as in memory."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.ledger.commands import Command, NoteCheck
from callfare.ledger.verify import verify
from callfare.store.convex import ConvexStore
from callfare.store.memory import MemoryStore
from tests.support import sale_commands as sales
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.commands import START, claim, note
from tests.support.rich import write_rich_ledger

pytestmark = pytest.mark.all


def kinds_of(command):
    """Return the names of all kinds of commands."""
    return {name for kind in command.__subclasses__() for name in (kinds_of(kind) or {kind.__name__})}


def write_everything(books):
    """Fill an empty ledger by commands of every kind."""
    write_rich_ledger(books)
    books.do_all(sales.drop_customer(), sales.take("evt_lost"))
    books.advance(seconds=90)
    # Whoever has lost the answer to a claim is refused, and the claim ends by itself.
    books.batch(sales.claim("evt_lost"))
    books.do(sales.settle_message(message="evt_lost"))
    books.do(claim())
    books.do(NoteCheck(audit=note("ledger.verify", number=900)))


@pytest.fixture
def in_memory():
    """All rows of the rich ledger, as they are in memory."""
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_everything(books)
    return books.all_rows()


@pytest.mark.parametrize(
    ("knob", "counter"),
    [
        ("dropEvery", "dropped"),
        ("conflictEvery", "conflicts"),
        ("refuseEvery", "refused"),
        ("discardEvery", "discarded"),
    ],
)
def test_every_kind_of_command_leaves_the_same_rows(books, bridge, address, in_memory, knob, counter, monkeypatch):
    real = ConvexStore.apply
    seen = set()

    def noted(store, commands):
        seen.update(type(command).__name__ for command in commands)
        return real(store, commands)

    monkeypatch.setattr(ConvexStore, "apply", noted)
    bridge.control(address, **{knob: 2})
    write_everything(books)
    counted = bridge.control(address, **{knob: 0})

    assert kinds_of(Command) - seen == set()
    assert counted[counter] > len(seen)
    assert books.all_rows() == in_memory
    assert faults(books.store) == []
    assert verify(books.store.scan).is_clean
