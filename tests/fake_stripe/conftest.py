"""One stand-in for all these tests, as new for each, which must have kept to the SDK's types when the test ends."""

from __future__ import annotations

import pytest

from tests.support.fake_stripe import running_fake_stripe


@pytest.fixture(scope="session")
def process():
    with running_fake_stripe() as fake:
        yield fake


@pytest.fixture
def fake(process):
    process.reset(seed="tests")
    yield process
    assert process.violations() == []


@pytest.fixture
def client(fake):
    return fake.client()
