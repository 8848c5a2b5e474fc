"""How amounts, counts and tables look to people."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callfare.cli import show
from callfare.cli.show import Column, Table, numbers, wrapped
from callfare.money import Credits, Usd

PEOPLE = Table(
    columns=[Column("name"), numbers("credits"), Column("note")],
    rows=[["alice", "1,984.99", ""], ["b", "5.00", ""]],
    below={Column("id"): ["chg_1", "chg_2"]},
)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Credits("0"), "0"),
        (Credits("2000"), "2,000"),
        (Credits("15.00003"), "15.00003"),
        (Credits("-0.000000001"), "-0.000000001"),
        (Usd("0"), "$0.00"),
        (Usd("18"), "$18.00"),
        (Usd("0.000387"), "$0.000387"),
        (Usd("-1234567.5"), "-$1,234,567.50"),
    ],
)
def test_an_exact_amount_keeps_every_digit(amount, text):
    assert show.exact(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Credits("0"), "0.00"),
        (Credits("0.0000384"), "0.000038"),
        (Credits("0.000000001"), "0.000000001"),
        (Credits("0.05"), "0.05"),
        (Credits("0.0555"), "0.056"),
        (Credits("0.999"), "1.00"),
        (Credits("12.345"), "12.34"),
        (Credits("12.355"), "12.36"),
        (Credits("-0.0042"), "-0.0042"),
        (Usd("0.000387"), "$0.00039"),
        (Usd("1234.5"), "$1,234.50"),
    ],
)
def test_a_short_amount_has_two_decimals_or_two_digits_that_tell(amount, text):
    assert show.short(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Credits("0"), "0.00"),
        (Credits("0.0000384"), "<0.01"),
        (Credits("0.019999999"), "0.01"),
        (Credits("1984.999999999"), "1,984.99"),
        (Credits("-0.001"), "-0.01"),
        (Usd("0.000000000001"), "<$0.01"),
        (Usd("19.849999"), "$19.84"),
    ],
)
def test_a_balance_is_cut_down_and_never_up(amount, text):
    assert show.floored(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(Credits("5"), "+5"), (Credits("-0.25"), "-0.25"), (Credits(0), ""), (Usd("1"), "+$1.00")]
)
def test_a_change_has_its_sign(amount, text):
    assert show.change(amount) == text


@given(st.integers(-(2**63) + 1, 2**63 - 1).filter(bool))
def test_what_is_not_zero_never_reads_as_zero(nanocredits):
    amount = Credits.of_units(nanocredits)

    for text in (show.exact(amount), show.short(amount), show.floored(amount), show.short(amount.usd)):
        assert any(digit in text for digit in "123456789"), (amount, text)


def test_usage_reads_as_a_line_in_the_order_of_the_meters():
    used = {"audio_seconds": Fraction("8.47"), "output_tokens": 345, "input_tokens": 1200}

    assert show.units(used) == "1,200 input_tokens, 345 output_tokens, 8.47 audio_seconds"


def test_units_that_are_part_of_others_are_told_as_parts():
    images = {"output_tokens": 3168, "output_image_tokens": 3168}
    texts = {"output_tokens": 345, "cached_input_tokens": 800, "input_tokens": 1200}

    assert show.units(images) == "3,168 output_tokens, of which 3,168 output_image_tokens"
    assert show.units(texts) == "1,200 input_tokens, of which 800 cached_input_tokens; 345 output_tokens"


def test_parts_of_parts_are_told_in_parentheses():
    used = {
        "input_tokens": 900,
        "cached_input_tokens": 500,
        "input_audio_tokens": 300,
        "cached_input_audio_tokens": 200,
        "input_image_tokens": 10,
        "images": 1,
    }

    assert show.units(used) == (
        "900 input_tokens, of which 500 cached_input_tokens, 300 input_audio_tokens (of which 200 "
        "cached_input_audio_tokens) and 10 input_image_tokens; 1 images"
    )


def test_a_part_without_its_whole_stands_for_itself():
    assert show.units({"output_image_tokens": 5, "images": 1}) == "5 output_image_tokens, 1 images"


def test_parts_that_exceed_their_whole_stand_for_themselves():
    assert show.units({"output_tokens": 5, "output_image_tokens": 9}) == "5 output_tokens, 9 output_image_tokens"


@pytest.mark.parametrize(
    ("amount", "calls", "unpriced", "cell", "beside"),
    [
        (Credits(0), 2, 2, "unpriced", ""),
        (Credits(3), 5, 2, "3.00", "+ 2 unpriced"),
        (Credits(3), 5, 0, "3.00", ""),
        (Credits(0), 1, 0, "0.00", ""),
        (Credits(0), 0, 0, "0.00", ""),
        (Credits(3), 1, 1, "3.00", ""),
    ],
)
def test_an_amount_never_counts_unpriced_calls_as_free(amount, calls, unpriced, cell, beside):
    assert show.priced(amount, calls, unpriced) == cell
    assert show.besides(calls, unpriced) == beside


def test_counts_have_their_nouns():
    assert [show.counted(1, "call"), show.counted(0, "call"), show.counted(12000, "entry", "entries")] == [
        "1 call",
        "0 calls",
        "12,000 entries",
    ]


def test_a_moment_is_told_to_the_second():
    assert show.moment(datetime(2026, 3, 2, 12, 0, 5, 999999, tzinfo=UTC)) == "2026-03-02 12:00:05"
    assert show.moment(None) == ""


def test_a_bar_is_as_long_as_its_part_and_shows_whatever_is_above_zero():
    assert show.bar(50, 100, 8) == "████"
    assert show.bar(7, 16, 8) == "███▌"
    assert show.bar(1, 10**30, 8) == "▏"
    assert show.bar(0, 100, 8) == ""
    assert show.bar(5, 0, 8) == ""
    assert show.bar(50, 100, 8, has_blocks=False) == "####"
    assert show.bar(1, 10**30, 8, has_blocks=False) == "#"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 日本, 👍", "plain, größer, 日本, 👍"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("a\nb\tc", r"a\nb\tc"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_what_does_not_print_stands_as_its_escape(text, shown):
    assert show.clean(text) == shown


def test_in_a_pipe_a_table_is_one_line_a_row_without_empty_cells():
    assert list(show.plain_lines(PEOPLE)) == [
        "name    credits  note  id",
        "alice  1,984.99  -     chg_1",
        "b          5.00  -     chg_2",
    ]


def test_on_a_terminal_a_table_is_ruled_and_leaves_empty_columns_out():
    assert list(show.screen_lines(PEOPLE, 80)) == [
        ("head", "name    credits"),
        ("rule", "───────────────"),
        ("row", "alice  1,984.99"),
        ("below", "  chg_1"),
        ("row", "b          5.00"),
        ("below", "  chg_2"),
    ]


def test_on_a_narrow_terminal_the_flexible_column_is_wrapped():
    table = Table(columns=[Column("model"), wrapped("units")], rows=[["m" * 20, "one two three four five six seven"]])

    rows = [line for kind, line in show.screen_lines(table, 44) if kind == "row"]

    assert rows == [f"{'m' * 20}  one two three four", f"{' ' * 20}  five six seven"]


def test_a_number_and_its_unit_stay_on_one_line():
    assert show.fold("3,168 output_tokens, of which 3,168 output_image_tokens", 27) == [
        "3,168 output_tokens, of",
        "which",
        "3,168 output_image_tokens",
    ]


def test_a_flexible_column_that_would_break_its_units_goes_below():
    table = Table(
        columns=[Column("model"), wrapped("units")],
        rows=[["m" * 20, "3,168 output_tokens, of which 3,168 output_image_tokens"]],
    )

    assert [line for kind, line in show.screen_lines(table, 44) if kind != "rule"] == [
        "model",
        "m" * 20,
        "  3,168 output_tokens, of which",
        "  3,168 output_image_tokens",
    ]


def test_columns_that_do_not_fit_go_below_in_their_order_with_their_titles():
    table = Table(
        columns=[Column("opened"), Column("run", leaves=1), numbers("cost"), numbers("estimate", leaves=2)],
        rows=[["2026-03-02", "run_1", "$0.32", "100–500"], ["2026-03-03", "run_2", "$1.00", ""]],
    )

    assert [line for _, line in show.screen_lines(table, 30)] == [
        "opened       cost  estimate",
        "───────────────────────────",
        "2026-03-02  $0.32   100–500",
        "  run run_1",
        "2026-03-03  $1.00",
        "  run run_2",
    ]
    assert [line for _, line in show.screen_lines(table, 24)][2:4] == ["2026-03-02  $0.32", "  run run_1"]


def test_wide_characters_take_two_cells():
    table = Table(columns=[Column("name"), Column("next")], rows=[["日本", "x"], ["abcd", "x"]])

    rows = [
        line for kind, line in show.screen_lines(table, 80, lambda text: len(text.encode("euc-jp"))) if kind == "row"
    ]

    assert rows == ["日本  x", "abcd  x"]
