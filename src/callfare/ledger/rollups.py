"""Roll-ups: usage by quarter of an hour and by UTC day, folded from events in the transaction that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def unpriced_change(event: Event) -> int:
    """Return what one event adds to the count of calls that have no price."""
    if event.kind == "usage":
        return int(event.status == "unpriced")
    return (event.flags == NOW_UNPRICED) - (event.flags == NOW_PRICED)


class Part:
    """What a batch adds to the roll-up of a primary key."""

    __slots__ = ("calls", "nanocredits", "picousd", "pk", "units", "unpriced_calls")

    def __init__(self, pk: Pk) -> None:
        self.pk = pk
        self.calls = self.unpriced_calls = self.nanocredits = self.picousd = 0
        self.units: Units = {}

    def added_to(self, before: Rollup | None) -> Rollup:
        """Return the roll-up with this added to it; None when there is none yet.

        Raises AmountOutOfRange when a sum leaves 64 bits.
        """
        calls, unpriced_calls, nanocredits, picousd = self.calls, self.unpriced_calls, self.nanocredits, self.picousd
        units = self.units
        if before is not None:
            calls += before.calls
            unpriced_calls += before.unpriced_calls
            nanocredits += before.nanocredits
            picousd += int(before.picousd)
            units = units_of(before.units)
            add_to(units, self.units)
        sums = (calls, unpriced_calls, in_range(nanocredits, _WHAT, param="usage"), str(picousd), units_text(units))
        return Rollup(*self.pk[1:], *sums)  # type: ignore[arg-type, call-arg]  # a primary key and sums are the columns in order


def fold(events: Iterable[Event]) -> dict[Pk, Part]:
    """Return what a batch of events adds to the roll-ups, by primary key."""
    parts: dict[Pk, Part] = {}
    for event in events:
        units = units_of(event.usage if event.counted is None else event.counted)
        calls, unpriced = int(event.kind == "usage"), unpriced_change(event)
        name = (event.workflow, event.provider, event.model, event.operation)
        for grain, width_us in GRAINS.items():
            pk = ("rollups", event.account_id, grain, event.at_us // width_us * width_us, *name)
            part = parts.get(pk)
            if part is None:
                part = parts[pk] = Part(pk)
            part.calls += calls
            part.unpriced_calls += unpriced
            part.nanocredits += event.nanocredits
            part.picousd += event.picousd
            add_to(part.units, units)
    return parts
