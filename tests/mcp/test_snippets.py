"""The settings that README and the page for hosts show work as they stand: each lists and calls five tools."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from callfare.mcp.tools import TOOLS as ALL
from tests.mcp.conftest import SCRIPT
from tests.mcp.test_transports import BALANCE, TOOLS

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/howto/mcp.md")
BLOCK = re.compile(r"^```(json|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What whoever copies a snippet puts in the place of.
LEDGER = "sqlite:////var/lib/app/callfare.db"
SERVER, KEY = "http://127.0.0.1:8787", "cf_test_…"
AFAR = "https://billing.example.com"


def snippets():
    """Yield each page's snippets: where they stand, and what a host reads from them."""
    for page in PAGES:
        for kind, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
            read = tomllib.loads(text) if kind == "toml" else json.loads(text)
            for name in {"mcpServers", "servers", "mcp_servers"} & read.keys():
                settings = read[name]["callfare"]
                where = settings.get("type") or ("--server" if "--server" in settings["args"] else "--db")
                yield pytest.param(settings, id=f"{page}-{name}-{where}")


async def answers(client):
    tools = [tool.name for tool in (await client.list_tools()).tools]
    arguments = {"billing_estimate": {"workflow_type": "tweet"}}
    called = {name: await client.call_tool(name, arguments.get(name, {})) for name in tools}
    return tools, {name: found.content[0].text for name, found in called.items() if not found.is_error}


@pytest.mark.parametrize("settings", list(snippets()))
async def test_a_snippet_works_as_it_stands(settings, url, server, tmp_path):
    if "url" in settings:
        assert settings["url"].startswith(SERVER)
        assert KEY in settings["headers"]["Authorization"]
        token = server.credentials["bound"]
        headers = {"Authorization": settings["headers"]["Authorization"].replace(KEY, token)}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http,
            Client(streamable_http_client(settings["url"].replace(SERVER, server.url), http_client=http)) as client,
        ):
            tools, said = await answers(client)
        assert said["billing_balance"].splitlines()[2] == "User: alice"
    else:
        assert settings["command"] == "callfare"
        assert len({LEDGER, AFAR} & set(settings["args"])) == 1
        here = {LEDGER: url, AFAR: server.url}
        args = [here.get(word, word) for word in settings["args"]]
        names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}
        given = {
            name: value.replace(KEY, server.credentials["reader"]) for name, value in settings.get("env", {}).items()
        }
        process = StdioServerParameters(
            command=SCRIPT, args=args, env=names | given | {"XDG_STATE_HOME": str(tmp_path)}
        )
        async with Client(process) as client:
            tools, said = await answers(client)
        assert said["billing_balance"] == BALANCE
    assert tools == list(said) == TOOLS


def test_there_is_a_snippet_for_each_kind_of_host_and_for_both_transports_in_the_readme():
    names = [snippet.id for snippet in snippets()]

    assert len(names) == 7
    assert names[:2] == ["README.md-mcpServers---db", "README.md-mcpServers-http"]


def test_the_page_names_every_tool_with_its_arguments():
    rows = re.findall(
        r"^\| `(billing_\w+)` \| .+? \| (.*)\|$", (ROOT / PAGES[1]).read_text(encoding="utf-8"), re.MULTILINE
    )

    assert [name for name, _ in rows] == TOOLS
    for name, arguments in rows:
        assert set(re.findall(r"`(\w+)`", arguments)) == set(ALL[name].asks.model_fields)
