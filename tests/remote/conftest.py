"""Fixtures: a server in front of an empty ledger, and nothing in the environment that leads elsewhere."""

from __future__ import annotations

import threading

import pytest

from callfare import Callfare
from tests.support.scripted import Scripted
from tests.support.serving import engine_on, served


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Spools and secrets lie in a folder of this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("CALLFARE_API_KEY", "CALLFARE_SPOOL_DIR", "CALLFARE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serving(tmp_path):
    """A server in front of an empty ledger."""
    with served(engine_on(f"sqlite:///{tmp_path}/callfare.db")) as serving:
        yield serving


@pytest.fixture
def scripted():
    """A server with answers of the test's own."""
    found = Scripted()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def fare(scripted):
    """A façade on that server."""
    with Callfare(scripted.url, api_key="cf_test_secret", deadline_s=30) as fare:
        yield fare
