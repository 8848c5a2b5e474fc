"""What the five tools take, answer and refuse, asked by the SDK's client in memory."""

from __future__ import annotations

import re

import jsonschema
import pytest

from callfare.errors import LedgerUnavailable
from callfare.mcp import texts, wire
from callfare.mcp.serving import ERROR
from callfare.payments.packages import seed_packages
from tests.support.shop import MONTHLY, ROLLING

CALLS = [
    ("billing_balance", {"user_id": "alice"}),
    ("billing_balance", {"user_id": "nobody-has-heard-of"}),
    ("billing_usage", {"user_id": "alice"}),
    ("billing_usage", {"user_id": "alice", "period": "day"}),
    ("billing_estimate", {"workflow_type": "tweet"}),
    ("billing_estimate", {"workflow_type": "tweet", "user_id": "alice"}),
    ("billing_history", {"user_id": "alice"}),
    ("billing_history", {"user_id": "bob", "limit": 1}),
    ("billing_packages", {}),
]


async def text_of(client, name, arguments):
    found = await client.call_tool(name, arguments)
    assert not found.is_error
    return found.content[0].text


async def error_of(client, name, arguments):
    found = await client.call_tool(name, arguments)
    assert found.is_error
    assert found.structured_content is None
    facts = found.meta[ERROR]
    assert found.content[0].text == f"{facts['message']} [{facts['code']}]"
    assert "\n" not in found.content[0].text
    return facts


# What they say


async def test_a_balance_reads_as_in_the_specification(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_balance", {"user_id": "user_123"})

    assert said == "💰 Credit Balance\n\nUser: user_123\nBalance: 1500 credits ($15.00)"


async def test_below_100_credits_a_balance_warns(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_balance", {"user_id": "bob"})

    assert said == (
        "💰 Credit Balance\n\nUser: bob\nBalance: 40 credits ($0.40)\n\n⚠️ Low balance: fewer than 100 credits are left."
    )


async def test_a_balance_tells_what_open_runs_hold(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_balance", {"user_id": "alice"})

    assert said.splitlines()[2:] == [
        "User: alice",
        "Balance: 1767.88 credits ($17.67)",
        "Held: 200 credits by open runs, 0 of them spent",
    ]


async def test_usage_reads_by_workflow_type_and_by_model(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_usage", {"user_id": "alice"})

    lines = said.splitlines()
    assert lines[:3] == ["📊 Usage", "", "User: alice"]
    assert re.fullmatch(r"Period: the last 30 days, until 20\d\d-\d\d-\d\d \d\d:\d\d UTC", lines[3])
    assert lines[4:] == [
        "Total: 5 calls, 32.12 credits ($0.32)",
        "Not in it: 1 call without a price yet",
        "",
        "By workflow type:",
        "• story: 2 calls, 32.04 credits ($0.32)",
        "• (no run): 2 calls, 0.039 credits ($0.00039) + 1 unpriced",
        "• tweet: 1 call, 0.039 credits ($0.00039)",
        "",
        "By model:",
        "• gpt-image-1: 1 call, 32 credits ($0.32), 4 images",
        "• gpt-5-mini: 3 calls, 0.12 credits ($0.0012), 3600 input_tokens, 1050 output_tokens",
        "• model-9: 1 call, unpriced, 7 input_tokens",
    ]


async def test_an_estimate_tells_its_range_what_it_rests_on_and_past_runs(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_estimate", {"workflow_type": "tweet", "user_id": "alice"})

    assert said.splitlines() == [
        "🧮 Cost Estimate",
        "",
        "Workflow: tweet",
        "Estimate: 15 to 50 credits ($0.15 to $0.50)",
        "Rests on: the range declared for it",
        "Past runs of alice: 1 completed, median 0.039 credits, highest 0.039",
    ]


async def test_a_history_tells_status_cost_date_and_run_id_and_how_to_go_on(assistant):
    async with assistant() as client:
        found = await client.call_tool("billing_history", {"user_id": "alice", "limit": 2})
        cursor = found.structured_content["next_cursor"]
        rest = await client.call_tool("billing_history", {"user_id": "alice", "cursor": cursor})

    lines = found.content[0].text.splitlines()
    times = r"20\d\d-\d\d-\d\d \d\d:\d\d UTC"
    assert lines[:5] == ["📜 Workflow History", "", "User: alice", "", "Runs:"]
    assert re.fullmatch(rf"• video: open, 200 credits held, \$0\.00 so far, {times}, run video-1", lines[5])
    assert re.fullmatch(rf"• tweet: completed, 0\.039 credits \(\$0\.00039\), {times}, run tweet-1", lines[6])
    assert lines[7:] == ["", f"Older runs: ask again with cursor {cursor}"]
    assert [run["run_id"] for run in rest.structured_content["runs"]] == ["story-1"]
    assert rest.structured_content["next_cursor"] is None


async def test_packages_tell_price_and_value_per_dollar(assistant):
    async with assistant() as client:
        said = await text_of(client, "billing_packages", {})

    assert said.splitlines() == [
        "📦 Credit Packages",
        "",
        "• Starter: 500 credits for $5.00 (100 credits per $1), id credits_500",
        "• Creator: 2000 credits for $18.00 (111 credits per $1), id credits_2000",
        "• Pro: 5000 credits for $40.00 (125 credits per $1), id credits_5000",
        "• Studio: 15000 credits for $100.00 (150 credits per $1), id credits_15000",
    ]


async def test_the_structured_part_is_exact(assistant):
    async with assistant() as client:
        found = await client.call_tool("billing_balance", {"user_id": "bob"})

    assert found.structured_content == {
        "user_id": "bob",
        "available_credits": "40.005",
        "available_usd": "0.40005",
        "posted_credits": "40.005",
        "held_credits": "0",
        "spent_credits": "0",
        "debt_credits": "0",
        "is_low": True,
    }


# What they declare


async def test_every_tool_states_all_four_hints_and_both_schemas(assistant):
    async with assistant() as client:
        tools = (await client.list_tools()).tools

    for tool in tools:
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint) == (True, False)
        assert (hints.idempotent_hint, hints.open_world_hint) == (True, False)
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema["type"] == tool.input_schema["type"] == "object"
        assert "$ref" not in str((tool.input_schema, tool.output_schema))
        assert tool.title
        assert len(tool.description) > 60


@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_every_answer_fits_its_schema_and_has_no_number_for_money(assistant, name, arguments):
    async with assistant() as client:
        tool = next(tool for tool in (await client.list_tools()).tools if tool.name == name)
        answered = (await client.call_tool(name, arguments)).structured_content

    jsonschema.validate(arguments, tool.input_schema)
    jsonschema.Draft202012Validator(tool.output_schema).validate(answered)
    assert not any(isinstance(part, float) for part in parts_of(answered))


def parts_of(value):
    """Yield everything that a JSON value is made of."""
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts_of(part)


async def test_a_schema_sees_money_that_is_a_number(assistant):
    async with assistant() as client:
        tool = (await client.list_tools()).tools[0]
        answered = (await client.call_tool("billing_balance", {"user_id": "bob"})).structured_content

    for wrong in (40.005, "40.0050000001", "4e1", None):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(answered | {"available_credits": wrong}, tool.output_schema)


@pytest.mark.parametrize(("user", "required"), [(None, True), ("alice", False)])
async def test_only_who_is_bound_to_nobody_has_to_name_a_user(assistant, user, required):
    async with assistant(user) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    for name in ("billing_balance", "billing_usage", "billing_history"):
        assert ("user_id" in tools[name].input_schema.get("required", ())) is required
        assert tools[name].input_schema["properties"]["user_id"]["type"] == "string"
    assert tools["billing_estimate"].input_schema["required"] == ["workflow_type"]


# What they refuse


@pytest.mark.parametrize(
    ("name", "arguments", "param", "message"),
    [
        ("billing_usage", {"user_id": "alice", "perod": "day"}, "perod", "there is no argument perod; known are: "),
        ("billing_packages", {"user_id": "alice"}, "user_id", "there is no argument user_id; known are: none"),
        ("billing_balance", {"userId": "alice"}, "userId", "there is no argument userId; known are: user_id"),
        ("billing_balance", {}, "user_id", "name the user as user_id"),
        ("billing_balance", {"user_id": 7}, "user_id", "user_id: Input should be a valid string"),
        ("billing_usage", {"user_id": "alice", "period": "year"}, "period", "period: Input should be 'day', 'week'"),
        ("billing_estimate", {"user_id": "alice"}, "workflow_type", "workflow_type: Field required"),
        ("billing_estimate", {"workflow_type": ""}, "workflow_type", "workflow_type: String should have at least 1"),
        ("billing_history", {"user_id": "alice", "limit": 0}, "limit", "limit: Input should be greater than"),
        ("billing_history", {"user_id": "alice", "limit": 51}, "limit", "limit: Input should be less than"),
        ("billing_history", {"user_id": "alice", "limit": "5"}, "limit", "limit: Input should be a valid integer"),
        ("billing_history", {"user_id": "alice", "limit": True}, "limit", "limit: Input should be a valid integer"),
        ("billing_history", {"user_id": "alice", "limit": 2.5}, "limit", "limit: Input should be a valid integer"),
        ("billing_history", {"user_id": "alice", "cursor": "x"}, "cursor", "cursor is not one that a page of this"),
    ],
)
async def test_what_an_argument_has_wrong_is_told_in_a_sentence_with_a_code(assistant, name, arguments, param, message):
    async with assistant() as client:
        facts = await error_of(client, name, arguments)

    assert (facts["code"], facts["param"]) == ("invalid_input", param)
    assert facts["message"].startswith(message)


async def test_a_user_who_cannot_be_one_is_refused_by_the_code_of_everywhere(assistant):
    async with assistant() as client:
        facts = await error_of(client, "billing_balance", {"user_id": "a\0b"})

    assert (facts["code"], facts["param"]) == ("invalid_user", "user_id")


async def test_an_unknown_workflow_is_told_with_those_that_are_known(assistant):
    async with assistant() as client:
        facts = await error_of(client, "billing_estimate", {"workflow_type": "novel"})

    assert (facts["code"], facts["param"]) == ("unknown_workflow", "workflow_type")
    assert "tweet, thread, carousel, story and video" in facts["message"]


async def test_a_number_that_is_whole_and_an_argument_that_is_null_are_taken(assistant):
    async with assistant("alice") as client:
        found = await client.call_tool("billing_history", {"user_id": None, "limit": 1.0, "cursor": None})

    assert len(found.structured_content["runs"]) == 1


async def test_a_ledger_that_is_not_there_is_an_error_and_not_an_end(host, tmp_path):
    async with host("--user", "alice", ledger=f"sqlite:///{tmp_path}/none.db") as client:
        facts = await error_of(client, "billing_balance", {})
        packages = await client.call_tool("billing_packages", {})

    assert facts["code"] == "ledger_not_found"
    assert not packages.is_error
    assert list(tmp_path.iterdir()) == []


class Failing:
    """A reader on which the ledger is away, and which has a fault of its own besides."""

    async def balance(self, user):
        raise LedgerUnavailable("the ledger does not answer; repeat with the same key")

    async def usage(self, user, period):
        raise RuntimeError("secret place /x/y")


async def test_a_ledger_that_is_away_is_told_as_such(assistant):
    async with assistant("alice", reader=Failing()) as client:
        facts = await error_of(client, "billing_balance", {})

    assert facts["code"] == "ledger_unavailable"


async def test_a_fault_of_ours_is_told_without_its_story_which_goes_to_the_log(assistant, caplog):
    async with assistant("alice", reader=Failing()) as client:
        facts = await error_of(client, "billing_usage", {})

    assert facts == {
        "code": "internal_error",
        "message": "a fault of the server; its log has the story",
        "param": None,
    }
    assert "secret place /x/y" in caplog.text


async def test_everything_answers_where_nothing_can_be_written(assistant, engine, monkeypatch):
    def refuse(commands):
        raise AssertionError(commands)

    monkeypatch.setattr(engine.store, "apply", refuse)
    async with assistant() as client:
        answers = [await client.call_tool(name, arguments) for name, arguments in CALLS]
        prompts = [
            await client.get_prompt("monthly_review", {"user_id": "alice"}),
            await client.get_prompt("why_did_this_run_cost_so_much", {"run_id": "story-1"}),
        ]
        for uri in ("billing://pricebook", "billing://packages", "billing://users/alice/balance"):
            assert (await client.read_resource(uri)).contents

    assert not any(found.is_error for found in answers)
    assert all(prompt.messages for prompt in prompts)


def test_plans_stand_below_the_packages_with_what_becomes_of_a_month():
    told = texts.packages((seed_packages()[0], MONTHLY, ROLLING))
    answered = wire.Packages.of((seed_packages()[0], MONTHLY, ROLLING))

    assert told.splitlines() == [
        "📦 Credit Packages",
        "",
        "• Starter: 500 credits for $5.00 (100 credits per $1), id credits_500",
        "",
        "Each month:",
        "• `Creator monthly`: 300 credits for $9.00 (33 credits per $1), what is left ends, id plan_creator",
        "• `Creator rolling`: 300 credits for $9.00 (33 credits per $1), what is left is kept, id plan_rolling",
    ]
    assert [plan.rolls_over for plan in answered.plans] == [False, True]
    assert [package.id for package in answered.packages] == ["credits_500"]
