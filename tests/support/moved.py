"""A ledger that goes round by the command line, what each way takes: `python -m tests.support.moved 100000`.

SQLite, PostgreSQL, Convex over the bridge, and back to SQLite; each is verified by a command of its own afterwards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.convex import running_bridge
from tests.support.large import build
from tests.support.postgres import running_server
from tests.support.processes import environment

ACCOUNTS, DIRECT = 200, 10


# A process is begun with the memory of the one that starts it, and its peak never forgets that: so a small one does.
_MEASURE = """
import json, resource, subprocess, sys
said = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout
print(json.dumps([json.loads(said), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


class Way(NamedTuple):
    """One move, or one verification: what it told, its seconds, and the most memory its process had."""

    told: dict[str, Any]
    seconds: float
    peak_kb: int


def go_round(first: str, *others: str) -> list[tuple[Way, Way]]:
    """Move a ledger from an address to the next, and return for each what the move and a verification took."""
    ways = []
    for source, target in zip((first, *others), others, strict=False):
        moved = command("migrate-store", source, target)
        ways.append((moved, command("--db", target, "verify")))
    return ways


def command(*words: str) -> Way:
    """Return what a command told as JSON and took, in a process of its own."""
    begin_s = time.monotonic()
    asked = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "callfare", "--json", *words]
    done = subprocess.run(asked, stdout=subprocess.PIPE, env=environment(), check=True)
    told, peak_kb = json.loads(done.stdout)
    return Way(told, time.monotonic() - begin_s, peak_kb)


def main() -> None:
    """Print what each way takes for a ledger of so many calls."""
    events = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, running_server() as server, running_bridge() as bridge:
        places = [
            f"sqlite:///{folder}/first.db",
            server.lend_ledger(),
            bridge.new_ledger(),
            f"sqlite:///{folder}/last.db",
        ]
        build(places[0], events, ACCOUNTS, DIRECT)
        for moved, verified in go_round(*places):
            print(
                f"{moved.told['rows']['events']} events, {moved.told['row_count']} rows to "
                f"{moved.told['target'].partition(':')[0]}: {moved.seconds:.0f} s, {moved.peak_kb / 1024:.0f} MiB; "
                f"verified in {verified.seconds:.0f} s, {verified.peak_kb / 1024:.0f} MiB"
            )
        status = Path(f"/proc/{bridge.process.pid}/status").read_text(encoding="utf-8")
        print(next(line for line in status.splitlines() if line.startswith("VmHWM")), "(the bridge, all in memory)")


if __name__ == "__main__":
    main()
