"""Fixtures: a server on a real socket, over a ledger on each store, and clients of each kind of caller."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from tests.support.commands import START
from tests.support.fixtures import address, clock, give_back  # noqa: F401 - clock is a fixture
from tests.support.serving import engine_on, served


@pytest.fixture(params=["sqlite", "postgres"])
def server(request, tmp_path, clock):  # noqa: F811 - the fixture of that name
    """A server over an empty ledger on each database, noon of 23 November 2026."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    with served(engine_on(address(request.param, folder), clock)) as serving:
        yield serving
    give_back(tmp_path)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request, tmp_path_factory):
    """A server over a ledger on each database that all tests of a module share."""
    folder = tmp_path_factory.mktemp("shared")
    with served(engine_on(address(request.param, folder), ManualClock(START))) as serving:
        yield serving
    give_back(folder)


@pytest.fixture
def client(server):
    """A client of a service that may do everything."""
    with server.client() as client:
        yield client


@pytest.fixture
def alice(client):
    """A client on a ledger in which alice has 100 credits and bob has 50."""
    for user, amount in (("alice", "100"), ("bob", "50")):
        sent = client.post(
            "/api/billing/grants",
            json={"userId": user, "credits": amount},
            headers={"Idempotency-Key": f"welcome:{user}"},
        )
        assert sent.status_code == 200, sent.text
    return client
