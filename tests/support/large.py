"""Large ledgers, built through the real store, and what verifying one takes: `python -m tests.support.large`.

    python -m tests.support.large sqlite:////tmp/large.db 1000000 1000 10

builds a ledger of that many calls over so many accounts where there is none, every tenth call outside a run, then
verifies it in a process of its own. `postgres` for an address starts a server for it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from callfare.errors import CallfareError
from callfare.ledger.commands import Command
from callfare.ledger.verify import verify
from callfare.store.open import open_store
from tests.support.commands import close, grant, open_run, record
from tests.support.postgres import running_server
from tests.support.processes import call

CALLS_PER_RUN = 100
_RAW = '{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200}'


def commands(events: int, accounts: int, direct: int) -> Iterator[Command]:
    """Yield the commands of a ledger of so many calls, in runs of a hundred; every `direct`-th call is outside one."""
    for number in range(accounts):
        yield grant(f"user-{number}", 1_000_000, key=f"grant-{number}")
    for number in range(events):
        turn, place = divmod(number, CALLS_PER_RUN)
        user, run_id = f"user-{turn % accounts}", f"run-{turn}"
        if place == 0 and direct > 1:
            yield open_run(run_id, user, hold="0.5")
        if place % direct == direct - 1:
            yield record("0.01", user=user, key=f"call-{number}", response_id=f"resp_{number}", raw=_RAW)
        else:
            yield record("0.01", run_id=run_id, key=f"call-{number}", raw=_RAW)
        if place == CALLS_PER_RUN - 1 and direct > 1:
            yield close(run_id, key=f"close-{turn}")


def build(url: str, events: int, accounts: int, direct: int = 10) -> None:
    """Make a ledger at an address and fill it through `apply`, in batches as large as the store takes."""
    store = open_store(url)
    store.create()
    left = commands(events, accounts, direct)
    while batch := list(islice(left, store.max_batch)):
        refused = [answer for answer in store.apply(batch) if isinstance(answer, CallfareError)]
        assert not refused, refused[0]
    store.close()


def _peak_kb() -> int:
    """Return the most memory this process has had, in KiB; `getrusage` would count that of whoever started it."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def verified(url: str, how: str = "in pages") -> None:
    """Verify a ledger in this process, and print its rows, the seconds and how many KiB the process grew by.

    how: "all at once" plants a fault: it has every table in memory, as a verification must not.
    """
    store = open_store(url)
    # What a first question takes stays for good: connections, statements, pages.
    store.facts()
    before_kb = _peak_kb()
    begun = time.perf_counter()
    with store.one_instant() as scan:
        found = verify(scan if how == "in pages" else lambda table: iter(list(scan(table))))
    seconds = time.perf_counter() - begun
    after_kb = _peak_kb()
    answer = {
        "is_clean": found.is_clean,
        "events": found.counted["events"],
        "rows": sum(found.counted.values()),
        "seconds": round(seconds, 2),
        "peak_kb": after_kb,
        "grown_kb": after_kb - before_kb,
    }
    print(json.dumps(answer))


def main() -> None:
    """Build a ledger where there is none, then verify it in a process of its own."""
    url = sys.argv[1]
    with ExitStack() as running:
        if url == "postgres":
            url = running.enter_context(running_server()).new_database()
        _run(url, *map(int, sys.argv[2:5]))


def _run(url: str, events: int, accounts: int, direct: int) -> None:
    store = open_store(url)
    try:
        store.facts()
    except CallfareError:
        begun = time.perf_counter()
        build(url, events, accounts, direct)
        print(f"built {events} events in {time.perf_counter() - begun:.0f} s", flush=True)
    store.close()
    print(json.dumps(measured(url)), flush=True)


def measured(url: str, how: str = "in pages") -> dict[str, int | float | bool]:
    """Verify a ledger in a process of its own, and return what that took."""
    (answer,) = call("tests.support.large", "verified", url, how, timeout_s=3600)
    return json.loads(answer)  # type: ignore[no-any-return]  # as `verified` prints it


if __name__ == "__main__":
    main()
