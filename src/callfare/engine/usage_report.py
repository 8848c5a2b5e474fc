"""Usage of a user over a window of time: whole quarters and days from the roll-ups, the edges from the events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callfare.answers import Share, UsageReport
from callfare.checks import check_text
from callfare.clock import EARLIEST_US, instant_of, moment_of
from callfare.errors import InvalidInput, InvalidTime
from callfare.ledger import rollups
from callfare.ledger.counted import Units, add_to, units_of
from callfare.ledger.rollups import DAY_US, QUARTER_US
from callfare.ledger.rows import Event, Rollup
from callfare.money import Credits, Usd
from callfare.store.protocol import EventsBetween, RollupsOf, Store

_DAYS = {"day": 1, "week": 7, "month": 30}
PERIODS = (*_DAYS, "all")


class _Sum:
    """Running totals of one share."""

    def __init__(self) -> None:
        self.calls = self.unpriced_calls = self.nanocredits = self.picousd = 0
        self.units: Units = {}

    def add(self, part: Rollup) -> None:
        self.calls += part.calls
        self.unpriced_calls += part.unpriced_calls
        self.nanocredits += part.nanocredits
        self.picousd += int(part.picousd)
        add_to(self.units, units_of(part.units))

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
    store: Store, *, user: str, account_id: int | None, since_us: int, until_us: int, tz: str
) -> UsageReport:
    """Return the usage of an account in a window, by workflow, by model and by day of a zone."""
    zone = zone_of(tz)
    total = _Sum()
    by_workflow: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_model: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_day: defaultdict[str, _Sum] = defaultdict(_Sum)
    parts = [] if account_id is None else _parts(store, account_id, since_us, until_us, is_utc=tz == "UTC")
    day_of = _day_names(zone)
    for part in parts:
        for found in (total, by_workflow[part.workflow], by_model[part.model], by_day[day_of(part.start_us)]):
            found.add(part)
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


def _parts(store: Store, account_id: int, since_us: int, until_us: int, *, is_utc: bool) -> Iterator[Rollup]:
    """Yield roll-ups that make up the window exactly, none longer than a day of UTC or than a quarter elsewhere."""
    inner_since, inner_until = -(-since_us // QUARTER_US) * QUARTER_US, until_us // QUARTER_US * QUARTER_US
    if inner_since >= inner_until:
        yield from _edge(store, account_id, since_us, until_us)
        return
    yield from _edge(store, account_id, since_us, inner_since)
    yield from _edge(store, account_id, inner_until, until_us)
    day_since, day_until = -(-inner_since // DAY_US) * DAY_US, inner_until // DAY_US * DAY_US
    if not is_utc or day_since >= day_until:
        yield from _grain(store, account_id, "quarter", inner_since, inner_until)
        return
    yield from _grain(store, account_id, "quarter", inner_since, day_since)
    yield from _grain(store, account_id, "day", day_since, day_until)
    yield from _grain(store, account_id, "quarter", day_until, inner_until)


def _edge(store: Store, account_id: int, since_us: int, until_us: int) -> Iterator[Rollup]:
    if since_us < until_us:
        rows = store.select(EventsBetween(account_id=account_id, since_us=since_us, until_us=until_us))
        yield from (rollups.part_of(row, "quarter") for row in rows if isinstance(row, Event))


def _grain(store: Store, account_id: int, grain: str, since_us: int, until_us: int) -> Iterable[Rollup]:
    if since_us >= until_us:
        return ()
    rows = store.select(RollupsOf(account_id=account_id, grain=grain, since_us=since_us, until_us=until_us))
    return (row for row in rows if isinstance(row, Rollup))
