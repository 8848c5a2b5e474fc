"""What a call takes of Convex under group commit: mutations, documents and index ranges, counted by the bridge.

Counted, not timed: the bridge runs one function at a time on convex-test, whose speed says nothing about Convex.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from bench.ledgers import Ledger
from bench.rounds import Stage, Variant
from bench.table import Figure, Row
from callfare import AsyncCallfare
from tests.support.convex import Bridge, running_bridge, why_missing

_USERS = 64
_CONFLICT_EVERY = 5
_COUNTED = {
    "mutations": "mutations",
    "documents written": "mutation.documentsWritten",
    "documents read": "mutation.documentsRead",
    "index ranges in mutations": "mutation.ranges",
}


@contextmanager
def _bridge() -> Iterator[Bridge | None]:
    if reason := why_missing():
        print(f"convex: left out: {reason}", file=sys.stderr)
        yield None
        return
    with running_bridge() as bridge:
        yield bridge


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of Convex; none where no bridge can run."""
    with _bridge() as bridge:
        return [] if bridge is None else await _rows(stage, bridge)


async def _rows(stage: Stage, bridge: Bridge) -> list[Row]:
    url = bridge.lend_ledger()
    found: list[Row] = []
    async with AsyncCallfare(url) as fare:
        ledger = Ledger(fare, url)
        await ledger.add_users(min(stage.size.users, _USERS))
        many = stage.size.callers(256)
        for work, callers, operations, call in (
            ("record, alone", 1, 40, ledger.record_in_one),
            ("record, spread, 256", many, 2048, ledger.record_spread),
            ("record, one run, 256", many, 2048, ledger.record_in_one),
            ("open + close, one account, 256", many, 1024, ledger.open_and_close),
        ):
            found += await _counted(stage, bridge, ledger, work, _variant(stage, callers, operations, call, ledger))
        bridge.control(url, conflictEvery=_CONFLICT_EVERY)
        work = f"open + close, one account, 256, each {_CONFLICT_EVERY}th mutation in conflict"
        variant = _variant(stage, many, 1024, ledger.open_and_close, ledger)
        found += await _counted(stage, bridge, ledger, work, variant)
        bridge.control(url, conflictEvery=0)
        await ledger.check_whole()
    return found


def _variant(
    stage: Stage, callers: int, operations: int, call: Callable[[int], Awaitable[object]], ledger: Ledger
) -> Variant:
    return Variant("", callers, stage.size.of(operations, callers), call, ledger.check)


async def _counted(stage: Stage, bridge: Bridge, ledger: Ledger, work: str, variant: Variant) -> list[Row]:
    """Return a row for each thing that is counted, by operation, of as many rounds as there are."""
    values: dict[str, list[float]] = {name: [] for name in _COUNTED}
    for _ in range(stage.size.rounds):
        bridge.control(ledger.url)
        sample = await variant.sample()
        seen = bridge.control(ledger.url)
        # Those that met a conflict were sent too.
        seen["mutations"] += seen.get("conflicts", 0)
        for name, counter in _COUNTED.items():
            values[name].append(seen.get(counter, 0) / sample.operations)
    return [Row(f"Convex, {work}: {name} a call", Figure("", tuple(of))) for name, of in values.items()]
