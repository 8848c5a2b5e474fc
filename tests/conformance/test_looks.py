"""Looks: a key and an account by one question, and nothing of an account that the key may not see."""

from __future__ import annotations

import pytest

from callfare.store.protocol import Look
from tests.support.books import Balance, Books
from tests.support.commands import START, grant, make_key, open_run, pend, record


def totals(books: Books, *asked: Look) -> list[tuple[str | None, int | None]]:
    """Return for each look the id of the key and the posted credits, None for what is not there."""
    found = []
    for seen in books.store.look(asked):
        account = None if seen.account is None else seen.account.state.rows["accounts", seen.account.account_id]
        found.append((seen.key and seen.key.key_id, account and account.posted_nanocredits // 10**9))
    return found


@pytest.fixture
def ledger(books):
    """A ledger with two users, a key for everybody and one for alice alone."""
    books.do_all(
        grant("alice", 100),
        grant("bob", 7),
        make_key("anybody1"),
        make_key("alice001", key="make-2", user="alice"),
        make_key("nobody01", key="make-3", user="carol"),
    )
    return books


@pytest.mark.parametrize(
    ("key_id", "user", "found"),
    [
        (None, None, (None, None)),
        (None, "alice", (None, 100)),
        (None, "nobody", (None, None)),
        ("anybody1", None, ("anybody1", None)),
        ("anybody1", "alice", ("anybody1", 100)),
        ("anybody1", "bob", ("anybody1", 7)),
        ("anybody1", "nobody", ("anybody1", None)),
        ("alice001", None, ("alice001", 100)),
        ("alice001", "alice", ("alice001", 100)),
        ("alice001", "bob", ("alice001", None)),
        ("alice001", "nobody", ("alice001", None)),
        ("nobody01", None, ("nobody01", None)),
        ("unknown1", None, (None, None)),
        ("unknown1", "alice", (None, None)),
    ],
)
def test_a_look_finds_the_key_and_only_an_account_that_it_may_see(ledger, key_id, user, found):
    assert totals(ledger, Look(key_id=key_id, user=user)) == [found]


def test_many_looks_are_answered_in_their_order(ledger):
    asked = [Look(user="bob"), Look(key_id="alice001"), Look(user="nobody"), Look(user="alice"), Look(user="bob")]

    assert totals(ledger, *asked) == [(None, 7), ("alice001", 100), (None, None), (None, 100), (None, 7)]
    assert totals(ledger) == []


def test_a_look_tells_of_a_write_that_was_answered_before(ledger):
    before = totals(ledger, Look(user="alice"))
    ledger.do(grant("alice", 1, key="more"))

    assert (before, totals(ledger, Look(user="alice"))) == ([(None, 100)], [(None, 101)])


def test_a_look_tells_what_time_has_done(books: Books):
    books.do_all(
        grant("alice", 100),
        grant("alice", 50, key="soon", expires_at=START.replace(year=START.year + 1)),
        open_run("r1", hold=40),
        record(15, run_id="r1"),
    )
    running = books.balance()
    books.advance(hours=2)
    settled = books.balance()
    books.advance(hours=24 * 366)

    assert running == Balance(posted="150", held="40", available="110", spent="15")
    assert settled == Balance(posted="135", held="0", available="135")
    assert books.balance() == Balance(posted="100", held="0", available="100")


def test_a_look_tells_of_a_job_nobody_came_back_for(books: Books):
    books.do_all(grant("alice", 100), pend(30, user="alice"))
    books.advance(hours=25)

    assert books.balance() == Balance(posted="70", held="0", available="70")


def test_a_look_tells_of_debt(books: Books):
    books.do_all(grant("alice", 10), record(25, user="alice"))

    assert books.balance() == Balance(posted="0", held="0", available="0", debt="15")
