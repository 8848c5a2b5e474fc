"""`callfare price`: what a call would cost, by whose prices, and why it is that."""

from __future__ import annotations

import pytest

from callfare import Callfare, UnpricedModel


def test_a_price_says_whose_it_is_and_where_it_was_read(cli):
    said = cli.text("price", "gpt-5", "input_tokens=1200")
    found = cli.json("price", "gpt-5", "input_tokens=1200")

    assert said.startswith("gpt-5 of openai: $0.0015, 0.15 credits\n")
    assert "source      https://developers.openai.com/api/docs/pricing, 2026-11-22\n" in said
    assert (found["provider"], found["checked"]) == ("openai", "2026-11-22")


def test_a_price_can_be_another_sellers(cli):
    found = cli.json("price", "moonshotai/kimi-k3", "input_tokens=1000000", "--provider", "together")
    fare = Callfare("memory://")

    with pytest.raises(UnpricedModel, match="no provider was named"):
        fare.price("moonshotai/kimi-k3", {"input_tokens": 1_000_000})
    price = fare.price("moonshotai/kimi-k3", {"input_tokens": 1_000_000}, provider="together")
    assert (found["provider"], found["cost"]) == (price.provider, str(price.cost)) == ("together", "3")


def test_a_price_that_needs_a_provider_says_how_to_name_one(cli):
    error = cli.error("price", "deepseek/deepseek-v3.2", "input_tokens=1", exit_code=3)

    assert error["message"] == (
        "deepseek/deepseek-v3.2 has no price: catalogue has prices of avian and openrouter for deepseek/deepseek-v3.2, "
        "and no provider was named; name one with --provider"
    )


def test_attributes_that_select_nothing_are_named(cli):
    words = ("price", "gpt-image-1", "images=1", "--attr", "size=1024x1536", "--attr", "quality=high")

    assert "selects nothing  quality=high\n" in cli.text(*words)
    assert cli.json(*words)["ignored"] == {"quality": "high"}
    assert "selects nothing" not in cli.text(*words[:-2])


def test_a_tier_that_is_ordinary_selects_all_the_same(cli):
    found = cli.json("price", "gpt-5", "input_tokens=1", "--attr", "service_tier=default")

    assert found["ignored"] == {}


@pytest.mark.parametrize(
    ("asked", "meant"), [("gpt-5-minii", "gpt-5-mini"), ("claude-sonnet-45", "claude-sonnet-4-5"), ("sora2", "sora-2")]
)
def test_a_misspelt_model_is_answered_with_the_one_that_was_meant(cli, asked, meant):
    message = cli.error("price", asked, "input_tokens=1", exit_code=3)["message"]

    assert f"no price book names {asked}; did you mean {meant}?" in message
    assert meant in cli.error("prices", "show", asked, exit_code=3)["message"]


def test_a_seller_who_does_not_sell_the_model_is_answered_with_those_who_do(cli):
    words = ("gpt-5-mini", "--provider", "nonesuch")

    assert cli.error("price", *words, "input_tokens=1", exit_code=3)["message"].endswith(
        "no price book names gpt-5-mini of nonesuch; add a rate for it to a price book; it is sold by github-copilot "
        "and openai"
    )
    assert "it is sold by github-copilot and openai" in cli.error("prices", "show", *words, exit_code=3)["message"]


def test_a_model_like_no_other_is_answered_with_none(cli):
    assert "did you mean" not in cli.error("price", "qqqqqqqqqqqq", "input_tokens=1", exit_code=3)["message"]


def test_a_retired_model_says_when_its_last_price_ended(cli):
    words = ("price", "sora-2", "video_seconds=8", "--attr", "resolution=720p", "--no-seed-prices")

    assert "its rates ended on 2026-09-25" in cli.error(*words, exit_code=3)["message"]
    assert cli.json(*words, "--at", "2026-09-24")["cost"] == "0.8"


def test_a_missing_attribute_is_asked_for_with_a_value_of_that_time(cli):
    words = ("price", "gpt-image-1", "images=1", "--no-seed-prices", "--at", "2026-06-01")

    assert cli.error(*words, exit_code=2)["message"].endswith("such as --attr quality=high")


def test_what_a_model_is_billed_by_is_listed(cli):
    message = cli.error("price", "gpt-5-mini", "images=2", exit_code=3)["message"]

    assert "billed by input_tokens, output_tokens, web_searches and file_searches, and none was reported" in message
