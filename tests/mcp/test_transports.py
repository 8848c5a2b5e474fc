"""The same tools over every transport and in both generations of the protocol, asked by the SDK's own client."""

from __future__ import annotations

import pytest

from tests.mcp.conftest import GENERATIONS

TOOLS = ["billing_balance", "billing_usage", "billing_estimate", "billing_history", "billing_packages"]
CALLS = {
    "billing_balance": {"user_id": "alice"},
    "billing_usage": {"user_id": "alice", "period": "all"},
    "billing_estimate": {"workflow_type": "tweet", "user_id": "alice"},
    "billing_history": {"user_id": "alice", "limit": 2},
    "billing_packages": {},
}
BALANCE = "💰 Credit Balance\n\nUser: user_123\nBalance: 1500 credits ($15.00)"


async def answers_of(client):
    """Return which tools there are, and what each answers."""
    listed = await client.list_tools()
    called = {name: await client.call_tool(name, arguments) for name, arguments in CALLS.items()}
    return [tool.name for tool in listed.tools], {name: without_times(found) for name, found in called.items()}


def without_times(found):
    structured = {name: part for name, part in found.structured_content.items() if name not in {"since", "until"}}
    text = [line for line in found.content[0].text.splitlines() if not line.startswith("Period")]
    return found.is_error, text, structured


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_in_memory_all_five_answer(assistant, mode):
    async with assistant(mode=mode) as client:
        names, answers = await answers_of(client)
        said = await client.call_tool("billing_balance", {"user_id": "user_123"})

        assert client.protocol_version == GENERATIONS[mode]
    assert names == TOOLS
    assert not any(is_error for is_error, _, _ in answers.values())
    assert said.content[0].text == BALANCE


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_over_standard_streams_they_answer_the_same(host, assistant, mode):
    async with host("--admin", mode=mode) as client, assistant(mode=mode) as near:
        assert await answers_of(client) == await answers_of(near)
        said = await client.call_tool("billing_balance", {"user_id": "user_123"})

        assert client.protocol_version == GENERATIONS[mode]
    assert said.content[0].text == BALANCE


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_over_http_they_answer_the_same(remote, assistant, mode):
    async with remote(mode=mode) as client, assistant(mode=mode) as near:
        assert await answers_of(client) == await answers_of(near)
        said = await client.call_tool("billing_balance", {"user_id": "user_123"})

        assert client.protocol_version == GENERATIONS[mode]
    assert said.content[0].text == BALANCE
