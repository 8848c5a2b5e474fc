"""Roll-ups: usage by quarter of an hour and by UTC day, folded from events in the transaction that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.ledger.counted import add_units
from callfare.ledger.rows import Event, Rollup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callfare.ledger.rows import Pk

QUARTER_US = 15 * 60 * 1_000_000
DAY_US = 24 * 3600 * 1_000_000
GRAINS = {"day": DAY_US, "quarter": QUARTER_US}


def part_of(event: Event, grain: str) -> Rollup:
    """Return what one event adds to its roll-up of a grain."""
    width_us = GRAINS[grain]
    return Rollup(
        account_id=event.account_id,
        grain=grain,
        start_us=event.at_us // width_us * width_us,
        workflow=event.workflow,
        provider=event.provider,
        model=event.model,
        operation=event.operation,
        calls=int(event.kind == "usage"),
        unpriced_calls=_unpriced(event),
        nanocredits=event.nanocredits,
        picousd=str(event.picousd),
        units=event.usage if event.counted is None else event.counted,
    )


def _unpriced(event: Event) -> int:
    if event.kind == "usage":
        return int(event.status == "unpriced")
    return -int(event.kind == "reprice" and event.status == "priced")


def fold(events: Iterable[Event]) -> dict[Pk, Rollup]:
    """Return what a batch of events adds to the roll-ups, by primary key."""
    folded: dict[Pk, Rollup] = {}
    for event in events:
        for grain in GRAINS:
            part = part_of(event, grain)
            pk = part.pk
            before = folded.get(pk)
            folded[pk] = part if before is None else plus(before, part)
    return folded


def plus(one: Rollup, other: Rollup) -> Rollup:
    """Return the sum of two roll-ups with the same key."""
    return replace(
        one,
        calls=one.calls + other.calls,
        unpriced_calls=one.unpriced_calls + other.unpriced_calls,
        nanocredits=one.nanocredits + other.nanocredits,
        picousd=str(int(one.picousd) + int(other.picousd)),
        units=add_units(one.units, other.units),
    )
