"""Usage of a user over a window of time: days and quarters of an hour from the roll-ups, the edges from the events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callfare.answers import Share, UsageReport
from callfare.checks import check_text
from callfare.clock import EARLIEST_US, instant_of, moment_of
from callfare.errors import InvalidInput, InvalidTime
from callfare.ledger import rollups
from callfare.ledger.counted import Units, add_to, units_of
from callfare.ledger.rollups import DAY_US, QUARTER_US
from callfare.ledger.rows import Event, Rollup, Row
from callfare.money import Credits, Usd
from callfare.store.protocol import EventsBetween, Query, RollupsOf, Store

_DAYS = {"day": 1, "week": 7, "month": 30}
PERIODS = (*_DAYS, "all")
# The width below which there are no roll-ups, but events.
_EVENTS_US = 1


class _Sum:
    """Running totals of one share."""

    def __init__(self) -> None:
        self.calls = self.unpriced_calls = self.nanocredits = self.picousd = 0
        self.units: Units = {}

    def add(self, part: Rollup, sign: int) -> None:
        """Add a part, or take it away."""
        self.calls += sign * part.calls
        self.unpriced_calls += sign * part.unpriced_calls
        self.nanocredits += sign * part.nanocredits
        self.picousd += sign * int(part.picousd)
        for meter, quantity in units_of(part.units).items():
            self.units[meter] = self.units.get(meter, 0) + sign * quantity

    def merge(self, other: _Sum) -> None:
        """Add other totals."""
        self.calls += other.calls
        self.unpriced_calls += other.unpriced_calls
        self.nanocredits += other.nanocredits
        self.picousd += other.picousd
        add_to(self.units, other.units)

    def is_something(self) -> bool:
        """Tell whether anything is left of what was added and taken away."""
        return bool(self.calls or self.nanocredits or self.picousd or any(self.units.values()))

    def share(self, name: str) -> Share:
        return Share(
            name=name,
            calls=self.calls,
            unpriced_calls=self.unpriced_calls,
            cost=Usd.of_units(self.picousd),
            credits=Credits.of_units(self.nanocredits),
            units={meter: quantity for meter, quantity in sorted(self.units.items()) if quantity},
        )


def zone_of(tz: str) -> ZoneInfo:
    """Return a time zone by its name.

    Raises InvalidInput when there is none.
    """
    try:
        return ZoneInfo(check_text(tz, "tz"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"there is no time zone {tz!r}; use a name such as Europe/Vienna", param="tz") from None


def window_of(period: str, since: datetime | None, until: datetime | None, now_us: int) -> tuple[int, int]:
    """Return the window that is asked for: `since` and `until` where given, else the period up to now.

    day, week and month are the last 24 hours, 7 and 30 days. Raises InvalidInput, InvalidTime.
    """
    if period not in PERIODS:
        raise InvalidInput(f"period must be one of {', '.join(PERIODS)}", param="period")
    # Usage of this very microsecond belongs to a window that ends now.
    until_us = now_us + 1 if until is None else instant_of(until, "until")
    if since is not None:
        since_us = instant_of(since, "since")
    elif period == "all":
        since_us = EARLIEST_US
    else:
        since_us = until_us - _DAYS[period] * DAY_US
    if since_us > until_us:
        raise InvalidTime("since lies after until", param="since")
    return max(since_us, EARLIEST_US), max(until_us, EARLIEST_US)


def usage_report(
    store: Store, *, user: str, account_id: int | None, since_us: int, until_us: int, tz: str, now_us: int
) -> UsageReport:
    """Return the usage of an account in a window, by workflow, by model and by day of a zone."""
    day_of = _day_names(zone_of(tz))
    groups: defaultdict[tuple[str, str, str], _Sum] = defaultdict(_Sum)
    if account_id is not None:
        window = _Window(account_id, DAY_US if tz == "UTC" else QUARTER_US, now_us)
        asked = list(window.parts(since_us, until_us))
        # One unit may be added for one edge and taken away for the other: all is read as of one instant, or not at all.
        found_rows = store.select_all([query for query, _ in asked])
        for part, sign in _signed(asked, found_rows):
            groups[part.workflow, part.model, day_of(part.start_us)].add(part, sign)
    total = _Sum()
    by_workflow: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_model: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_day: defaultdict[str, _Sum] = defaultdict(_Sum)
    for (workflow, model, day), found in groups.items():
        if found.is_something():
            for among in (total, by_workflow[workflow], by_model[model], by_day[day]):
                among.merge(found)
    return UsageReport(
        user=user,
        since=moment_of(since_us),
        until=moment_of(until_us),
        tz=tz,
        calls=total.calls,
        unpriced_calls=total.unpriced_calls,
        cost=Usd.of_units(total.picousd),
        credits=Credits.of_units(total.nanocredits),
        by_workflow=_shares(by_workflow, dearest_first=True),
        by_model=_shares(by_model, dearest_first=True),
        by_day=_shares(by_day, dearest_first=False),
    )


def _shares(sums: dict[str, _Sum], *, dearest_first: bool) -> tuple[Share, ...]:
    shares = [found.share(name) for name, found in sums.items()]
    if dearest_first:
        return tuple(sorted(shares, key=lambda share: (-share.cost.picousd, share.name)))
    return tuple(sorted(shares, key=lambda share: share.name))


def _day_names(zone: ZoneInfo) -> Callable[[int], str]:
    names: dict[int, str] = {}

    def day_of(start_us: int) -> str:
        quarter = start_us // QUARTER_US
        if quarter not in names:
            names[quarter] = moment_of(start_us).astimezone(zone).date().isoformat()
        return names[quarter]

    return day_of


class _Window:
    """Makes a window of time up of roll-ups, added and taken away, and of the events at its edges.

    What lies in a unit on one side of an edge is either read, or the whole unit is and what lies on the other side
    taken away: whichever is less.
    """

    def __init__(self, account_id: int, unit_us: int, now_us: int) -> None:
        self._account_id = account_id
        self._unit_us = unit_us
        # Hardly anything lies after it.
        self._now_us = now_us

    def parts(self, since_us: int, until_us: int) -> Iterator[tuple[Query, int]]:
        """Yield what to ask for so that it makes up the window exactly, each with its sign."""
        unit_us = self._unit_us
        since_unit_us, until_unit_us = since_us // unit_us * unit_us, until_us // unit_us * unit_us
        yield from self._side(since_us, unit_us, sign=-1, is_before=True)
        yield from self._read(unit_us, since_unit_us, until_unit_us, 1)
        yield from self._side(until_us, unit_us, sign=1, is_before=True)

    def _side(self, edge_us: int, unit_us: int, *, sign: int, is_before: bool) -> Iterator[tuple[Query, int]]:
        """Yield what lies in the unit of an edge on one side of it."""
        begin_us = edge_us // unit_us * unit_us
        end_us = begin_us + unit_us
        if begin_us == edge_us and is_before:
            return
        before_us, after_us = edge_us - begin_us, max(0, min(end_us, self._now_us) - edge_us)
        if (before_us <= after_us) == is_before:
            yield from self._parts_on(edge_us, unit_us, sign=sign, is_before=is_before)
        else:
            yield from self._parts_on(edge_us, unit_us, sign=-sign, is_before=not is_before)
            yield from self._read(unit_us, begin_us, end_us, sign)

    def _parts_on(self, edge_us: int, unit_us: int, *, sign: int, is_before: bool) -> Iterator[tuple[Query, int]]:
        """Yield what lies on one side of an edge from the parts of its unit: quarters of a day, events of a quarter."""
        begin_us = edge_us // unit_us * unit_us
        end_us = begin_us + unit_us
        part_us = QUARTER_US if unit_us == DAY_US else _EVENTS_US
        inner_us = edge_us // part_us * part_us
        if is_before:
            yield from self._read(part_us, begin_us, inner_us, sign)
        else:
            yield from self._read(part_us, inner_us if part_us == _EVENTS_US else inner_us + part_us, end_us, sign)
        if part_us != _EVENTS_US:
            yield from self._side(edge_us, part_us, sign=sign, is_before=is_before)

    def _read(self, unit_us: int, since_us: int, until_us: int, sign: int) -> Iterator[tuple[Query, int]]:
        if since_us >= until_us:
            return
        if unit_us == _EVENTS_US:
            yield EventsBetween(account_id=self._account_id, since_us=since_us, until_us=until_us), sign
            return
        grain = "day" if unit_us == DAY_US else "quarter"
        yield RollupsOf(account_id=self._account_id, grain=grain, since_us=since_us, until_us=until_us), sign


def _signed(asked: list[tuple[Query, int]], found: list[list[Row]]) -> Iterator[tuple[Rollup, int]]:
    """Yield roll-ups with their signs, events as the roll-ups of a quarter that come of them."""
    for (query, sign), rows in zip(asked, found, strict=True):
        if isinstance(query, EventsBetween):
            parts = rollups.fold(row for row in rows if isinstance(row, Event))
            yield from ((part.added_to(None), sign) for pk, part in parts.items() if "quarter" in pk)
        else:
            yield from ((row, sign) for row in rows if isinstance(row, Rollup))
