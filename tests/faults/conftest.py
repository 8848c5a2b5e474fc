"""Fixtures of the tests that do harm: how often, with which seed, and to which ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.traffic import Traffic
from tests.support.fixtures import address, give_back, open_store


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many times the default effort to make."""
    number: int = request.config.getoption("--fault-rounds")
    return number


@pytest.fixture
def new_traffic(tmp_path: Path, seed: int) -> Iterator[Callable[..., Traffic]]:
    """Makes traffic to a new ledger of a kind."""

    def make(kind: str, **options: Any) -> Traffic:
        folder = tmp_path / "ledger"
        open_store(kind, folder, None).close()
        url = address(kind, folder).removeprefix("sqlite:///")
        now_us = time.time_ns() // 1000
        return Traffic(url=url, folder=str(folder), seed=seed, begin_us=now_us, **options)

    yield make
    give_back(tmp_path)
