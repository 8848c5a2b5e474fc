"""A price book that could be misread is refused, with its file and the line that causes it."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from callfare.errors import PriceBookInvalid
from callfare.pricing import load_book, load_layer, rate, seed_book
from tests.unit.pricing.books import NOON_US, at

GOOD = """\
book = "project"
description = "What we pay."

[[model]]
provider = "openai"
name = "m"
basis = ["input_tokens", "video_seconds"]
source = "a page"
checked = 2026-11-20

[[model.rate]]
meter = "input_tokens"
usd = "0.15"
per = 1_000_000
from = 2025-08-07
until = 2026-01-01T00:00:00+01:00

[[model.rate]]
meter = "video_seconds"
usd = "0.04"
per = 1
attributes = { resolution = "720p" }

[model.derived.resolution]
from = "size"
[model.derived.resolution.values]
"1280x720" = "720p"
"""


def refusal_of(old, new):
    """Return what is said of the good book with one text in it replaced."""
    assert GOOD.count(old) == 1
    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(GOOD.replace(old, new), name="prices.toml")
    return refusal.value.message


def test_a_book_is_read_as_it_is_written():
    (prices,) = load_book(GOOD).layers[0].models

    tokens, seconds = prices.rates
    assert (prices.provider, prices.model, prices.source, prices.checked) == (
        "openai",
        "m",
        "a page",
        date(2026, 11, 20),
    )
    assert prices.basis == ("input_tokens", "video_seconds")
    assert (tokens.meter, tokens.usd, tokens.per) == ("input_tokens", Decimal("0.15"), 1_000_000)
    assert (tokens.from_us, tokens.until_us) == (at(2025, 8, 7), at(2025, 12, 31, 23))
    assert (seconds.from_us, seconds.until_us, seconds.attributes) == (None, None, {"resolution": "720p"})
    assert prices.derived == {"resolution": ("size", {"1280x720": "720p"})}


def test_a_layer_has_the_name_it_is_given():
    assert load_layer(GOOD).name == "project"
    assert load_layer(GOOD, layer="ours").name == "ours"
    assert load_layer(GOOD, layer="ours").edition.startswith("ours+")


def test_a_book_is_read_from_its_file(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(GOOD, encoding="utf-8")

    assert load_book(path).edition == load_book(GOOD).edition


@pytest.mark.parametrize("ending", ["\r\n", "\n"], ids=ascii)
def test_lines_are_counted_whatever_their_ending(tmp_path, ending):
    path = tmp_path / "prices.toml"
    path.write_bytes(GOOD.replace('usd = "0.04"', 'usd = "four"').replace("\n", ending).encode())

    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(path)

    assert refusal.value.message.startswith(f"{path}, line 20: usd 'four' is not a plain decimal")
    assert refusal.value.code == "price_book_invalid"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('book = "project"\n', "", "line 1: book is missing"),
        ('book = "project"', 'book = "Our Prices"', "line 1: book is 'Our Prices'; use lower-case letters"),
        ('book = "project"', "book = 5", "line 1: book is 5; give text in quotes"),
        ('"What we pay."', "5", "line 2: description is 5; give text in quotes"),
        (
            "description",
            "descripton",
            "line 2: unknown key 'descripton'; known are adjustment, book, description, model",
        ),
        ('provider = "openai"', 'provider = ""', "line 5: provider is empty or not printable"),
        ('provider = "openai"\n', "", "line 4: provider is missing"),
        ('name = "m"', "name = 5", "line 6: name is 5; give text in quotes"),
        ('name = "m"', 'name = " "', "line 6: name is empty or not printable"),
        ('name = "m"', r'name = "m\u0000"', "line 6: name is empty or not printable"),
        ('name = "m"', 'naem = "m"', "line 6: unknown key 'naem'; known are basis"),
        ('["input_tokens", "video_seconds"]', '"input_tokens"', "line 7: basis is 'input_tokens'; give a list"),
        ('["input_tokens", "video_seconds"]', "[]", "line 7: the basis is empty"),
        ('["input_tokens", "video_seconds"]', "[5]", "line 7: there is no meter 5"),
        ('"input_tokens", "video', '"inputs", "video', "line 7: there is no meter 'inputs'; docs/reference/meters.md"),
        (
            '"input_tokens", "video',
            '"input_tokens", "input_tokens", "video',
            "line 7: the basis names input_tokens twice",
        ),
        (
            '"input_tokens", "video',
            '"input_tokens", "cached_input_tokens", "video',
            "line 7: the basis names cached_input_tokens and input_tokens, which includes it; name input_tokens only",
        ),
        (
            '"input_tokens", "video',
            '"input_tokens", "calls", "video',
            "line 7: the basis names calls, which has no rate",
        ),
        ('source = "a page"\n', "", "line 4: source is missing"),
        ('source = "a page"', 'source = ""', "line 8: source is empty or not printable"),
        ("checked = 2026-11-20\n", "", "line 4: checked is missing"),
        ("2026-11-20", '"2026-11-20"', "line 9: checked is '2026-11-20'; give a date without quotes"),
        ("2026-11-20", "2026-11-20T00:00:00Z", "line 9: checked is a time; give the day"),
        ("2026-11-20", "20261120", "line 9: checked is 20261120; give a date without quotes"),
        ('meter = "input_tokens"\n', "", "line 11: meter is missing"),
        ('meter = "input_tokens"', 'meter = "inputs"', "line 12: there is no meter 'inputs'"),
        (
            'meter = "input_tokens"',
            'meter = "output_tokens"',
            "line 12: output_tokens is outside the basis, input_tokens",
        ),
        ('usd = "0.15"\n', "", "line 11: usd is missing"),
        ('"0.15"', "0.15", "line 13: usd is 0.15; give text in quotes"),
        ('"0.15"', "1", "line 13: usd is 1; give text in quotes"),
        ('"0.15"', '"-0.15"', "line 13: usd '-0.15' is negative"),
        ('"0.15"', '"15e-2"', "line 13: usd '15e-2' is not a plain decimal"),
        ('"0.15"', '"NaN"', "line 13: usd 'NaN' is not a plain decimal"),
        ('"0.15"', '"Infinity"', "line 13: usd 'Infinity' is not a plain decimal"),
        ('"0.15"', '""', "line 13: usd '' is not a plain decimal"),
        ('"0.15"', '".15"', "line 13: usd '.15' is not a plain decimal"),
        ('"0.15"', '"15."', "line 13: usd '15.' is not a plain decimal"),
        ('"0.15"', '"0,15"', "line 13: usd '0,15' is not a plain decimal"),
        ('"0.15"', '"$0.15"', "line 13: usd '$0.15' is not a plain decimal"),
        ('"0.15"', '"1_000"', "line 13: usd '1_000' is not a plain decimal"),
        ('"0.15"', '"\u0660.\u0661"', "line 13: usd '\u0660.\u0661' is not a plain decimal"),
        ('"0.15"', '"1000000000"', "line 13: usd '1000000000' is not a plain decimal"),
        ('"0.15"', '"0.0000000000000000001"', "line 13: usd '0.0000000000000000001' is not a plain decimal"),
        ("per = 1_000_000\n", "", "line 11: per is missing"),
        ("1_000_000", "0", "line 14: per is 0; give a whole number from 1 to 10^12"),
        ("1_000_000", "-1", "line 14: per is -1; give a whole number from 1 to 10^12"),
        ("1_000_000", "1_000_000_000_001", "line 14: per is 1000000000001; give a whole number from 1 to 10^12"),
        ("1_000_000", "1e6", "line 14: per is 1000000.0; give a whole number"),
        ("1_000_000", "true", "line 14: per is True; give a whole number"),
        ("1_000_000", '"1000000"', "line 14: per is '1000000'; give a whole number"),
        ("2025-08-07", '"2025-08-07"', "line 15: from is '2025-08-07'; give a date without quotes"),
        ("2025-08-07", "2025-08-07T00:00:00", "line 15: from has no time zone"),
        ("2025-08-07", "2026-01-01", "line 16: until is not after from"),
        ("2025-08-07", "2025-12-31T23:00:00Z", "line 16: until is not after from"),
        ("2026-01-01T00:00:00+01:00", "0001-01-01T00:00:00+23:59", "line 16: until is not after from"),
        ("until = ", "to = ", "line 16: unknown key 'to'; known are above_input_tokens, attributes,"),
        ('{ resolution = "720p" }', '"720p"', "line 22: attributes is not a table"),
        ('{ resolution = "720p" }', "{ resolution = 720 }", "line 22: attributes 'resolution' must be text"),
        ('{ resolution = "720p" }', '{ resolution = "" }', "line 22: attributes 'resolution' must be text"),
        ('{ resolution = "720p" }', '{ "" = "720p" }', "line 22: attributes '' must be text"),
        ('from = "size"\n', "", "line 24: from is missing"),
        ('from = "size"', 'from = "resolution"', "line 24: derived.resolution needs another attribute to read from"),
        ('from = "size"', 'of = "size"', "line 25: unknown key 'of'; known are from, values"),
        ('"1280x720" = "720p"', "", "line 24: derived.resolution needs another attribute to read from, and values"),
        ('"1280x720" = "720p"', '"1280x720" = "4k"', "line 27: no rate has resolution '4k'"),
        ('"1280x720" = "720p"', '"1280x720" = 720', "line 27: values '1280x720' must be text"),
        (
            '{ resolution = "720p" }',
            '{ resolution = "\\u001b[31m" }',
            "line 22: attributes 'resolution' must be text, print",
        ),
        ("1_000_000", f"0x{'f' * 5000}", "line 14: per is a number of more than twenty-four digits; give a whole"),
        ("2025-08-07", f"0x{'f' * 5000}", "line 15: from is a number of more than twenty-four digits; give a date"),
        ("2025-08-07", "[0, {a = 1}]", "line 15: from is a list; give a date without quotes"),
    ],
    ids=ascii,
)
def test_a_fault_is_refused_on_its_line(old, new, said):
    assert refusal_of(old, new).startswith(f"prices.toml, {said}")


def test_a_name_that_no_screen_can_show_is_refused():
    refusal = refusal_of('name = "m"', 'name = "m"\nnames = ["a\\u001b[31m"]')

    assert "names is not a list of other names of the model, in printable text" in refusal


def test_a_mark_that_an_editor_put_before_the_text_is_passed_over(tmp_path):
    (tmp_path / "prices.toml").write_text(GOOD, encoding="utf-8-sig")

    assert load_book(tmp_path / "prices.toml").layers[0].name == load_book(GOOD).layers[0].name


RATE = """
[[model.rate]]
meter = "input_tokens"
usd = "0.20"
per = 1
"""


@pytest.mark.parametrize(
    "added",
    [
        RATE,
        RATE + "from = 2025-12-31",
        RATE + "until = 2025-08-08",
        RATE + "from = 2025-09-01\nuntil = 2025-10-01",
        RATE + "from = 2020-01-01\nuntil = 2030-01-01",
    ],
)
def test_rates_that_would_apply_at_the_same_time_are_refused(added):
    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(
            GOOD.replace("\n[model.derived.resolution]", added + "\n[model.derived.resolution]"), name="prices.toml"
        )

    assert refusal.value.message == (
        "prices.toml, line 24: this rate for input_tokens overlaps another; end one where the other begins"
    )


@pytest.mark.parametrize(
    "added",
    [
        RATE + "from = 2025-12-31T23:00:00Z",
        RATE + "until = 2025-08-07",
        RATE + 'attributes = { service_tier = "flex" }',
        RATE.replace("input_tokens", "cached_input_tokens"),
    ],
)
def test_rates_that_meet_or_differ_do_not_overlap(added):
    book = load_book(GOOD.replace("\n[model.derived.resolution]", added + "\n[model.derived.resolution]"))

    assert len(book.layers[0].models[0].rates) == 3


def test_rates_of_which_neither_is_the_more_particular_overlap():
    flex = RATE + 'attributes = { service_tier = "flex" }'
    europe = RATE + 'attributes = { region = "eu" }'

    with pytest.raises(PriceBookInvalid, match=r"line 29: this rate for input_tokens overlaps another"):
        load_book(GOOD.replace("\n[model.derived.resolution]", flex + europe + "\n[model.derived.resolution]"))


def test_rates_for_values_that_differ_only_in_case_overlap():
    upper = RATE + 'attributes = { resolution = "720P" }'

    with pytest.raises(PriceBookInvalid, match=r"line 24: this rate for video_seconds overlaps another"):
        load_book(
            GOOD.replace(
                "\n[model.derived.resolution]",
                upper.replace("input_tokens", "video_seconds") + "\n[model.derived.resolution]",
            )
        )


MODEL = """
[[model]]
provider = "%s"
name = "%s"
basis = ["calls"]
source = "a page"
checked = 2026-11-20
[[model.rate]]
meter = "calls"
usd = "0.01"
per = 1
"""


@pytest.mark.parametrize(("provider", "name"), [("openai", "m"), ("OpenAI", "M")])
def test_a_model_that_stands_twice_is_refused(provider, name):
    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(GOOD + MODEL % (provider, name), name="prices.toml")

    assert refusal.value.message == f"prices.toml, line 31: {name} of {provider} stands twice"


def test_a_model_may_stand_once_for_each_provider():
    book = load_book(GOOD + MODEL % ("azure", "m"))

    assert [prices.provider for prices in book.layers[0].models] == ["openai", "azure"]


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        ("derived = 5\n", "line 10: derived is not a table"),
        ("derived.resolution = 5\n", "line 10: derived.resolution is not"),
    ],
)
def test_a_derivation_that_is_no_table_is_refused(derived, said):
    text = GOOD.split("\n[model.derived.resolution]", maxsplit=1)[0].replace(
        "checked = 2026-11-20\n", f"checked = 2026-11-20\n{derived}"
    )

    with pytest.raises(PriceBookInvalid, match="^price book, " + re.escape(said)):
        load_book(text)


def test_a_book_without_models_is_refused():
    with pytest.raises(PriceBookInvalid, match=r"price book, line 1: model is missing"):
        load_book('book = "empty"')


def test_a_model_without_rates_is_refused():
    with pytest.raises(PriceBookInvalid, match=r"price book, line 29: rate is missing"):
        load_book(GOOD + (MODEL % ("azure", "m")).split("[[model.rate]]", maxsplit=1)[0])


@pytest.mark.parametrize("rows", ["5", "[]", "[5]", '"m"'])
def test_models_that_are_no_tables_are_refused(rows):
    with pytest.raises(PriceBookInvalid, match=r"^price book, line 2: model is"):
        load_book(f'book = "project"\nmodel = {rows}\n')


def test_a_fault_in_a_table_written_inline_is_placed_on_the_nearest_line_above():
    with pytest.raises(PriceBookInvalid, match=r"^price book, line 3: provider is missing"):
        load_book(
            'book = "project"\n\nmodel = [{ basis = ["calls"], rate = [{ meter = "calls", usd = "1", per = 1 }] }]\n'
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('book = "project"\n[[model]\n', "line 2: not TOML"),
        ('book = "project"\nchecked = 2026-13-41\n', "line 2: not TOML"),
        ('book = "project"\nbook = "again"\n', "line 2: not TOML"),
        ('book = "project\n', "line 1: not TOML"),
        ('book = """project\n\n', "line 3: not TOML"),
        ('\ufeffbook = "project"\n', "line 1: not TOML"),
        ("\ud800", "line 1: not TOML"),
        ("\x00", "line 1: not TOML"),
        ("a = " + "9" * 5000, "line 1: not TOML"),
        ("a = " + "[" * 5000, "line 1: not TOML"),
        ("prices.toml", "line 1: not TOML"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_text_that_is_not_toml_is_refused_on_its_line(text, said):
    with pytest.raises(PriceBookInvalid, match="^price book, " + re.escape(said)):
        load_book(text)


def test_a_file_that_is_not_utf8_is_refused_on_its_line(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_bytes(GOOD.replace("What we pay.", "Was wir zahlen: f\u00fcr alles.").encode("latin-1"))

    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(path)

    assert refusal.value.message == f"{path}, line 2: not UTF-8 text; save the file as UTF-8"


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(PriceBookInvalid) as refusal:
        load_book(tmp_path / "prices.toml")

    assert refusal.value.message == f"{tmp_path / 'prices.toml'} cannot be read: No such file or directory"


def test_a_folder_is_refused_by_its_name(tmp_path):
    with pytest.raises(PriceBookInvalid, match="cannot be read: Is a directory"):
        load_book(tmp_path)


def test_a_layer_name_that_could_not_stand_in_an_edition_is_refused():
    with pytest.raises(PriceBookInvalid, match="book is 'our prices'; use lower-case letters"):
        load_book(GOOD, layer="our prices")


def test_sizes_are_read_without_case():
    book = load_book(GOOD.replace('"1280x720" = "720p"', '"1280X720" = "720P"'))

    rating = rate(book, model="m", usage={"video_seconds": 5}, attributes={"size": "1280x720"}, at_us=NOON_US)

    assert rating.picousd == 200_000_000_000


def test_the_shipped_book_is_the_table_of_the_seed():
    rows = [
        (prices.model, rate.meter, *rate.attributes.values(), str(rate.usd), rate.per)
        for prices in seed_book().layers[0].models
        for rate in prices.rates
    ]

    assert rows == [
        ("gpt-5-mini", "input_tokens", "0.15", 1_000_000),
        ("gpt-5-mini", "output_tokens", "0.60", 1_000_000),
        # Not the seed's: it names no tools, and their calls must not be free.
        ("gpt-5-mini", "web_searches", "10", 1000),
        ("gpt-5-mini", "file_searches", "2.50", 1000),
        ("gpt-4o-mini-tts", "characters", "12.00", 1_000_000),
        ("whisper-1", "audio_seconds", "0.006", 60),
        ("gpt-image-1", "images", "1024x1024", "0.04", 1),
        ("gpt-image-1", "images", "1024x1536", "0.08", 1),
        ("gpt-image-1", "images", "1536x1024", "0.08", 1),
        ("sora-2", "video_seconds", "480p", "0.02", 1),
        ("sora-2", "video_seconds", "720p", "0.04", 1),
        ("sora-2", "video_seconds", "1080p", "0.08", 1),
    ]


def test_the_book_on_the_reference_page_prices_what_it_says():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "price-book.md").read_text(encoding="utf-8")
    book = load_book(page.split("```toml\n")[1].split("```")[0])

    mini = rate(
        book,
        model="gpt-5-mini-2025-08-07",
        usage={"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350},
        attributes={},
        at_us=at(2026, 12, 1),
    )
    video = rate(book, model="sora-2", usage={"video_seconds": 8}, attributes={"size": "1280x720"}, at_us=NOON_US)

    assert mini.picousd == 800_000_000
    assert video.picousd == 800_000_000_000


def test_the_shipped_book_is_read_once():
    assert seed_book() is seed_book()
