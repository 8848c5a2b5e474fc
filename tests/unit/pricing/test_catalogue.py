"""What the shipped catalogue says a call costs, where price libraries answer with nothing or with another price.

Each figure was worked out by hand from the provider's page; the arithmetic stands beside it.
"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

from callfare.errors import PriceBookInvalid
from callfare.pricing import PriceBook, rate_finished
from callfare.pricing.edition import Catalogue, shipped_catalogue
from callfare.pricing.shipped import shipped_layers
from tests.unit.pricing.books import NOON_US, at

BOOK = PriceBook(shipped_layers(has_seed=False, catalogue=None))

GPT_5_MINI = {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
CLAUDE = {
    "input_tokens": 3503,
    "cached_input_tokens": 2000,
    "cache_write_input_tokens": 1500,
    "cache_write_5m_input_tokens": 1000,
    "cache_write_1h_input_tokens": 500,
    "output_tokens": 100,
}


def rated(model, usage, attributes=None, at_us=NOON_US, provider=None):
    return rate_finished(BOOK, model=model, usage=usage, attributes=attributes or {}, at_us=at_us, provider=provider)


def cost_of(*given, **more):
    rating = rated(*given, **more)
    assert (rating.status, rating.reason) == ("priced", "")
    return Fraction(rating.picousd, 10**12)


@pytest.mark.parametrize(
    ("model", "usage", "attributes", "usd"),
    [
        # 400 × 0.25 + 800 × 0.025 + 350 × 2
        ("gpt-5-mini", GPT_5_MINI, {}, "0.00082"),
        ("gpt-5-mini", GPT_5_MINI, {"service_tier": "default"}, "0.00082"),
        # half of it, and 400 × 0.45 + 800 × 0.045 + 350 × 3.6
        ("gpt-5-mini", GPT_5_MINI, {"service_tier": "flex"}, "0.00041"),
        ("gpt-5-mini", GPT_5_MINI, {"service_tier": "priority"}, "0.001476"),
        ("gpt-5-mini", GPT_5_MINI, {"processing": "batch"}, "0.00041"),
        ("gpt-5-mini", GPT_5_MINI, {"service_tier": "batch"}, "0.00041"),
        # a line of a batch's file names the tier it would otherwise have had
        ("gpt-5-mini", GPT_5_MINI, {"processing": "batch", "service_tier": "default"}, "0.00041"),
        # 0.00082 + 3 × 0.01
        ("gpt-5-mini", GPT_5_MINI | {"web_searches": 3}, {}, "0.03082"),
        ("tts-1", {"characters": 1000}, {}, "0.015"),
        ("gpt-4o-mini-tts", {"characters": 1000}, {}, "0.015"),
        # 250 × 0.60 + 1250 × 12; the characters beside them are information
        (
            "gpt-4o-mini-tts",
            {"input_tokens": 250, "output_tokens": 1250, "output_audio_tokens": 1250, "characters": 1000},
            {},
            "0.01515",
        ),
        ("whisper-1", {"audio_seconds": 90}, {}, "0.009"),
        # 14 × 2.5 + 1000 × 6 + 45 × 10
        (
            "gpt-4o-transcribe",
            {"input_tokens": 1014, "input_audio_tokens": 1000, "output_tokens": 45, "audio_seconds": 100},
            {},
            "0.006485",
        ),
        ("gpt-4o-transcribe", {"audio_seconds": 90}, {}, "0.009"),
        # 3 × 3 + 2000 × 0.30 + 1000 × 3.75 + 500 × 6 + 100 × 15
        ("claude-sonnet-4-5", CLAUDE, {}, "0.008859"),
        ("claude-sonnet-4-5", CLAUDE, {"service_tier": "standard"}, "0.008859"),
        ("claude-sonnet-4-5", CLAUDE, {"service_tier": "batch"}, "0.0044295"),
        ("claude-sonnet-4-5", CLAUDE | {"web_searches": 2}, {}, "0.028859"),
        # pages it fetches cost their tokens and nothing more
        ("claude-sonnet-4-5", CLAUDE | {"web_fetches": 2}, {"service_tier": "default"}, "0.008859"),
        ("claude-sonnet-4-5", CLAUDE | {"web_fetches": 2}, {"processing": "batch"}, "0.0044295"),
        ("claude-opus-4-6", {"input_tokens": 100_000}, {"speed": "standard"}, "0.5"),
        # 250,000 × 2.50 + 3,000 × 15, as it reads more than 200,000
        ("gemini-2.5-pro", {"input_tokens": 250_000, "output_tokens": 3000}, {}, "0.67"),
        ("gemini-2.5-pro", {"input_tokens": 200_001, "output_tokens": 0}, {}, "0.5000025"),
        # 200,000 × 1.25 + 1,000 × 10
        ("gemini-2.5-pro", {"input_tokens": 200_000, "output_tokens": 1000}, {}, "0.26"),
        # 50 × 5 + 6,240 × 40
        (
            "gpt-image-1-mini",
            {"input_tokens": 50, "output_tokens": 6240, "output_image_tokens": 6240, "images": 1},
            {"size": "1024x1536", "quality": "high"},
            "0.05002",
        ),
        ("gpt-image-1-mini", {"images": 2}, {"size": "1024x1536", "quality": "high"}, "0.104"),
        # 900 × 40 + 200 × 80 and 100 × 2.5 + 50 × 10
        (
            "gpt-4o-audio-preview-2025-06-03",
            {"input_tokens": 1000, "input_audio_tokens": 900, "output_tokens": 250, "output_audio_tokens": 200},
            {},
            "0.05275",
        ),
        # OpenRouter says what it charged
        ("openai/gpt-5-mini", GPT_5_MINI | {"billed_usd": Fraction("0.000777")}, {}, "0.000777"),
    ],
)
def test_a_call_costs_what_its_provider_charges(model, usage, attributes, usd):
    provider = "openrouter" if "/" in model else None

    assert cost_of(model, usage, attributes, provider=provider) == Fraction(usd)


@pytest.mark.parametrize(
    ("model", "usage", "attributes", "day", "usd"),
    [
        ("gpt-image-1", {"input_tokens": 50, "output_tokens": 6240}, {}, at(2026, 10, 1), "0.24985"),
        ("gpt-image-1", {"images": 1}, {"size": "1024x1536", "quality": "high"}, at(2026, 10, 1), "0.25"),
        ("sora-2", {"video_seconds": 8}, {"size": "720x1280"}, at(2026, 9, 24), "0.80"),
        ("o3", {"input_tokens": 1_000_000}, {}, at(2025, 6, 1), "10"),
        ("o3", {"input_tokens": 1_000_000}, {}, at(2026, 11, 22), "2"),
        # By the hour: 0.15 a million at night in China, 0.30 from 9 to 12 there.
        ("deepseek-v4-flash", {"input_tokens": 1_000_000}, {}, at(2026, 11, 22, 0, 59, 59), "0.15"),
        ("deepseek-v4-flash", {"input_tokens": 1_000_000}, {}, at(2026, 11, 22, 1), "0.3"),
        ("deepseek-v4-flash", {"input_tokens": 1_000_000}, {}, at(2026, 11, 22, 4), "0.15"),
        ("deepseek-v4-flash", {"input_tokens": 1_000_000}, {}, at(2026, 9, 1), "0.22"),
    ],
)
def test_a_call_costs_what_was_charged_at_its_time(model, usage, attributes, day, usd):
    assert cost_of(model, usage, attributes, day) == Fraction(usd)


@pytest.mark.parametrize(
    ("model", "usage", "attributes", "reason"),
    [
        (
            "gpt-5-mini",
            GPT_5_MINI,
            {"service_tier": "scale"},
            "gpt-5-mini has no rate for processing of service_tier scale, only for batch, fast, flex, priority",
        ),
        ("gpt-4o-2024-05-13", {"input_tokens": 1}, {"processing": "hurried"}, "has no rate for processing hurried"),
        ("whisper-1", {"audio_seconds": 9}, {"service_tier": "flex"}, "has no rate for processing flex"),
        ("text-embedding-3-small", {"input_tokens": 9, "output_tokens": 1}, {}, "has no rate for output_tokens"),
        ("gpt-5-mini", {"input_tokens": 9, "code_executions": 1}, {}, "has no rate for code_executions"),
        ("gpt-4o", {"characters": 9}, {}, "is billed by input_tokens, output_tokens and calls, and none was"),
        ("gpt-image-1-mini", {"images": 1}, {"size": "512x512", "quality": "low"}, "has no rate for size 512x512"),
        ("gpt-image-1-mini", {"images": 1}, {"size": "1024x1024"}, "depends on quality"),
        ("sora-2", {"video_seconds": 8}, {"size": "720x1280"}, "media has no rate for sora-2 in force on 2026-11-22"),
        # served in one country it costs more, how much is known of the United States and of later models only
        ("claude-opus-4-5", {"input_tokens": 1}, {"region": "us"}, "claude-opus-4-5 has no rate for region us"),
        ("claude-sonnet-5", {"input_tokens": 1}, {"region": "eu"}, "claude-sonnet-5 has no rate for region eu"),
        ("claude-sonnet-4-5", {"input_tokens": 1}, {"speed": "fast"}, "claude-sonnet-4-5 has no rate for speed fast"),
        ("claude-sonnet-4-5", {"input_tokens": 1}, {"service_tier": "priority"}, "has no rate for processing priority"),
        ("gpt-unheard-of", {"input_tokens": 1}, {}, "no price book names gpt-unheard-of"),
        ("mistral-ocr-2503", {"input_tokens": 1}, {}, "catalogue has no rate for input_tokens of mistral-ocr-2503"),
        ("sonar-pro", {"input_tokens": 9, "output_tokens": 1}, {}, "is billed by billed_usd, and none was"),
        ("gemma-3", {"input_tokens": 1}, {}, "of google: genai-prices has no price for it"),
    ],
)
def test_what_has_no_rate_is_unpriced_and_says_why(model, usage, attributes, reason):
    rating = rated(model, usage, attributes)

    assert (rating.status, rating.picousd, rating.nanocredits) == ("unpriced", 0, 0)
    assert reason in rating.reason


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        (None, "gpt-4o", ("openai", "gpt-4o")),
        (None, "claude-sonnet-4-5-20250929", ("anthropic", "claude-sonnet-4-5")),
        (None, "GEMINI-2.5-pro", ("google", "gemini-2.5-pro")),
        ("Gemini", "gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("gcp.vertex_ai", "gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("azure", "gpt-4o-mini", ("azure", "gpt-4o-mini")),
        ("openai", "gpt-5.2-20251211", ("openai", "gpt-5.2")),
        ("openai", "gpt-4o-20240513", ("openai", "gpt-4o-2024-05-13")),
        ("openrouter", "somebody/quite-new", ("openrouter", "*")),
    ],
)
def test_a_model_is_found_by_the_names_its_provider_and_others_give_it(provider, model, entry):
    found = BOOK.entry(model, provider=provider, at_us=NOON_US)

    assert (found.provider, found.model) == entry


def test_a_model_that_several_sell_needs_its_provider():
    assert BOOK.entry("zai-org/glm-5.2", at_us=NOON_US) is None
    assert "no provider was named" in BOOK.absence("zai-org/glm-5.2", at_us=NOON_US)


def test_somebody_who_sells_anothers_models_does_so_at_its_ordinary_rates_only():
    usage = {"input_tokens": 1_000_000}

    assert cost_of("gpt-5-mini", usage, provider="azure") == Fraction("0.25")
    assert rated("gpt-5-mini", usage, {"service_tier": "priority"}, provider="azure").status == "unpriced"


def test_opening_the_catalogue_reads_no_price():
    catalogue = Catalogue(shipped_catalogue()._file)

    assert catalogue.edition == shipped_catalogue().edition
    assert "_rows" not in vars(catalogue)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"input_tokens","0.25"', b'"input_tokens","0.24"'), (b'"priority":"priority"', b'"priority":"standard"')],
    ids=["a price", "what a tier is"],
)
def test_a_catalogue_that_is_not_what_its_edition_was_named_after_is_refused(tmp_path, old, new):
    file = tmp_path / "catalogue"
    text = shipped_catalogue()._file.read_bytes()
    assert old in text
    file.write_bytes(text.replace(old, new))
    book = PriceBook([Catalogue(file)])

    with pytest.raises(PriceBookInvalid, match="is not what its edition catalogue"):
        book.entry("gpt-5-mini", at_us=NOON_US)


@pytest.mark.parametrize("text", [b"", b"{}\n", b"\xff\xfe\n", b'{"edition": 1}\n', b"[" * 100_000], ids=ascii)
def test_a_file_that_is_no_catalogue_is_refused_when_it_is_opened(tmp_path, text):
    file = tmp_path / "catalogue"
    file.write_bytes(text)

    with pytest.raises(PriceBookInvalid, match="is not a catalogue"):
        Catalogue(file)


def test_a_catalogue_that_is_not_there_is_refused_when_it_is_opened(tmp_path):
    with pytest.raises(PriceBookInvalid, match="cannot be read: No such file"):
        Catalogue(tmp_path / "none")


def test_neither_opening_a_ledger_nor_pricing_a_call_imports_genai_prices():
    script = (
        "import sys; from callfare import Callfare; fare = Callfare('memory://'); "
        "print(fare.price('gpt-4o', {'input_tokens': 1_000_000}).cost, {'genai_prices', 'pydantic'} & set(sys.modules))"
    )

    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert said.stdout == "2.5 set()\n"
