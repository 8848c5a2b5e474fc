"""What quantities are taken, and in what words the others are refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callfare.errors import InvalidInput, InvalidQuantity, UnknownMeter
from callfare.usage import METERS, check_attributes, check_usage, leaves, parse_quantity, quantity_text


def _named(value):
    """Name a case by its type and its first characters; numbers may be too long to print."""
    if isinstance(value, int | Fraction) and max(abs(value.numerator), value.denominator) > 10**13:
        sign = "-" if value < 0 else ""
        return f"{type(value).__name__} {sign}{value.numerator.bit_length()} over {value.denominator.bit_length()} bits"
    return f"{type(value).__name__} {ascii(value)[:20]} {len(value) if isinstance(value, str) else ''}"


@pytest.mark.parametrize(
    ("given_quantity", "taken"),
    [
        (1200, 1200),
        (0, 0),
        (10**12, 10**12),
        ("1200", 1200),
        ("1200.0", 1200),
        (Decimal(1200), 1200),
        (Decimal("1.2E+3"), 1200),
        (Fraction(2400, 2), 1200),
    ],
    ids=_named,
)
def test_whole_numbers_of_tokens_are_taken(given_quantity, taken):
    usage = check_usage({"input_tokens": given_quantity})

    assert usage == {"input_tokens": taken}
    assert type(usage["input_tokens"]) is int


@pytest.mark.parametrize(
    ("given_quantity", "taken"),
    [
        (8.47, Fraction(847, 100)),
        (2.859999895095825, Fraction(2859999895095825, 10**15)),
        (0.1, Fraction(1, 10)),
        (1e-07, Fraction(1, 10**7)),
        (60.0, 60),
        ("8.47", Fraction(847, 100)),
        ("1/3", Fraction(1, 3)),
        (Decimal("8.47"), Fraction(847, 100)),
        (Fraction(1, 3), Fraction(1, 3)),
        (12, 12),
        ("8", 8),
    ],
    ids=_named,
)
def test_seconds_are_taken_exactly_as_the_provider_wrote_them(given_quantity, taken):
    usage = check_usage({"audio_seconds": given_quantity})

    assert usage == {"audio_seconds": taken}


@pytest.mark.parametrize("meter", list(METERS))
@pytest.mark.parametrize(
    "hostile",
    [
        -1,
        -(10**5000),
        10**12 + 1,
        10**5000,
        True,
        False,
        None,
        "",
        " 5",
        "5 ",
        "+5",
        "-5",
        "1e3",
        "1_000",
        "0x10",
        "nan",
        "inf",
        "NaN",
        "1/0",
        "1/-3",
        "--1",
        "\u0661\u0662",
        "\uff11",
        "5\x00",
        "\ud800",
        "9" * 14,
        "9" * 1_000_000,
        "0." + "1" * 31,
        float("nan"),
        float("inf"),
        float("-inf"),
        -0.5,
        5e-324,
        1.7e308,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal(-1),
        Decimal("1E+13"),
        Decimal("1E+999999"),
        Decimal("1E-999999"),
        Decimal("-1E+999999"),
        Fraction(-1, 3),
        Fraction(1, 10**5000),
        Fraction(10**5000, 3),
        1j,
        b"5",
        [5],
        (5,),
        {"input_tokens": 5},
        object(),
    ],
    ids=_named,
)
def test_what_is_no_quantity_is_refused(meter, hostile):
    with pytest.raises(InvalidQuantity) as refusal:
        check_usage({meter: hostile})

    assert refusal.value.code == "invalid_quantity"
    assert refusal.value.param == meter
    assert meter in refusal.value.message
    assert len(refusal.value.message) < 200
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize("meter", [name for name, meter in METERS.items() if meter.is_whole])
@pytest.mark.parametrize("fractional", [1.5, 5.0, "1.5", "1/3", Decimal("0.1"), Fraction(1, 3)], ids=_named)
def test_what_is_counted_in_whole_numbers_takes_no_fraction_and_no_float(meter, fractional):
    with pytest.raises(InvalidQuantity):
        check_usage({meter: fractional})


@pytest.mark.parametrize("hostile", [None, 5, "input_tokens", [("input_tokens", 5)], {"input_tokens"}, b"{}"])
def test_usage_that_is_no_mapping_is_refused(hostile):
    with pytest.raises(InvalidQuantity):
        check_usage(hostile)


def test_empty_usage_is_refused_with_the_next_step():
    with pytest.raises(InvalidQuantity, match="name at least one meter, such as input_tokens"):
        check_usage({})


def test_an_unknown_meter_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownMeter, match=r"there is no meter 'input_token'; did you mean input_tokens\?"):
        check_usage({"input_token": 5})


@pytest.mark.parametrize(
    "name",
    [
        5,
        None,
        True,
        ("input_tokens",),
        "",
        "INPUT_TOKENS ",
        "input_tokens\x00",
        "\ud800",
        "x" * 1_000_000,
        "\u03b9nput_tokens",
        b"images",
    ],
    ids=_named,
)
def test_a_name_that_is_no_meter_is_refused_in_short_printable_words(name):
    with pytest.raises(UnknownMeter) as refusal:
        check_usage({"output_tokens": 5, name: 5})

    assert len(refusal.value.message) < 200
    assert refusal.value.message.isprintable()


def test_a_thousand_unknown_meters_are_refused():
    with pytest.raises(UnknownMeter):
        check_usage({f"meter_{number}": 1 for number in range(1000)})


def test_zero_quantities_are_left_out():
    usage = check_usage({"input_tokens": 1200, "cached_input_tokens": 0, "output_tokens": 0})

    assert usage == {"input_tokens": 1200}


def test_a_zero_that_says_something_is_kept():
    usage = check_usage({"input_tokens": 1200, "cached_input_tokens": 0, "billed_usd": 0})

    assert usage == {"input_tokens": 1200, "billed_usd": 0}
    assert leaves(usage) == {"input_tokens": 1200, "billed_usd": 0}


def test_usage_of_nothing_but_zeros_is_kept():
    usage = check_usage({"input_tokens": 0, "output_tokens": "0.0"})

    assert usage == {"input_tokens": 0, "output_tokens": 0}


def test_the_order_in_which_usage_is_given_does_not_matter():
    usage = check_usage({"output_tokens": 350, "cached_input_tokens": 800, "input_tokens": 1200})

    assert list(usage) == ["input_tokens", "cached_input_tokens", "output_tokens"]


def test_a_subclass_of_float_is_read_by_its_value_and_not_by_how_it_prints():
    class Seconds(float):
        def __repr__(self):
            return "1000000"

    usage = check_usage({"audio_seconds": Seconds(8.47)})

    assert usage == {"audio_seconds": Fraction(847, 100)}


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (0, "0"),
        (1200, "1200"),
        (10**12, "1000000000000"),
        (Fraction(847, 100), "8.47"),
        (Fraction(1, 8), "0.125"),
        (Fraction(1, 5), "0.2"),
        (Fraction(1, 10**9), "0.000000001"),
        (Fraction(10**12 - 1, 10**12), "0.999999999999"),
        (Fraction(1, 3), "1/3"),
        (Fraction(22, 7), "22/7"),
        (Fraction(5, 6), "5/6"),
        (Fraction(3 * 10**12 - 1, 3), "2999999999999/3"),
        (Fraction(1, 2**30), "0.000000000931322574615478515625"),
        (Fraction(1, 2**31), "1/2147483648"),
        (Fraction(10**12 * 10**30 - 1, 10**30), "999999999999.999999999999999999999999999999"),
    ],
)
def test_a_quantity_and_its_text_are_each_other(quantity, text):
    assert quantity_text(quantity) == text
    assert parse_quantity(text) == quantity


@pytest.mark.parametrize("text", ["", "-1", "1e3", "nan", "1/0", " 1", "1000000000001", "1,5", "\ud800", "9" * 5000])
def test_text_that_is_no_quantity_is_refused(text):
    with pytest.raises(InvalidQuantity):
        parse_quantity(text)


@given(
    st.fractions(min_value=0, max_value=10**12, max_denominator=10**30)
    | st.integers(0, 2**90).map(lambda part: Fraction(part, 2**90))
)
def test_any_quantity_survives_being_written_and_read(quantity):
    read = parse_quantity(quantity_text(quantity))

    assert read == quantity
    assert check_usage({"audio_seconds": read}) == {"audio_seconds": quantity}


@given(st.floats(min_value=1e-12, max_value=1e12, allow_nan=False))
def test_any_float_of_seconds_is_taken_as_the_decimal_it_prints_as(seconds):
    usage = check_usage({"video_seconds": seconds})

    assert usage == {"video_seconds": Fraction(Decimal(repr(seconds)))}


def test_attributes_known_to_callfare_or_to_the_book_are_taken():
    attributes = check_attributes({"size": "1024x1536", "colour": "teal"}, also={"colour"})

    assert attributes == {"size": "1024x1536", "colour": "teal"}


def test_an_unknown_attribute_is_refused_with_the_nearest_name():
    with pytest.raises(InvalidInput, match=r"there is no attribute 'resolutoin'; did you mean resolution\?"):
        check_attributes({"resolutoin": "720p"})


@pytest.mark.parametrize(
    "value",
    ["", "x" * 129, "720p\x00", "\ud800", "two\nlines", 720, None, True, 1.5, ["720p"]],
    ids=_named,
)
def test_an_attribute_that_is_not_short_clean_text_is_refused(value):
    with pytest.raises(InvalidInput) as refusal:
        check_attributes({"resolution": value})

    assert refusal.value.param == "resolution"
    assert len(refusal.value.message) < 200
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize("name", [5, None, "", "x" * 1_000_000, "\ud800", "size\x00"], ids=_named)
def test_a_name_that_is_no_attribute_is_refused_in_short_printable_words(name):
    with pytest.raises(InvalidInput) as refusal:
        check_attributes({name: "720p"})

    assert len(refusal.value.message) < 200
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize("hostile", [None, 5, "size", [("size", "1024x1024")]])
def test_attributes_that_are_no_mapping_are_refused(hostile):
    with pytest.raises(InvalidInput):
        check_attributes(hostile)
