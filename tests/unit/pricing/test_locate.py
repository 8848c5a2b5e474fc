"""The line a table or key of TOML stands on, however it is written."""

from __future__ import annotations

import tomllib

import pytest

from callfare.pricing.locate import line_of

TEXT = """\
# book = "in a comment"
book = "project"   # [[model]] in a comment

notes = '''
[[model]]
name = "in a long text"
'''
more = \"\"\"
[[model]] with a \\\"\"\" and
rate = 1 \"\"\"\"
list = [
  "[[model]]",
  1, # ]
  [2],
]

  [[ model ]]
name = "first"
basis = [
  "calls",
]
"quoted key" = 1
dotted.key = 2
[[model.rate]]
usd = "1"
[[model.rate]]
usd = "2"
attributes = { size = "[[model]]" }
  # [[model]]

[[model]]
[model.derived."a.b".values]
'x' = "y"
[[model.rate]]
usd = "3"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("book",), 2),
        (("notes",), 4),
        (("more",), 8),
        (("list",), 11),
        (("model",), 17),
        (("model", 0), 17),
        (("model", 0, "name"), 18),
        (("model", 0, "basis"), 19),
        (("model", 0, "quoted key"), 22),
        (("model", 0, "dotted", "key"), 23),
        (("model", 0, "rate", 0), 24),
        (("model", 0, "rate", 0, "usd"), 25),
        (("model", 0, "rate", 1), 26),
        (("model", 0, "rate", 1, "usd"), 27),
        (("model", 0, "rate", 1, "attributes"), 28),
        (("model", 1), 31),
        (("model", 1, "derived"), 32),
        (("model", 1, "derived", "a.b", "values"), 32),
        (("model", 1, "derived", "a.b", "values", "x"), 33),
        (("model", 1, "rate", 0), 34),
        (("model", 1, "rate", 0, "usd"), 35),
    ],
    ids=str,
)
def test_what_is_written_is_found(path, line):
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("missing",), 1),
        ((), 1),
        (("model", 0, "missing"), 17),
        (("model", 0, "rate", 1, "attributes", "size"), 28),
        (("model", 9), 17),
    ],
    ids=str,
)
def test_what_is_not_found_is_placed_on_the_nearest_table_above(path, line):
    assert line_of(TEXT, path) == line


def test_the_text_of_this_test_is_toml():
    assert tomllib.loads(TEXT)["model"][1]["rate"] == [{"usd": "3"}]


@pytest.mark.parametrize("text", ["", "\n", "]]]", "[[", "= 1", "\x00", '"""', "a = [", "[[a]]\n[[a.]]"], ids=ascii)
def test_text_that_is_no_toml_does_not_fail(text):
    assert line_of(text, ("model", 0)) == 1
