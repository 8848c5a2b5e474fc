"""How amounts and answers read: cut down for balances, short for charges, and never 0 for what is not zero."""

from __future__ import annotations

import pytest

from callfare import Callfare, Credits, Usd
from callfare.mcp import texts
from callfare.mcp.reader import EngineReader


@pytest.mark.parametrize(
    ("credits", "shown", "dollars"),
    [
        ("0", "0", "$0.00"),
        ("0.000000001", "<0.01", "<$0.01"),
        ("0.01", "0.01", "<$0.01"),
        ("0.999999999", "0.99", "<$0.01"),
        ("1", "1", "$0.01"),
        ("99.999999999", "99.99", "$0.99"),
        ("100", "100", "$1.00"),
        ("1500", "1500", "$15.00"),
        ("1999.961", "1999.96", "$19.99"),
        ("1200300.5", "1200300.5", "$12003.00"),
        ("9000000000", "9000000000", "$90000000.00"),
    ],
)
def test_a_balance_is_cut_down_and_never_up(credits, shown, dollars):
    assert texts.available(Credits(credits)) == shown
    assert texts.worth(Credits(credits).usd) == dollars


@pytest.mark.parametrize(
    ("credits", "shown"),
    [
        ("0", "0"),
        ("0.000000001", "0.000000001"),
        ("0.000000014", "0.000000014"),
        ("0.0000381", "0.000038"),
        ("0.039", "0.039"),
        ("0.117", "0.12"),
        ("32.039", "32.04"),
        ("40", "40"),
        ("2000", "2000"),
    ],
)
def test_a_charge_is_short_and_never_nothing(credits, shown):
    assert texts.amount(Credits(credits)) == shown


@pytest.mark.parametrize(
    ("dollars", "shown"),
    [
        ("0", "$0.00"),
        ("0.00039", "$0.00039"),
        ("0.000000000001", "$0.000000000001"),
        ("0.5", "$0.50"),
        ("18", "$18.00"),
    ],
)
def test_dollars_have_cents_or_two_digits_where_they_are_less(dollars, shown):
    assert texts.usd(Usd(dollars)) == shown


@pytest.fixture
def fare():
    with Callfare("memory://") as fare:
        yield fare


@pytest.mark.parametrize(("credits", "is_low"), [("99.999999999", True), ("100", False), ("100.000000001", False)])
async def test_a_balance_warns_below_100_credits_and_not_at_100(fare, assistant, credits, is_low):
    fare.grant("carol", credits, key="g")

    async with assistant("carol", reader=EngineReader(fare._engine)) as client:
        found = await client.call_tool("billing_balance", {})

    assert ("⚠️ Low balance" in found.content[0].text) is is_low
    assert found.structured_content["is_low"] is is_low


async def test_a_debt_is_told(fare, assistant):
    fare.grant("carol", 1, key="g")
    fare.record("gpt-image-1", {"images": 4}, attributes={"size": "1024x1536"}, user="carol", key="k")

    async with assistant("carol", reader=EngineReader(fare._engine)) as client:
        found = await client.call_tool("billing_balance", {})

    assert found.content[0].text.splitlines()[3:5] == [
        "Balance: 0 credits ($0.00)",
        "Debt: 31 credits; the next credit pays it first",
    ]
    assert found.structured_content["debt_credits"] == "31"


async def test_an_estimate_by_parts_tells_them(fare, assistant):
    fare.workflow(
        "comic",
        parts=[
            {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}},
            {
                "model": "gpt-image-1",
                "usage": {"images": 1},
                "attributes": {"size": "1024x1536"},
                "at_least": 2,
                "at_most": 6,
            },
        ],
        on_failure="waive",
    )

    async with assistant(reader=EngineReader(fare._engine)) as client:
        found = await client.call_tool("billing_estimate", {"workflow_type": "comic"})

    assert found.content[0].text.splitlines()[2:] == [
        "Workflow: comic",
        "Estimate: 16.04 to 48.04 credits ($0.16 to $0.48)",
        "Rests on: its calls at today's prices",
        "A run that fails is not charged",
        "",
        "Parts:",
        "• gpt-5-mini, 1200 input_tokens, 350 output_tokens: 1 × 0.039 credits",
        "• gpt-image-1, size=1024x1536, 1 images: 2 to 6 × 8 credits",
    ]
    assert found.structured_content["low_credits"] == "16.039"
    assert found.structured_content["parts"][1]["attributes"] == {"size": "1024x1536"}


async def test_an_estimate_of_a_misspelt_model_tells_the_one_that_was_meant(fare, assistant):
    fare.workflow("comic", parts=[{"model": "gpt-5-minni", "usage": {"input_tokens": 1200, "output_tokens": 350}}])

    async with assistant(reader=EngineReader(fare._engine)) as client:
        found = await client.call_tool("billing_estimate", {"workflow_type": "comic"})

    assert found.is_error
    assert "; did you mean gpt-5-mini? If not, add a rate" in found.content[0].text


async def test_what_is_long_is_cut_in_the_text_and_whole_up_to_a_hundred_in_its_parts(fare, assistant):
    fare.grant("carol", 100, key="g")
    for number in range(103):
        fare.record(f"model-{number:03}", {"input_tokens": 1}, user="carol", key=f"k{number}")

    async with assistant("carol", reader=EngineReader(fare._engine)) as client:
        found = await client.call_tool("billing_usage", {})

    assert found.content[0].text.splitlines()[-1] == "• and 83 more"
    assert len(found.structured_content["by_model"]) == 100
    assert found.structured_content["models_left_out"] == 3
    assert found.structured_content["total"]["calls"] == 103


async def test_a_user_without_runs_or_usage_is_told_so(fare, assistant):
    fare.grant("carol", 100, key="g")

    async with assistant("carol", reader=EngineReader(fare._engine)) as client:
        history = await client.call_tool("billing_history", {})
        usage = await client.call_tool("billing_usage", {"period": "all"})

    assert history.content[0].text == "📜 Workflow History\n\nUser: carol\nNo runs"
    assert usage.content[0].text.splitlines()[-1] == "Total: 0 calls, 0 credits ($0.00)"
