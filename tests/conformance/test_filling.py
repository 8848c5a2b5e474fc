"""Filling an empty ledger with rows as they are: nobody uses it before it is whole, and whoever died goes on."""

from __future__ import annotations

import pytest

from callfare.errors import Conflict, LedgerIncomplete, LedgerNotEmpty
from callfare.ledger.rows import TABLES, Grant, User
from callfare.ledger.verify import verify
from callfare.store.protocol import UserNamed
from tests.support.books import Books
from tests.support.commands import grant
from tests.support.rich import write_rich_ledger


def rows_of(books: Books):
    return [pair for table in TABLES for pair in books.store.scan(table)]


def some_rows(make_books):
    books = make_books()
    books.do_all(grant("alice", 100), grant("bob", 7, key="second"))
    return rows_of(books)


def test_a_ledger_that_was_filled_has_the_same_rows_and_takes_commands(make_books):
    source, target = make_books(), make_books()
    write_rich_ledger(source)

    with target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows_of(source), mark="all")
        filling.finish()

    assert target.all_rows() == source.all_rows()
    assert target.do(grant("zoe", 5, key="after")).nanocredits == 5_000_000_000


def test_a_repeated_command_gets_its_first_answer_from_a_ledger_that_was_filled(make_books):
    source, target = make_books(), make_books()
    first = source.do(grant("alice", 100, key="welcome"))

    with target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows_of(source), mark="all")
        filling.finish()
    again = target.do(grant("alice", 100, key="welcome"))

    assert (again.grant_id, again.is_replay, first.is_replay) == (first.grant_id, True, False)
    assert target.balance().posted == "100"


def test_what_was_put_can_be_verified_before_anyone_uses_it(make_books):
    source, target = make_books(), make_books()
    write_rich_ledger(source)

    with target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows_of(source), mark="all")
        found = verify(filling.scan)
        filling.finish()

    assert found.faults == ()
    assert found.counted == verify(source.store.scan).counted


def test_every_use_of_a_ledger_that_is_being_filled_is_refused(make_books):
    rows, target = some_rows(make_books), make_books()
    store = target.store
    # Opened, and its statements prepared, while it was an empty ledger like any other.
    for _ in range(4):
        assert store.snapshot("alice") is None
        store.apply([])

    with store.upkeep().fill("backup-1") as filling:
        filling.put(rows, mark="all")
        for used in (
            lambda: store.apply([grant("alice", 1, key="early")]),
            lambda: store.snapshot("alice"),
            lambda: store.select(UserNamed(user="alice")),
            lambda: list(store.scan(Grant)),
            store.facts,
        ):
            with pytest.raises(LedgerIncomplete, match="is being restored"):
                used()
        with pytest.raises(LedgerIncomplete), store.one_instant() as scan:
            list(scan(Grant))
        with pytest.raises(LedgerIncomplete):
            target.reopened().store.snapshot("alice")
        filling.finish()

    assert target.balance("bob").posted == "7"
    assert target.do(grant("alice", 1, key="early")).nanocredits == 1_000_000_000


def test_a_ledger_with_rows_is_not_filled(make_books):
    rows, target = some_rows(make_books), make_books()
    target.do(grant("carol", 3))

    with pytest.raises(LedgerNotEmpty, match="has rows already"), target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows, mark="all")

    assert target.balance("carol").posted == "3"


def test_whoever_began_goes_on_from_the_mark_and_puts_nothing_twice(make_books):
    rows, target = some_rows(make_books), make_books()
    with target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows[:5], mark="5")

    with target.store.upkeep().fill("backup-1") as filling:
        mark = filling.mark
        filling.put(rows[5:], mark="all")
        filling.finish()

    assert mark == "5"
    assert rows_of(target) == rows


def test_another_source_does_not_go_on_but_may_begin_anew(make_books):
    rows, target = some_rows(make_books), make_books()
    with target.store.upkeep().fill("backup-1") as filling:
        filling.put(rows, mark="all")

    with pytest.raises(LedgerIncomplete, match="another backup"), target.store.upkeep().fill("backup-2") as filling:
        pass
    with target.store.upkeep().fill("backup-2", is_anew=True) as filling:
        mark, found = filling.mark, list(filling.scan(User))
        filling.finish()

    assert (mark, found) == ("", [])
    assert rows_of(target) == []
    assert target.do(grant("alice", 1)).nanocredits == 1_000_000_000


def test_beginning_anew_drops_nothing_of_a_ledger_that_is_whole(make_books):
    target = make_books()
    target.do(grant("carol", 3))

    with pytest.raises(LedgerNotEmpty), target.store.upkeep().fill("backup-1", is_anew=True):
        pass

    assert target.balance("carol").posted == "3"


def test_of_two_who_fill_one_ledger_only_one_goes_on(make_books):
    rows, target = some_rows(make_books), make_books()

    with target.store.upkeep().fill("backup-1") as filling, target.store.upkeep().fill("backup-1") as other:
        filling.put(rows[:5], mark="5")
        with pytest.raises(Conflict, match="another process"):
            other.put(rows[:5], mark="5")
        filling.put(rows[5:], mark="all")
        filling.finish()
        with pytest.raises(Conflict, match="another process"):
            other.finish()

    assert rows_of(target) == rows
