"""The words and figures of the demo's page."""

from __future__ import annotations

import io

import pytest

from callfare.devtools.demo_arithmetic import usd_by_hand
from callfare.devtools.demo_events import Begun, Chapter, Verified
from callfare.devtools.demo_show import Page, cents, family, grouped, pointed, shower, unchanged, units_in_words, within
from callfare.money import Credits, Usd


@pytest.mark.parametrize(
    ("units", "attributes", "words"),
    [
        ({"images": "1", "input_tokens": "16"}, {"size": "1024x1024"}, "1 image 1024x1024"),
        ({"images": "32"}, {}, "32 images"),
        ({"video_seconds": "12"}, {"size": "1280x720"}, "12 s of video 1280x720"),
        ({"audio_seconds": "93.5"}, {}, "93.5 s of sound"),
        ({"characters": "1200"}, {}, "1,200 characters"),
        ({"input_tokens": "1234", "cached_input_tokens": "8", "output_tokens": "5"}, {}, "1,234 tokens in, 5 out"),
    ],
)
def test_units_are_said_in_words(units, attributes, words):
    assert units_in_words(units, attributes) == words


@pytest.mark.parametrize(
    ("amount", "drawn"),
    [
        ("15", " 15 ├●─────────────────┤ 50"),
        ("32.5", " 15 ├────────●─────────┤ 50"),
        ("50", " 15 ├─────────────────●┤ 50"),
        ("14.999999999", "below the estimate"),
        ("50.000000001", "above the estimate"),
    ],
)
def test_a_charge_is_drawn_within_its_estimate(amount, drawn):
    assert within(Credits(amount), Credits(15), Credits(50)) == drawn


def test_amounts_are_shown_exactly():
    assert grouped(Credits("1234567.000000001")) == "1,234,567.000000001"
    assert pointed(Credits("1.5"), 10) == "  1.5     "
    assert pointed(Credits(16), 10) == " 16       "
    assert cents(Usd("0.48")) == "0.48"
    assert cents(Usd("18")) == "18.00"
    assert cents(Usd("0.0000879")) == "0.0000879"


def test_what_stays_is_said_once():
    assert unchanged("3", "3") == "3 before and after"
    assert unchanged("3", "4") == "3 before, 4 after"


def test_a_dated_model_is_shown_by_its_family():
    assert family("gpt-5-mini-2025-08-07") == "gpt-5-mini"
    assert family("gpt-4o-mini-tts") == "gpt-4o-mini-tts"


def test_blocks_are_set_apart_by_one_blank_line():
    stream = io.StringIO()
    page = Page(stream)

    page.show(Begun(ledger="sqlite:///a.db", stand_in="http://127.0.0.1:1/v1", sdk="openai 3", edition="seed"))
    page.show(Chapter(title="The books"))
    page.show(Verified(is_clean=False, rows=7, faults=("events (1, a): wrong",)))

    assert stream.getvalue().endswith(
        "\n\n1  The books\n\n   verify     WRONG, 7 rows recomputed from history\n      events (1, a): wrong\n"
    )
    assert "\n\n\n" not in stream.getvalue()


def test_json_leaves_chapters_out():
    stream = io.StringIO()
    show = shower(stream, is_json=True, explains=False)

    show(Chapter(title="The books"))
    show(Verified(is_clean=True, rows=7, faults=()))

    assert stream.getvalue() == '{"event": "verify", "is_clean": true, "rows": 7, "faults": []}\n'


def test_the_second_opinion_refuses_what_the_demo_does_not_do():
    with pytest.raises(KeyError):
        usd_by_hand("embedding", {"input_tokens": 1}, "")
    with pytest.raises(KeyError):
        usd_by_hand("image", {"images": 1}, "256x256")
