"""What a name without a price is answered with: names like it that have one, or who sells it; nothing otherwise."""

from __future__ import annotations

import difflib

import pytest

from callfare.engine.near import unpriced
from callfare.pricing.book import PriceBook
from callfare.pricing.load import load_layer
from callfare.pricing.shipped import shipped_book

NOW_US = 1_795_000_000_000_000  # 2026-11-18

MODEL = """
[[model]]
provider = "{provider}"
name = "{name}"
basis = ["input_tokens"]
source = "our contract"
checked = 2026-11-20

[[model.rate]]
meter = "input_tokens"
usd = "3"
per = 1_000
{more}
"""


def book(*models: tuple[str, str, str]) -> PriceBook:
    """Return a book of one layer: provider, name, and what its rate says besides."""
    rows = [MODEL.format(provider=provider, name=name, more=more) for provider, name, more in models]
    return PriceBook([load_layer('book = "ours"' + "".join(rows), name="ours")])


def near(prices: PriceBook, model: str, provider: str | None = None) -> tuple[str, ...]:
    """Return the names that the refusal of a model tells."""
    return unpriced(prices, model, provider=provider, at_us=NOW_US, reason="no rate").near


@pytest.fixture(scope="module")
def shipped() -> PriceBook:
    return shipped_book()


@pytest.mark.parametrize(
    ("asked", "provider", "meant"),
    [
        ("gpt-5-minni", "openai", "gpt-5-mini"),
        ("GPT-5-MINNI", "OpenAI", "gpt-5-mini"),
        ("claude-sonet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("claude-sonet-4-5", None, "claude-sonnet-4-5"),
        ("gemini-2.5-flahs", "google", "gemini-2.5-flash"),
        ("gpt-5-minni", "azure", "gpt-5-mini"),
        ("sora2", None, "sora-2"),
    ],
)
def test_the_name_that_was_meant_is_told_first(shipped, asked, provider, meant):
    assert near(shipped, asked, provider)[0] == meant


@pytest.mark.parametrize("provider", ["openai", "anthropic", "azure", "groq", "ollama", "nonesuch", None])
@pytest.mark.parametrize("asked", ["gpt-5-minni", "claude-sonet-4-5", "llama-3.3-70b-versatil", "sora2", "lama3"])
def test_each_name_that_is_told_has_a_price_where_the_other_had_none(shipped, asked, provider):
    told = near(shipped, asked, provider)

    assert len(told) <= 3
    if provider is not None:
        assert all(shipped.entry(name, provider=provider, at_us=NOW_US) for name in told)


def test_a_name_whose_rates_have_ended_is_not_told():
    prices = book(("openai", "bird-1", "until = 2026-01-01"), ("openai", "bird-2", ""))

    assert near(prices, "bird-3", "openai") == ("bird-2",)


def test_no_name_of_another_provider_is_told_to_who_named_one():
    prices = book(("openai", "bird-1", ""), ("anthropic", "bird-22", ""))

    assert near(prices, "bird-2", "openai") == ("bird-1",)
    assert near(prices, "bird-2") == ("bird-22", "bird-1")
    assert near(prices, "bird-2", "nonesuch") == ()


def test_names_of_others_take_no_place_from_those_of_the_provider():
    others = (("anthropic", f"bird-2{letter}", "") for letter in "abcdefghij")

    assert near(book(("openai", "bird-1", ""), *others), "bird-2", "openai") == ("bird-1",)


def test_the_star_that_stands_for_every_model_is_no_name():
    refusal = unpriced(book(("ours", "*", "")), "*", provider="openai", at_us=NOW_US, reason="no rate")

    assert refusal.message == "* has no price: no rate; add a rate for it to a price book"


def test_a_model_that_somebody_else_sells_is_answered_with_who_does():
    prices = book(*((seller, "bird", "") for seller in ("a", "b", "c", "d", "e", "f")))

    refusal = unpriced(prices, "bird", provider="nonesuch", at_us=NOW_US, reason="no rate")

    assert refusal.message.endswith("; add a rate for it to a price book; it is sold by a, b, c, d, e and others")
    assert (refusal.param, refusal.near) == ("provider", ())


def test_a_model_that_several_sell_is_answered_with_the_wish_for_one():
    prices = book(("a", "bird", ""), ("b", "bird", ""))

    refusal = unpriced(prices, "bird", provider=None, at_us=NOW_US, reason="two sell it")

    assert refusal.message == "bird has no price: two sell it; name one as provider"
    assert refusal.param == "provider"


def test_a_model_that_is_named_and_lacks_a_rate_is_answered_with_no_other(shipped):
    refusal = unpriced(shipped, "gpt-5-mini", provider="openai", at_us=NOW_US, reason="no rate for images")

    assert refusal.near == ()
    assert refusal.message == "gpt-5-mini has no price: no rate for images; add a rate for it to a price book"


@pytest.mark.parametrize("name", ["g" * 129, "gpt-5-mini" * 1_000_000])
def test_a_name_too_long_for_any_model_is_compared_with_none(shipped, name, monkeypatch):
    monkeypatch.setattr(difflib, "get_close_matches", lambda *_, **__: pytest.fail("compared"))

    assert near(shipped, name, "openai") == ()


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "\u202e", "🦙" * 128, "[", "(" * 100, "-" * 128])
def test_a_name_of_any_characters_is_answered(shipped, name):
    assert near(shipped, name, "openai") == near(shipped, name, None) == ()
