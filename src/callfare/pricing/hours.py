"""Hours of the UTC day as people write them, and what is left of them when others are taken away. Pure.

A stretch is a pair of texts such as ("16:30", "00:30"); one that ends before it begins passes midnight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Hours = tuple[str, str]
"""From when and until when, in UTC, as a book's `daily` has them."""

WHOLE_DAY: Hours = ("00:00", "24:00")
_DAY_MIN = 24 * 60
_HOUR = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)", re.ASCII)


def are_hours(begin: object, end: object) -> bool:
    """Tell whether two values are the bounds of a stretch of the day."""
    return (
        isinstance(begin, str)
        and isinstance(end, str)
        and begin != end
        and all(_HOUR.fullmatch(bound) for bound in (begin, end))
    )


def minutes_of(hour: str) -> int:
    """Return the minutes since midnight of an hour; 1,440 for 24:00."""
    return int(hour[:2]) * 60 + int(hour[3:])


def rest_of(hours: Hours, taken: Iterable[Hours]) -> list[Hours]:
    """Return what is left of a stretch of the day without others; the stretch itself where none of them meets it."""
    left = _within_a_day(hours)
    for other in taken:
        for begin, end in _within_a_day(other):
            left = [
                piece
                for first, last in left
                for piece in ((first, min(last, begin)), (max(first, end), last))
                if piece[0] < piece[1]
            ]
    return _over_midnight(sorted(left))


def meet(one: Hours, other: Hours) -> bool:
    """Tell whether two stretches of the day have a minute in common."""
    return any(
        first < end and begin < last for first, last in _within_a_day(one) for begin, end in _within_a_day(other)
    )


def _within_a_day(hours: Hours) -> list[tuple[int, int]]:
    begin, end = minutes_of(hours[0]) % _DAY_MIN, minutes_of(hours[1])
    if begin < end:
        return [(begin, end)]
    return [(begin, _DAY_MIN), *([(0, end)] if end else [])]


def _over_midnight(pieces: list[tuple[int, int]]) -> list[Hours]:
    """Return pieces as people write them: one that ends at midnight and one that begins there are one."""
    if len(pieces) > 1 and pieces[0][0] == 0 and pieces[-1][1] == _DAY_MIN:
        (_, end), *between, (begin, _) = pieces
        pieces = [*between, (begin, end)]
    return [(_text(begin), _text(end)) for begin, end in pieces]


def _text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
