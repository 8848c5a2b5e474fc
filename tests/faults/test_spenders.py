"""Eight processes spend one account at once: what is affordable is accepted, and nobody ever sees less than zero."""

from __future__ import annotations

import os
import subprocess

from callfare.ledger.rows import Account, Run
from callfare.ledger.verify import verify
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import grant
from tests.support.processes import finish, start

ACTORS = "tests.faults.spending"
PROCESSES = int(os.environ.get("CALLFARE_SPENDERS", "8"))
ATTEMPTS = int(os.environ.get("CALLFARE_ATTEMPTS", "20"))


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_exactly_what_is_affordable_is_accepted(tmp_path):
    affordable = PROCESSES * ATTEMPTS // 2 + 3
    path = tmp_path / "callfare.db"
    store = SqliteStore(str(path))
    store.create()
    store.apply([grant("alice", affordable)])
    watcher = ready(start(ACTORS, "watch", path))
    spenders = [start(ACTORS, "spend", path, f"spender-{number}", ATTEMPTS) for number in range(PROCESSES)]
    for spender in spenders:
        ready(spender)

    for spender in spenders:
        go(spender)
    counts = [tuple(map(int, finish(spender)[-1].split())) for spender in spenders]
    go(watcher)

    assert sum(accepted for accepted, _ in counts) == affordable
    assert sum(refused for _, refused in counts) == PROCESSES * ATTEMPTS - affordable
    assert finish(watcher) == ["0 0 True"]
    ((account, _),) = store.scan(Account)
    assert (account.posted_nanocredits, account.held_nanocredits, account.debt_nanocredits) == (0, 0, 0)
    assert sum(1 for _ in store.scan(Run)) == affordable
    assert faults(store) == []
    assert verify(store.scan).faults == ()
