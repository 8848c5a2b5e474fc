"""Fixtures for tests of stores: one ledger on each store, under a clock that moves only when told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from callfare.clock import Clock, ManualClock
from callfare.ledger.verify import verify
from callfare.store.memory import MemoryStore
from callfare.store.open import open_store as open_at
from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.commands import START
from tests.support.convex import Bridge, Deployment, shared_bridge
from tests.support.postgres import Server, bin_folders, shared_server

# A store is added here once; every suite that takes `books` then runs on it. Of PostgreSQL the default run has one
# version here; any other that is on the machine has `EVERY_STORE` there, and all of it with --all.
_OTHERS = [f"postgres-{version}" for version in list(bin_folders())[1:]]
CONVEX = pytest.param("convex", marks=pytest.mark.all)
# `callfare conformance` names a deployment: then every suite runs there and nowhere else. Of the ledgers that one test
# makes it is the one of a place, and the others are files.
DEPLOYED = os.environ.get("CALLFARE_CONFORMANCE_URL", "")
_PLACE = os.environ.get("CALLFARE_CONFORMANCE_PLACE", "0")
STORES = ("memory", "sqlite", "postgres", CONVEX, *(pytest.param(kind, marks=pytest.mark.all) for kind in _OTHERS))
EVERY_STORE = ("memory", "sqlite", "postgres", CONVEX, *_OTHERS)
if DEPLOYED:
    STORES = EVERY_STORE = ("deployed",)
_LENT: dict[Path, tuple[Server | Bridge | Deployment, str]] = {}


def open_store(kind: str, folder: Path, clock: Clock | None) -> Store:
    """Return a store of a kind with an empty ledger, or the one that is already in the folder."""
    if kind == "memory":
        return MemoryStore(clock)
    folder.mkdir(exist_ok=True)
    url = address(kind, folder)
    if url.startswith("postgresql:"):
        return PostgresStore(url, clock=clock)
    if url.startswith("convex:"):
        return open_at(url, clock)
    store = SqliteStore(url.removeprefix("sqlite:///"), clock=clock)
    store.create()
    return store


def address(kind: str, folder: Path) -> str:
    """Return the address of a ledger that belongs to a folder: its file, or one on a server, lent until `give_back`."""
    if kind in {"memory", "sqlite"}:
        return "memory://" if kind == "memory" else f"sqlite:///{folder}/callfare.db"
    if kind == "deployed":
        if folder.name.startswith("ledger-") and folder.name != f"ledger-{_PLACE}":
            return f"sqlite:///{folder}/callfare.db"
        if folder not in _LENT:
            _LENT[folder] = Deployment(), Deployment().lend_ledger(DEPLOYED)
    if folder not in _LENT and kind == "convex":
        bridge = shared_bridge()
        _LENT[folder] = bridge, bridge.lend_ledger()
    if folder not in _LENT:
        server = shared_server(int(kind.partition("-")[2] or 0) or None)
        _LENT[folder] = server, server.lend_ledger()
    return _LENT[folder][1]


def give_back(folder: Path) -> None:
    """Give back the ledgers on servers that were opened for a folder and those in it."""
    for used in [used for used in _LENT if used == folder or folder in used.parents]:
        lender, url = _LENT.pop(used)
        lender.take_back(url)


@pytest.fixture
def clock() -> ManualClock:
    """A clock at noon of 23 November 2026, UTC."""
    return ManualClock(START)


def books_on(stores: Sequence[Any]) -> Any:
    """Return a fixture that makes empty ledgers on each of some stores; at the end all books must balance."""

    @pytest.fixture(params=stores)
    def make_books(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[[], Books]]:
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
        give_back(tmp_path)

    return make_books


make_books = books_on(STORES)


@pytest.fixture
def books(make_books: Callable[[], Books]) -> Books:
    """An empty ledger on each store."""
    return make_books()
