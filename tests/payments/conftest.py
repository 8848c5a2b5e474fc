"""One stand-in for Stripe for all these tests, as new for each, and shops on a ledger of each store."""

from __future__ import annotations

from itertools import count

import pytest

from tests.support.fake_stripe import running_fake_stripe
from tests.support.fixtures import address, give_back
from tests.support.shop import opened_shop

# What a payment does to a ledger the conformance suite says of every store; here the shop itself is put before each.
STORES = ("memory", *(pytest.param(kind, marks=pytest.mark.all) for kind in ("sqlite", "postgres", "convex")))


@pytest.fixture(scope="session")
def stand_in():
    with running_fake_stripe() as fake:
        yield fake


@pytest.fixture
def fake(stand_in):
    stand_in.reset(seed="payments")
    yield stand_in
    assert stand_in.violations() == []


@pytest.fixture(params=STORES)
def open_shop(request, fake, tmp_path):
    """Opens shops, each on an empty ledger of its own."""
    numbers = count()

    def opened(**more):
        folder = tmp_path / f"ledger-{next(numbers)}"
        folder.mkdir()
        return opened_shop(fake, address(request.param, folder), **more)

    yield opened
    give_back(tmp_path)


@pytest.fixture
async def shop(open_shop):
    async with open_shop() as shop:
        yield shop
