"""One stand-in for Stripe for all these tests, as new for each, and a shop on a ledger in memory."""

from __future__ import annotations

import pytest

from tests.support.fake_stripe import running_fake_stripe
from tests.support.shop import opened_shop


@pytest.fixture(scope="session")
def stand_in():
    with running_fake_stripe() as fake:
        yield fake


@pytest.fixture
def fake(stand_in):
    stand_in.reset(seed="payments")
    yield stand_in
    assert stand_in.violations() == []


@pytest.fixture
async def shop(fake):
    async with opened_shop(fake) as shop:
        yield shop
