"""Every request that Fireworks' SDK can send stands in its table, as those of others in tests/sdk/test_requests.py."""

from __future__ import annotations

import re
from pathlib import Path

from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.providers import SIBLINGS
from tests.sdk import requests_of
from tests.sdk.requests_of import table_in

TABLE = table_in((Path(__file__).parents[1] / "requests" / "fireworks.txt").read_text(encoding="utf-8"))
DIALECT = OpenAIDialect(maker="fireworks", under=SIBLINGS["fireworks"].under)


def is_metered(row):
    verb, _, path = row.partition(" ")
    return verb == "POST" and DIALECT.operation_of(re.sub(r"\{[^}]+\}", "x1", path)) is not None


def test_every_request_stands_in_the_table():
    assert requests_of.stainless(requests_of.folder_of("fireworks")) - set(TABLE.kinds) == set()


def test_what_the_table_says_is_metered_is_what_the_wrapper_meters():
    assert {row for row in TABLE.kinds if is_metered(row)} == TABLE.of("metered")
