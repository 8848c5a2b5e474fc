"""In whatever order Stripe's messages come, and however often, the end is one and the same."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

MONTH_S = 31 * 24 * 3600


def bare(state):
    """Return a state without the ids that differ from one ledger to the next."""
    return {
        "balances": state["balances"],
        "orders": sorted(row[1] for row in state["orders"]),
        "sales": sorted(row[1:] for row in state["sales"]),
        "plans": sorted(row[1:] for row in state["plans"]),
    }


PURCHASE = (
    "payment_intent.succeeded",
    "checkout.session.completed",
    "charge.refunded",
    "refund.created",
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(PURCHASE)))), ids=str)
async def test_every_order_of_a_purchases_events_ends_in_one_state(fake, open_shop, order):
    """Each comes once, twice or three times, by its place."""
    async with open_shop() as shop:
        await shop.bought()
        fake.act("refund_charge", charge=shop.charge_of(), amount=600)
        events = [shop.events(name)[0] for name in PURCHASE]

        for repeats, place in enumerate(order):
            await shop.tell(*([events[place]] * (repeats % 3 + 1)))

        assert shop.state()["balances"]["alice"].available == "1333.333333333"
        assert [one.state for one in shop.orders()] == ["paid"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_chain_of_refunds_and_disputes_ends_in_one_state(fake, open_shop, seed, request):
    """Events come while more happens, and then all of them again in an order drawn by chance."""
    chance = random.Random(seed)
    async with open_shop() as shop:
        await shop.bought()
        charge = shop.charge_of()
        pending = fake.act("refund_charge", charge=charge, amount=450, course="pending")
        await shop.tell(*chance.sample(shop.events(), 3))
        fake.act("settle_refund", refund=pending["id"], status="succeeded")
        dispute = fake.act("dispute_charge", charge=charge, amount=900)
        await shop.tell(*chance.sample(shop.events(), 4))
        fake.act("decide_dispute", dispute=dispute["id"], status=chance.choice(["won", "won"]))
        events = shop.events()
        chance.shuffle(events)

        await shop.tell(*events)

        assert shop.balance().available == "1500"
        assert shop.sales()[0].dispute == "won"


@pytest.mark.parametrize("seed", range(4))
async def test_a_plans_life_ends_in_one_state(fake, open_shop, seed):
    chance = random.Random(seed)
    async with open_shop() as shop:
        await shop.bought("plan_rolling")
        for _ in range(2):
            shop.advance(MONTH_S)
            fake.advance(7200)
            await shop.tell(*chance.sample(shop.events(), 5))
        fake.act(
            "end_subscription", subscription=shop.events("customer.subscription.created")[0]["data"]["object"]["id"]
        )
        events = shop.events()
        chance.shuffle(events)

        await shop.tell(*events)

        assert shop.balance().available == "900"
        assert [(plan.status, plan.ended_at_us is not None) for plan in shop.plans()] == [("canceled", True)]
        assert [order.state for order in shop.orders()] == ["paid"]


async def test_all_three_doors_at_once_grant_once(open_shop):
    async with open_shop() as shop:
        session = await shop.bought()
        shop.advance(300)

        await asyncio.gather(
            shop.tell_all(), shop.till.come_back(session), shop.till.reconciler.run(), shop.till.come_back(session)
        )

        assert shop.balance().available == "2000"
