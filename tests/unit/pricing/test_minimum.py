"""Minimums: what a call is billed for at the least, exact, in charges, holds, editions and books."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from fractions import Fraction

import pytest

from callfare import Callfare
from callfare.errors import PriceBookInvalid
from callfare.ledger.verify.arithmetic import Wrong, rated
from callfare.money import Credits, Usd
from callfare.pricing import load_book, rate
from callfare.pricing.ceiling import ceiling
from callfare.pricing.load import load_layer
from callfare.pricing.rating import rate_finished

AT_US = 1_790_000_000_000_000
ROW = """
[[model.rate]]
meter = "audio_seconds"
usd = "0.04"
per = 3600
{more}"""
BOOK = """book = "own"
[[model]]
provider = "groq"
name = "whisper"
basis = ["audio_seconds"]
source = "a page"
checked = 2026-11-23
"""


def book(more="minimum = 10\n", rest=""):
    return BOOK + ROW.format(more=more) + rest


def rating_of(seconds, text=None, markup=Fraction(1)):
    usage = {"audio_seconds": seconds}
    return rate(load_book(text or book()), model="whisper", usage=usage, attributes={}, at_us=AT_US, markup=markup)


def test_less_than_the_minimum_is_billed_as_the_minimum_and_the_line_says_so():
    [line] = rating_of(3).lines

    # 10 x 0.04 / 3600 of a dollar.
    assert (line.quantity, line.minimum, line.picousd, line.nanocredits) == (3, 10, 111_111_111, 11_111_111)


@pytest.mark.parametrize(
    ("seconds", "picousd"), [(10, 111_111_111), (Fraction(21, 2), 116_666_667), (90, 1_000_000_000)]
)
def test_the_minimum_and_more_is_billed_as_it_is(seconds, picousd):
    [line] = rating_of(seconds).lines

    assert (line.minimum, line.picousd) == (None, picousd)


def test_a_call_that_is_unpriced_has_no_minimum():
    abroad = book('minimum = 10\nattributes = { region = "eu" }\n')

    rating = rate_finished(
        load_book(abroad), model="whisper", usage={"audio_seconds": 3}, attributes={"region": "us"}, at_us=AT_US
    )

    assert (rating.status, {line.minimum for line in rating.lines}) == ("unpriced", {None})


def test_a_hold_covers_the_minimum():
    dear = ROW.format(more='minimum = 60\nattributes = { region = "eu" }\n')

    held, reason = ceiling(load_book(book()), model="whisper", usage={"audio_seconds": 3}, attributes={}, at_us=AT_US)
    open_held, _ = ceiling(
        load_book(book('minimum = 10\nattributes = { region = "us" }\n', dear)),
        model="whisper",
        usage={"audio_seconds": 3},
        attributes={},
        at_us=AT_US,
    )

    assert (held, reason) == (11_111_111, "")
    # Where the region is open, the dearest: 60 x 0.04 / 3600.
    assert open_held == 66_666_667


def test_calls_cost_what_fractions_say():
    chance = random.Random(20261123)
    for _ in range(2_000):
        minimum, per = chance.randint(1, 60), chance.choice((1, 60, 1000, 3600))
        usd = Decimal(chance.randint(1, 10**6)) / 10**6
        seconds = Fraction(chance.randint(0, 120_000), 1000)
        markup = Fraction(chance.randint(1, 30), 10)
        text = BOOK + ROW.format(more=f"minimum = {minimum}\n").replace("0.04", f"{usd:f}").replace("3600", str(per))

        [line] = rating_of(seconds, text, markup).lines

        exact = max(seconds, Fraction(minimum)) * Fraction(usd) / per
        assert abs(line.picousd - exact * 10**12) <= Fraction(1, 2), (seconds, minimum, usd, per)
        assert abs(line.nanocredits - exact * 100 * 10**9 * markup) <= Fraction(1, 2), (seconds, minimum, usd, per)


def test_a_minimum_is_part_of_the_edition_and_none_changes_nothing():
    editions = {load_layer(book(more)).edition for more in ("", "minimum = 10\n", "minimum = 11\n")}

    assert len(editions) == 3
    assert load_layer(book("")).edition == "own+7b814692"


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("minimum = 0\n", "minimum is 0; give a whole number from 1 to 10^12"),
        ("minimum = -10\n", "minimum is -10; give a whole number from 1 to 10^12"),
        ("minimum = 1_000_000_000_001\n", "minimum is 1000000000001; give a whole number from 1 to 10^12"),
        ("minimum = true\n", "minimum is True; give a whole number"),
        ('minimum = "10"\n', "minimum is '10'; give a whole number"),
        ("minimum = 9.5\n", "minimum is 9.5; give a whole number"),
    ],
)
def test_a_minimum_that_is_no_count_is_refused_by_its_line(more, fault):
    with pytest.raises(PriceBookInvalid) as refused:
        load_book(book(more), name="own.toml")

    assert str(refused.value).startswith(f"own.toml, line 13: {fault}")


def test_a_minimum_of_a_meter_with_parts_is_refused():
    with pytest.raises(PriceBookInvalid, match="line 13: input_tokens has parts, which are billed one by one"):
        load_book(book().replace("audio_seconds", "input_tokens"), name="own.toml")


def test_groqs_transcripts_are_billed_for_ten_seconds_at_least():
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run:
            for seconds in ("2.5", "10", "90"):
                run.record("whisper-large-v3", {"audio_seconds": seconds}, provider="groq")
        short, ten, long = fare.calls(run).items

        # At $0.111 an hour: 10 seconds, 10 seconds, and 90.
        assert [call.cost for call in (short, ten, long)] == [
            Usd("0.000308333333"), Usd("0.000308333333"), Usd("0.002775"),
        ]  # fmt: skip
        assert [line.minimum for call in (short, ten, long) for line in call.lines] == [10, None, None]
        assert short.credits == Credits("0.030833333")
        assert "audio_seconds: 2.5 (billed as 10) × $0.111 / 3600" in "\n".join(fare.explain(short.id).arithmetic)
        assert fare.verify().is_clean


def stored(**line):
    kept = {"meter": "audio_seconds", "quantity": "3", "rate": "0.04", "per": 3600, "rate_meter": "audio_seconds"}
    return json.dumps(
        [kept | {"attributes": {}, "picousd": 111_111_111, "nanocredits": 11_111_111, "billed": True} | line]
    )


def test_a_line_with_a_minimum_is_computed_again():
    assert rated(stored(minimum=10), {"audio_seconds": 3}, "1") == (111_111_111, 11_111_111)


@pytest.mark.parametrize("minimum", [None, 9, 11, "ten"])
def test_a_line_that_was_billed_for_something_else_is_wrong(minimum):
    with pytest.raises(Wrong):
        rated(stored(minimum=minimum), {"audio_seconds": 3}, "1")
