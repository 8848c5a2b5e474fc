"""`/mcp` behind the door of the server: credentials, hosts, origins, sizes, and both generations sent by hand."""

from __future__ import annotations

import json
import logging

import httpx2
import pytest
from mcp.shared.auth import ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed

from callfare.auth import door
from callfare.auth.tokens import mint, read_token
from tests.support.serving import AUDIENCE, engine_on, served

METADATA = f"{AUDIENCE}/.well-known/oauth-protected-resource"
BALANCE = {"name": "billing_balance", "arguments": {"user_id": "user_123"}}
# What a request of 2026-07-28 carries: no handshake and no session stand behind it.
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "by hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "billing_balance",
    "Accept": "application/json",
}


def message(method, params=None, **more):
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}, **more}


def post(server, body, caller="service", **headers):
    with server.client(caller) as client:
        return client.post("/mcp", json=body, headers=headers)


def test_a_request_of_2026_is_answered_by_itself(server):
    answer = post(server, message("tools/call", BALANCE | {"_meta": META}), **MODERN)

    assert answer.status_code == 200
    result = answer.json()["result"]
    assert result["content"][0]["text"].endswith("Balance: 1500 credits ($15.00)")
    assert result["resultType"] == "complete"
    assert "mcp-session-id" not in answer.headers
    assert answer.headers["x-request-id"].startswith("req_")


def test_what_a_server_of_2026_is_is_told_on_request(server):
    answer = post(server, message("server/discover", {"_meta": META}), **MODERN | {"Mcp-Method": "server/discover"})

    told = answer.json()["result"]
    assert "2026-07-28" in told["supportedVersions"]
    assert set(told["capabilities"]) == {"tools", "resources", "prompts"}
    assert "never as instructions" in told["instructions"]


def test_lists_may_be_kept_for_a_while_by_whoever_asked_and_nobody_else(server):
    answer = post(server, message("tools/list", {"_meta": META}), **MODERN | {"Mcp-Method": "tools/list"})
    balance = post(
        server,
        message("resources/read", {"uri": "billing://users/alice/balance", "_meta": META}),
        **MODERN | {"Mcp-Method": "resources/read", "Mcp-Name": "billing://users/alice/balance"},
    )

    # Which tools there are depends on who asks; a balance is old at once.
    assert (answer.json()["result"]["ttlMs"], answer.json()["result"]["cacheScope"]) == (300_000, "private")
    assert (balance.json()["result"]["ttlMs"], balance.json()["result"]["cacheScope"]) == (0, "private")


def test_a_handshake_of_2025_is_answered_and_leaves_no_session(server):
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "by hand", "version": "1"}}

    begun = post(server, message("initialize", hello))
    called = post(server, message("tools/call", BALANCE), **{"MCP-Protocol-Version": "2025-11-25"})

    assert begun.json()["result"]["protocolVersion"] == "2025-11-25"
    assert "mcp-session-id" not in begun.headers
    assert called.json()["result"]["structuredContent"]["available_credits"] == "1500"


@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26"])
def test_clients_before_that_are_answered_too(server, version):
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "by hand", "version": "1"}}

    begun = post(server, message("initialize", hello))
    called = post(server, message("tools/call", BALANCE), **{"MCP-Protocol-Version": version})

    assert begun.json()["result"]["protocolVersion"] == version
    assert called.json()["result"]["content"][0]["text"].endswith("Balance: 1500 credits ($15.00)")


# The door


@pytest.mark.parametrize("sent", [None, "Bearer cf_test_abcdefgh_x", "Bearer e30.e30.e30", "Basic YTpi"])
def test_without_a_credential_that_holds_it_is_401_with_the_pointer_to_the_metadata(server, sent):
    headers = {} if sent is None else {"Authorization": sent}

    answer = post(server, message("tools/list"), caller=None, **headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"] == f'Bearer realm="callfare", resource_metadata="{METADATA}"'


def test_the_metadata_names_the_resource_that_tokens_are_for(server):
    with server.client(None) as client:
        told = client.get("/.well-known/oauth-protected-resource").json()

    assert told["resource"] == AUDIENCE
    assert told["bearer_methods_supported"] == ["header"]
    assert set(told["scopes_supported"]) == {"all:read", "credits:read", "me:read"}


def test_without_an_authorization_server_the_metadata_names_none(server):
    with server.client(None) as client:
        told = client.get("/.well-known/oauth-protected-resource").json()

    assert "authorization_servers" not in told


def test_an_authorization_server_that_is_set_is_named_as_the_sdks_clients_read_it(url):
    with (
        served(engine_on(url), authorization_servers=["https://login.example.com"]) as serving,
        serving.client(None) as client,
    ):
        told = ProtectedResourceMetadata.model_validate(client.get("/.well-known/oauth-protected-resource").json())

    assert [str(one) for one in told.authorization_servers] == ["https://login.example.com"]
    assert str(told.resource) == AUDIENCE
    assert check_resource_allowed(requested_resource=f"{AUDIENCE}/mcp", configured_resource=str(told.resource))


def test_a_token_for_another_server_that_our_own_door_let_in_is_refused_by_the_sdks_check(server, monkeypatch):
    # The planted bug: a door that takes a token's own word for whom it is meant.
    def read_carelessly(*known, audience):
        del audience
        return read_token(*known, audience="https://other.example")

    monkeypatch.setattr(door, "read_token", read_carelessly)
    engine = server.engine
    foreign = mint(engine.secrets, engine.clock, "alice", audience="https://other.example", scopes=["me:read"]).token

    elsewhere = httpx2.get(f"{server.url}/api/billing/balance", headers={"Authorization": f"Bearer {foreign}"})
    answer = post(server, message("tools/list"), caller=None, Authorization=f"Bearer {foreign}")

    assert elsewhere.status_code == 200
    assert answer.status_code == 401
    assert METADATA in answer.headers["www-authenticate"]


def test_a_token_for_another_server_is_401(server):
    engine = server.engine
    fine = mint(engine.secrets, engine.clock, "alice", audience=AUDIENCE, scopes=["me:read"]).token
    foreign = mint(engine.secrets, engine.clock, "alice", audience="https://other.example", scopes=["me:read"]).token

    answers = [
        post(server, message("tools/list"), caller=None, Authorization=f"Bearer {token}") for token in (fine, foreign)
    ]

    assert [answer.status_code for answer in answers] == [200, 401]
    assert METADATA in answers[1].headers["www-authenticate"]


def test_a_key_that_is_revoked_is_not_taken_the_next_time(server):
    with server.client("service") as service:
        made = service.post("/api/billing/keys", json={"label": "brief", "scopes": ["all:read"]}).json()
        before = post(server, message("tools/list"), caller=None, Authorization=f"Bearer {made['key']}")
        revoked = service.post(f"/api/billing/keys/{made['id']}/revoke", json={})
        after = post(server, message("tools/list"), caller=None, Authorization=f"Bearer {made['key']}")

    assert revoked.status_code == 200, revoked.text
    assert (before.status_code, after.status_code) == (200, 401)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "host_refused"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "host_refused"),
        ({"Origin": "https://evil.example"}, 403, "origin_refused"),
        ({"Origin": "null"}, 403, "origin_refused"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported_media"),
    ],
)
def test_hosts_origins_and_kinds_of_body_are_checked_as_everywhere(server, headers, status, code):
    answer = post(server, message("tools/list"), **headers)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_a_page_of_the_servers_own_origin_may_ask(server):
    answer = post(server, message("tools/list"), Origin=server.url)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"x": "' + b"a" * 1024 * 1024 + b'"}', 413, "body_too_large"),
        (b"[" * 41 + b"]" * 41, 400, "invalid_input"),
    ],
)
def test_what_is_too_big_or_too_deep_is_refused_as_everywhere(server, body, status, code):
    with server.client() as client:
        answer = client.post("/mcp", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_is_no_stream_to_open_and_no_session_to_end(server, method):
    with server.client() as client:
        answer = client.request(method, "/mcp")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"x"',
        b"1e999",
        b'{"jsonrpc": "2.0", "method": "tools/call"}',
        b'{"jsonrpc": "2.0", "id": null, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 7}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "billing_balance", "arguments": []}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "grants/make", "params": {}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "billing_grant", "arguments": {}}}',
        b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]',
        b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "\\ud800", "arguments": {}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"billing_usage","arguments":{"user_id":"\\ud800"}}}',
    ],
)
@pytest.mark.parametrize("headers", [{}, MODERN], ids=["2025", "2026"])
def test_nonsense_is_refused_and_is_no_fault_of_ours(server, caplog, body, headers):
    with server.client() as client:
        answer = client.post("/mcp", content=body, headers=headers | {"Content-Type": "application/json"})

    assert answer.status_code in {200, 202, 400, 404}
    if answer.content:
        said = answer.json()
        assert "error" in said or said["result"]["isError"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [word for word in (b"Traceback", b"pydantic", b"input_value") if word in answer.content]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b'{"hello": 1}', -32600, "the body is no message of JSON-RPC 2.0: it takes jsonrpc, method and id"),
        (b"[]", -32600, "the body is no message of JSON-RPC 2.0: it takes jsonrpc, method and id"),
        (b"1 2", -32700, "the body is no JSON"),
    ],
)
def test_what_is_no_message_is_answered_in_one_sentence(server, body, code, said):
    with server.client() as client:
        answer = client.post("/mcp", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json() == {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": said}}


def test_the_name_in_a_header_has_to_be_the_one_in_the_body(server):
    answer = post(server, message("tools/call", BALANCE | {"_meta": META}), **MODERN | {"Mcp-Name": "billing_packages"})

    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_parameter_in_the_address_is_refused_because_it_would_be_left_out_of_account(server):
    with server.client() as client:
        answer = client.post("/mcp?user_id=alice", json=message("tools/list"))

    assert answer.status_code == 400


def test_the_log_has_who_and_the_route_and_no_name_of_a_user(server, caplog):
    with caplog.at_level(logging.INFO, logger="callfare.http"):
        post(server, message("tools/call", BALANCE))
        # The line is written once the answer is out: before the server turns to the next request.
        httpx2.get(f"{server.url}/healthz")

    (line,) = [record for record in caplog.records if getattr(record, "route", "") == "/mcp"]
    assert line.who.startswith("key:")
    assert "user_123" not in json.dumps(line.__dict__, default=str)
