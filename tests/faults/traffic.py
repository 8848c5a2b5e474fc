"""What many writers send at once, each in its own order: the same for whoever takes over, and as a seed says.

A writer has two runs at a time, of one account or of two, and now and then reports usage to a run of its neighbour.
What it sends, and what it is answered, it appends to a log of its own, which a kill -9 does not take away.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from callfare.clock import moment_of
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.commands import Command, GrantCredit, RecordUsage
from callfare.ledger.receipts import Receipt
from callfare.ledger.view import balance_of
from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore
from tests.support import commands as make
from tests.support.lateness import Lateness

_TURN = 8
_GIVE_UP_S = 60


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Who writes what, where, and how often."""

    url: str
    folder: str
    seed: int
    writers: int = 16
    users: int = 6
    batches: int = 10
    begin_us: int = make.START_US
    deadline_s: int = 10
    kills: int = 0  # after the last of which all are told to stop
    plant: str = ""

    def store(self) -> Store:
        """Return the store that all write to, as another process opens it."""
        if self.url.startswith("postgresql:"):
            return PostgresStore(self.url, deadline_s=self.deadline_s)
        return SqliteStore(self.url)

    def log(self, writer: int) -> Path:
        """Return where a writer keeps what it sent and was answered."""
        return Path(self.folder) / f"writer-{writer}.log"

    def readings(self) -> Path:
        """Return where the reader keeps what it found wrong."""
        return Path(self.folder) / "reader.log"

    def stop(self) -> Path:
        """Return the file whose presence tells everybody to end."""
        return Path(self.folder) / "stop"

    def names(self) -> list[str]:
        """Return the users that are charged."""
        return [f"user-{number}" for number in range(self.users)]

    def batch(self, writer: int, number: int) -> list[Command]:
        """Return the commands that a writer sends together at a place in its life."""
        turn, place = divmod(number, _TURN)
        chance = random.Random(f"{self.seed} {writer} {turn}")
        users = [chance.choice(self.names()) for _ in range(2)]
        runs = [f"run-{writer}-{turn}-{side}" for side in range(2)]
        lives_s = [chance.choice([1, 3600, 3600, 3600]) for _ in range(2)]
        chance = random.Random(f"{self.seed} {writer} {number}")
        keys = (f"k-{writer}-{number}-{count}" for count in range(100))
        if place == 0:
            opened = [
                make.open_run(run, user, hold="0.5", ttl_s=ttl_s)
                for run, user, ttl_s in zip(runs, users, lives_s, strict=True)
            ]
            return [*(make.grant(user, 2, key=next(keys)) for user in users), *opened]
        if place == _TURN - 1:
            kept = [run for run in runs if chance.random() < 0.8]
            return [make.close(run, key=next(keys)) for run in chance.sample(kept, len(kept))] or [
                make.expire(users[0])
            ]
        neighbours = f"run-{(writer + 1) % self.writers}-{turn}-0"
        return [
            self._any(chance, chance.choice(runs), chance.choice(users), neighbours, next(keys))
            for _ in range(chance.randrange(1, 5))
        ]

    def _any(self, chance: random.Random, run: str, user: str, neighbours: str, key: str) -> Command:
        amount = f"0.{chance.randrange(1, 5)}"
        match chance.choice(["record", "record", "record", "direct", "neighbour", "extend", "grant", "expire"]):
            case "record":
                return make.record(amount, run_id=run, key=key)
            case "direct":
                return make.record(amount, user=user, key=key)
            case "neighbour":
                return make.record(amount, run_id=neighbours, key=key)
            case "extend":
                return make.extend(run, amount, key=key)
            case "grant":
                soon = moment_of(self.begin_us) + timedelta(seconds=chance.randrange(1, 9))
                return make.grant(user, 1, key=key, expires_at=chance.choice([None, None, soon]))
            case _:
                return make.expire(user)


def attempts(log: Path) -> Iterator[dict[str, Any]]:
    """Yield what a writer noted: one line for each attempt at a batch, and one for what became of it."""
    if not log.exists():
        return
    for line in log.read_bytes().splitlines():
        # Only the last line of a process that was killed can be torn.
        if line.endswith(b"}"):
            yield json.loads(line)


def write(traffic: Traffic, writer: int) -> None:
    """Go on where the log ends, until everything is sent or the word to stop is there."""
    with Lateness() as lateness:
        _write(traffic, writer, lateness)


def _write(traffic: Traffic, writer: int, lateness: Lateness) -> None:
    store = traffic.store()
    noted = list(attempts(traffic.log(writer)))
    number = sum("answers" in line for line in noted)
    tries = sum(line["number"] == number for line in noted)
    log = os.open(traffic.log(writer), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"\n")
    give_up = time.monotonic() + _GIVE_UP_S
    while number < traffic.batches and not traffic.stop().exists():
        commands = traffic.batch(writer, number)
        if traffic.plant == "retry_with_another_key":
            commands = [_rekeyed(command, tries) for command in commands]
        _note(log, number=number, at=time.monotonic())
        begin_s = lateness.elapsed_s()
        try:
            answers = [_told(answer) for answer in store.apply(commands)]
        except LedgerUnavailable as error:
            _note(log, number=number, at=time.monotonic(), took_s=lateness.elapsed_s() - begin_s, failed=error.message)
            tries += 1
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
            continue
        _note(log, number=number, at=time.monotonic(), took_s=lateness.elapsed_s() - begin_s, answers=answers)
        give_up = time.monotonic() + _GIVE_UP_S
        number, tries = number + 1, 0
    store.close()


def _note(log: int, **facts: object) -> None:
    os.write(log, json.dumps(facts).encode() + b"\n")


def _told(answer: Receipt | CallfareError) -> list[str]:
    if isinstance(answer, CallfareError):
        return ["refused", answer.code]
    return [type(answer).__name__, msgspec.json.encode(answer).decode()]


def _rekeyed(command: Command, tries: int) -> Command:
    if tries and isinstance(command, GrantCredit | RecordUsage):
        return msgspec.structs.replace(command, key=f"{command.key}-again{tries}")
    return command


def read(traffic: Traffic) -> None:
    """Read all balances until told to stop, and note whatever no reader may ever see."""
    with Lateness() as lateness:
        _read(traffic, lateness)


def _read(traffic: Traffic, lateness: Lateness) -> None:
    store = traffic.store()
    readings = traffic.readings().open("a", encoding="utf-8")
    count, longest_s = 0, 0.0
    while not traffic.stop().exists():
        for user in traffic.names():
            begin_s = lateness.elapsed_s()
            try:
                wrong = wrong_with(store, user)
            except LedgerUnavailable:
                wrong = ""
            else:
                count += 1
            longest_s = max(longest_s, lateness.elapsed_s() - begin_s)
            if wrong:
                print(f"a reader saw {user} with {wrong}", file=readings, flush=True)
    print(json.dumps({"reads": count, "longest_s": longest_s}), file=readings, flush=True)
    readings.close()
    store.close()


def wrong_with(store: Store, user: str) -> str:
    """Return what is wrong with a balance as it is read now; nothing is."""
    snapshot = store.snapshot(user)
    if snapshot is None:
        return ""
    view = balance_of(snapshot.state, snapshot.account_id, snapshot.spent_nanocredits, snapshot.now_us)
    is_sound = (
        view.available_nanocredits == view.posted_nanocredits - view.held_nanocredits
        and view.available_nanocredits >= 0
        and 0 <= view.spent_nanocredits <= view.held_nanocredits
        and (view.debt_nanocredits == 0 or view.available_nanocredits == 0)
    )
    return "" if is_sound else str(view)


def keyed(commands: Sequence[Command]) -> dict[str, Command]:
    """Return the commands that have a key of their own, by key."""
    return {key: command for command in commands if (key := getattr(command, "key", None))}
