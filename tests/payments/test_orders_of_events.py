"""In whatever order Stripe's messages come, and however often, the end is one and the same."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from tests.support.shop import opened_shop

MONTH_S = 31 * 24 * 3600


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


WITNESSES = ("payment_intent.succeeded", "checkout.session.completed")
# Every sequence of two events that each come once, twice or three times.
SEQUENCES = sorted(
    {
        order
        for first, second in itertools.product((1, 2, 3), repeat=2)
        for order in itertools.permutations((0,) * first + (1,) * second)
    }
)


def once_more(event, number):
    """Return an event as Stripe sends it again, and every second time under another id: only its effect is the same."""
    return event | {"id": f"{event['id']}_{number}"} if number % 2 else event


@pytest.mark.all
@pytest.mark.parametrize("order", SEQUENCES, ids=lambda order: "".join(map(str, order)))
async def test_both_witnesses_of_a_payment_in_every_order_once_to_three_times_grant_once(fake, order):
    async with opened_shop(fake) as shop:
        await shop.bought()
        events = [shop.events(name)[0] for name in WITNESSES]

        for number, place in enumerate(order):
            await shop.tell(once_more(events[place], number))

        assert (shop.balance().available, [one.state for one in shop.orders()]) == ("2000", ["paid"])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.all) for seed in range(1, 30))])
async def test_a_purchases_events_strewn_about_once_to_three_times_end_in_one_state(fake, open_shop, seed):
    chance = random.Random(seed)
    async with open_shop() as shop:
        await shop.bought()
        fake.act("refund_charge", charge=shop.charge_of(), amount=600)
        told = [event for name in PURCHASE for event in shop.events(name)[:1] * chance.randint(1, 3)]
        chance.shuffle(told)

        await shop.tell(*(once_more(event, number) for number, event in enumerate(told)))

        assert shop.balance().available == "1333.333333333"
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
