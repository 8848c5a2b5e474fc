"""Cursors: what a list takes back is what it gave out, to the letter."""

from __future__ import annotations

import base64
import json

import pytest

from callfare.errors import InvalidInput
from callfare.pages import Cursors

LIST = Cursors("runs", "alice")
MARK = json.loads(base64.urlsafe_b64decode(LIST.text(1, "ab") + "=="))[2].encode()


def forged(content: bytes) -> str:
    """Return content in the dress of a cursor, with the mark of the list in place of MARK."""
    return base64.urlsafe_b64encode(content.replace(b"MARK", MARK)).decode().rstrip("=")


@pytest.mark.parametrize(("number", "name"), [(-1, ""), (0, "a"), (2**62, "z" * 255), (7, "\u00e4")])
def test_a_cursor_leads_back_to_where_it_was_given(number, name):
    assert LIST.read(LIST.text(number, name), (5, "start")) == (number, name)


def test_without_a_cursor_a_list_begins_at_its_start():
    assert LIST.read(None, (5, "start")) == (5, "start")


def test_what_these_tests_forge_would_be_taken_if_it_were_right():
    assert LIST.read(forged(b'[1, "a", "MARK"]'), (5, "start")) == (1, "a")


@pytest.mark.parametrize(
    "content",
    [
        b'[1, "a"]',
        b'[1, "a", "MARK", 2]',
        b'["1", "a", "MARK"]',
        b'[true, "a", "MARK"]',
        b'[1.0, "a", "MARK"]',
        b'[NaN, "a", "MARK"]',
        b'[99999999999999999999, "a", "MARK"]',
        b'[-2, "a", "MARK"]',
        b'[1, null, "MARK"]',
        b'[1, ["a"], "MARK"]',
        b'[1, "\\ud800", "MARK"]',
        b'[1, "\\u0000", "MARK"]',
        b'[1,  "a", "MARK"]',
        b'[1, "a", "0"]',
        b'[1, "a", null]',
    ],
    ids=str,
)
def test_a_cursor_that_no_page_gave_is_refused(content):
    with pytest.raises(InvalidInput, match="page of this list") as refused:
        LIST.read(forged(content), (5, "start"))

    assert refused.value.param == "cursor"


@pytest.mark.parametrize("other", [Cursors("runs", "bob"), Cursors("runs"), Cursors("transactions", "alice")])
def test_a_cursor_of_another_list_is_refused(other):
    with pytest.raises(InvalidInput):
        LIST.read(other.text(1, "a"), (5, "start"))
