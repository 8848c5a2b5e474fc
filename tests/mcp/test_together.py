"""Many assistants at once, slow answers, a server that is told to stop, and PostgreSQL: who asks stays who asks."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import threading
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client

from callfare import Callfare
from callfare.errors import CallfareError, LedgerCorrupt
from callfare.mcp.reader import EngineReader
from callfare.mcp.serving import Assistants
from callfare.mcp.stdio import principal_of
from callfare.mcp.tools import TOOLS
from tests.mcp.conftest import GENERATIONS, write_stories
from tests.mcp.test_http import BALANCE, META, MODERN, message, post
from tests.mcp.test_transports import answers_of
from tests.server.test_serve import Server
from tests.support.fixtures import address, give_back
from tests.support.serving import engine_on

OWN = {"name": "billing_balance", "arguments": {}}


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_answers_to_many_at_once_go_to_those_who_asked(server, mode):
    body = message("tools/call", OWN | {"_meta": META} if mode == "auto" else OWN)
    headers = MODERN if mode == "auto" else {}

    async with httpx2.AsyncClient(base_url=server.url, timeout=120) as client:

        async def ask(caller):
            bearer = {"Authorization": f"Bearer {server.credentials[caller]}"}
            answer = await client.post("/mcp", json=body, headers=headers | bearer)
            return caller, answer.json()["result"]["structuredContent"]["user_id"]

        told = await asyncio.gather(*(ask(caller) for caller in ["alice", "bob"] * 25))

    assert len(told) == 50
    assert all(caller == user for caller, user in told)


@pytest.mark.parametrize("headers", [{}, MODERN], ids=["2025", "2026"])
def test_what_does_not_answer_in_time_is_told_to_come_back_and_the_next_is_answered(server, monkeypatch, headers):
    waiting = threading.Event()

    def slowly(user):
        waiting.wait(120)
        raise LedgerCorrupt(f"nobody waits for {user} any more")

    with monkeypatch.context() as slowed:
        slowed.setattr("callfare.server.outer.DEADLINE_S", 0.05)
        slowed.setattr(server.engine.reports, "balance", slowly)
        late = post(server, message("tools/call", BALANCE | {"_meta": META}), **headers)
        waiting.set()
    next_one = post(server, message("tools/call", BALANCE | {"_meta": META}), **headers)

    assert late.status_code == 503
    assert late.json()["error"]["code"] == "deadline_exceeded"
    assert next_one.json()["result"]["structuredContent"]["available_credits"] == "1500"


def test_a_fault_of_ours_says_nothing_of_what_it_was(server, monkeypatch, caplog):
    def fail(user):
        raise RuntimeError(f"a canary in /srv/secret for {user}")

    monkeypatch.setattr(server.engine.reports, "balance", fail)

    answer = post(server, message("tools/call", BALANCE))

    result = answer.json()["result"]
    assert result["isError"] is True
    assert result["content"][0]["text"] == "a fault of the server; its log has the story [internal_error]"
    assert "canary" in caplog.text


def test_what_is_wrong_with_the_servers_files_is_for_its_owner(server, monkeypatch):
    def fail(user):
        raise LedgerCorrupt("row 7 of /srv/secret/callfare.db is torn")

    monkeypatch.setattr(server.engine.reports, "balance", fail)

    answer = post(server, message("tools/call", BALANCE))

    assert "secret" not in answer.text
    assert answer.json()["result"]["content"][0]["text"].endswith("[ledger_corrupt]")


def test_what_was_accepted_is_answered_before_the_server_stops(tmp_path):
    serving = Server(tmp_path)
    try:
        url, _ = serving.ready()
        key = (Path(tmp_path) / "callfare.db.secrets" / "admin.key").read_text(encoding="ascii").strip()
        host, _, port = url.removeprefix("http://").rpartition(":")
        body = json.dumps(message("tools/call", BALANCE)).encode()
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()

        with socket.create_connection((host, int(port)), timeout=120) as line:
            line.sendall(head + body[:-1])
            # Half a request has been accepted when another one of the same server was answered.
            httpx2.get(f"{url}/healthz")
            serving.process.send_signal(signal.SIGTERM)
            line.sendall(body[-1:])
            said = b"".join(iter(lambda: line.recv(65_536), b""))
        code = serving.process.wait(timeout=120)
    finally:
        serving.process.kill()
        serving.process.communicate()

    assert said.startswith(b"HTTP/1.1 200 ")
    assert b'"is_low":true' in said
    assert code == 0


async def test_on_postgresql_the_answers_are_the_same(tmp_path, assistant):
    url = address("postgres", tmp_path)
    with Callfare(url) as fare:
        write_stories(fare)
    engine = engine_on(url)
    try:
        async with assistant() as near, assistant(reader=EngineReader(engine)) as other:
            names, answers = await answers_of(other)
            expected_names, expected = await answers_of(near)
    finally:
        engine.close()
        give_back(tmp_path)

    assert names == expected_names
    for name in ("billing_balance", "billing_usage", "billing_estimate", "billing_packages"):
        assert answers[name] == expected[name]
    assert [run["run_id"] for run in answers["billing_history"][2]["runs"]] == ["video-1", "tweet-1"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["alice", "day"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["user_id", "period", "workflow_type", "limit", "cursor", "amount"]) | st.text(max_size=10)


@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize("name", TOOLS)
@settings(deadline=None, max_examples=40, database=None, suppress_health_check=HealthCheck)
@given(arguments=st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_is_given_is_answered_or_refused_by_its_code(engine, name, user, arguments):
    principal = principal_of(user)

    try:
        text, answered = asyncio.run(TOOLS[name].call(EngineReader(engine), principal, arguments))
    except CallfareError as refusal:
        # Whatever else it raises is a fault, and fails the test.
        refused = refusal.code
    else:
        refused = ""
        assert text
        assert answered.plain().get("user_id", "alice") == "alice" or user is None
    assert refused != "error"


async def test_a_client_that_goes_away_leaves_no_trace(engine, caplog):
    server = Assistants(EngineReader(engine), who=lambda _: principal_of("alice"), told=str).server()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            async with Client(server) as client:
                task = asyncio.ensure_future(client.call_tool("billing_usage", {}))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
