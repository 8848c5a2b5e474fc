"""What hosts put before their assistants: resources and prompts, for whoever may read what is in them."""

from __future__ import annotations

import json

import pytest
from mcp import MCPError

from tests.mcp.conftest import GENERATIONS


async def read(client, uri):
    (shown,) = (await client.read_resource(uri)).contents
    assert (str(shown.uri), shown.mime_type) == (uri, "application/json")
    return json.loads(shown.text)


def block_of(prompt):
    """Return what the ledger says in a prompt's text."""
    (message,) = prompt.messages
    before, block = message.content.text.split("\n```json\n")
    assert message.role == "user"
    return before, json.loads(block.removesuffix("\n```"))


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_resources_are_the_price_book_the_packages_and_a_balance(assistant, mode):
    async with assistant("alice", mode=mode) as client:
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        prices = await read(client, "billing://pricebook")
        packages = await read(client, "billing://packages")
        balance = await read(client, "billing://users/alice/balance")

    assert listed == ["billing://pricebook", "billing://packages", "billing://users/alice/balance"]
    assert templates == ["billing://users/{user_id}/balance"]
    assert {"meter": "input_tokens", "usd": "0.15", "per": 1_000_000, "attributes": {}} in prices["models"][1]["rates"]
    assert [model["model"] for model in prices["models"]] == [
        "gpt-4o-mini-tts", "gpt-5-mini", "gpt-image-1", "sora-2", "whisper-1",
    ]  # fmt: skip
    assert prices["markup"] == "1"
    assert packages["packages"][0]["price_usd"] == "5"
    assert balance["available_credits"] == "1767.883"


async def test_a_user_whose_name_is_no_plain_one_has_a_resource_too(assistant):
    async with assistant("ann/é@example.com") as client:
        uri = str((await client.list_resources()).resources[-1].uri)
        balance = await read(client, uri)

    assert uri == "billing://users/ann%2F%C3%A9%40example.com/balance"
    assert balance["user_id"] == "ann/é@example.com"


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("billing://nothing", "not_found"),
        ("billing://users/bob/balance", "not_found"),
        ("billing://users/eve/balance", "not_found"),
        ("billing://users/%ff/balance", "not_found"),
        ("billing://users/alice/balance?x=1", "not_found"),
        ("file:///etc/passwd", "not_found"),
    ],
)
async def test_what_is_not_there_and_what_is_anothers_is_refused_alike(assistant, uri, code):
    async with assistant("alice") as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)

    assert refused.value.data["code"] == code
    assert refused.value.code == -32602


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_the_prompt_about_a_run_brings_its_calls_and_its_estimate(assistant, mode):
    async with assistant("alice", mode=mode) as client:
        prompt = await client.get_prompt("why_did_this_run_cost_so_much", {"run_id": "story-1"})

    task, facts = block_of(prompt)
    assert "Explain why this run cost what it did." in task
    assert facts["calls"] == 2
    assert facts["by_model"] == [
        {"model": "gpt-image-1", "calls": 1, "credits": "32"},
        {"model": "gpt-5-mini", "calls": 1, "credits": "0.039"},
    ]
    assert facts["costliest_calls"][0]["usage"] == {"images": "4"}
    assert facts["estimate"]["high_credits"] == "500"


async def test_the_monthly_review_brings_balance_usage_and_runs(assistant):
    async with assistant() as client:
        prompt = await client.get_prompt("monthly_review", {"user_id": "alice"})

    _, facts = block_of(prompt)
    assert facts["balance"]["available_credits"] == "1767.883"
    assert facts["usage"]["total"]["calls"] == 5
    assert [run["run_id"] for run in facts["latest_runs"]] == ["video-1", "tweet-1", "story-1"]


async def test_prompts_say_what_they_take(assistant):
    async with assistant() as admin, assistant("alice") as alice:
        for_admin = {one.name: one for one in (await admin.list_prompts()).prompts}
        for_alice = {one.name: one for one in (await alice.list_prompts()).prompts}

    required = [(one.name, one.required) for one in for_admin["monthly_review"].arguments]
    assert required == [("user_id", True)]
    assert [(one.name, one.required) for one in for_alice["monthly_review"].arguments] == [("user_id", False)]
    assert [(one.name, one.required) for one in for_alice["why_did_this_run_cost_so_much"].arguments] == [
        ("run_id", True),
        ("user_id", False),
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("why_did_this_run_cost_so_much", {"run_id": "none"}, "there is no such run; billing_history lists them"),
        ("why_did_this_run_cost_so_much", {"run_id": "story-1", "user_id": "bob"}, "there is no such user"),
        ("why_did_this_run_cost_so_much", {"run": "story-1"}, "run_id: Field required"),
        ("monthly_review", {"month": "may"}, "there is no argument month; known are: user_id"),
        ("rob_a_bank", {}, "there is no such prompt"),
    ],
)
async def test_a_prompt_refuses_in_a_sentence(assistant, name, arguments, message):
    async with assistant("alice") as client:
        with pytest.raises(MCPError, match=message):
            await client.get_prompt(name, arguments)
