"""Which rates are in force: by name, by layer, by provider and by time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callfare.pricing import PriceBook, seed_book
from tests.unit.pricing.books import NOON_US, at, book_of, model

FLAT = 'meter = "input_tokens"; usd = "1"; per = 1'
DEAR = 'meter = "input_tokens"; usd = "9"; per = 1'


def priced_by(book, name, **where):
    entry = book.entry(name, at_us=NOON_US, **where)
    return None if entry is None else (entry.model, entry.layer, entry.rates[0].usd)


@pytest.mark.parametrize(
    "name",
    ["gpt-5-mini", "GPT-5-MINI", "Gpt-5-Mini", "gpt-5-mini-2025-08-07", "GPT-5-mini-2025-08-07", "gpt-5-mini-20250807"],
)
def test_a_name_matches_without_case_and_by_its_family(name):
    entry = seed_book().entry(name, at_us=NOON_US)

    assert entry.model == "gpt-5-mini"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-5",
        "gpt-5-mini ",
        "gpt-5-mini-",
        "gpt-5-mini-preview",
        "gpt-5-mini-0807",
        "gpt-5-mini-2025-13-07",
        "gpt-5-mini-2025-08-32",
        "gpt-5-mini-2025-00-07",
        "gpt-5-mini-2025-0807",
        "gpt-5-mini-202508-07",
        "gpt-5-mini-1925-08-07",
        "gpt-5-mini-2025-08-07-2025-08-07",
        "gpt-5-mini-2025-08-07\n",
        "-2025-08-07",
        "2025-08-07",
        "gpt-5-mini\u2010nano",
        "\ud800",
        "gpt-5-mini-\u0662\u0660\u0662\u0665-\u0660\u0668-\u0660\u0667",
    ],
    ids=ascii,
)
def test_any_other_name_is_another_model(name):
    assert seed_book().entry(name, at_us=NOON_US) is None


def test_a_snapshot_with_prices_of_its_own_is_not_its_family():
    book = book_of(model("m", '["input_tokens"]', FLAT), model("m-2025-08-07", '["input_tokens"]', DEAR))

    assert priced_by(book, "m-2025-08-07") == ("m-2025-08-07", "project", Decimal(9))
    assert priced_by(book, "m-2026-01-01") == ("m", "project", Decimal(1))


def test_the_first_layer_that_names_a_model_decides():
    ours = book_of(model("m", '["input_tokens"]', FLAT), name="ours")
    theirs = book_of(model("m", '["input_tokens"]', DEAR), model("n", '["input_tokens"]', DEAR), name="theirs")
    book = PriceBook([*ours.layers, *theirs.layers])

    assert priced_by(book, "m") == ("m", "ours", Decimal(1))
    assert priced_by(book, "n") == ("n", "theirs", Decimal(9))


def test_a_layer_names_a_snapshot_when_it_names_its_family():
    ours = book_of(model("m", '["input_tokens"]', FLAT), name="ours")
    theirs = book_of(model("m-2025-08-07", '["input_tokens"]', DEAR), name="theirs")

    assert priced_by(PriceBook([*ours.layers, *theirs.layers]), "m-2025-08-07") == ("m", "ours", Decimal(1))


def test_a_gap_in_the_layer_that_decides_is_not_filled_by_the_next_one():
    ours = book_of(model("m", '["input_tokens"]', FLAT + "; from = 2026-01-01"), name="ours")
    theirs = book_of(model("m", '["input_tokens"]', DEAR), name="theirs")
    book = PriceBook([*ours.layers, *theirs.layers])

    assert book.entry("m", at_us=at(2025, 12, 31)) is None
    assert book.absence("m", at_us=at(2025, 12, 31, 8, 30)) == (
        "ours has no rate for m in force on 2025-12-31 08:30 UTC"
    )


def test_a_model_of_another_provider_is_not_named():
    ours = book_of(model("m", '["input_tokens"]', FLAT, provider="azure"), name="ours")
    theirs = book_of(model("m", '["input_tokens"]', DEAR), name="theirs")
    book = PriceBook([*ours.layers, *theirs.layers])

    assert priced_by(book, "m", provider="openai") == ("m", "theirs", Decimal(9))
    assert priced_by(book, "m", provider="Azure") == ("m", "ours", Decimal(1))
    assert priced_by(book, "m", provider="groq") is None
    assert book.absence("m", provider="groq", at_us=NOON_US) == "no price book names m of groq"


ANY = (
    model("*", '["input_tokens"]', FLAT, provider="acme"),
    model("m", '["input_tokens"]', DEAR, provider="acme"),
)


@pytest.mark.parametrize(
    ("name", "provider", "entry"),
    [
        ("whatever", "acme", ("*", "any", Decimal(1))),
        ("whatever-2025-08-07", "ACME", ("*", "any", Decimal(1))),
        ("m", "acme", ("m", "any", Decimal(9))),
        ("m-2025-08-07", "acme", ("m", "any", Decimal(9))),
        ("whatever", "other", None),
        ("whatever", None, None),
        ("gpt-5-mini", "other", None),
    ],
)
def test_a_star_stands_for_the_models_of_its_provider_that_its_layer_does_not_name(name, provider, entry):
    book = book_of(*ANY, name="any")

    assert priced_by(book, name, provider=provider) == entry


def test_a_star_decides_before_the_layers_below_it():
    above = book_of(*ANY, name="any")
    below = book_of(model("n", '["input_tokens"]', FLAT, provider="acme"), name="below")

    assert priced_by(PriceBook((*above.layers, *below.layers)), "n", provider="acme") == ("*", "any", Decimal(1))
    assert priced_by(PriceBook((*below.layers, *above.layers)), "n", provider="acme") == ("n", "below", Decimal(1))


def test_a_model_two_providers_sell_has_no_price_until_one_is_named():
    book = book_of(
        model("m", '["input_tokens"]', FLAT, provider="azure"), model("m", '["input_tokens"]', DEAR, provider="openai")
    )

    assert priced_by(book, "m") is None
    assert book.absence("m", at_us=NOON_US) == (
        "project has prices of azure and openai for m, and no provider was named"
    )
    assert priced_by(book, "m", provider="azure") == ("m", "project", Decimal(1))


def test_rates_hold_from_their_first_microsecond_until_the_next_ones_first():
    book = book_of(
        model("m", '["input_tokens"]', FLAT + "; until = 2025-06-10", DEAR + "; from = 2025-06-10T00:00:00Z")
    )

    before = book.entry("m", at_us=at(2025, 6, 9, 23, 59, 59, 999_999))
    after = book.entry("m", at_us=at(2025, 6, 10))

    assert (before.rates[0].usd, before.from_us, before.until_us) == (Decimal(1), None, at(2025, 6, 10))
    assert (after.rates[0].usd, after.from_us, after.until_us) == (Decimal(9), at(2025, 6, 10), None)


def test_a_model_has_no_price_between_two_rates():
    book = book_of(
        model("m", '["input_tokens"]', FLAT + "; until = 2025-01-01", DEAR + "; from = 2026-01-01; until = 2027-01-01")
    )

    assert book.entry("m", at_us=at(2024, 12, 31)).rates[0].usd == Decimal(1)
    assert book.entry("m", at_us=at(2025, 6, 1)) is None
    assert book.entry("m", at_us=at(2026, 6, 1)).rates[0].usd == Decimal(9)
    assert book.entry("m", at_us=at(2027, 1, 1)) is None


def test_a_zone_places_the_change_of_a_price():
    book = book_of(
        model(
            "m",
            '["input_tokens"]',
            FLAT + "; until = 2025-06-10T00:00:00-07:00",
            DEAR + "; from = 2025-06-10T07:00:00Z",
        )
    )

    assert book.entry("m", at_us=at(2025, 6, 10, 6, 59)).rates[0].usd == Decimal(1)
    assert book.entry("m", at_us=at(2025, 6, 10, 7)).rates[0].usd == Decimal(9)


def test_the_reason_for_an_unknown_name_is_short_and_printable():
    book = seed_book()

    assert book.absence("gpt-9", at_us=NOON_US) == "no price book names gpt-9"
    assert book.absence("\ud800\x00", at_us=NOON_US) == r"no price book names '\ud800\x00'"
    assert len(book.absence("x" * 1_000_000, at_us=NOON_US)) < 100


def test_ten_thousand_unknown_names_are_not_remembered_for_ever():
    book = PriceBook(seed_book().layers)

    for number in range(10_000):
        book.entry(f"model-{number}", at_us=NOON_US)

    assert len(book._decided) <= 4096
    assert book.entry("gpt-5-mini", at_us=NOON_US).model == "gpt-5-mini"


def test_the_edition_names_the_book_and_its_content():
    book = book_of(model("m", '["input_tokens"]', FLAT))

    assert book.edition.startswith("project+")
    assert len(book.edition) == len("project+") + 8
    assert book.entry("m", at_us=NOON_US).edition == book.edition
    assert book_of(model("m", '["input_tokens"]', FLAT)).edition == book.edition


def test_the_edition_is_the_same_however_the_file_is_written():
    one = book_of(
        model("m", '["input_tokens", "output_tokens"]', FLAT, 'meter = "output_tokens"; usd = "2.50"; per = 1_000_000'),
        model("n", '["input_tokens"]', FLAT),
    )
    same = book_of(
        "# said otherwise\n" + model("n", '["input_tokens"]', FLAT),
        model("m", '["output_tokens","input_tokens"]', 'per = 1000000; usd = "2.5"; meter = "output_tokens"', FLAT),
    )

    assert same.edition == one.edition


@pytest.mark.parametrize(
    "other",
    [
        model("m", '["input_tokens"]', DEAR),
        model("m", '["input_tokens"]', 'meter = "input_tokens"; usd = "1"; per = 2'),
        model("m", '["input_tokens"]', FLAT + "; from = 2025-01-01"),
        model("m", '["input_tokens"]', FLAT + "; until = 2025-01-01"),
        model("m", '["input_tokens"]', FLAT + '; attributes = { service_tier = "flex" }'),
        model("m", '["input_tokens"]', FLAT, 'meter = "cached_input_tokens"; usd = "0"; per = 1'),
        model("m", '["input_tokens"]', FLAT, provider="azure"),
        model("m-2", '["input_tokens"]', FLAT),
    ],
)
def test_the_edition_changes_with_anything_that_is_said(other):
    assert book_of(other).edition != book_of(model("m", '["input_tokens"]', FLAT)).edition


def test_the_edition_of_the_shipped_book_changes_only_on_purpose():
    assert seed_book().edition == "seed-2024+6c53b8aa"


def test_the_editions_of_all_layers_are_the_edition_of_the_book():
    ours = book_of(model("m", '["input_tokens"]', FLAT), name="ours")

    book = PriceBook([*ours.layers, *seed_book().layers])

    assert book.edition == f"{ours.edition},{seed_book().edition}"


def test_the_book_names_the_attributes_its_rates_depend_on():
    assert seed_book().attribute_names == {"size", "resolution"}
