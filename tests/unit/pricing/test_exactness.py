"""The laws of price: linear in quantity, the sum of its lines, rounded once, and as an independent oracle says."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callfare.money import divide_half_even, nanocredits_of, picousd_of, round_half_even
from callfare.pricing import rate, seed_book
from callfare.usage import check_usage
from tests.unit.pricing.books import NOON_US, book_of, model

CATALOGUE = book_of(
    model(
        "m",
        '["input_tokens", "output_tokens", "audio_seconds", "calls"]',
        'meter = "input_tokens"; usd = "0.153"; per = 1_000_000',
        'meter = "cached_input_tokens"; usd = "0.000000000017"; per = 7',
        'meter = "output_tokens"; usd = "2.01"; per = 3_000_000',
        'meter = "reasoning_tokens"; usd = "7"; per = 13',
        'meter = "audio_seconds"; usd = "0.111"; per = 3600',
        'meter = "calls"; usd = "10"; per = 1000',
    )
)
PER_UNIT_USD = {
    "input": Fraction("0.153") / 1_000_000,
    "cached": Fraction("0.000000000017") / 7,
    "output": Fraction("2.01") / 3_000_000,
    "reasoning": Fraction(7, 13),
    "seconds": Fraction("0.111") / 3600,
    "calls": Fraction(10, 1000),
}


def rated(book, name, usage, markup=Fraction(1)):
    return rate(book, model=name, usage=usage, attributes={}, at_us=NOON_US, markup=markup)


@given(st.integers(), st.integers(min_value=1))
def test_dividing_half_even_is_rounding_the_rational(numerator, denominator):
    rational = Fraction(numerator, denominator)

    assert divide_half_even(numerator, denominator) == round(rational)
    assert round_half_even(rational) == round(rational)


@pytest.mark.parametrize(
    ("numerator", "denominator", "nearest"),
    [(1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 2, 4), (-1, 2, 0), (-3, 2, -2), (-5, 2, -2), (4, 3, 1), (5, 3, 2), (6, 3, 2)],
)
def test_a_tie_goes_to_the_even_number(numerator, denominator, nearest):
    assert divide_half_even(numerator, denominator) == nearest


@given(st.integers(0, 10**9), st.integers(0, 1000))
def test_cost_is_linear_in_quantity_where_nothing_is_rounded(quantity, times):
    one = rated(seed_book(), "gpt-5-mini", {"input_tokens": quantity})
    many = rated(seed_book(), "gpt-5-mini", {"input_tokens": quantity * times})

    assert many.picousd == one.picousd * times
    assert many.nanocredits == one.nanocredits * times


@given(st.fractions(0, 10**6, max_denominator=10**12), st.integers(1, 1000))
def test_cost_is_linear_in_quantity_to_half_a_unit_where_it_is_rounded(seconds, times):
    one = rated(CATALOGUE, "m", {"audio_seconds": seconds})
    many = rated(CATALOGUE, "m", {"audio_seconds": seconds * times})

    assert abs(many.picousd - one.picousd * times) * 2 <= times + 1
    assert abs(many.nanocredits - one.nanocredits * times) * 2 <= times + 1


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_using_more_never_costs_less(less, more):
    smaller, larger = sorted([less, more])

    assert (
        rated(CATALOGUE, "m", {"input_tokens": smaller}).picousd
        <= rated(CATALOGUE, "m", {"input_tokens": larger}).picousd
    )


@given(st.integers(1, 10**9), st.data())
def test_where_parts_have_no_rate_of_their_own_splitting_changes_nothing(total, data):
    cached = data.draw(st.integers(0, total))
    split = rated(seed_book(), "gpt-5-mini", check_usage({"input_tokens": total, "cached_input_tokens": cached}))

    whole = rated(seed_book(), "gpt-5-mini", {"input_tokens": total})

    assert (split.picousd, split.nanocredits) == (whole.picousd, whole.nanocredits)


@given(
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.fractions(0, 10**6, max_denominator=10**9)
)
def test_the_sum_of_the_lines_is_the_total(fresh, cached, reasoning, seconds):
    usage = check_usage(
        {
            "input_tokens": fresh + cached,
            "cached_input_tokens": cached,
            "reasoning_tokens": reasoning,
            "audio_seconds": seconds,
            "calls": 1,
        }
    )

    rating = rated(CATALOGUE, "m", usage, Fraction(13, 7))

    assert sum(line.picousd for line in rating.lines) == rating.picousd
    assert sum(line.nanocredits for line in rating.lines) == rating.nanocredits


@given(
    st.integers(0, 10**9),
    st.decimals(0, 1000, places=12),
    st.integers(1, 10**9),
    st.fractions(Fraction(1, 100), 100, max_denominator=1000),
)
def test_a_line_is_what_money_makes_of_its_quantity_rate_and_per(quantity, usd, per, markup):
    book = book_of(model("m", '["images"]', f'meter = "images"; usd = "{usd:f}"; per = {per}'))
    cost_usd = Fraction(quantity) * Fraction(usd) / per
    assume(cost_usd < 9_000_000 and cost_usd * markup < 90_000_000)

    (line,) = rated(book, "m", {"images": quantity}, markup).lines

    assert (line.quantity, line.rate, line.per) == (quantity, Decimal(usd), per)
    assert line.picousd == picousd_of(cost_usd)
    assert line.nanocredits == nanocredits_of(cost_usd, markup)


def test_ten_thousand_random_calls_cost_what_an_independent_oracle_says():
    chance = random.Random(20261122)
    for number in range(10_000):
        fresh, cached, shown, reasoning = (chance.randrange(10 ** chance.randrange(1, 8)) for _ in range(4))
        seconds = Fraction(chance.randrange(10**6), chance.randrange(1, 10**4))
        calls = chance.randrange(3)
        markup = Fraction(chance.randrange(1, 400), chance.randrange(100, 999))
        used = {
            "input": fresh,
            "cached": cached,
            "output": shown,
            "reasoning": reasoning,
            "seconds": seconds,
            "calls": calls,
        }
        costs_usd = [quantity * PER_UNIT_USD[name] for name, quantity in used.items()]
        usage = {
            "calls": calls,
            "audio_seconds": seconds,
            "reasoning_tokens": reasoning,
            "output_tokens": shown + reasoning,
            "cached_input_tokens": cached,
            "input_tokens": fresh + cached,
        }

        rating = rated(CATALOGUE, "m", check_usage(usage), markup)

        assert rating.status == "priced", number
        assert rating.picousd == sum(round(cost * 10**12) for cost in costs_usd), (number, usage)
        assert rating.nanocredits == sum(round(cost * 10**11 * markup) for cost in costs_usd), (number, usage, markup)
