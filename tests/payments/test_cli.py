"""Stripe's own scripts against a shop: every message they cause is taken, and none of them is a sale of ours."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.books import Balance
from tests.support.stripe_cli import LISTENED_TO, trigger


@pytest.mark.all
@pytest.mark.parametrize("event", LISTENED_TO)
async def test_what_stripes_scripts_cause_is_taken_and_grants_nothing(shop, tmp_path, event):
    shop.fake.settings(settle_after_s=0)

    ran = await asyncio.to_thread(trigger, event, shop.fake.base_url, tmp_path)
    shop.fake.settled()
    await shop.tell_all()

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert shop.messages()[event] in {"done", "ignored"}, shop.messages()
    assert set(shop.messages().values()) <= {"done", "ignored"}
    assert (shop.balance(), shop.sales(), shop.quarantined()) == (Balance("0", "0", "0"), [], [])
