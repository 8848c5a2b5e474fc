"""Text from outside that passed the checks: kept as it is, and no two merged."""

from __future__ import annotations

import unicodedata
from hashlib import shake_128

import pytest
from msgspec import structs

from callfare.checks import check_text, check_user
from callfare.ledger.rows import Event, Rollup, User
from callfare.store.protocol import EventsOfRun, RunsNamed, UserNamed
from tests.support.books import Books
from tests.support.commands import account_number, close, grant, open_run, record

NAMES = [
    "alice",
    "ALICE",
    "Alice ",
    " alice",
    "al\u00efce",
    unicodedata.normalize("NFD", "al\u00efce"),
    "\u0430lice",
    "alice\u200b",
    "\u202ealice",
    "\u05d0\u05dc\u05d9\u05e1",
    "\U0001f469\u200d\U0001f680",
    "\U0001f469",
    "stra\u00dfe",
    "strasse",
    "\u0130",
    "i",
    "alice%",
    "alice_",
    "alice'; DROP TABLE users; --",
    "job",
    "0",
    "00",
    "null",
    "n" * 255,
    "\uff41lice",
    "a\u0301" * 100,
]


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_this_file_pass_the_checks(name):
    assert check_user(name) == name


def test_no_two_users_are_merged(books: Books):
    for number, name in enumerate(NAMES, start=1):
        books.do(grant(name, number))

    assert [books.balance(name).posted for name in NAMES] == [str(number) for number in range(1, len(NAMES) + 1)]
    assert sorted(row.user for row in books.rows(User)) == sorted(NAMES)


def test_a_user_is_found_by_exactly_their_name(books: Books):
    books.do(grant("al\u00efce", 1))

    assert books.store.select(UserNamed(user=unicodedata.normalize("NFD", "al\u00efce"))) == []
    assert books.store.snapshot("AL\u00cfCE") is None


def test_runs_keys_and_words_are_kept_as_they_are(books: Books):
    books.do(grant("alice", 1000))
    for name in NAMES:
        books.do(open_run(name, hold=1, workflow=name))
        books.do(record(1, run_id=name, key=f"call of {name}", step=name, model=name, metadata=f'{{"name":"{name}"}}'))

    for name in NAMES:
        (run,) = books.store.select(RunsNamed(run_id=name))
        assert run.workflow == name
        (event,) = books.store.select(
            EventsOfRun(
                account_id=account_number("alice"), run_id=name, after_number=0, after_key="", limit=10
            )
        )  # fmt: skip
        assert (event.key, event.step, event.model) == (f"call of {name}", name, name)
        books.do(close(name))
    assert len(books.rows(Event)) == len(NAMES)


def longest_name(number: int) -> str:
    """Return a name of 255 characters and 636 bytes, of which hardly any can be saved by compressing it."""
    noise = shake_128(number.to_bytes(1)).digest(382)
    rare = "".join(chr(0x20000 + int.from_bytes(noise[at : at + 2])) for at in range(0, 254, 2))
    return rare + noise[254:].hex()[:128]


def test_names_that_take_all_the_room_there_is_fit_together(books: Books):
    workflow, provider, model, operation = (longest_name(number) for number in range(4))
    assert check_text(model, "model") == model
    books.do_all(grant("alice", 1000), open_run("r1", hold=1, workflow=workflow))

    call = structs.replace(record(1, run_id="r1", model=model), provider=provider, operation=operation)
    books.do(call)
    books.do(close("r1"))

    [rollup, _] = books.rows(Rollup)
    assert (rollup.workflow, rollup.provider, rollup.model, rollup.operation) == (workflow, provider, model, operation)


def test_keys_that_look_alike_are_different_keys(books: Books):
    for name in NAMES:
        assert not books.do(grant("alice", 1, key=name)).is_replay

    assert books.balance().posted == str(len(NAMES))


def test_rows_come_in_the_order_of_their_bytes(books: Books):
    for name in NAMES:
        books.do(grant(name, 1))

    assert [row.user for row in books.rows(User)] == sorted(NAMES, key=str.encode)
