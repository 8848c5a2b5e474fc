"""Rates that overlap are found as by looking at every pair, with work that grows as the book does and no faster."""

from __future__ import annotations

import random
import sys
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations

import pytest

from callfare.pricing import load_book
from callfare.pricing.edit import NewRate, with_rates
from callfare.pricing.overlaps import first_overlap
from callfare.pricing.rates import Rate
from tests.unit.pricing.books import NOON_US

_SEED = 20261123
_DAY_S = 24 * 3600
_FIRST = date(2020, 1, 1)

KINDS = {
    "sizes": lambda number: f'attributes = {{ size = "{number}x{number}" }}\n',
    "days": lambda number: f"from = {_FIRST + timedelta(number)}\nuntil = {_FIRST + timedelta(number + 1)}\n",
    "nights": lambda number: (
        f"from = {_FIRST + timedelta(number // 2)}\nuntil = {_FIRST + timedelta(number // 2 + 1)}\n"
        f"daily = {['08:00', '20:00'] if number % 2 else ['20:00', '08:00']}\n".replace("'", '"')
    ),
    "sizes_or_qualities": lambda number: (
        f'attributes = {{ size = "{number}x{number}", {"style" if number % 2 else "quality"} = "1" }}\n'
    ),
    "requests": lambda number: f"above_input_tokens = {number}\n" if number else "",
}


def text_of(kind, count):
    head = 'book = "x"\n[[model]]\nprovider = "p"\nname = "m"\nbasis = ["images"]\nsource = "s"\nchecked = 2026-01-01\n'
    rows = (f'[[model.rate]]\nmeter = "images"\nusd = "1"\nper = 1\n{KINDS[kind](number)}' for number in range(count))
    return head + "".join(rows)


def lines_run(work):
    """Return how many lines of ours run in a piece of work: a count, and the same on any machine."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if "callfare" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_four_times_the_rates_are_read_with_little_more_than_four_times_the_work(kind):
    few, many = text_of(kind, 150), text_of(kind, 600)
    load_book(few)

    times = lines_run(lambda: load_book(many)) / lines_run(lambda: load_book(few))

    # Every pair would be sixteen times the work.
    assert times < 5


def test_two_thousand_days_are_cut_into_entries_with_work_that_grows_alike():
    few, many = (load_book(text_of("days", count)) for count in (150, 600))

    times = lines_run(lambda: many.entry("m", at_us=NOON_US)) / lines_run(lambda: few.entry("m", at_us=NOON_US))

    assert times < 5


def test_a_rate_is_set_in_a_long_book_with_work_that_grows_alike():
    new = [NewRate(meter="images", usd=Decimal(2), per=1, attributes={"size": "1x1"})]

    def into(text):
        with_rates(
            text, name="x", provider="p", model="m", rates=new, source="s", today=_FIRST, begins=date(2026, 6, 1)
        )

    few, many = text_of("sizes", 150), text_of("sizes", 600)
    assert lines_run(lambda: into(many)) / lines_run(lambda: into(few)) < 5


def _hold_at(daily, second):
    begin, end = daily or (0, _DAY_S)
    return begin <= second < end if begin < end else second >= begin or second < end


def _overlap(one, other):
    """Tell whether two rates overlap, as the reference has it: at some instant both hold, and neither decides."""
    if (one.meter, one.above) != (other.meter, other.above):
        return False
    ours, theirs = dict(one.attributes), dict(other.attributes)
    if any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys()):
        return False
    if ours != theirs and (ours.items() <= theirs.items() or theirs.items() <= ours.items()):
        return False
    days = range(7)
    return any(
        all((rate.from_us or 0) <= day < (9 if rate.until_us is None else rate.until_us) for rate in (one, other))
        and any(_hold_at(one.daily, hour) and _hold_at(other.daily, hour) for hour in range(0, _DAY_S, 3600))
        for day in days
    )


def _drawn(draw):
    attributes = {name: draw.choice("12") for name in draw.sample(["size", "quality", "style"], draw.randint(0, 2))}
    from_us = draw.choice([None, 1, 2, 3])
    until_us = draw.choice([None, None, 4, 5, (from_us or 0) + 1])
    hours = draw.choice([None, None, (0, 6 * 3600), (6 * 3600, 18 * 3600), (18 * 3600, 6 * 3600), (5 * 3600, _DAY_S)])
    return Rate(
        meter=draw.choice(["images", "images", "calls"]),
        usd=Decimal(1),
        per=1,
        attributes=attributes,
        from_us=from_us,
        until_us=until_us,
        above=draw.choice([None, None, 100]),
        daily=hours,
    )


def test_overlaps_are_found_just_where_some_pair_overlaps():
    draw = random.Random(_SEED)
    counts = [0, 0]

    for number in range(3000):
        rates = [_drawn(draw) for _ in range(draw.randint(2, 6))]
        expected = any(_overlap(one, other) for one, other in combinations(rates, 2))
        found = first_overlap(rates)

        counts[expected] += 1
        assert (found is not None) == expected, (_SEED, number, rates)
        if found is not None:
            assert any(_overlap(rates[found], rate) for rate in rates[:found]), (_SEED, number, rates)

    # Both answers came often enough to mean something.
    assert min(counts) > 500
