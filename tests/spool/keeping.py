"""What processes do in test_files.py and test_processes.py: each function is the whole of one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from callfare import Callfare
from callfare.engine import spooling
from callfare.facade import open_engine
from callfare.spool import Spool
from callfare.spool_file import Entry
from callfare.spool_place import Place
from tests.spool.away import MovedFile
from tests.support.commands import record

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


def _spool(folder: str) -> Spool:
    return Spool(Place(Path(folder), "ledger.db", is_beside=True))


def _entry(key: str) -> Entry:
    return Entry(command=record("4", user="alice", key=key), at_us=1)


def keep_and_wait(folder: str) -> None:
    """Keep a call, say so, and wait to be killed."""
    _spool(folder).keep([_entry("call-1")])
    print("kept")
    sys.stdin.readline()


def fork_and_keep(folder: str) -> None:
    """Fork with a file open; both sides keep a call, and the child's end frees no file but its own."""
    spool = _spool(folder)
    spool.keep([_entry("parent-1")])
    if os.fork() == 0:
        assert not spool.has_waiting
        spool.keep([_entry("child-1")])
        os._exit(0)
    os.wait()
    adopted = [entry.command.key for file in _spool(folder).left_over() for entry in file.entries()]  # type: ignore[union-attr]
    print("parent still has its file:", adopted == ["child-1"])
    spool.keep([_entry("parent-2")])
    print(*sorted(entry.command.key for entry in spool.waiting()))  # type: ignore[union-attr, type-var]


def record_and_wait(url: str, name: str) -> None:
    """Record ten calls while the ledger is away, then wait, and end in order when told."""
    with Callfare(url) as fare:
        fare.balance("alice")
        print("ready")
        sys.stdin.readline()
        charges = [fare.record(**IMAGE, user="alice", key=f"{name}-{number}") for number in range(10)]
        print(sum(charge.is_spooled for charge in charges), "kept")
        sys.stdin.readline()
        fare.drain_spool()


def drain(url: str) -> None:
    """Deliver what is left over, and say how much that was."""
    engine = open_engine(url, (), seed_prices=True, markup=1, require_user=False, clock=None)
    print("ready")
    sys.stdin.readline()
    print(spooling.drain(engine, None, refused=False).delivered)
    engine.close()


def fork_during_an_outage(folder: str) -> None:
    """Fork with a call in the spool; the child keeps one more, both deliver what is theirs, and the parent all."""
    away = MovedFile(Path(folder) / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
        away.begin()
        fare.record(**IMAGE, user="alice", key="parent")
        if os.fork() == 0:
            fare.record(**IMAGE, user="alice", key="child")
            os.write(1, f"child {fare.spool().waiting}\n".encode())
            os._exit(0)
        os.wait()
        fare.record(**IMAGE, user="alice", key="parent again")
        away.end()
        # What the child left is free as soon as the child has ended.
        delivered = fare.drain_spool().delivered
        print("parent", delivered - 1)
        print(fare.balance("alice").available)
