"""Usage is split so that nothing is counted twice and nothing is lost."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callfare.errors import InvalidQuantity
from callfare.usage import METERS, leaves


def test_a_whole_keeps_what_its_parts_leave():
    disjoint = leaves({"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350, "reasoning_tokens": 64})

    assert disjoint == {"input_tokens": 400, "cached_input_tokens": 800, "output_tokens": 286, "reasoning_tokens": 64}


def test_parts_of_parts_are_taken_from_their_own_whole():
    disjoint = leaves(
        {
            "input_tokens": 3503,
            "cached_input_tokens": 2000,
            "cache_write_input_tokens": 1500,
            "cache_write_5m_input_tokens": 900,
            "cache_write_1h_input_tokens": 500,
        }
    )

    assert disjoint == {
        "input_tokens": 3,
        "cached_input_tokens": 2000,
        "cache_write_input_tokens": 100,
        "cache_write_5m_input_tokens": 900,
        "cache_write_1h_input_tokens": 500,
    }


def test_cached_audio_is_audio_and_is_not_counted_as_cached_text_too():
    disjoint = leaves(
        {"input_tokens": 1000, "cached_input_tokens": 300, "input_audio_tokens": 500, "cached_input_audio_tokens": 200}
    )

    assert disjoint == {
        "input_tokens": 200,
        "cached_input_tokens": 300,
        "input_audio_tokens": 300,
        "cached_input_audio_tokens": 200,
    }


def test_a_part_counts_against_the_nearest_whole_that_was_reported():
    disjoint = leaves({"input_tokens": 1000, "cache_write_1h_input_tokens": 400})

    assert disjoint == {"input_tokens": 600, "cache_write_1h_input_tokens": 400}


def test_a_part_without_its_whole_stands_alone():
    disjoint = leaves({"cached_input_tokens": 800, "reasoning_tokens": 64})

    assert disjoint == {"cached_input_tokens": 800, "reasoning_tokens": 64}


def test_a_whole_that_is_all_part_leaves_no_remainder():
    disjoint = leaves({"output_tokens": 64, "reasoning_tokens": 64})

    assert disjoint == {"reasoning_tokens": 64}


def test_a_call_that_used_nothing_keeps_its_zeros():
    disjoint = leaves({"input_tokens": 0, "output_tokens": 0})

    assert disjoint == {"input_tokens": 0, "output_tokens": 0}


def test_fractions_of_seconds_are_kept():
    disjoint = leaves({"audio_seconds": Fraction(847, 100)})

    assert disjoint == {"audio_seconds": Fraction(847, 100)}


def test_parts_above_their_whole_are_refused_with_both_numbers():
    with pytest.raises(InvalidQuantity) as refusal:
        leaves({"input_tokens": 1200, "cached_input_tokens": 800, "input_audio_tokens": 500})

    assert refusal.value.param == "input_tokens"
    assert refusal.value.message == (
        "cached_input_tokens + input_audio_tokens is 1300, above input_tokens, which includes it and is 1200"
    )


def test_a_part_above_a_whole_of_zero_is_refused():
    with pytest.raises(InvalidQuantity):
        leaves({"output_tokens": 0, "reasoning_tokens": 1})


QUANTITIES = st.integers(min_value=0, max_value=10**12) | st.fractions(0, 10**6, max_denominator=10**6)


@st.composite
def reported_usage(draw):
    """Usage as providers report it, built from the bottom up: each whole is its parts and some more."""
    totals = {}
    for name in reversed(METERS):
        parts = [totals[child] for child in METERS if METERS[child].parent == name and child in totals]
        totals[name] = draw(QUANTITIES) + sum(parts)
    dropped = draw(st.sets(st.sampled_from(sorted(METERS))))
    return {name: totals[name] for name in METERS if name not in dropped} or {"calls": 1}


@given(reported_usage())
def test_leaves_sum_to_the_wholes_that_were_reported(usage):
    disjoint = leaves(usage)

    wholes = [name for name in usage if not _wholes_of(name) & usage.keys()]
    assert sum(disjoint.values()) == sum(usage[name] for name in wholes)
    assert all(quantity >= 0 for quantity in disjoint.values())
    for whole in wholes:
        below = [name for name in disjoint if name == whole or whole in _wholes_of(name)]
        assert sum(disjoint[name] for name in below) == usage[whole]


@given(reported_usage())
def test_leaves_of_leaves_change_nothing_when_no_whole_remains(usage):
    roots = {name: quantity for name, quantity in usage.items() if METERS[name].parent is None}

    assert sum(leaves(roots).values()) == sum(roots.values())


def _wholes_of(name):
    above = set()
    while (name := METERS[name].parent) is not None:
        above.add(name)
    return above
