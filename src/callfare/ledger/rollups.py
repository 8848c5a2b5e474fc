"""Roll-ups: usage by quarter of an hour and by UTC day, folded from events in the transaction that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.clock import US_PER_S
from callfare.ledger.charges import NOW_PRICED, NOW_UNPRICED
from callfare.ledger.counted import Units, add_to, units_of, units_text
from callfare.ledger.rows import Event, Rollup
from callfare.money import in_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callfare.ledger.rows import Pk

QUARTER_US = 15 * 60 * US_PER_S
DAY_US = 24 * 3600 * US_PER_S
GRAINS = {"day": DAY_US, "quarter": QUARTER_US}
_WHAT = "spending of a day"


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
        unpriced_calls=unpriced_change(event),
        nanocredits=event.nanocredits,
        picousd=str(event.picousd),
        units=event.usage if event.counted is None else event.counted,
    )


def unpriced_change(event: Event) -> int:
    """Return what one event adds to the count of calls that have no price."""
    if event.kind == "usage":
        return int(event.status == "unpriced")
    return (event.flags == NOW_UNPRICED) - (event.flags == NOW_PRICED)


class _Sum:
    """What a batch adds to one roll-up."""

    __slots__ = ("calls", "first", "nanocredits", "picousd", "units", "unpriced_calls")

    def __init__(self, first: Rollup) -> None:
        self.first = first
        self.calls = self.unpriced_calls = self.nanocredits = self.picousd = 0
        self.units: Units = {}

    def rollup(self) -> Rollup:
        return replace(
            self.first,
            calls=self.calls,
            unpriced_calls=self.unpriced_calls,
            nanocredits=in_range(self.nanocredits, _WHAT),
            picousd=str(self.picousd),
            units=units_text(self.units),
        )


def fold(events: Iterable[Event]) -> dict[Pk, Rollup]:
    """Return what a batch of events adds to the roll-ups, by primary key.

    Raises AmountOutOfRange when a sum leaves 64 bits.
    """
    sums: dict[tuple[object, ...], _Sum] = {}
    for event in events:
        units = units_of(event.usage if event.counted is None else event.counted)
        calls, unpriced = int(event.kind == "usage"), unpriced_change(event)
        name = (event.account_id, event.workflow, event.provider, event.model, event.operation)
        for grain, width_us in GRAINS.items():
            key = (grain, event.at_us // width_us, *name)
            found = sums.get(key)
            if found is None:
                found = sums[key] = _Sum(part_of(event, grain))
            found.calls += calls
            found.unpriced_calls += unpriced
            found.nanocredits += event.nanocredits
            found.picousd += event.picousd
            add_to(found.units, units)
    rows = [found.rollup() for found in sums.values()]
    return {row.pk: row for row in rows}


def plus(one: Rollup, other: Rollup) -> Rollup:
    """Return the sum of two roll-ups with the same key.

    Raises AmountOutOfRange when it leaves 64 bits.
    """
    units = units_of(one.units)
    add_to(units, units_of(other.units))
    return replace(
        one,
        calls=one.calls + other.calls,
        unpriced_calls=one.unpriced_calls + other.unpriced_calls,
        nanocredits=in_range(one.nanocredits + other.nanocredits, _WHAT),
        picousd=str(int(one.picousd) + int(other.picousd)),
        units=units_text(units),
    )
