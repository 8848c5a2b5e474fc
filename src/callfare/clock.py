"""The only clock. Instants are microseconds since 1970 in UTC inside, aware datetimes outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from callfare.errors import InvalidTime

US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US = 946_684_800 * US_PER_S
_LATEST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_FUTURE_US_MAX = 300 * US_PER_S


class Clock(Protocol):
    """Tells the present instant."""

    def now_us(self) -> int:
        """Return the microseconds since 1970 in UTC."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_us(self) -> int:
        """Return the microseconds since 1970 in UTC."""
        return time.time_ns() // 1000


def elapsed_s() -> float:
    """Return seconds that only ever go forward, for measuring how long something takes."""
    return time.monotonic()


class ManualClock:
    """A clock that moves only when told, for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        self._now_us = instant_of(start, "start")

    def now_us(self) -> int:
        """Return the instant that was set."""
        return self._now_us

    def advance(self, seconds: int) -> None:
        """Move the clock by whole seconds, back if negative."""
        self._now_us += seconds * US_PER_S


def instant_of(moment: datetime, what: str) -> int:
    """Return an aware datetime as microseconds since 1970.

    Raises InvalidTime when it is not a datetime, has no zone, or cannot be placed in UTC.
    """
    if not isinstance(moment, datetime):
        raise InvalidTime(f"{what} must be a datetime with a zone", param=what)
    try:
        if moment.tzinfo is None or moment.utcoffset() is None:
            raise InvalidTime(f"{what} has no time zone; use datetime.now(UTC) or attach one", param=what)
        instant_us = (moment - _EPOCH) // timedelta(microseconds=1)
        if instant_us > _LATEST_US:
            raise InvalidTime(f"{what} lies beyond the year 9999 in UTC", param=what)
    except (OverflowError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidTime(f"{what} cannot be placed in UTC", param=what) from error
    return instant_us


def event_instant(moment: datetime, now_us: int, what: str = "at") -> int:
    """Return the instant of something that has happened.

    Raises InvalidTime before the year 2000 and more than five minutes after now.
    """
    instant_us = instant_of(moment, what)
    if instant_us < EARLIEST_US:
        raise InvalidTime(f"{what} lies before the year 2000", param=what)
    if instant_us > now_us + _FUTURE_US_MAX:
        raise InvalidTime(f"{what} lies more than five minutes in the future", param=what)
    return instant_us


def moment_of(instant_us: int) -> datetime:
    """Return an instant as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=instant_us)
