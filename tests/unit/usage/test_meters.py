"""The tree of meters, and the page that documents it."""

from __future__ import annotations

from pathlib import Path

import pytest

from callfare.usage import ATTRIBUTES, METERS, Meter
from callfare.usage.meters import LINEAGE

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "meters.md"


def test_the_tree_is_the_one_that_was_agreed_on():
    parents = {name: meter.parent for name, meter in METERS.items()}

    assert parents == {
        "input_tokens": None,
        "cached_input_tokens": "input_tokens",
        "cache_write_input_tokens": "input_tokens",
        "cache_write_5m_input_tokens": "cache_write_input_tokens",
        "cache_write_30m_input_tokens": "cache_write_input_tokens",
        "cache_write_1h_input_tokens": "cache_write_input_tokens",
        "cache_write_12h_input_tokens": "cache_write_input_tokens",
        "input_audio_tokens": "input_tokens",
        "cached_input_audio_tokens": "input_audio_tokens",
        "input_image_tokens": "input_tokens",
        "cached_input_image_tokens": "input_image_tokens",
        "input_video_tokens": "input_tokens",
        "cached_input_video_tokens": "input_video_tokens",
        "connector_tokens": "input_tokens",
        "output_tokens": None,
        "reasoning_tokens": "output_tokens",
        "output_audio_tokens": "output_tokens",
        "output_image_tokens": "output_tokens",
        "output_video_tokens": "output_tokens",
        "characters": None,
        "audio_seconds": None,
        "images": None,
        "input_images": None,
        "pages": None,
        "annotated_pages": "pages",
        "video_seconds": None,
        "calls": None,
        "web_searches": "calls",
        "file_searches": "calls",
        "web_fetches": "calls",
        "code_executions": "calls",
        "search_units": "calls",
        "classifications": "calls",
        "billed_usd": None,
    }


def test_only_seconds_and_billed_dollars_may_be_counted_in_fractions():
    fractional = [name for name, meter in METERS.items() if not meter.is_whole]

    assert fractional == ["audio_seconds", "video_seconds", "billed_usd"]


def test_a_lineage_leads_from_a_meter_to_its_root():
    assert LINEAGE["cache_write_1h_input_tokens"] == (
        "cache_write_1h_input_tokens",
        "cache_write_input_tokens",
        "input_tokens",
    )


def test_the_meters_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        METERS["wishes"] = Meter(name="wishes", parent=None, unit="wish", description="")


def test_the_reference_page_has_each_meter_as_it_is():
    page = PAGE.read_text(encoding="utf-8").splitlines()

    rows = [
        f"| `{meter.name}` | {f'`{meter.parent}`' if meter.parent else ''} | {meter.unit} | {meter.description} |"
        for meter in METERS.values()
    ]
    assert [line for line in page if line.startswith("| `") and line.count("|") == 5] == rows


def test_the_reference_page_has_each_attribute_as_it_is():
    page = PAGE.read_text(encoding="utf-8").splitlines()

    rows = [f"| `{name}` | {description} |" for name, description in ATTRIBUTES.items()]
    assert [line for line in page if line.startswith("| `") and line.count("|") == 3] == rows
