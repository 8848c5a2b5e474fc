"""Tiers and endpoints that genai-prices lacks: what Amazon, Google and Anthropic take for them, worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from callfare.pricing import PriceBook, rate_finished
from callfare.pricing.edition import shipped_catalogue
from callfare.pricing.shares import all_shares
from callfare.usage.quantities import quantity_text
from tests.unit.pricing.books import NOON_US, at

BOOK = PriceBook([shipped_catalogue()])
MTOK = 1_000_000
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def found(model, provider, usage, at_us=NOON_US, **attributes):
    return rate_finished(BOOK, model=model, provider=provider, usage=usage, attributes=attributes, at_us=at_us)


def usd(model, provider, usage, at_us=NOON_US, **attributes):
    rating = found(model, provider, usage, at_us, **attributes)
    assert rating.status == "priced", rating.reason
    return Fraction(rating.picousd, 10**12)


def in_and_out(model, provider, **attributes):
    """Return what a million tokens of input cost, and of output."""
    meters = ("input_tokens", "output_tokens")
    return tuple(quantity_text(usd(model, provider, {meter: MTOK}, **attributes)) for meter in meters)


@pytest.mark.parametrize(
    ("model", "ordinary", "flex", "priority"),
    [
        # $0.15 and $0.60; half of it; three quarters more. The AWS price list of 2026-07-27 says the same of Qwen3.
        ("openai.gpt-oss-120b-1:0", ("0.15", "0.6"), ("0.075", "0.3"), ("0.2625", "1.05")),
        ("qwen.qwen3-32b-v1:0", ("0.15", "0.6"), ("0.075", "0.3"), ("0.2625", "1.05")),
        ("openai.gpt-oss-20b-1:0", ("0.07", "0.3"), ("0.035", "0.15"), ("0.1225", "0.525")),
        ("amazon.nova-pro-v1:0", ("0.8", "3.2"), ("0.4", "1.6"), ("1.4", "5.6")),
        ("us.amazon.nova-2-lite-v1:0", ("0.33", "2.75"), ("0.165", "1.375"), ("0.5775", "4.8125")),
    ],
)
def test_a_tier_of_bedrock_costs_what_amazon_takes_for_it(model, ordinary, flex, priority):
    assert in_and_out(model, "aws") == ordinary
    assert in_and_out(model, "aws", service_tier="default") == ordinary
    assert in_and_out(model, "aws", service_tier="flex") == flex
    assert in_and_out(model, "aws", service_tier="priority") == priority


def test_what_is_read_from_the_cache_has_its_share_where_it_is_listed():
    used = {"input_tokens": MTOK, "cached_input_tokens": MTOK}

    assert usd("amazon.nova-pro-v1:0", "aws", used) == Fraction("0.2")
    assert usd("amazon.nova-pro-v1:0", "aws", used, service_tier="flex") == Fraction("0.1")
    assert usd("amazon.nova-pro-v1:0", "aws", used, service_tier="priority") == Fraction("0.35")


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        # Amazon has no such tier for it, lists a rounded figure, or none that was found.
        (SONNET, "flex"),
        (SONNET, "priority"),
        ("amazon.nova-premier-v1:0", "flex"),
        ("global.amazon.nova-2-lite-v1:0", "flex"),
        ("google.gemma-3-12b-it", "flex"),
        ("mistral.ministral-3-8b-instruct", "priority"),
        ("amazon.nova-pro-v1:0", "optimized"),
        ("amazon.nova-pro-v1:0", "reserved"),
        ("meta.llama3-1-70b-instruct-v1:0", "optimized"),
    ],
)
def test_a_tier_that_is_not_known_stays_unpriced(model, tier):
    rating = found(model, "aws", {"input_tokens": 1000}, service_tier=tier)

    assert (rating.status, rating.picousd) == ("unpriced", 0)
    assert tier in rating.reason


def test_a_tier_has_no_price_before_it_was_there():
    used = {"input_tokens": MTOK}

    assert found("amazon.nova-pro-v1:0", "aws", used, at(2025, 11, 17, 23), service_tier="flex").status == "unpriced"
    assert usd("amazon.nova-pro-v1:0", "aws", used, at(2025, 11, 18), service_tier="flex") == Fraction("0.4")


@pytest.mark.parametrize(
    ("profile", "price"),
    [("global.", ("3", "15"))]
    + [(f"{place}.", ("3.3", "16.5")) for place in ("us", "eu", "apac", "au", "jp", "us-gov")]
    + [("", ("3.3", "16.5"))],
)
def test_an_inference_profile_costs_a_tenth_more_where_it_keeps_to_an_area(profile, price):
    assert in_and_out(f"{profile}{SONNET}", "aws") == price


def test_a_regional_endpoint_of_google_cloud_costs_a_tenth_more_for_claude():
    def paid(usage, **attributes):
        return usd("claude-sonnet-4-5@20250929", "google", usage, **attributes)

    # 3, 0.30, 3.75, 6 and 15 a million; a tenth more of each.
    for meter, ordinary, regional in (
        ("input_tokens", "0.3", "0.33"),
        ("cached_input_tokens", "0.03", "0.033"),
        ("cache_write_5m_input_tokens", "0.375", "0.4125"),
        ("cache_write_1h_input_tokens", "0.6", "0.66"),
        ("output_tokens", "1.5", "1.65"),
    ):
        assert paid({meter: 100_000}) == paid({meter: 100_000}, endpoint="global") == Fraction(ordinary)
        assert paid({meter: 100_000}, endpoint="regional") == Fraction(regional)
    # Above 200,000 tokens it is 6 a million, then 6.60.
    assert paid({"input_tokens": MTOK}, endpoint="regional") == Fraction("6.6")


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("claude-opus-4-8", ("5.5", "27.5")),
        ("claude-haiku-4-5@20251001", ("1.1", "5.5")),
        # Google has no rates of its own for it: Anthropic's 2 and 10, and the tenth of Google's endpoint.
        ("claude-sonnet-5", ("2.2", "11")),
    ],
)
def test_so_it_does_for_later_models_and_for_those_sold_at_their_makers_prices(model, price):
    assert in_and_out(model, "google", endpoint="regional") == price


def test_models_from_before_cost_the_same_at_every_endpoint():
    for model in ("claude-sonnet-4@20250514", "claude-opus-4-1@20250805", "gemini-2.5-flash"):
        assert in_and_out(model, "google", endpoint="regional") == in_and_out(model, "google")


def test_gemini_costs_a_tenth_more_at_a_regional_endpoint_since_it_is_known_to():
    used = {"input_tokens": 100_000}
    ordinary = usd("gemini-3.5-flash", "google", used, endpoint="global")

    assert usd("gemini-3.5-flash", "google", used, endpoint="regional") == ordinary * Fraction(11, 10)
    assert found("gemini-3.5-flash", "google", used, at(2026, 7, 31), endpoint="regional").status == "unpriced"


def test_an_endpoint_that_nobody_knows_has_no_price():
    rating = found("claude-opus-4-8", "google", {"input_tokens": 5}, endpoint="lunar")

    assert rating.reason == "claude-opus-4-8 has no rate for endpoint lunar, only for regional"


def test_anthropic_takes_a_tenth_more_to_stay_in_the_united_states():
    def paid(usage, **attributes):
        return usd("claude-opus-4-6", "anthropic", usage, **attributes)

    assert paid({"input_tokens": MTOK}) == paid({"input_tokens": MTOK}, region="global") == 5
    assert paid({"input_tokens": MTOK}, region="us") == Fraction("5.5")
    assert paid({"output_tokens": MTOK}, region="us") == Fraction("27.5")
    assert paid({"cache_write_1h_input_tokens": MTOK}, region="us") == 11
    # A batch is half of that; a search is 10 a thousand wherever it was made, and a fetch nothing.
    assert paid({"output_tokens": MTOK}, region="us", service_tier="batch") == Fraction("13.75")
    assert paid({"web_searches": 3, "web_fetches": 2}, region="us") == Fraction("0.03")


def test_an_earlier_model_asked_to_stay_there_has_no_price():
    assert found("claude-opus-4-5", "anthropic", {"input_tokens": 5}, region="us").status == "unpriced"


def test_every_share_is_of_models_that_there_are_and_exact():
    names = set(shipped_catalogue().names)
    for share in all_shares():
        for model in share.models:
            assert (share.provider, model) in names
            (prices,) = shipped_catalogue().sellers(model, share.provider)
            raised = [rate for rate in prices.rates if rate.attributes.get(share.attribute) == share.value]
            plain = {
                (rate.meter, rate.above, rate.until_us): rate
                for rate in prices.rates
                if not rate.attributes and rate.meter in share.meters
            }
            assert raised, (model, share)
            assert share.source in prices.source
            for rate in raised:
                listed = plain.get((rate.meter, rate.above, rate.until_us))
                if listed is not None and set(rate.attributes) == {share.attribute}:
                    assert Fraction(rate.usd) == Fraction(listed.usd) * (100 + Fraction(share.percent)) / 100
