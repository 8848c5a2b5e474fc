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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import balances, bulk, capture, convex, hot, http, page, prices, record, reports, single, webhooks, wrapped
from bench.machine import durable_server, told
from bench.profile import WORKLOADS, profile
from bench.rounds import FULL, QUICK, TINY, Size, Stage
from bench.table import Row, text_of

DOCS = Path(__file__).parents[1] / "docs"
ROWS: dict[str, Callable[[Stage], Awaitable[list[Row]]]] = {
    "record-postgres": record.postgres_rows,
    "record-sqlite": record.sqlite_rows,
    "hot": hot.rows,
    "single": single.rows,
    "wrapped": wrapped.rows,
    "prices": prices.rows,
    "balances": balances.rows,
    "reports": reports.rows,
    "bulk": bulk.rows,
    "http": http.rows,
    "convex": convex.rows,
    "webhooks": webhooks.rows,
}
# Measured when named and not otherwise: it makes an environment of its own, from the package registry.
APART: dict[str, Callable[[Stage], Awaitable[list[Row]]]] = {"capture": capture.rows}


@contextmanager
def staged(size: Size) -> Iterator[Stage]:
    """Yield a stage of a folder and a server that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="callfare-bench-") as folder, durable_server() as server:
        yield Stage(size, Path(folder), server)


def measure(names: Sequence[str], stage: Stage) -> list[Row]:
    """Return the rows of these names."""
    rows: list[Row] = []
    for name in names:
        print(f"{name}: measuring", file=sys.stderr, flush=True)
        begin = time.monotonic()
        rows += asyncio.run((ROWS | APART)[name](stage))
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return rows


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which rows: {', '.join(ROWS)}; all when none is named; apart from them: {', '.join(APART)}",
    )
    parser.add_argument("--quick", action="store_true", help="three small rounds, a minute or two in all")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    parser.add_argument("--plot", action="store_true", help="write the table and the pictures into docs/speed.md")
    parser.add_argument("--profile", choices=WORKLOADS, metavar="WORK", help=f"print a profile: {', '.join(WORKLOADS)}")
    given = parser.parse_args()
    unknown = set(given.names) - ROWS.keys() - APART.keys()
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if given.plot and (given.names or given.tiny):
        parser.error("the page holds the whole table; --plot goes without names")
    return given


def main() -> None:
    """Print the table, or what else was asked for."""
    given = _given()
    with staged(TINY if given.tiny else QUICK if given.quick else FULL) as stage:
        if given.profile:
            print(asyncio.run(profile(given.profile, stage)))
            return
        rows = measure(given.names or list(ROWS), stage)
        machine = told(stage.folder, stage.server)
    if given.json:
        print(json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1))
    else:
        print("\n".join(f"{name}: {fact}" for name, fact in machine.items()))
        print(text_of(rows))
    if given.plot:
        for file in page.write(DOCS, rows, machine):
            print(f"wrote {file.relative_to(DOCS.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
