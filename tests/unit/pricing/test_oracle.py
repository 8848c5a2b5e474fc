"""Calls under books shaped as the catalogue is, against an oracle of fractions that shares no code with rating.

Books have sizes, tiers, hours, dates, rates finer than any decimal, and another basis for replies without counts.
"""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from callfare.pricing import Layer, ModelPrices, PriceBook, Rate, rate_finished

CALLS_OF_A_BOOK = 250
DAY_US = 86_400_000_000
FIRST_US, CHANGE_US = 1_700_000_000_000_000, 1_750_000_000_000_000
PARENTS = {
    "cached_input_tokens": "input_tokens",
    "cache_write_input_tokens": "input_tokens",
    "cache_write_1h_input_tokens": "cache_write_input_tokens",
    "input_audio_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
    "output_audio_tokens": "output_tokens",
    "web_searches": "calls",
}
PERS = (1, 7, 60, 1000, 3600, 1_000_000, 1_000_000_000)


def amount(chance, per):
    """Return dollars for so many: at most a hundredth of a cent for one, to a place that no sum needs."""
    return Decimal(chance.randrange(1, 10 ** chance.randrange(1, 9))).scaleb(-12) * per


def rates(chance):
    """Return the rates of a model: every meter at least ordinarily, some of them by tier, size, hour and date."""
    found = []
    optional = [meter for meter in PARENTS if meter != "web_searches" and chance.random() < 0.5]
    threshold = chance.choice([None, 1, 1000, 200_000])
    hours = chance.choice([None, (3600, 14_400), (80_000, 4000)])
    tiers = chance.sample(["batch", "flex", "priority"], chance.randrange(4))
    for meter in ["input_tokens", "output_tokens", "calls", "characters", "web_searches", *optional]:
        per = chance.choice(PERS)
        spans = [(None, CHANGE_US), (CHANGE_US, None)] if chance.random() < 0.3 else [(None, None)]
        for attributes in [{}, *({"processing": tier} for tier in tiers)]:
            for from_us, until_us in spans:
                for above in {None, threshold}:
                    found.extend(
                        Rate(
                            meter=meter,
                            usd=amount(chance, per),
                            per=per,
                            attributes=attributes,
                            from_us=from_us,
                            until_us=until_us,
                            above=above,
                            daily=daily,
                        )
                        for daily in ([None] if hours is None else [hours, (hours[1], hours[0])])
                    )
    chance.shuffle(found)
    return tuple(found)


def usage(chance):
    """Return a usage whose parts never exceed their wholes; now and then only what is billed otherwise."""
    if chance.random() < 0.05:
        return {"characters": chance.randrange(1, 10**6)}
    size = chance.choice([3, 999, 1000, 1001, 199_999, 200_000, 200_001, 10**9])
    found = {"input_tokens": size, "output_tokens": chance.randrange(1, 10**6), "characters": 5}
    left = {"input_tokens": size, "output_tokens": found["output_tokens"]}
    for meter, parent in PARENTS.items():
        if parent in left and left[parent] and chance.random() < 0.4:
            found[meter] = chance.randrange(1, left[parent] + 1)
            left[parent] -= found[meter]
            left[meter] = found[meter]
    if chance.random() < 0.2:
        found["web_searches"] = chance.randrange(1, 50)
    return found


def oracle(book, used, tier, at_us, markup):
    """Return picodollars and nanocredits, each line rounded by itself."""
    parts = {meter: used[meter] - sum(n for part, n in used.items() if PARENTS.get(part) == meter) for meter in used}
    size = used.get("input_tokens", 0)
    is_counted = "input_tokens" in used
    second = at_us % DAY_US // 1_000_000
    picousd = nanocredits = 0
    for meter, quantity in parts.items():
        if quantity == 0 or (meter == "characters") == is_counted:
            continue
        lineage = [meter]
        while lineage[-1] in PARENTS:
            lineage.append(PARENTS[lineage[-1]])
        own = next(name for name in lineage if any(row.meter == name for row in book))
        rows = [
            row
            for row in book
            if row.meter == own
            and row.attributes == ({"processing": tier} if tier else {})
            and (row.from_us is None or row.from_us <= at_us)
            and (row.until_us is None or at_us < row.until_us)
            and (row.above is None or row.above < size)
            and (row.daily is None or _is_within(second, *row.daily))
        ]
        row = max(rows, key=lambda row: row.above or 0)
        cost = Fraction(row.usd) * quantity / row.per
        picousd += round(cost * 10**12)
        nanocredits += round(cost * 100 * 10**9 * markup)
    return picousd, nanocredits


def _is_within(second, begin, end):
    return begin <= second < end if begin < end else not end <= second < begin


def disagreements(calls, seed, broken=None):
    """Yield what callfare and the oracle do not agree upon."""
    chance = random.Random(seed)
    for number in range(calls // CALLS_OF_A_BOOK):
        rows = rates(chance)
        model = ModelPrices(
            provider="p",
            model="m",
            basis=("input_tokens", "output_tokens", "calls"),
            otherwise=(("characters",),),
            rates=rows if broken is None else broken(rows),
            source="drawn by lot",
            checked=date(2026, 11, 22),
            ordinary={"processing": ("standard",)},
        )
        book = PriceBook([Layer("drawn", [model])])
        tiers = sorted({row.attributes["processing"] for row in rows if row.attributes})
        markup = Fraction(chance.randrange(1, 300), 100)
        for _ in range(CALLS_OF_A_BOOK):
            used, tier, at_us = usage(chance), chance.choice([None, *tiers]), FIRST_US + chance.randrange(10**14)
            attributes = {"processing": tier or "standard"}
            found = rate_finished(book, model="m", usage=used, attributes=attributes, at_us=at_us, markup=markup)
            expected = oracle(rows, used, tier, at_us, markup)
            if (found.status, found.picousd, found.nanocredits) != ("priced", *expected):
                yield f"seed {seed}, book {number}: {used} {tier} {at_us} gives {found}, not {expected}"


@pytest.mark.parametrize("calls", [5000, pytest.param(100_000, marks=pytest.mark.all)])
def test_calls_cost_what_fractions_say(calls, seed):
    assert list(disagreements(calls, seed)) == []


def _without_sizes(rows):
    return tuple(row for row in rows if row.above is None)


def _a_hair_dearer(rows):
    first = max(rows, key=lambda row: row.usd / row.per)
    dearer = Rate(**{name: getattr(first, name) for name in Rate.__slots__} | {"usd": first.usd * 2})
    return tuple(dearer if row is first else row for row in rows)


@pytest.mark.parametrize("broken", [_without_sizes, _a_hair_dearer])
def test_the_oracle_finds_a_book_that_is_wrong(broken):
    assert list(disagreements(4 * CALLS_OF_A_BOOK, 7, broken))
