"""Processes that are killed in the middle of keeping and delivering, and what must be true after each death.

Every function here is the whole of one process. A life: a run is opened, the ledger goes away, three calls and the end
of the run are spooled, the ledger comes back, everything is delivered. The n-th life dies at its n-th step: before or
after a system call of the spool, or a batch of the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from openai import OpenAI

from callfare import Callfare
from callfare import delivery as delivering
from callfare import spool as spooling
from callfare.errors import CallfareError
from callfare.ids import new_id
from callfare.ledger.commands import RecordUsage
from callfare.spool_file import SpoolFile
from callfare.store.protocol import EventsOfRun
from callfare.store.sqlite import SqliteStore
from tests.spool.away import MovedFile

STEPS = ("open", "write", "fsync", "unlink", "mkdir", "ftruncate")
IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
CALLS = 3


def die_at_every_step(folder: str, plant: str, first: str) -> None:
    """Live life after life, each dying one step later, until one survives; print what is wrong, which is nothing."""
    found: list[str] = []
    number, is_over = int(first), False
    while not is_over:
        place = Path(folder) / str(number)
        place.mkdir()
        _prepare(place)
        told = _lived_until(place, number, plant)
        found += [f"step {number}: {fault}" for fault in _faults_after(place, told)]
        # Of a planted bug, the first sign is enough.
        is_over = told[-1:] == ["survived"] or (plant != "none" and bool(found))
        number += 1
    print(number)
    print(*found, sep="\n")


def _prepare(place: Path) -> None:
    with Callfare(f"sqlite:///{place}/ledger.db") as fare:
        fare.grant("alice", 100, key="k")


def _lived_until(place: Path, number: int, plant: str) -> list[str]:
    """Return what a process acknowledged before it died at its step of this number."""
    hearing, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hearing)
        _live(place, number, plant, telling)
        os._exit(0)
    os.close(telling)
    with os.fdopen(hearing) as lines:
        told = lines.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, (number, status)
    return told


def _live(place: Path, number: int, plant: str, telling: int) -> None:
    write = os.write
    away = MovedFile(place / "ledger.db")
    with Callfare(away.url) as fare:
        with fare.run("tweet", user="alice", hold=20, run_id="r") as run:
            away.begin()
            _die_at(number)
            PLANTS[plant]()
            for call in range(CALLS):
                run.record(**IMAGE, metadata={"call": call})
                write(telling, f"{call}\n".encode())
        write(telling, b"ended\n")
        away.end()
        fare.drain_spool()
        write(telling, b"delivered\n")
    write(telling, b"survived\n")


def _die_at(left: int) -> None:
    """Have this process killed at its step of this number."""

    def step() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            step()
            answer = function(*arguments, **named)
            step()
            return answer

        return run

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))
    SqliteStore.apply = dying(SqliteStore.apply)  # type: ignore[method-assign]


def _faults_after(place: Path, told: list[str]) -> list[str]:
    """Bring the ledger back, deliver what the dead left, and return what is lost, doubled or wrong."""
    away = MovedFile(place / "ledger.db")
    if (place / "elsewhere.db").exists():
        away.end()
    with Callfare(away.url) as fare:
        fare.drain_spool()
        waiting = fare.spool()
        balance = fare.balance("alice")
        events = _calls_of_the_run(fare)
        is_clean = fare.verify().is_clean
        status = next((run.status for run in fare.history("alice").items), "not there")
    found = [] if is_clean else ["verify found faults"]
    found += [f"call {call} is there {count} times" for call, count in events.items() if count > 1]
    found += [
        f"call {call} was acknowledged and is lost" for call in range(CALLS) if str(call) in told and not events[call]
    ]
    if "ended" in told and (status, balance.available.nanocredits) != ("completed", 88 * 10**9):
        found.append(f"the run is {status}, and {balance} is left")
    if waiting.waiting or waiting.refused_count or waiting.damaged or list((place / "ledger.db.spool").glob("*")):
        found.append(f"{waiting} is left over")
    return found


def _calls_of_the_run(fare: Callfare) -> Counter[int]:
    store = fare._engine.store
    named = EventsOfRun(account_id=_account(fare), run_id="r", after_number=0, after_key="", limit=100)
    return Counter(json.loads(row.metadata)["call"] for row in store.select(named))  # type: ignore[attr-defined]


def _account(fare: Callfare) -> int:
    snapshot = fare._engine.store.snapshot("alice")
    assert snapshot is not None
    return snapshot.account_id


# Bugs that the sweep must see


def _nothing() -> None:
    """Plant no bug."""


def _remove_before_delivering() -> None:
    """Remove a file as soon as it is read, before the ledger has answered."""
    entries = SpoolFile.entries

    def read_and_remove(file: SpoolFile) -> Any:
        found = list(entries(file))
        if file.fd >= 0:
            file.path.unlink()
        yield from found

    SpoolFile.entries = read_and_remove  # type: ignore[method-assign]


def _drop_keys() -> None:
    """Give each call a new key when it is delivered."""
    ask = delivering.Delivery.ask

    def ask_anew(delivery: Any, batch: Any) -> Any:
        changed = [
            msgspec.structs.replace(entry, command=msgspec.structs.replace(entry.command, key=new_id("call")))
            if isinstance(entry.command, RecordUsage)
            else entry
            for entry in batch
        ]
        return ask(delivery, changed)

    delivering.Delivery.ask = ask_anew  # type: ignore[method-assign]


def _acknowledge_before_writing() -> None:
    """Let the caller go on before its call is written."""
    write = spooling.Spool.write
    waiting: list[Any] = []

    def write_later(spool: spooling.Spool, lines: Any) -> bool:
        waiting.append(lines)
        return write(spool, waiting.pop(0)) if len(waiting) > 1 else True

    spooling.Spool.write = write_later  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "none": _nothing,
    "remove_before_delivering": _remove_before_delivering,
    "drop_keys": _drop_keys,
    "acknowledge_before_writing": _acknowledge_before_writing,
}


def die_in_the_middle_of_an_outage(url: str, base_url: str) -> None:
    """Make calls through the real SDK while the ledger is away, say so, and wait to be killed."""
    fare = Callfare(url)
    client = fare.wrap(OpenAI(base_url=base_url, api_key="none", max_retries=0))
    run = fare.open_run("tweet", user="alice", hold=50, run_id="r")
    print("open")
    sys.stdin.readline()
    with run.active():
        while True:
            try:
                client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
            except CallfareError as error:
                print(error.code)
                sys.stdin.readline()
            print("called")
