"""What one call costs under a book, what stays information, and why a call is unpriced."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from callfare.errors import AmountOutOfRange, InvalidQuantity, MissingAttribute
from callfare.pricing import PriceBook, rate, rate_finished, seed_book
from tests.unit.pricing.books import NOON_US, at, book_of, model


def rated(book, name, usage, at_us=NOON_US, **attributes):
    return rate(book, model=name, usage=usage, attributes=attributes, at_us=at_us)


def test_a_line_keeps_its_quantity_its_rate_and_what_it_is_per():
    rating = rated(seed_book(), "gpt-5-mini-2025-08-07", {"input_tokens": 1200, "output_tokens": 350})

    first, second = rating.lines
    assert (first.meter, first.quantity, first.rate, first.per) == ("input_tokens", 1200, Decimal("0.15"), 1_000_000)
    assert (first.picousd, first.nanocredits, first.billed) == (180_000_000, 18_000_000, True)
    assert (second.meter, second.quantity, second.rate, second.per) == (
        "output_tokens",
        350,
        Decimal("0.60"),
        1_000_000,
    )
    assert (second.picousd, second.nanocredits, second.billed) == (210_000_000, 21_000_000, True)


def test_a_rating_says_what_decided_it():
    rating = rated(seed_book(), "GPT-5-mini-2025-08-07", {"input_tokens": 1200})

    assert (rating.status, rating.reason) == ("priced", "")
    assert rating.model == "GPT-5-mini-2025-08-07"
    assert (rating.entry_model, rating.provider) == ("gpt-5-mini", "openai")
    assert rating.edition == seed_book().edition
    assert rating.markup == 1


def test_a_leaf_without_a_rate_takes_its_nearest_ancestors_and_says_so():
    book = book_of(
        model(
            "m",
            '["input_tokens"]',
            'meter = "input_tokens"; usd = "3"; per = 1',
            'meter = "cache_write_input_tokens"; usd = "5"; per = 1',
        )
    )

    rating = rated(book, "m", {"input_tokens": 10, "cached_input_tokens": 2, "cache_write_1h_input_tokens": 3})

    assert [(line.meter, line.quantity, line.rate_meter, line.rate) for line in rating.lines] == [
        ("input_tokens", 5, "input_tokens", Decimal(3)),
        ("cached_input_tokens", 2, "input_tokens", Decimal(3)),
        ("cache_write_1h_input_tokens", 3, "cache_write_input_tokens", Decimal(5)),
    ]
    assert rating.picousd == 36_000_000_000_000


def test_what_is_reported_beside_the_basis_is_information_as_it_was_reported():
    usage = {"images": 1, "input_tokens": 450, "input_image_tokens": 400, "output_tokens": 6240}

    rating = rated(seed_book(), "gpt-image-1", usage, size="1024x1536", quality="high")

    assert [line.meter for line in rating.lines] == ["images"]
    assert rating.information == {"input_tokens": 450, "input_image_tokens": 400, "output_tokens": 6240}


def test_a_part_on_the_basis_is_billed_and_its_whole_is_information():
    book = book_of(model("m", '["output_audio_tokens"]', 'meter = "output_audio_tokens"; usd = "12"; per = 1'))

    rating = rated(book, "m", {"output_tokens": 100, "output_audio_tokens": 60})

    assert [(line.meter, line.quantity) for line in rating.lines] == [("output_audio_tokens", 60)]
    assert rating.information == {"output_tokens": 100}


def test_a_model_that_no_book_names_is_unpriced_and_keeps_its_leaves():
    rating = rated(seed_book(), "gpt-9", {"input_tokens": 1200, "cached_input_tokens": 800}, size="large")

    assert (rating.status, rating.reason) == ("unpriced", "no price book names gpt-9")
    assert [(line.meter, line.quantity, line.rate, line.billed) for line in rating.lines] == [
        ("input_tokens", 400, None, False),
        ("cached_input_tokens", 800, None, False),
    ]
    assert (rating.picousd, rating.nanocredits) == (0, 0)
    assert (rating.entry_model, rating.provider, rating.edition) == ("", "", seed_book().edition)


def test_a_call_before_the_first_rate_is_unpriced():
    book = book_of(model("m", '["calls"]', 'meter = "calls"; usd = "1"; per = 1; from = 2026-01-01'))

    rating = rated(book, "m", {"calls": 1}, at_us=at(2025, 12, 31))

    assert (rating.status, rating.reason) == (
        "unpriced",
        "project has no rate for m in force on 2025-12-31 00:00 UTC",
    )


def test_a_call_that_reports_nothing_of_the_basis_is_unpriced():
    rating = rated(seed_book(), "whisper-1", {"input_tokens": 14, "output_tokens": 45})

    assert rating.status == "unpriced"
    assert rating.reason == "whisper-1 is billed by audio_seconds, and none was reported"
    assert rating.lines == ()
    assert rating.information == {"input_tokens": 14, "output_tokens": 45}


def test_a_call_that_used_nothing_costs_nothing_and_is_priced():
    rating = rated(seed_book(), "gpt-5-mini", {"input_tokens": 0, "output_tokens": 0})

    assert (rating.status, rating.picousd, rating.nanocredits) == ("priced", 0, 0)


def test_one_leaf_without_a_rate_leaves_the_whole_call_unpriced():
    book = book_of(
        model(
            "m",
            '["input_tokens", "output_tokens"]',
            'meter = "input_tokens"; usd = "1"; per = 1',
            'meter = "output_tokens"; usd = "2"; per = 1; until = 2026-01-01',
        )
    )

    rating = rated(book, "m", {"input_tokens": 10, "output_tokens": 20})

    assert rating.status == "unpriced"
    assert rating.reason == "project has no rate for output_tokens of m in force at that time"
    assert [(line.meter, line.rate, line.billed, line.picousd, line.nanocredits) for line in rating.lines] == [
        ("input_tokens", Decimal(1), False, 0, 0),
        ("output_tokens", None, False, 0, 0),
    ]
    assert (rating.picousd, rating.nanocredits) == (0, 0)
    assert (rating.entry_model, rating.edition) == ("m", book.edition)


def test_a_value_that_no_rate_has_is_unpriced_and_named():
    rating = rated(seed_book(), "gpt-image-1", {"images": 1}, size="512x512")

    assert rating.status == "unpriced"
    assert rating.reason == "gpt-image-1 has no rate for size 512x512, only for 1024x1024, 1024x1536, 1536x1024"


def test_a_size_that_names_no_resolution_is_unpriced_and_named():
    rating = rated(seed_book(), "sora-2", {"video_seconds": 8}, size="999x999")

    assert rating.status == "unpriced"
    assert rating.reason == "sora-2 has no rate for resolution of size 999x999, only for 1080p, 480p, 720p"


def test_a_missing_attribute_that_decides_is_an_error_with_its_choices():
    with pytest.raises(MissingAttribute) as error:
        rated(seed_book(), "gpt-image-1", {"images": 1}, quality="high")

    assert error.value.param == "size"
    assert error.value.message == (
        "the price of gpt-image-1 depends on size; give size as one of 1024x1024, 1024x1536, 1536x1024"
    )


def test_a_missing_attribute_that_another_could_tell_names_both():
    with pytest.raises(MissingAttribute) as error:
        rated(seed_book(), "sora-2", {"video_seconds": 8})

    assert error.value.param == "resolution"
    assert error.value.message == (
        "the price of sora-2 depends on resolution or size; give resolution as one of 1080p, 480p, 720p"
    )


def test_a_finished_call_with_a_missing_attribute_is_unpriced_and_not_an_error():
    rating = rate_finished(seed_book(), model="gpt-image-1", usage={"images": 2}, attributes={}, at_us=NOON_US)

    assert rating.status == "unpriced"
    assert rating.reason.startswith("the price of gpt-image-1 depends on size")
    assert [(line.meter, line.quantity, line.billed) for line in rating.lines] == [("images", 2, False)]
    assert (rating.entry_model, rating.edition) == ("gpt-image-1", seed_book().edition)


def test_a_finished_call_of_a_model_that_no_book_names_is_unpriced():
    call = {"model": "gpt-9", "usage": {"calls": 3}, "attributes": {}, "at_us": NOON_US}

    assert rate_finished(seed_book(), **call) == rate(seed_book(), **call)
    assert rate_finished(seed_book(), **call).reason == "no price book names gpt-9"


def test_a_finished_call_with_all_attributes_is_rated_as_any_other():
    call = {"model": "sora-2", "usage": {"video_seconds": 8}, "attributes": {"size": "1280x720"}, "at_us": NOON_US}

    assert rate_finished(seed_book(), **call) == rate(seed_book(), **call)
    assert rate_finished(seed_book(), **call).nanocredits == 32_000_000_000


TIERS = book_of(
    model(
        "m",
        '["input_tokens"]',
        'meter = "input_tokens"; usd = "8"; per = 1',
        'meter = "input_tokens"; usd = "4"; per = 1; attributes = { service_tier = "flex" }',
        'meter = "input_tokens"; usd = "3"; per = 1; attributes = { service_tier = "flex", region = "eu" }',
        'meter = "cached_input_tokens"; usd = "1"; per = 1; attributes = { service_tier = "flex" }',
        'meter = "cached_input_tokens"; usd = "2"; per = 1; attributes = { service_tier = "default" }',
    )
)


@pytest.mark.parametrize(
    ("attributes", "usd"),
    [
        ({}, "8"),
        ({"quality": "high"}, "8"),
        ({"service_tier": "flex"}, "4"),
        ({"service_tier": "FLEX"}, "4"),
        ({"service_tier": "flex", "region": "eu"}, "3"),
    ],
)
def test_the_most_particular_rate_that_applies_is_taken(attributes, usd):
    rating = rated(TIERS, "m", {"input_tokens": 1}, **attributes)

    assert [line.rate for line in rating.lines] == [Decimal(usd)]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"service_tier": "priority"}, "m has no rate for service_tier priority, only for flex"),
        ({"service_tier": ""}, "m has no rate for service_tier , only for flex"),
        ({"service_tier": "flex", "region": "us"}, "m has no rate for region us, only for eu"),
        ({"region": "us"}, "m has no rate for region us, only for eu"),
    ],
    ids=str,
)
def test_a_reported_attribute_without_a_rate_never_costs_what_the_ordinary_one_costs(attributes, reason):
    rating = rated(TIERS, "m", {"input_tokens": 1}, **attributes)

    assert (rating.status, rating.reason) == ("unpriced", reason)


def test_an_attribute_that_only_a_more_particular_rate_uses_asks_for_the_rest_of_it():
    with pytest.raises(MissingAttribute) as error:
        rated(TIERS, "m", {"input_tokens": 1}, region="eu")

    assert error.value.param == "service_tier"


def test_each_leaf_looks_only_at_the_rates_of_its_own_meter():
    with pytest.raises(MissingAttribute) as error:
        rated(TIERS, "m", {"input_tokens": 3, "cached_input_tokens": 1})

    assert error.value.message == "the price of m depends on service_tier; give service_tier as one of default, flex"


def test_a_gap_in_the_book_is_told_before_an_attribute_that_could_be_given():
    book = book_of(
        model(
            "m",
            '["images", "calls"]',
            'meter = "images"; usd = "1"; per = 1; attributes = { size = "s" }',
            'meter = "calls"; usd = "1"; per = 1; attributes = { region = "eu" }',
        )
    )

    rating = rated(book, "m", {"images": 1, "calls": 1}, region="us")

    assert (rating.status, rating.reason) == ("unpriced", "m has no rate for region us, only for eu")


def test_values_that_have_rates_apart_but_not_together_are_named_together():
    book = book_of(
        model(
            "m",
            '["images"]',
            'meter = "images"; usd = "1"; per = 1; attributes = { size = "s", quality = "low" }',
            'meter = "images"; usd = "2"; per = 1; attributes = { size = "l", quality = "high" }',
        )
    )

    rating = rated(book, "m", {"images": 1}, size="s", quality="high")

    assert (rating.status, rating.reason) == ("unpriced", "m has no rate for quality high and size s together")


def test_an_attribute_that_one_of_several_rates_uses_is_not_asked_of_the_others():
    book = book_of(
        model(
            "m",
            '["images"]',
            'meter = "images"; usd = "1"; per = 1; attributes = { size = "s" }',
            'meter = "images"; usd = "2"; per = 1; attributes = { size = "l", quality = "high" }',
        )
    )

    assert rated(book, "m", {"images": 1}, size="s", quality="low").picousd == 1_000_000_000_000
    assert rated(book, "m", {"images": 1}, size="l", quality="low").status == "unpriced"


def test_cost_is_without_markup_and_credits_are_with_it():
    rating = rate(
        seed_book(),
        model="gpt-5-mini",
        usage={"input_tokens": 1200},
        attributes={},
        at_us=NOON_US,
        markup=Fraction(3, 2),
    )

    assert (rating.picousd, rating.nanocredits, rating.markup) == (180_000_000, 27_000_000, Fraction(3, 2))


def test_a_provider_that_no_book_names_is_unpriced():
    rating = rate(
        seed_book(),
        model="gpt-5-mini",
        usage={"input_tokens": 1200},
        attributes={},
        at_us=NOON_US,
        provider="azure",
    )

    assert (rating.status, rating.reason) == ("unpriced", "no price book names gpt-5-mini of azure")
    assert rating.provider == "azure"


def test_a_book_without_layers_prices_nothing():
    rating = rated(PriceBook([]), "gpt-5-mini", {"input_tokens": 1200})

    assert (rating.status, rating.reason) == ("unpriced", "no price book names gpt-5-mini")


def test_a_rate_of_zero_is_a_price():
    book = book_of(model("m", '["calls"]', 'meter = "calls"; usd = "0"; per = 1'))

    rating = rated(book, "m", {"calls": 5})

    assert (rating.status, rating.picousd, [line.billed for line in rating.lines]) == ("priced", 0, [True])


def test_a_call_that_costs_more_than_the_ledger_can_say_is_refused():
    with pytest.raises(AmountOutOfRange):
        rated(seed_book(), "gpt-4o-mini-tts", {"characters": 10**12})


def test_credits_beyond_the_range_are_refused_where_their_cost_is_within_it():
    with pytest.raises(AmountOutOfRange):
        rate(
            seed_book(),
            model="gpt-5-mini",
            usage={"input_tokens": 10**12},
            attributes={},
            at_us=NOON_US,
            markup=Fraction(1000),
        )


def test_lines_within_the_range_whose_sum_is_beyond_it_are_refused():
    book = book_of(
        model(
            "m", '["images", "calls"]', *(f'meter = "{name}"; usd = "5000000"; per = 1' for name in ("images", "calls"))
        )
    )

    with pytest.raises(AmountOutOfRange):
        rated(book, "m", {"images": 1, "calls": 1})


def test_parts_above_their_whole_are_refused():
    with pytest.raises(InvalidQuantity):
        rated(seed_book(), "gpt-5-mini", {"input_tokens": 1, "cached_input_tokens": 2})


def test_parts_above_their_whole_are_refused_for_an_unknown_model_too():
    with pytest.raises(InvalidQuantity):
        rated(seed_book(), "gpt-9", {"input_tokens": 1, "cached_input_tokens": 2})
