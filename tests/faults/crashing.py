"""Writers that are killed at random moments, and the one who kills them, keeps what they were answered, and checks.

Each writer sends commands with keys and tells every answer through a pipe. When it is killed, whoever takes over sends
the first unanswered command again under the same key.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from dataclasses import dataclass, field

import msgspec

from callfare.committer import Committer
from callfare.ledger.commands import Command, OpenRun, RecordUsage
from callfare.ledger.receipts import ChargeReceipt, CloseReceipt, ExtendReceipt, GrantReceipt, OpenReceipt, Receipt
from callfare.ledger.verify import verify
from callfare.store.protocol import EventNamed, KeyNamed, RunsNamed
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import account_number, close, extend, grant, open_run, record

WRITERS = 4
_CYCLE = 7
_LAST_CHECKED = 20
_UNTOLD = dict.fromkeys({"run_expires_at_us"} & set(ChargeReceipt.__struct_fields__), 0)


def command_of(writer: int, number: int) -> tuple[Command, type[Receipt]]:
    """Return the command that a writer sends at a place in its life, the same for whoever takes over."""
    turn, place = divmod(number, _CYCLE)
    # Every other turn all writers are on one account.
    user = f"user-{writer}" if turn % 2 else "shared"
    name = f"{writer}-{number}"
    run_id = f"run-{writer}-{turn}"
    match place:
        case 0:
            return grant(user, 5, key=name), GrantReceipt
        case 1:
            return open_run(run_id, user, hold="0.5"), OpenReceipt
        case 2 | 3:
            return record("0.4", run_id=run_id, key=name), ChargeReceipt
        case 4:
            return extend(run_id, "0.25", key=name), ExtendReceipt
        case 5:
            return record("0.125", user=user, key=name), ChargeReceipt
        case _:
            return close(run_id, key=name), CloseReceipt


@dataclass
class Writer:
    """What is known of one writer: its process, its pipe, and the answer to each of its commands."""

    number: int
    process: int = 0
    pipe: int = -1
    answers: list[bytes] = field(default_factory=list)
    torn: bytes = b""

    def begin(self, path: str) -> None:
        """Start the process that goes on after the last answer."""
        self.pipe, answering = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.pipe)
            _write(path, self.number, len(self.answers), answering)
        os.close(answering)
        self.torn = b""

    def hear(self) -> None:
        """Take in the answers that have arrived."""
        said = os.read(self.pipe, 1 << 16)
        *lines, self.torn = (self.torn + said).split(b"\n")
        self.answers += lines

    def kill(self) -> None:
        """Kill the process at whatever it is doing, and take in what it had been answered."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        while select.select([self.pipe], [], [], 0)[0]:
            before = len(self.answers), self.torn
            self.hear()
            if before == (len(self.answers), self.torn):
                break
        os.close(self.pipe)


def _write(path: str, writer: int, number: int, pipe: int) -> None:
    committer = Committer(SqliteStore(path))
    while True:
        command, _ = command_of(writer, number)
        receipt = committer.commit(command)
        os.write(pipe, msgspec.json.encode(receipt) + b"\n")
        number += 1


def kill_writers(path: str, kills: str, seed: str) -> None:
    """Kill writers so often, at moments drawn from a seed; print what was lost or doubled, which is nothing."""
    chance = random.Random(int(seed))
    store = SqliteStore(path)
    store.create()
    writers = [Writer(number) for number in range(WRITERS)]
    for writer in writers:
        writer.begin(path)
    found: list[str] = []
    unheard = 0
    for _ in range(int(kills)):
        _listen(writers, chance.randrange(5, 35) / 1000)
        writer = chance.choice(writers)
        writer.kill()
        found += _missing(store, writer)
        unheard += _is_there(store, writer.number, len(writer.answers))
        writer.begin(path)
    for writer in writers:
        writer.kill()
    answered = 0
    for writer in writers:
        found += _changed(store, writer)
        answered += len(writer.answers)
    found += faults(store)
    found += [str(fault) for fault in verify(store.scan).faults]
    print(f"{kills} kills, {answered} answers, {unheard} commits that nobody heard of, {len(found)} faults")
    print(*found[:10], sep="\n")


def _listen(writers: list[Writer], seconds: float) -> None:
    """Hear the writers for so many seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([writer.pipe for writer in writers], [], [], left)
        for writer in writers:
            if writer.pipe in ready:
                writer.hear()


def _is_there(store: SqliteStore, writer: int, number: int) -> bool:
    """Return whether a command has had its effect, without waiting for those who write."""
    command, _ = command_of(writer, number)
    user = f"user-{writer}" if number // _CYCLE % 2 else "shared"
    if isinstance(command, OpenRun):
        return len(store.select(RunsNamed(run_id=command.run_id))) == 1
    name = getattr(command, "key", "")
    kind = EventNamed if isinstance(command, RecordUsage) else KeyNamed
    return len(store.select(kind(account_id=account_number(user), key=name))) == 1


def _missing(store: SqliteStore, writer: Writer) -> list[str]:
    """Return which of the latest answers of a writer have nothing behind them."""
    count = len(writer.answers)
    return [
        f"{command_of(writer.number, number)[0]} was answered and is lost"
        for number in range(max(0, count - _LAST_CHECKED), count)
        if not _is_there(store, writer.number, number)
    ]


def _changed(store: SqliteStore, writer: Writer) -> list[str]:
    """Send everything again under the same keys, and return which answers differ from the first."""
    found = []
    for start in range(0, len(writer.answers), store.max_batch):
        firsts = writer.answers[start : start + store.max_batch]
        sent = [command_of(writer.number, start + place) for place in range(len(firsts))]
        agains = store.apply([command for command, _ in sent])
        for first, (command, kind), again in zip(firsts, sent, agains, strict=True):
            expected = msgspec.structs.replace(msgspec.json.decode(first, type=kind), is_replay=True)
            if isinstance(expected, ChargeReceipt):
                # How long the run's hold lives is told once; a repeat renews nothing.
                expected = msgspec.structs.replace(expected, **_UNTOLD)
            # A run that is opened again is answered as it is now.
            is_same = again == expected or (isinstance(command, OpenRun) and isinstance(again, OpenReceipt))
            if not is_same:
                found.append(f"{command} was answered {first.decode()}, and then {again}")
    return found
