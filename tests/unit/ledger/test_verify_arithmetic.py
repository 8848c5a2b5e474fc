"""The arithmetic that verification does again, against amounts worked out by hand."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from callfare.ledger.verify.arithmetic import Wrong, number, quantities, rated
from callfare.ledger.verify.marks import Marks


def _line(meter, quantity, rate, per, picousd, nanocredits, *, billed=True):
    return {
        "meter": meter,
        "quantity": quantity,
        "rate": rate,
        "per": per,
        "rate_meter": meter,
        "attributes": {},
        "picousd": picousd,
        "nanocredits": nanocredits,
        "billed": billed,
    }


@pytest.mark.parametrize(
    ("meter", "quantity", "rate", "per", "markup", "picousd", "nanocredits"),
    [
        # 1,234 × $0.15 / 1,000,000 = $0.0001851 = 0.01851 credits
        ("input_tokens", 1234, "0.15", 1_000_000, "1", 185_100_000, 18_510_000),
        # the same at a markup of 1.37: 0.0253587 credits; the cost stays
        ("input_tokens", "1234", "0.15", 1_000_000, "137/100", 185_100_000, 25_358_700),
        # 8.47 s × $0.006 / 60 = $0.000847
        ("audio_seconds", "8.47", "0.006", 60, "1", 847_000_000, 84_700_000),
        # a third of a second at $0.00003 a second is exactly $0.00001
        ("video_seconds", "1/3", "0.00003", 1, "1", 10_000_000, 1_000_000),
        # half a picodollar goes to the even one below, one and a half to the even one above
        ("calls", 1, "0.0000000000005", 1, "1", 0, 0),
        ("calls", 1, "1.5E-12", 1, "1", 2, 0),
        ("calls", 3, "5E-12", 1, "1", 15, 2),
        ("calls", 0, "0.15", 1, "1", 0, 0),
    ],
)
def test_a_line_comes_to_what_was_worked_out_by_hand(meter, quantity, rate, per, markup, picousd, nanocredits):
    lines = json.dumps([_line(meter, quantity, rate, per, picousd, nanocredits)])

    assert rated(lines, {meter: number(quantity)}, markup) == (picousd, nanocredits)


def test_lines_are_of_disjoint_leaves():
    lines = json.dumps([
        _line("input_tokens", 1000, "0.15", 1_000_000, 150_000_000, 15_000_000),
        _line("cached_input_tokens", 234, "0.15", 1_000_000, "35100000", "3510000"),
    ])  # fmt: skip

    assert rated(lines, {"input_tokens": 1234, "cached_input_tokens": 234}, "1") == (185_100_000, 18_510_000)


def test_a_line_that_is_not_billed_comes_to_nothing():
    lines = json.dumps([
        _line("input_tokens", 5, "0.15", 1_000_000, 0, 0, billed=False),
        _line("images", 1, None, 1, 0, 0, billed=False),
    ])  # fmt: skip

    assert rated(lines, {"input_tokens": 5, "images": 1}, "1") == (0, 0)


def test_no_lines_come_to_nothing():
    assert rated("[]", {"input_tokens": 5}, "1") == (0, 0)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "{}",
        "[1]",
        "[" * 5000,
        json.dumps([_line("input_tokens", 1234, "0.15", 1_000_000, 185_100_001, 18_510_000)]),
        json.dumps([_line("input_tokens", 1234, "0.15", 1_000_000, 185_100_000, 18_510_001)]),
        json.dumps([_line("input_tokens", 1235, "0.15", 1_000_000, 185_250_000, 18_525_000)]),
        json.dumps([_line("output_tokens", 1234, "0.15", 1_000_000, 185_100_000, 18_510_000)]),
        json.dumps([_line("input_tokens", 1234, "0.15", 0, 185_100_000, 18_510_000)]),
        json.dumps([_line("input_tokens", 1234, "0.15", "1/2", 185_100_000, 18_510_000)]),
        json.dumps([_line("input_tokens", 1234, "1E-999999999", 1, 0, 0)]),
        json.dumps([_line("input_tokens", "9" * 10_000, "0.15", 1, 0, 0)]),
    ],
)
def test_lines_that_do_not_come_to_what_they_say_are_wrong(lines):
    with pytest.raises(Wrong):
        rated(lines, {"input_tokens": 1234}, "1")


def test_a_rate_is_what_its_share_leaves_of_the_list_price():
    line = _line("input_tokens", 1_000_000, "2.55", 1_000_000, 2_550_000_000_000, 255_000_000_000)
    more = _line("output_tokens", 1_000_000, "3.3", 1_000_000, 3_300_000_000_000, 330_000_000_000)
    lines = [line | {"list_rate": "3", "adjustment": "-15%"}, more | {"list_rate": "3", "adjustment": "+10%"}]

    came = rated(json.dumps(lines), {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, "1")

    assert came == (5_850_000_000_000, 585_000_000_000)


@pytest.mark.parametrize(
    ("list_rate", "adjustment"),
    [
        ("3", "-14%"),
        ("4", "-15%"),
        (None, "-15%"),
        ("3", ""),
        ("3", "-15"),
        ("3", "%"),
        ("3", "much%"),
        ("1/0", "-15%"),
        ("3", "+-15%"),
    ],
)
def test_a_rate_that_its_share_does_not_leave_is_wrong(list_rate, adjustment):
    line = _line("input_tokens", 1_000_000, "2.55", 1_000_000, 2_550_000_000_000, 255_000_000_000)

    lines = json.dumps([line | {"list_rate": list_rate, "adjustment": adjustment}])

    with pytest.raises(Wrong, match=r"input_tokens|no number"):
        rated(lines, {"input_tokens": 1_000_000}, "1")


@pytest.mark.parametrize("markup", ["", "one", "1/0", "1E99999999", "inf"])
def test_a_markup_that_is_no_number_is_wrong(markup):
    with pytest.raises(Wrong):
        rated(json.dumps([_line("calls", 1, "0.01", 1, 0, 0)]), {"calls": 1}, markup)


def test_parts_above_their_whole_are_wrong():
    lines = json.dumps([_line("input_tokens", 1, "0.15", 1_000_000, 150_000, 15_000)])

    with pytest.raises(Wrong):
        rated(lines, {"input_tokens": 1, "cached_input_tokens": 2}, "1")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("1200", 1200), ("-5", -5), ("8.47", Fraction(847, 100)), ("847/100", Fraction(847, 100)), (7, 7)],
)
def test_a_stored_number_is_read_exactly(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", " 1", "1_000", "٣", "0x1", "nan", "1e5", "1/0", "9" * 400])
def test_what_is_no_stored_number_is_wrong(text):
    with pytest.raises(Wrong):
        number(text)


@pytest.mark.parametrize("text", ["", "[]", '{"input_tokens":5}', '{"input_tokens":"five"}', '{"a":{}}'])
def test_what_is_no_stored_usage_is_wrong(text):
    with pytest.raises(Wrong):
        quantities(text)


def test_marks_are_found_and_repeats_told():
    marks = Marks()
    for mark in (5, -5, 2**63 - 1, -(2**63), 5, 261):
        marks.add(mark)
    marks.close()

    assert [mark in marks for mark in (5, -5, 2**63 - 1, -(2**63), 261, 6, 0)] == [True] * 5 + [False] * 2
    assert marks.repeated() == {5}
    assert len(list(marks)) == 6
