"""Billing periods: a month after a day is the same day of the next month, or that month's last."""

from __future__ import annotations

from calendar import monthrange
from datetime import timedelta

from callfare.clock import US_PER_S, instant_of, moment_of

_MONTHS = {"month": 1, "year": 12}
_DAYS = {"day": 1, "week": 7}


def period_end(anchor_s: int, start_s: int, interval: str, count: int) -> int:
    """Return when the period that starts at a second ends; months are counted from the anchor's day."""
    start = moment_of(start_s * US_PER_S)
    if interval in _DAYS:
        return start_s + int(timedelta(days=_DAYS[interval] * count).total_seconds())
    anchor = moment_of(anchor_s * US_PER_S)
    months = start.year * 12 + start.month - 1 + _MONTHS[interval] * count
    year, month = divmod(months, 12)
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return instant_of(start.replace(year=year, month=month + 1, day=day), "period") // US_PER_S


def share(amount: int, *, of_s: int, whole_s: int) -> int:
    """Return the part of an amount that falls on some seconds of a period, rounded to the nearest unit."""
    return (amount * of_s + whole_s // 2) // whole_s
