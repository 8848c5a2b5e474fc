"""A ledger that can go away, a façade on it, the stand-in for OpenAI, and the real SDK in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare
from callfare.clock import ManualClock
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.store.sqlite import SqliteStore
from tests.spool.away import Away, MovedFile, StoppedCallfare, StoppedServer
from tests.support.postgres import Server, running_server


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers' spools lie: nothing in the environment points elsewhere."""
    monkeypatch.delenv("CALLFARE_SPOOL_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server of these tests' own, which they may stop."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "server"])
def away(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    """A ledger that can go away; it is back when the test has ended."""
    if request.param == "sqlite":
        away: Away = MovedFile(tmp_path / "ledger.db")
    elif request.param == "server":
        monkeypatch.setenv("CALLFARE_API_KEY", "")
        away = StoppedCallfare(tmp_path / "ledger.db")
    else:
        away = StoppedServer(request.getfixturevalue("server"))
    yield away
    away.end()
    if isinstance(away, StoppedCallfare):
        away.begin()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


def come_back(away: Away, fare: Callfare) -> None:
    """Bring the ledger back and deliver what waits."""
    away.end()
    fare.drain_spool()
    # Connections for reading from before the outage would answer that they were cut.
    fare._engine.store.close()


@pytest.fixture
def back(away: Away, fare: Callfare) -> Callable[[], None]:
    """Brings the ledger back and delivers what waits."""
    return lambda: come_back(away, fare)


@pytest.fixture
def fare(away: Away) -> Iterator[Callfare]:
    """A façade; alice has 100 credits. At the end the ledger is back, nothing waits, and its books are sound."""
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
        yield fare
        come_back(away, fare)
        assert (fare.spool().waiting, fare.spool().refused_count) == (0, 0)
        with Callfare(away.ledger) as here:
            assert here.verify().is_clean


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def client_of(fake: FakeOpenAI) -> Iterator[Callable[[Callfare], OpenAI]]:
    """Makes the SDK's client of a façade."""
    with OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:
        yield lambda fare: fare.wrap(client)


@pytest.fixture
def client(fare: Callfare, client_of: Callable[[Callfare], OpenAI]) -> OpenAI:
    return client_of(fare)


@pytest.fixture
def paint(client: OpenAI) -> Callable[..., object]:
    """Makes a picture for 4 credits."""
    return lambda **named: client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024", **named)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that any ledger is asked to apply."""
    sizes: list[int] = []
    apply = SqliteStore.apply

    def counting(store, commands):
        sizes.append(len(commands))
        return apply(store, commands)

    monkeypatch.setattr(SqliteStore, "apply", counting)
    return sizes


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not try by itself in this test."""
    monkeypatch.setattr("callfare.delivery._DELAYS_MS", (3_600_000,))
