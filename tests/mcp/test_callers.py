"""Who may ask what: every tool × every kind of caller × their own, another's and nobody's rows, over HTTP and stdio."""

from __future__ import annotations

import json

import pytest

from callfare.mcp import asker
from callfare.mcp.prompts import PROMPTS
from callfare.mcp.tools import TOOLS
from callfare.server.rules import Door
from tests.support.serving import CALLERS

# How each thing is asked about a user.
ASKED = {
    "billing_balance": lambda user: ("tools/call", {"name": "billing_balance", "arguments": {"user_id": user}}),
    "billing_usage": lambda user: ("tools/call", {"name": "billing_usage", "arguments": {"user_id": user}}),
    "billing_estimate": lambda user: (
        "tools/call",
        {"name": "billing_estimate", "arguments": {"workflow_type": "tweet", "user_id": user}},
    ),
    "billing_history": lambda user: ("tools/call", {"name": "billing_history", "arguments": {"user_id": user}}),
    "billing_packages": lambda _: ("tools/call", {"name": "billing_packages", "arguments": {}}),
    "monthly_review": lambda user: ("prompts/get", {"name": "monthly_review", "arguments": {"user_id": user}}),
    "why_did_this_run_cost_so_much": lambda user: (
        "prompts/get",
        {"name": "why_did_this_run_cost_so_much", "arguments": {"run_id": "story-1", "user_id": user}},
    ),
    "balance": lambda user: ("resources/read", {"uri": f"billing://users/{user}/balance"}),
}
RULES = {name: tool.rule for name, tool in (TOOLS | PROMPTS).items()} | {"balance": TOOLS["billing_balance"].rule}
# What is about a user.
OF_USERS = [name for name in ASKED if name != "billing_packages"]


def ask(server, caller, name, about):
    """Return the answer to a caller who asks about a user, by hand and in the same bytes each time."""
    method, params = ASKED[name](about)
    with server.client(caller) as client:
        return client.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
            headers={"X-Request-Id": "the-same"},
        )


def may(caller, rule):
    """Tell whether a caller may ask for something at all, by what stands in its rule."""
    if rule.door is Door.OPEN:
        return True
    principal = CALLERS[caller]
    if principal.kind == "user":
        return rule.own in principal.scopes
    reads = {"credits:read", "all:read"} if "all:read" in principal.scopes else set()
    return bool((principal.scopes | reads) & set(rule.scopes))


def is_error(answer):
    """Tell whether an answer to a request that was let in is an error, whatever was asked for."""
    said = answer.json()
    return "error" in said or said["result"].get("isError", False)


def test_everything_there_is_stands_in_the_matrix():
    assert set(ASKED) == set(RULES) == {*TOOLS, *PROMPTS, "balance"}


# A token that only buys is not let in at all.
@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("caller", [caller for caller in CALLERS if caller != "buyer"])
def test_a_caller_may_what_the_rule_says_about_themselves(server, caller, name):
    answer = ask(server, caller, name, "bob" if caller == "bob" else "alice")

    if may(caller, RULES[name]):
        assert answer.status_code == 200
        # Of bob there is no such run.
        assert is_error(answer) is (caller == "bob" and name.startswith("why"))
    else:
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
        scope = answer.json()["error"]["scope"]
        assert (
            f'error="insufficient_scope", scope="{scope}", resource_metadata="http'
            in answer.headers["www-authenticate"]
        )


@pytest.mark.parametrize("name", ASKED)
def test_a_token_that_only_buys_is_not_let_in(server, name):
    answer = ask(server, "buyer", name, "alice")

    assert answer.status_code == 403
    assert answer.json()["error"]["scope"] == "me:read"


@pytest.mark.parametrize("name", OF_USERS)
@pytest.mark.parametrize("caller", ["alice", "bound"])
def test_another_user_is_answered_byte_for_byte_like_one_nobody_has_heard_of(server, caller, name):
    another = ask(server, caller, name, "bob")
    nobodys = ask(server, caller, name, "eve")

    assert another.status_code == nobodys.status_code == 200
    assert is_error(another)
    assert another.content == nobodys.content
    assert b"not_found" in another.content


def test_the_matrix_sees_a_check_that_is_not_made(server, monkeypatch):
    monkeypatch.setattr(asker, "allow", lambda principal, rule, user: user)

    another = ask(server, "alice", "billing_balance", "bob")

    # What the tests above would not have taken.
    assert not is_error(another)


async def test_a_bound_user_may_leave_its_own_id_out_or_name_it(host):
    async with host("--user", "alice") as client:
        named = await client.call_tool("billing_balance", {"user_id": "alice"})
        unnamed = await client.call_tool("billing_balance", {})

    assert named.content == unnamed.content
    assert unnamed.structured_content["user_id"] == "alice"


@pytest.mark.parametrize("name", ["billing_balance", "billing_usage", "billing_history", "billing_estimate"])
async def test_over_standard_streams_a_foreign_user_is_answered_like_an_unknown_one(host, name):
    arguments = {"workflow_type": "tweet"} if name == "billing_estimate" else {}
    async with host("--user", "alice") as client:
        another = await client.call_tool(name, arguments | {"user_id": "bob"})
        nobodys = await client.call_tool(name, arguments | {"user_id": "eve"})

    assert another.is_error
    assert another.model_dump_json() == nobodys.model_dump_json()
    assert another.content[0].text == "there is no such user [not_found]"


@pytest.mark.parametrize(
    ("caller", "shown"),
    [
        ("alice", list(TOOLS)),
        ("reader", list(TOOLS)),
        ("meter", ["billing_estimate", "billing_packages"]),
    ],
)
async def test_only_the_tools_that_may_be_called_are_listed(remote, caller, shown):
    async with remote(caller) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
        resources = [str(one.uri) for one in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates

    assert tools == shown
    assert bool(prompts) == bool(templates) == (caller != "meter")
    assert "billing://packages" in resources


def test_a_user_in_the_message_of_a_foreign_request_is_not_said_back(server):
    answer = ask(server, "alice", "billing_balance", "somebody-else")

    assert "somebody-else" not in json.dumps(answer.json())
