"""How a key is written: its checksum finds every mistyped character, and no repr shows it."""

from __future__ import annotations

import re

import pytest

from callfare.auth.key_text import KeyText, new_key_text, parse_key

KEY = KeyText("test", "ab12CD34", "0123456789ABCDEFGHIJabcdefghij")


@pytest.mark.parametrize("mode", ["test", "live"])
def test_a_key_has_its_mode_a_public_id_a_secret_and_a_checksum(mode):
    written = new_key_text(mode).written

    assert re.fullmatch(rf"cf_{mode}_[0-9A-Za-z]{{8}}_[0-9A-Za-z]{{36}}", written)


def test_a_key_is_read_as_it_was_written():
    assert KEY.written == "cf_test_ab12CD34_0123456789ABCDEFGHIJabcdefghij" + KEY.written[-6:]
    assert parse_key(KEY.written) == KEY


def test_no_two_keys_are_alike():
    assert len({new_key_text("test").written for _ in range(500)}) == 500


def test_one_mistyped_character_anywhere_is_found():
    written = KEY.written
    mistyped = [
        written[:place] + ("x" if written[place] != "x" else "y") + written[place + 1 :]
        for place in range(len(written))
    ]

    assert [parse_key(text) for text in mistyped] == [None] * len(written)


def test_two_swapped_neighbours_are_found():
    written = KEY.written
    swapped = [
        written[:place] + written[place + 1] + written[place] + written[place + 2 :]
        for place in range(len(written) - 1)
        if written[place] != written[place + 1]
    ]

    assert {parse_key(text) for text in swapped} == {None}


@pytest.mark.parametrize(
    "text",
    ["", "cf_", "cf_test_", KEY.written + "\n", KEY.written[:-1], KEY.written + "0", " " + KEY.written,
     KEY.written.replace("test", "prod"), KEY.written.replace("cf_", "sk_"), "cf_test_ab12CD34_" + "é" * 36,
     KEY.written.replace("0123", "٠١٢٣")],
)  # fmt: skip
def test_what_is_no_key_is_none(text):
    assert parse_key(text) is None


def test_a_repr_does_not_show_the_secret():
    assert "0123456789" not in repr(KEY)
    assert "ab12CD34" in repr(KEY)
