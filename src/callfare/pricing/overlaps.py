"""Finds two rates of a model of which one call could meet both while neither is the more particular. Pure.

Two rates with one set of attributes meet where the values are equal. Where one has all attributes of the other and
more, it is the more particular, and they never meet; else they do where the attributes that both have are equal. So
rates are parted by those values first, and each part is gone through once in the order of time: a book of thousands of
rates is looked over in little more than one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import combinations
from typing import NamedTuple, TypeVar

from callfare.pricing.rates import Rate
from callfare.pricing.timeline import holds_at

_ALWAYS_US = -(2**63)
_Attributes = frozenset[str]
_Hours = tuple[int, int] | None
_Item = TypeVar("_Item")


class _Placed(NamedTuple):
    """A rate by its place among those of its model, and the side it is on where only rates of two sides can meet."""

    number: int
    side: int
    rate: Rate


def first_overlap(rates: Sequence[Rate]) -> int | None:
    """Return the place of a rate that overlaps one before it, the first such; None where there is none."""
    found = [after for group in _parted(enumerate(rates), _kind) for after in _overlaps(group)]
    return min(found, default=None)


def _kind(numbered: tuple[int, Rate]) -> object:
    return numbered[1].meter, numbered[1].above


def _overlaps(rates: Sequence[tuple[int, Rate]]) -> Iterator[int]:
    """Yield the places of rates of one meter and size that overlap another."""
    by_names: dict[_Attributes, list[tuple[int, Rate]]] = {}
    for number, rate in rates:
        by_names.setdefault(frozenset(rate.attributes), []).append((number, rate))
    for same in by_names.values():
        # Each rate is on a side of its own, so that any two of them can meet.
        yield from _meeting([_Placed(number, number, rate) for number, rate in same], None)
    for ours, theirs in combinations(by_names, 2):
        if not (ours <= theirs or theirs <= ours):
            both = [_Placed(number, 0, rate) for number, rate in by_names[ours]]
            both += [_Placed(number, 1, rate) for number, rate in by_names[theirs]]
            yield from _meeting(both, ours & theirs)


def _meeting(rates: Iterable[_Placed], shared: _Attributes | None) -> Iterator[int]:
    """Yield a place in each part of rates with equal values where two of them meet in time. shared: None for all."""
    for part in _parted(rates, lambda placed: _values(placed.rate, shared)):
        if len(part) > 1:
            yield from _first_meeting(part)


def _values(rate: Rate, shared: _Attributes | None) -> object:
    return tuple(sorted((name, value) for name, value in rate.attributes.items() if shared is None or name in shared))


def _first_meeting(rates: Sequence[_Placed]) -> Iterator[int]:
    """Yield the later place of the first two rates of different sides that hold at one time and at one hour."""
    # Those that hold now: by their hours, then by their side, by place. Few hours and sides are ever there together,
    # for if two of them met that would be the answer.
    holding: dict[_Hours, dict[int, set[int]]] = {}
    ending: list[tuple[int, int, _Placed]] = []
    for placed in sorted(rates, key=lambda placed: (_begin(placed.rate), placed.number)):
        while ending and ending[0][0] <= _begin(placed.rate):
            _drop(holding, heappop(ending)[2])
        for hours, sides in holding.items():
            others = [next(iter(numbers)) for side, numbers in sides.items() if side != placed.side]
            if others and meet_in_a_day(hours, placed.rate.daily):
                yield max(placed.number, others[0])
                return
        holding.setdefault(placed.rate.daily, {}).setdefault(placed.side, set()).add(placed.number)
        if placed.rate.until_us is not None:
            heappush(ending, (placed.rate.until_us, placed.number, placed))


def _drop(holding: dict[_Hours, dict[int, set[int]]], placed: _Placed) -> None:
    sides = holding[placed.rate.daily]
    sides[placed.side].remove(placed.number)
    if not sides[placed.side]:
        del sides[placed.side]
    if not sides:
        del holding[placed.rate.daily]


def _begin(rate: Rate) -> int:
    return _ALWAYS_US if rate.from_us is None else rate.from_us


def meet_in_a_day(one: _Hours, other: _Hours) -> bool:
    """Tell whether two stretches of the day have a second in common: if they have, one of them begins at one."""
    if one is None or other is None:
        return True
    return holds_at(one, other[0]) or holds_at(other, one[0])


def _parted(items: Iterable[_Item], key: Callable[[_Item], object]) -> list[list[_Item]]:
    """Return items in lists of those with one key."""
    found: dict[object, list[_Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.values())
