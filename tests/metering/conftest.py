"""A ledger, the stand-in and the real SDK in front of it, on each store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare
from callfare.clock import ManualClock
from callfare.devtools.fake_openai import FakeOpenAI


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def fare(url: str, clock: ManualClock) -> Iterator[Callfare]:
    with Callfare(url, clock=clock) as fare:
        yield fare
        verification = fare.verify()
        assert verification.is_clean, verification


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def sdk(fake: FakeOpenAI) -> Iterator[Callable[..., OpenAI]]:
    made: list[OpenAI] = []

    def make(**options: object) -> OpenAI:
        made.append(OpenAI(base_url=fake.base_url, api_key="none", **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(fare: Callfare, sdk: Callable[..., OpenAI]) -> OpenAI:
    return fare.wrap(sdk(max_retries=0))
