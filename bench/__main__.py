"""Measures what callfare costs, against a limit or a peer of the same rounds: `./run bench [NAME …]`.

Compare ratios, not figures of different runs. Every ledger is checked after each round and verified at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from bench import record
from bench.machine import durable_server, told
from bench.rounds import FULL, QUICK, TINY, Size, Stage
from bench.table import Row, text_of

ROWS: dict[str, Callable[[Stage], Awaitable[list[Row]]]] = {
    "record-postgres": record.postgres_rows,
    "record-sqlite": record.sqlite_rows,
}


def measure(names: list[str], size: Size) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of these names, and what a reader must know of the machine."""
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callfare-bench-")))
        server = stack.enter_context(durable_server())
        machine = told(folder, server)
        for name in names:
            begin = time.monotonic()
            rows += asyncio.run(ROWS[name](Stage(size, folder, server)))
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return rows, machine


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which rows: {', '.join(ROWS)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="three small rounds, about a minute in all")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    given = parser.parse_args()
    unknown = set(given.names) - ROWS.keys()
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    size = TINY if given.tiny else QUICK if given.quick else FULL
    rows, machine = measure(given.names or list(ROWS), size)
    if given.json:
        print(json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1))
        return
    print("\n".join(f"{name}: {fact}" for name, fact in machine.items()))
    print(text_of(rows))


if __name__ == "__main__":
    main()
