"""Addresses of ledgers: what they open, and that nothing in them is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from callfare.errors import Misconfigured
from callfare.store.memory import MemoryStore
from callfare.store.open import open_store, without_password
from callfare.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("address", "path", "is_readonly"),
    [
        ("sqlite:////srv/callfare.db", "/srv/callfare.db", False),
        ("sqlite:////srv/callfare.db?mode=rw", "/srv/callfare.db", False),
        ("sqlite:////srv/callfare.db?mode=ro", "/srv/callfare.db", True),
        ("SQLITE:////srv/tenant%231.db", "/srv/tenant#1.db", False),
        ("sqlite:////srv/what%3F.db?mode=ro", "/srv/what?.db", True),
        ("sqlite:////srv/100%25.db", "/srv/100%.db", False),
        ("sqlite:////srv/with space & more=é.db", "/srv/with space & more=é.db", False),
    ],
)
def test_an_address_opens_the_file_it_names(address, path, is_readonly):
    store = open_store(address)

    assert isinstance(store, SqliteStore)
    assert store.file.path == Path(path)
    assert store.file.is_readonly == is_readonly


def test_a_relative_address_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    store = open_store("sqlite:///callfare.db")

    assert isinstance(store, SqliteStore)
    assert store.file.path == tmp_path / "callfare.db"


@pytest.mark.parametrize("name", ["plain.db", "tenant#1.db", "what?.db", "100%25.db", "é x.db"])
def test_the_address_a_ledger_tells_opens_the_same_file(tmp_path, name):
    store = SqliteStore(str(tmp_path / name))
    store.create()

    told = open_store(store.facts().url)

    assert isinstance(told, SqliteStore)
    assert told.file.path == tmp_path / name
    assert [file.name for file in tmp_path.glob("*.db")] == [name]


def test_memory_is_an_address():
    assert isinstance(open_store("memory://"), MemoryStore)


@pytest.mark.parametrize("address", ["sqlite:///tenant#1.db", "sqlite:///tenant#", "memory://#x"])
def test_a_fragment_is_refused_and_how_to_write_it_is_told(address):
    with pytest.raises(Misconfigured, match="write it as %23"):
        open_store(address)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///a.db?Mode=ro",
        "sqlite:///a.db?mode=ro&cache=shared",
        "sqlite:///a.db?readonly",
        "sqlite:///what?.db",
        "memory://?mode=ro",
    ],
)
def test_an_option_that_is_not_known_is_refused(address):
    with pytest.raises(Misconfigured, match="no option of this address"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("sqlite:///a.db?mode=", "mode is ''"),
        ("sqlite:///a.db?mode=RO", "mode is 'RO'"),
        ("sqlite:///a.db?mode=ro&mode=rw", "twice"),
        ("sqlite:///what?", "%3F"),
        ("sqlite:///%00x", "no clean text"),
        ("sqlite:///x%0Ay", "no clean text"),
        ("sqlite:///%ff.db", "no clean text"),
        ("sqlite:///%ED%A0%80", "no clean text"),
        ("sqlite://[::1", "no ledger address"),
        ("sqlite://host/x.db", "no ledger"),
        ("sqlite:///", "no ledger"),
        ("mysql://host/x", "mysql is no ledger"),
        ("callfare.db", "no ledger address"),
        ("", "no ledger address"),
        ("sqlite:///x\ny", "no ledger address"),
        (b"sqlite:///x", "no ledger address"),
        (Path("callfare.db"), "no ledger address"),
    ],
)
def test_any_other_address_is_refused_with_a_sentence(address, reason):
    with pytest.raises(Misconfigured, match=reason) as caught:
        open_store(address)

    assert caught.value.param == "url"


@pytest.mark.parametrize("address", ["postgresql://me:secret@[::1/db", "post\ngres://me:secret@host/db"])
def test_what_cannot_be_read_is_not_shown(address):
    for use in (open_store, without_password):
        with pytest.raises(Misconfigured) as caught:
            use(address)
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:///callfare.db?mode=ro", "sqlite:///callfare.db?mode=ro"),
        ("postgresql://me@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgresql://me:secret@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://me@host/db"),
        ("postgresql://:secret@host/db", "postgresql://@host/db"),
        ("postgresql:///db?password=secret&host=/tmp", "postgresql:///db?host=/tmp"),
        ("postgresql://host/db?sslmode=require&password=secret", "postgresql://host/db?sslmode=require"),
        ("postgresql://host/db?PassWord=secret", "postgresql://host/db"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert without_password(address) == shown
