"""The page of exported columns names each of them, in their order, and the words that may stand in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callfare.engine.exported import KINDS
from callfare.ledger.accounts import ACCOUNT_KINDS
from callfare.ledger.grants import SOURCES
from callfare.ledger.verify import postings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "export.md"
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]}


def rows_in(section: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))


def words_in(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_each_kind_has_its_section():
    assert list(SECTIONS) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_names_the_columns_in_their_order(kind):
    first, second, *others = [column.name for column in KINDS[kind].columns]

    assert (first, second) == ("user", "account_id")
    assert list(rows_in(SECTIONS[kind])) == others


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_names_the_key(kind):
    found = re.search(r"Key: (.+)\.", SECTIONS[kind])

    assert words_in(found[1]) == {name for name, _ in KINDS[kind].key}


@pytest.mark.parametrize(
    ("kind", "column", "words"),
    [
        ("grants", "source", SOURCES),
        ("transfers", "kind", postings._SHAPES),
        ("entries", "account", ACCOUNT_KINDS),
    ],
)
def test_the_words_of_a_column_are_those_of_the_ledger(kind, column, words):
    assert words_in(rows_in(SECTIONS[kind])[column]) == set(words)
