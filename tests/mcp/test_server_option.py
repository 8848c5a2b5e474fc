"""`callfare mcp --server URL`: the same answers from a ledger on another machine, as far as the key to it reaches."""

from __future__ import annotations

import os

import pytest
from mcp import Client, MCPError, StdioServerParameters

from callfare.mcp.serving import ERROR
from tests.mcp.conftest import GENERATIONS, SCRIPT
from tests.mcp.test_stdio import Host
from tests.mcp.test_transports import BALANCE, TOOLS, answers_of


@pytest.fixture
def key_of(server, tmp_path):
    """Returns a file with a caller's credential."""

    def write(caller):
        file = tmp_path / f"{caller}.key"
        file.write_text(server.credentials[caller] + "\n", encoding="ascii")
        return str(file)

    return write


@pytest.fixture
def afar(server, key_of, tmp_path):
    """Returns an assistant over standard streams whose ledger is behind the server."""

    def connect(*words, caller="service", mode="auto"):
        names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}
        args = ["mcp", "--server", server.url, "--key-file", key_of(caller), *words]
        return Client(
            StdioServerParameters(command=SCRIPT, args=args, env=names | {"XDG_STATE_HOME": str(tmp_path)}), mode=mode
        )

    return connect


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_the_answers_are_those_of_a_ledger_that_is_here(afar, assistant, mode):
    async with afar("--admin", mode=mode) as client, assistant(mode=mode) as near:
        assert await answers_of(client) == await answers_of(near)


async def test_resources_and_prompts_come_from_there_too(afar, assistant):
    async with afar("--user", "alice") as client, assistant("alice") as near:
        for uri in ("billing://packages", "billing://users/alice/balance"):
            assert (await client.read_resource(uri)).contents == (await near.read_resource(uri)).contents
        prices = (await client.read_resource("billing://pricebook")).contents[0].text
        prompt = await client.get_prompt("why_did_this_run_cost_so_much", {"run_id": "story-1"})
        same = await near.get_prompt("why_did_this_run_cost_so_much", {"run_id": "story-1"})

    assert '"usd":"0.15"' in prices
    assert prompt.messages == same.messages


async def test_a_key_that_is_bound_to_a_user_reaches_that_user_only(afar):
    async with afar("--user", "alice", caller="bound") as client:
        own = await client.call_tool("billing_balance", {})
    async with afar("--admin", caller="bound") as client:
        another = await client.call_tool("billing_balance", {"user_id": "bob"})
        nobodys = await client.call_tool("billing_balance", {"user_id": "eve"})

    assert own.structured_content["user_id"] == "alice"
    assert another.is_error
    assert another.content == nobodys.content


async def test_a_bound_assistant_asks_about_its_user_only_though_its_key_reaches_further(afar):
    async with afar("--user", "user_123") as client:
        own = await client.call_tool("billing_balance", {})
        another = await client.call_tool("billing_balance", {"user_id": "alice"})

    assert own.content[0].text == BALANCE
    assert another.content[0].text == "there is no such user [not_found]"


async def test_what_the_key_does_not_reach_is_an_error_with_its_code(afar):
    async with afar("--admin", caller="meter") as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        refused = await client.call_tool("billing_history", {"user_id": "alice"})
        estimate = await client.call_tool("billing_estimate", {"workflow_type": "tweet"})
        with pytest.raises(MCPError):
            await client.read_resource("billing://users/alice/balance")

    assert tools == TOOLS
    assert refused.meta[ERROR]["code"] == "forbidden"
    assert not estimate.is_error


async def test_a_server_that_is_away_is_an_error_and_not_an_end(tmp_path, key_of):
    names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}
    args = ["mcp", "--server", "http://127.0.0.1:9", "--key-file", key_of("service"), "--user", "alice"]
    process = StdioServerParameters(command=SCRIPT, args=args, env=names | {"XDG_STATE_HOME": str(tmp_path)})
    async with Client(process) as client:
        refused = await client.call_tool("billing_balance", {})
        packages = await client.call_tool("billing_packages", {})

    assert refused.meta[ERROR]["code"] == "ledger_unavailable"
    assert packages.meta[ERROR]["code"] == "ledger_unavailable"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--server", "https://billing.example.com"], "CALLFARE_API_KEY"),
        (["--server", "billing.example.com"], "--server takes an address"),
        (["--server", "http://127.0.0.1:9", "--db", "memory://"], "give one of them"),
        (["--server", "http://127.0.0.1:9", "--key-file", "/nowhere/key"], "cannot be read"),
    ],
)
def test_it_refuses_to_start_in_a_line(words, hint):
    host = Host("--admin", *words)

    code, rest, said = host.end()

    assert (code in {2, 7}, rest) == (True, "")
    assert hint in said
    assert said.count("\n") == 1
