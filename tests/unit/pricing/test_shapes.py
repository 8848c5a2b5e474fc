"""What a book may say beyond a plain rate: sizes, hours, other bases, ordinary values, other names."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from callfare.errors import PriceBookInvalid
from callfare.pricing import load_book, rate, rate_finished
from callfare.pricing.ceiling import ceiling
from tests.unit.pricing.books import NOON_US, at, book_of, model

BASE = 'meter = "input_tokens"; usd = "1"; per = 1'
FAR = 'meter = "input_tokens"; usd = "2"; per = 1; above_input_tokens = 100'
FURTHER = 'meter = "input_tokens"; usd = "3"; per = 1; above_input_tokens = 1000'
OUT = 'meter = "output_tokens"; usd = "10"; per = 1'
FAR_OUT = 'meter = "output_tokens"; usd = "20"; per = 1; above_input_tokens = 100'


def cost(book, usage, at_us=NOON_US, **attributes):
    rating = rate_finished(book, model="m", usage=usage, attributes=attributes, at_us=at_us)
    return Fraction(rating.picousd, 10**12) if rating.status == "priced" else rating.reason


def refusal(*rates, more=""):
    with pytest.raises(PriceBookInvalid) as caught:
        book_of(model("m", '["input_tokens"]', *rates) + more)
    return caught.value.message


@pytest.mark.parametrize(
    ("read", "usd"), [(100, 100), (101, 202), (1000, 2000), (1001, 3003)], ids=["at", "above", "at next", "above next"]
)
def test_all_of_a_call_costs_the_rate_of_the_size_it_has_passed(read, usd):
    book = book_of(model("m", '["input_tokens"]', FURTHER, BASE, FAR))

    assert cost(book, {"input_tokens": read}) == usd


def test_what_is_read_decides_what_is_written():
    book = book_of(model("m", '["input_tokens", "output_tokens"]', BASE, FAR, OUT, FAR_OUT))

    assert cost(book, {"input_tokens": 100, "output_tokens": 5000}) == 100 + 50_000
    assert cost(book, {"input_tokens": 101, "cached_input_tokens": 100, "output_tokens": 1}) == 202 + 20


def test_a_hold_for_what_may_be_written_assumes_the_dearest_size():
    book = book_of(model("m", '["input_tokens", "output_tokens"]', BASE, FAR, OUT, FAR_OUT))

    open_size, _ = ceiling(book, model="m", usage={"output_tokens": 3}, attributes={}, at_us=NOON_US)
    known_size, _ = ceiling(
        book, model="m", usage={"input_tokens": 1, "output_tokens": 3}, attributes={}, at_us=NOON_US
    )

    assert open_size == 60 * 100 * 10**9
    assert known_size == 31 * 100 * 10**9


def test_hours_of_the_utc_day_decide_and_may_pass_midnight():
    night = 'meter = "input_tokens"; usd = "1"; per = 1; daily = ["22:30", "06:00"]'
    day = 'meter = "input_tokens"; usd = "5"; per = 1; daily = ["06:00", "22:30"]'
    book = book_of(model("m", '["input_tokens"]', night, day))

    def at_hour(*time):
        return cost(book, {"input_tokens": 1}, at(2026, 11, 22, *time))

    assert [at_hour(0), at_hour(5, 59, 59), at_hour(6), at_hour(22, 29, 59), at_hour(22, 30)] == [1, 1, 5, 5, 1]


def test_hours_without_a_rate_are_unpriced():
    book = book_of(model("m", '["input_tokens"]', BASE + '; daily = ["08:00", "24:00"]'))

    assert cost(book, {"input_tokens": 1}, at(2026, 11, 22, 23, 59)) == 1
    assert "no rate for m in force on 2026-11-22 07:59" in cost(book, {"input_tokens": 1}, at(2026, 11, 22, 7, 59))


def test_a_call_without_its_basis_is_billed_otherwise_and_one_with_it_is_not():
    speech = model("m", '["input_tokens"]\notherwise = [["characters"], ["audio_seconds"]]', BASE).rstrip()
    rates = '\n[[model.rate]]\nmeter = "characters"\nusd = "7"\nper = 1\n'
    rates += '[[model.rate]]\nmeter = "audio_seconds"\nusd = "9"\nper = 1\n'
    book = book_of(speech + rates)

    assert cost(book, {"input_tokens": 2, "characters": 3, "audio_seconds": 4}) == 2
    assert cost(book, {"characters": 3, "audio_seconds": 4}) == 21
    assert cost(book, {"audio_seconds": 4}) == 36
    assert cost(book, {"images": 1}) == (
        "m is billed by input_tokens, or by characters, or by audio_seconds, and none was reported"
    )
    told = rate(book, model="m", usage={"characters": 3, "audio_seconds": 4}, attributes={}, at_us=NOON_US)
    assert told.information == {"audio_seconds": 4}
    assert ceiling(book, model="m", usage={"characters": 3}, attributes={}, at_us=NOON_US) == (21 * 100 * 10**9, "")


def test_an_ordinary_value_selects_nothing_and_any_other_needs_its_rate():
    flex = 'meter = "input_tokens"; usd = "4"; per = 1; attributes = { processing = "flex" }'
    ordinary = '\n[model.ordinary]\nprocessing = ["standard", "auto"]\n'
    book = book_of(model("m", '["input_tokens"]', BASE, flex) + ordinary)
    plain = book_of(model("m", '["input_tokens"]', BASE) + ordinary)
    used = {"input_tokens": 1}

    assert [cost(book, used), cost(book, used, processing="Standard"), cost(book, used, processing="flex")] == [1, 1, 4]
    assert cost(book, used, processing="batch") == "m has no rate for processing batch, only for flex"
    assert cost(plain, used, processing="flex") == "m has no rate for processing flex"


def test_another_name_leads_to_the_same_prices():
    book = book_of(model("m", '["input_tokens"]\nnames = ["M-Large", "m2"]', BASE))

    assert [book.entry(name, at_us=NOON_US).model for name in ("m", "m-large", "M2", "m2-2026-01-01")] == ["m"] * 4


def test_a_date_may_be_written_in_either_form():
    book = book_of(model("m", '["input_tokens"]', BASE), model("m-2025-08-07", '["input_tokens"]', FAR, BASE))

    assert book.entry("m-20250807", at_us=NOON_US).model == "m-2025-08-07"
    assert book.entry("m-20250808", at_us=NOON_US).model == "m"


@pytest.mark.parametrize(
    ("rates", "more", "said"),
    [
        ([FAR], "", "the basis names input_tokens, which has no rate"),
        ([BASE, FAR, FAR], "", "overlaps another"),
        ([BASE, FAR.replace("100", "0")], "", "above_input_tokens is 0"),
        ([BASE + '; daily = ["08:00"]'], "", "daily is no pair of hours"),
        ([BASE + '; daily = ["08:00", "08:00"]'], "", "daily is no pair of hours"),
        ([BASE + '; daily = ["8", "25:00"]'], "", "daily is no pair of hours"),
        ([BASE + '; daily = ["08:00", "12:00"]', BASE + '; daily = ["11:59", "13:00"]'], "", "overlaps another"),
        ([BASE + '; daily = ["22:00", "02:00"]', BASE + '; daily = ["01:00", "03:00"]'], "", "overlaps another"),
        ([BASE], '[model.ordinary]\nprocessing = "standard"\n', "is not a list of texts"),
    ],
)
def test_what_could_be_misread_is_refused(rates, more, said):
    assert said in refusal(*rates, more=more)


def test_hours_that_only_touch_do_not_overlap():
    book = book_of(
        model("m", '["input_tokens"]', BASE + '; daily = ["00:00", "12:00"]', BASE + '; daily = ["12:00", "24:00"]')
    )

    assert cost(book, {"input_tokens": 1}) == 1


def test_the_book_on_the_page_about_providers_is_one():
    page = (Path(__file__).parents[3] / "docs" / "howto" / "add-a-provider.md").read_text(encoding="utf-8")
    book = load_book(page.split("\n```toml\n")[1].split("```")[0])

    def speak(usage, **attributes):
        return rate(book, model="acme-speak", usage=usage, attributes=attributes, at_us=NOON_US).picousd

    assert speak({"characters": 1000}) == 15 * 10**9
    assert speak({"input_tokens": 10, "output_tokens": 100}, service_tier="batch") == 603 * 10**6
    assert book.entry("acme-speak", at_us=NOON_US).rates[0].usd == Decimal("0.60")
