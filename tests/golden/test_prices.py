"""The golden price table: every row of prices.csv was worked out by hand, its arithmetic beside it."""

from __future__ import annotations

import csv
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from callfare.clock import instant_of
from callfare.errors import AmountOutOfRange
from callfare.money import Credits, Usd
from callfare.pricing import load_book, rate, seed_book
from callfare.usage import check_attributes, check_usage

HERE = Path(__file__).parent


def _pairs(cell):
    return dict(pair.split("=") for pair in cell.split())


def _rated(row):
    book = seed_book() if row["book"] == "seed" else load_book(HERE / "catalogue.toml")
    return rate(
        book,
        model=row["model"],
        usage=check_usage(_pairs(row["usage"])),
        attributes=check_attributes(_pairs(row["attributes"])),
        at_us=instant_of(datetime.fromisoformat(row["at"]), "at"),
        markup=Fraction(row["markup"]),
    )


def _name(row):
    return " ".join(row[column] for column in ("book", "model", "usage", "attributes", "at", "markup"))


ROWS = list(csv.DictReader((HERE / "prices.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", [row for row in ROWS if row["usd"]], ids=_name)
def test_every_row_costs_what_was_worked_out_by_hand(row):
    rating = _rated(row)

    assert (rating.status, rating.reason) == ("priced", "")
    assert str(Usd.of_units(rating.picousd)) == row["usd"]
    assert str(Credits.of_units(rating.nanocredits)) == row["credits"]
    assert sum(line.picousd for line in rating.lines) == rating.picousd
    assert sum(line.nanocredits for line in rating.lines) == rating.nanocredits


@pytest.mark.parametrize("row", [row for row in ROWS if not row["usd"]], ids=_name)
def test_a_row_without_an_amount_is_beyond_the_range(row):
    with pytest.raises(AmountOutOfRange):
        _rated(row)


def test_every_rate_of_the_seed_is_in_the_golden_table():
    seed_ratings = [_rated(row) for row in ROWS if row["book"] == "seed" and row["usd"]]

    covered = {
        (rating.entry_model, line.rate_meter, *line.attributes.values())
        for rating in seed_ratings
        for line in rating.lines
    }

    assert covered == {
        ("gpt-5-mini", "input_tokens"),
        ("gpt-5-mini", "output_tokens"),
        ("gpt-5-mini", "web_searches"),
        ("gpt-5-mini", "file_searches"),
        ("gpt-4o-mini-tts", "characters"),
        ("whisper-1", "audio_seconds"),
        ("gpt-image-1", "images", "1024x1024"),
        ("gpt-image-1", "images", "1024x1536"),
        ("gpt-image-1", "images", "1536x1024"),
        ("sora-2", "video_seconds", "480p"),
        ("sora-2", "video_seconds", "720p"),
        ("sora-2", "video_seconds", "1080p"),
    }
