"""Fixtures for tests of stores: one ledger on each store, under a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callfare.clock import Clock, ManualClock
from callfare.ledger.verify import verify
from callfare.store.memory import MemoryStore
from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.commands import START
from tests.support.postgres import shared_server

# A store is added here once; every suite that takes `books` then runs on it.
STORES = ("memory", "sqlite", pytest.param("postgres", marks=pytest.mark.all))
_DATABASES: dict[Path, str] = {}


def open_store(kind: str, folder: Path, clock: Clock) -> Store:
    """Return a store of a kind with an empty ledger, or the one that is already in the folder."""
    if kind == "memory":
        return MemoryStore(clock)
    if kind == "postgres":
        if folder not in _DATABASES:
            _DATABASES[folder] = shared_server().new_database()
        ledger = PostgresStore(_DATABASES[folder], clock=clock)
        ledger.create()
        return ledger
    folder.mkdir(exist_ok=True)
    store = SqliteStore(str(folder / "callfare.db"), clock=clock)
    store.create()
    return store


@pytest.fixture
def clock() -> ManualClock:
    """A clock at noon of 23 November 2026, UTC."""
    return ManualClock(START)


@pytest.fixture(params=STORES)
def make_books(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[[], Books]]:
    """Makes an empty ledger, on each store; at the end all books must balance."""
    made: list[Books] = []
    opened: list[Store] = []
    kind: str = request.param

    def make() -> Books:
        folder = tmp_path / f"ledger-{len(made)}"
        folder.mkdir()

        def open_again() -> Store:
            opened.append(open_store(kind, folder, clock))
            return opened[-1]

        again = None if kind == "memory" else open_again
        made.append(Books(open_store(kind, folder, clock), clock, again))
        return made[-1]

    yield make
    for books in made:
        assert faults(books.store) == []
        assert verify(books.store.scan).faults == ()
        books.store.close()
    for store in opened:
        store.close()
    for folder in [folder for folder in _DATABASES if tmp_path in folder.parents]:
        shared_server().drop_database(_DATABASES.pop(folder))


@pytest.fixture
def books(make_books: Callable[[], Books]) -> Books:
    """An empty ledger on each store."""
    return make_books()
