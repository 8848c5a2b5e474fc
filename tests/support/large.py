"""Large ledgers, built through the real store, and what verifying one takes: `python -m tests.support.large`.

    python -m tests.support.large sqlite:////tmp/large.db 1000000 1000

builds a ledger of that many calls over so many accounts where there is none, then verifies it in a process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

from callfare.errors import CallfareError
from callfare.ledger.commands import Command
from callfare.ledger.verify import verify
from callfare.store.open import open_store
from tests.support.commands import close, grant, open_run, record

CALLS_PER_RUN = 100
_RAW = '{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200}'
_BYTES_PER_KB = 1024


def commands(events: int, accounts: int) -> Iterator[Command]:
    """Yield the commands of a ledger of so many calls: runs of a hundred, and every tenth call outside one."""
    for number in range(accounts):
        yield grant(f"user-{number}", 1_000_000, key=f"grant-{number}")
    for number in range(events):
        turn, place = divmod(number, CALLS_PER_RUN)
        user, run_id = f"user-{turn % accounts}", f"run-{turn}"
        if place == 0:
            yield open_run(run_id, user, hold="0.5")
        if place % 10 == 9:
            yield record("0.01", user=user, key=f"call-{number}", response_id=f"resp_{number}", raw=_RAW)
        else:
            yield record("0.01", run_id=run_id, key=f"call-{number}", raw=_RAW)
        if place == CALLS_PER_RUN - 1:
            yield close(run_id, key=f"close-{turn}")


def build(url: str, events: int, accounts: int) -> None:
    """Make a ledger at an address and fill it through `apply`, in batches as large as the store takes."""
    store = open_store(url)
    store.create()
    left = commands(events, accounts)
    while batch := list(islice(left, store.max_batch)):
        refused = [answer for answer in store.apply(batch) if isinstance(answer, CallfareError)]
        assert not refused, refused[0]
    store.close()


def verified(url: str) -> None:
    """Verify a ledger in this process, and print its rows, the seconds and how many KiB the process grew by."""
    store = open_store(url)
    # What a first question takes stays for good: connections, statements, pages.
    store.facts()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    with store.one_instant() as scan:
        found = verify(scan)
    seconds = time.perf_counter() - begun
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
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
    url, events, accounts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    store = open_store(url)
    try:
        store.facts()
    except CallfareError:
        begun = time.perf_counter()
        build(url, events, accounts)
        print(f"built {events} events in {time.perf_counter() - begun:.0f} s")
    store.close()
    subprocess.run([sys.executable, "-m", "tests.support.call", "tests.support.large", "verified", url], check=True)


if __name__ == "__main__":
    main()
