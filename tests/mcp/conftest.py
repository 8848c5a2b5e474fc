"""Fixtures: a ledger with stories in it, and assistants that ask it in memory, over standard streams and over HTTP."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from callfare import Callfare
from callfare.mcp.reader import EngineReader
from callfare.mcp.serving import Assistants
from callfare.mcp.stdio import principal_of
from tests.support.serving import engine_on, served

SCRIPT = str(Path(sys.executable).with_name("callfare"))
# Both generations of the protocol, as the SDK's client calls them.
GENERATIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
TWEET = {"input_tokens": 1200, "output_tokens": 350}


def write_stories(fare):
    """Have user_123 with 1500 credits and no call, and alice with runs of some kinds; bob has little."""
    fare.grant("user_123", 1500, key="welcome")
    fare.grant("alice", 2000, key="welcome")
    fare.grant("bob", "40.005", key="welcome")
    with fare.run("story", user="alice", run_id="story-1") as run:
        run.record("gpt-5-mini", TWEET)
        run.record("gpt-image-1", {"images": 4}, attributes={"size": "1024x1536"})
    with fare.run("tweet", user="alice", run_id="tweet-1") as run:
        run.record("gpt-5-mini", TWEET)
    fare.record("gpt-5-mini", TWEET, user="alice", key="alone")
    fare.record("model-9", {"input_tokens": 7}, user="alice", key="unpriced")
    fare.open_run("video", user="alice", run_id="video-1")


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    """The address of a ledger with stories in it. Nobody writes to it."""
    address = f"sqlite:///{tmp_path_factory.mktemp('stories')}/callfare.db"
    with Callfare(address) as fare:
        write_stories(fare)
    return address


@pytest.fixture(scope="session")
def engine(url):
    engine = engine_on(url)
    yield engine
    engine.close()


@pytest.fixture
def assistant(engine):
    """Returns an assistant in memory: for a user, or for everybody."""

    def connect(user=None, mode="auto", reader=None):
        server = Assistants(
            reader or EngineReader(engine), who=lambda _: principal_of(user), told=lambda error: error.message
        ).server()
        return Client(server, mode=mode)

    return connect


@pytest.fixture
def host(url):
    """Returns an assistant over the standard streams of a process that is started as hosts start it."""

    def connect(*words, mode="auto", ledger=url):
        names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}
        return Client(StdioServerParameters(command=SCRIPT, args=["mcp", "--db", ledger, *words], env=names), mode=mode)

    return connect


@pytest.fixture(scope="session")
def server(url):
    """A server over the ledger."""
    with served(engine_on(url), is_local=False) as serving:
        yield serving


@pytest.fixture
def remote(server):
    """Returns an assistant over HTTP, with the credential of a caller."""

    @asynccontextmanager
    async def connect(caller="service", mode="auto"):
        headers = {"Authorization": f"Bearer {server.credentials[caller]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http,
            Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client

    return connect
