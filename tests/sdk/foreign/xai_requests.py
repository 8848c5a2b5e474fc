"""Every procedure that xAI's SDK can call stands in its table, as those of other SDKs in tests/sdk/test_requests.py."""

from __future__ import annotations

from pathlib import Path

from callfare.capture import xai_batches, xai_dialect
from tests.sdk import requests_of
from tests.sdk.requests_of import table_in

TABLE = table_in((Path(__file__).parents[1] / "requests" / "xai.txt").read_text(encoding="utf-8"))
METERED = set(xai_dialect.OPERATIONS)
HEARD = {*xai_dialect.ASKING, *xai_batches.MAKING, *xai_batches.TELLING, *xai_batches.BRINGING}


def named(rows):
    return {row.rpartition("/")[2] for row in rows}


def test_every_procedure_stands_in_the_table():
    assert requests_of.xai(requests_of.folder_of("xai_sdk")) - set(TABLE.kinds) == set()


def test_what_the_table_says_is_metered_is_what_the_wrapper_meters():
    assert named(TABLE.of("metered")) == METERED & named(TABLE.kinds)
    assert named(TABLE.of("heard")) == HEARD & named(TABLE.kinds)
    assert named(TABLE.kinds) >= METERED | HEARD
