"""Clients that nobody here wrote: MCP Inspector's command line, openai-agents, and pydantic-ai under its test model.

They have an environment of their own, which `./run test --all` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.mcp.conftest import SCRIPT

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]
THEIRS = ROOT / ".venv-assistants"
INSPECTOR = THEIRS / "node" / "node_modules" / ".bin" / "mcp-inspector"
FOREIGN = Path(__file__).parent / "foreign"
TOOLS = ["billing_balance", "billing_usage", "billing_estimate", "billing_history", "billing_packages"]
CALLS = {
    "billing_balance": {"user_id": "user_123"},
    "billing_usage": {"user_id": "user_123", "period": "all"},
    "billing_estimate": {"workflow_type": "tweet"},
    "billing_history": {"user_id": "user_123", "limit": 5},
    "billing_packages": {},
}
BALANCE = "💰 Credit Balance\n\nUser: user_123\nBalance: 1500 credits ($15.00)"


@pytest.fixture(params=["stdio", "http"])
def settings(request, url, server):
    """The server as a host's settings name it."""
    if request.param == "stdio":
        return {"command": SCRIPT, "args": ["mcp", "--db", url, "--user", "user_123"]}
    headers = {"Authorization": f"Bearer {server.credentials['service']}"}
    return {"type": "http", "url": f"{server.url}/mcp", "headers": headers}


def run(command, folder, *, given="", code=0):
    """Return what a client prints, as JSON."""
    if not Path(command[0]).exists():
        pytest.skip(f"{Path(command[0]).name} is not installed: ./run test --all does it where its installer is there")
    names = {name: value for name, value in os.environ.items() if not name.startswith(("CALLFARE_", "OPENAI_"))}
    done = subprocess.run(
        command, cwd=folder, env=names | {"HOME": str(folder)}, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def python(name, folder, settings, asked):
    command = [str(THEIRS / "bin" / "python"), str(FOREIGN / name), json.dumps(asked)]
    return run(command, folder, given=json.dumps(settings))


@pytest.fixture
def inspect(tmp_path, settings):
    """Asks by MCP Inspector, from a host's settings file."""
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"callfare": settings}}), encoding="utf-8")

    def inspect(method, *words, code=0):
        command = [str(INSPECTOR), "--cli", "--config", str(file), "--server", "callfare", "--method", method, *words]
        return run(command, tmp_path, code=code)

    return inspect


def test_inspector_lists_the_five_tools_and_finds_nothing_amiss_with_their_schemas(inspect):
    listed = inspect("tools/list", "--strict")

    assert [tool["name"] for tool in listed["tools"]] == TOOLS
    assert all(tool["annotations"]["readOnlyHint"] for tool in listed["tools"])


@pytest.mark.parametrize("name", CALLS)
def test_inspector_calls_every_tool(inspect, name):
    pairs = [word for pair in CALLS[name].items() for word in ("--tool-arg", f"{pair[0]}={pair[1]}")]

    found = inspect("tools/call", "--tool-name", name, *pairs)

    assert found["isError"] is False
    assert found["structuredContent"]
    if name == "billing_balance":
        assert found["content"][0]["text"] == BALANCE


def test_inspector_shows_an_error_as_one(inspect):
    found = inspect("tools/call", "--tool-name", "billing_balance", "--tool-arg", "usr=x", code=5)

    assert found["isError"] is True
    assert found["content"][0]["text"].endswith("[invalid_input]")


def test_inspector_reads_resources_and_prompts(inspect):
    packages = inspect("resources/read", "--uri", "billing://packages")
    templates = inspect("resources/templates/list")
    prompt = inspect("prompts/get", "--prompt-name", "monthly_review", "--prompt-args", "user_id=user_123")

    assert json.loads(packages["contents"][0]["text"])["packages"][0]["id"] == "credits_500"
    assert templates["resourceTemplates"][0]["uriTemplate"] == "billing://users/{user_id}/balance"
    assert prompt["messages"][0]["content"]["text"].startswith("Review the last 30 days")


def test_openai_agents_lists_and_calls_every_tool(tmp_path, settings):
    found = python("with_openai_agents.py", tmp_path, settings, CALLS)

    assert found["tools"] == TOOLS
    assert found["answers"]["billing_balance"][0] == BALANCE
    assert not any(is_error for _, _, is_error in found["answers"].values())
    assert all(structured for _, structured, _ in found["answers"].values())


def test_an_agent_of_pydantic_ai_calls_tools_by_their_schemas(tmp_path, settings):
    # Over standard streams it speaks for user_123, and the test model makes another user up.
    named = [] if "command" in settings else ["billing_balance", "billing_usage", "billing_history"]

    found = python("with_pydantic_ai.py", tmp_path, settings, [*named, "billing_packages"])

    assert found["billing_packages"]["packages"][1]["price_usd"] == "18"
    assert set(found) == {*named, "billing_packages"}
    if named:
        assert found["billing_balance"]["available_credits"] == "0"
