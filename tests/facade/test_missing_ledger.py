"""A ledger that is not there: reading it is an error and makes nothing; the first grant or run makes it."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from callfare import AsyncCallfare, Callfare
from callfare.clock import ManualClock
from callfare.errors import InsufficientCredit, InvalidAmount, LedgerNotFound, LedgerUnavailable, Misconfigured
from tests.facade.doors import START, Awaited, balance, chat

READS = {
    "balance": lambda fare: fare.balance("alice"),
    "usage": lambda fare: fare.usage("alice"),
    "history": lambda fare: fare.history("alice"),
    "calls": lambda fare: fare.calls("r1"),
    "transactions": lambda fare: fare.transactions("alice"),
    "explain": lambda fare: fare.explain("chg_0000000000000_x"),
    "verify": lambda fare: fare.verify(),
    "reprice": lambda fare: fare.reprice(),
    "estimate of a user": lambda fare: fare.estimate("story", user="alice"),
    "close_run": lambda fare: fare.close_run("r1"),
    "record": lambda fare: chat(fare, user="alice"),
}


@pytest.fixture(params=["sync", "async"])
async def absent(request, tmp_path):
    """A façade on a file that is not there, in a folder that is empty."""
    address, clock = f"sqlite:///{tmp_path}/callfare.db", ManualClock(START)
    fare = AsyncCallfare(address, clock=clock) if request.param == "async" else Awaited(Callfare(address, clock=clock))
    yield fare
    await fare.close()


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_reading_a_ledger_that_is_not_there_is_an_error_and_makes_nothing(absent, tmp_path, capsys, read):
    with pytest.raises(LedgerNotFound) as caught:
        await read(absent)

    assert caught.value.message == (
        f"there is no ledger at {tmp_path}/callfare.db; `callfare init` makes one, and so does the first grant"
    )
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


async def test_what_needs_no_ledger_is_answered_without_one(absent, tmp_path):
    price = await absent.price("gpt-5-mini", {"input_tokens": 1_000_000})
    estimate = await absent.estimate("story")
    packages = await absent.packages()
    absent.workflow("opera", low=1, high=2)

    assert (str(price.credits), str(estimate.low), len(packages)) == ("15", "100", 4)
    assert list(tmp_path.iterdir()) == []


async def test_the_first_grant_makes_the_ledger_for_its_owner_alone_and_says_where_once(absent, tmp_path, capsys):
    await absent.grant("alice", 100, key="welcome")
    await absent.grant("alice", 5, key="more")
    async with absent.run("story", user="alice", hold=1):
        pass

    assert capsys.readouterr() == ("", f"callfare: made a new ledger at sqlite:///{tmp_path}/callfare.db\n")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert await balance(absent) == ("105", "0", "0", "105", "0")


async def test_the_mode_of_a_new_ledger_does_not_depend_on_the_umask(absent, tmp_path):
    before = os.umask(0)
    try:
        await absent.grant("alice", 100, key="welcome")
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


async def test_the_first_run_makes_the_ledger_even_where_it_is_refused(absent, tmp_path, capsys):
    with pytest.raises(InsufficientCredit):
        await absent.open_run("story", user="alice", hold=1)

    assert capsys.readouterr().err == f"callfare: made a new ledger at sqlite:///{tmp_path}/callfare.db\n"
    assert await balance(absent) == ("0", "0", "0", "0", "0")


async def test_a_grant_that_makes_no_sense_makes_no_ledger(absent, tmp_path):
    with pytest.raises(InvalidAmount):
        await absent.grant("alice", -1, key="welcome")
    with pytest.raises(InvalidAmount):
        absent.run("story", user="alice", hold=-1)

    assert list(tmp_path.iterdir()) == []


async def test_making_a_run_makes_no_ledger_until_it_is_opened(absent, tmp_path):
    absent.run("story", user="alice", hold=1)

    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_is_there_is_opened_without_a_word(tmp_path, capsys):
    Callfare(f"sqlite:///{tmp_path}/callfare.db").grant("alice", 100, key="welcome")
    capsys.readouterr()

    Callfare(f"sqlite:///{tmp_path}/callfare.db").grant("alice", 5, key="more")

    assert capsys.readouterr() == ("", "")


def test_a_relative_address_is_said_as_an_absolute_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()

    Callfare("sqlite:///deep/callfare.db").grant("alice", 100, key="welcome")

    assert capsys.readouterr().err == f"callfare: made a new ledger at sqlite:///{tmp_path}/deep/callfare.db\n"
    assert (tmp_path / "deep/callfare.db").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(Misconfigured) as caught:
        Callfare(f"sqlite:///{tmp_path}/tpyo/callfare.db").grant("alice", 100, key="welcome")

    assert f"there is no directory {tmp_path}/tpyo" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_stays_where_it_is_when_the_working_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fare = Callfare("sqlite:///callfare.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    fare.grant("alice", 100, key="welcome")

    assert (tmp_path / "callfare.db").exists()


def test_without_an_address_the_environment_says_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLFARE_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    Callfare().grant("alice", 100, key="welcome")
    monkeypatch.delenv("CALLFARE_DATABASE_URL")

    Callfare().grant("alice", 100, key="welcome")

    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["callfare.db", "other.db"]


def test_threads_that_are_first_together_say_it_once(tmp_path, capsys):
    fare = Callfare(f"sqlite:///{tmp_path}/callfare.db")
    together = threading.Barrier(8)

    def first(number):
        together.wait()
        fare.grant("alice", 1, key=f"grant-{number}")

    threads = [threading.Thread(target=first, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert capsys.readouterr().err.count("made a new ledger") == 1
    assert str(fare.balance("alice").posted) == "8"


def test_a_file_with_nothing_in_it_is_no_ledger_to_read(tmp_path):
    (tmp_path / "callfare.db").touch()

    with pytest.raises(LedgerNotFound):
        Callfare(f"sqlite:///{tmp_path}/callfare.db").balance("alice")

    assert (tmp_path / "callfare.db").stat().st_size == 0


@pytest.mark.parametrize(
    "address",
    [
        "", "callfare.db", "mysql://x/y", "sqlite:", "sqlite://", "sqlite:///", "sqlite:///a\x00b", "sqlite://host/a.db",
        "http://", "sqlite:///a.db?mode=rwx", "\ud800", 5, b"sqlite:///a", [], True,
    ],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_is_none_is_refused_when_the_ledger_is_opened(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Misconfigured) as caught:
        Callfare(address)

    assert caught.value.param == "url"
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_opened_for_reading_is_read_and_never_written(tmp_path):
    address = f"sqlite:///{tmp_path}/callfare.db"
    with Callfare(address, clock=ManualClock(START)) as fare:
        fare.grant("alice", 100, key="welcome")

    with Callfare(f"{address}?mode=ro", clock=ManualClock(START)) as reader:
        assert str(reader.balance("alice").posted) == "100"
        with pytest.raises(LedgerUnavailable):
            reader.grant("alice", 1, key="more")
