"""Taking many messages: yes is said to what is durable, each is worked on once, and Stripe is not asked too much."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from stripe import WebhookSignature

from callfare.clock import US_PER_S, ManualClock, SystemClock
from callfare.errors import LedgerUnavailable
from callfare.facade import open_engine
from callfare.ledger.sale_commands import ClaimDelivery
from callfare.ledger.sale_rows import Delivery
from callfare.payments.asking import InTurn
from callfare.payments.reads import Reads
from callfare.store.protocol import UserNamed
from tests.support.postgres import shared_server
from tests.support.processes import start
from tests.support.shop import SECRET, opened_shop


def signed(event) -> str:
    body = json.dumps(event)
    now_s = SystemClock().now_us() // US_PER_S
    return f"{body}\t{WebhookSignature.generate_signature_header(body, SECRET, now_s)}\n"


def taken_until_killed(url, fake, events, kind) -> None:
    """Have a process take messages, and kill it as soon as it has said yes to the last."""
    process = start("tests.payments.taking", "take", url, fake.base_url, kind)
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        for event in events:
            process.stdin.write(signed(event))
            process.stdin.flush()
            assert process.stdout.readline() == "yes\n"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path}/shop.db" if request.param == "sqlite" else shared_server().new_database()


@pytest.mark.parametrize("kind", ["as it is", "hasty"])
async def test_what_was_said_yes_to_survives_a_kill_and_is_granted_once(fake, url, kind):
    async with opened_shop(fake, url) as shop:
        for user in ("alice", "bob"):
            await shop.bought(user=user)
        events = shop.events("checkout.session.completed")

        taken_until_killed(url, fake, events, kind)

        kept = {row.message_id for row in shop.books.rows(Delivery)}
        # The planted fault says yes to what nobody will find again.
        assert (kept == {event["id"] for event in events}) is (kind == "as it is")
        shop.clock.advance(120)
        await shop.till.work_due()
        await shop.tell(*events)
        assert (shop.balance("alice").posted, shop.balance("bob").posted) == ("2000", "2000")


async def together(shop, events, *, until_idle: bool = True) -> None:
    """Bring events all at once."""
    now_s = shop.clock.now_us() // US_PER_S
    bodies = [json.dumps(event) for event in events]
    headers = [WebhookSignature.generate_signature_header(body, SECRET, now_s) for body in bodies]
    await asyncio.gather(*(shop.till.take(body.encode(), header) for body, header in zip(bodies, headers, strict=True)))
    if until_idle:
        await shop.till.idle()


async def test_more_messages_than_are_worked_on_at_once_are_all_settled(shop, monkeypatch):
    monkeypatch.setattr("callfare.payments.till._AT_ONCE", 3)
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    copies = [event | {"id": f"evt_copy{number}"} for number in range(20)]

    await together(shop, copies, until_idle=False)
    most = len(shop.till._tasks)
    await shop.till.idle()

    assert most <= 3
    assert list(shop.messages_by_id().values()) == ["done"] * 20
    assert (shop.balance().posted, len(shop.sales())) == ("2000", 1)


async def test_a_message_whose_turn_comes_late_is_left_to_whoever_finds_it(shop, monkeypatch):
    monkeypatch.setattr("callfare.payments.till._AT_ONCE", 1)
    await shop.bought(user="alice")
    await shop.bought(user="bob")
    first, second = shop.events("checkout.session.completed")
    true = shop.till.inbox.work

    async def slow(message, **more):
        shop.clock.advance(50)
        return await true(message, **more)

    monkeypatch.setattr(shop.till.inbox, "work", slow)
    await together(shop, [first, second])
    kept = shop.messages_by_id()
    shop.clock.advance(60)
    count = await shop.till.work_due()

    assert kept == {first["id"]: "done", second["id"]: "waiting"}
    assert (count, shop.balance("alice").posted, shop.balance("bob").posted) == (1, "2000", "2000")


async def test_more_messages_than_wait_here_are_kept_and_found_later(shop, monkeypatch):
    monkeypatch.setattr("callfare.payments.till._KEPT_MAX", 1)
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    copies = [event | {"id": f"evt_copy{number}"} for number in range(5)]

    await together(shop, copies)
    states = list(shop.messages_by_id().values())
    shop.clock.advance(61)
    count = await shop.till.work_due()

    assert (sorted(states), count) == (["done"] + ["waiting"] * 4, 4)
    assert list(shop.messages_by_id().values()) == ["done"] * 5
    assert shop.balance().posted == "2000"


async def test_what_is_due_is_claimed_together_and_all_of_it_is_worked_on(shop, monkeypatch):
    monkeypatch.setattr("callfare.payments.till._AT_ONCE", 8)
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    for number in range(20):
        await shop.till.inbox.keep(json.dumps(event | {"id": f"evt_copy{number}"}).encode())
    shop.clock.advance(61)
    batches = []
    true = shop.engine.store.apply
    monkeypatch.setattr(shop.engine.store, "apply", lambda commands: batches.append(commands) or true(commands))

    count = await shop.till.work_due()

    claims = [sum(isinstance(command, ClaimDelivery) for command in batch) for batch in batches]
    assert (count, [number for number in claims if number]) == (20, [8, 8, 4])
    assert set(shop.messages_by_id().values()) == {"done"}
    assert (shop.balance().posted, await shop.till.work_due()) == ("2000", 0)


async def test_one_message_that_breaks_ends_the_work_on_no_other(shop, monkeypatch):
    monkeypatch.setattr("callfare.payments.till._AT_ONCE", 1)
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    true = shop.till.inbox.work

    async def breaking(message):
        if message.id == "evt_broken":
            raise ZeroDivisionError
        return await true(message)

    monkeypatch.setattr(shop.till.inbox, "work", breaking)
    await shop.tell(event | {"id": "evt_broken"}, event)

    assert shop.messages_by_id() == {"evt_broken": "waiting", event["id"]: "done"}


class Counting:
    """Answers slowly, and counts how many ask at once."""

    def __init__(self) -> None:
        self.asking = self.most = 0
        self.answers = asyncio.Event()

    async def payment(self, payment: str) -> str:
        self.asking += 1
        self.most = max(self.most, self.asking)
        await self.answers.wait()
        self.asking -= 1
        if payment == "broken":
            raise ZeroDivisionError
        return payment


async def settled_loop() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_ask_than_may_at_once_and_everybody_gets_an_answer():
    counting = Counting()
    stripe = InTurn(counting, 3)
    tasks = [asyncio.create_task(stripe.payment(f"pi_{number}")) for number in range(9)]
    tasks.append(asyncio.create_task(stripe.payment("broken")))
    await settled_loop()
    before = counting.asking

    counting.answers.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert (before, counting.most) == (3, 3)
    assert answers[:9] == [f"pi_{number}" for number in range(9)]
    assert isinstance(answers[9], ZeroDivisionError)
    assert stripe._turns._free == 3


async def test_a_turn_comes_back_from_whoever_has_gone():
    counting = Counting()
    stripe = InTurn(counting, 1)
    first, second, third = (asyncio.create_task(stripe.payment(name)) for name in ("a", "b", "c"))
    await settled_loop()

    second.cancel()
    first.cancel()
    await settled_loop()
    counting.answers.set()

    assert await third == "c"
    assert stripe._turns._free == 1


async def test_a_turn_that_comes_to_one_who_has_just_gone_goes_on():
    stripe = InTurn(Counting(), 1)
    turns = stripe._turns
    await turns.take()
    waiting = asyncio.create_task(turns.take())
    await settled_loop()

    turns.give()
    waiting.cancel()
    await settled_loop()

    assert turns._free == 1


# Reading together


class Glancing:
    """A ledger whose reads are counted, and may fail."""

    def __init__(self, engine) -> None:
        self.store = engine.store
        self.reads = 0
        self.fault: Exception | None = None

    async def glance_async(self, read):
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        await asyncio.sleep(0)
        return read()


@pytest.fixture
def glancing():
    clock = ManualClock(datetime.now(UTC) - timedelta(days=1))
    engine = open_engine("memory://", (), seed_prices=True, markup=1, require_user=False, clock=clock)
    engine.create()
    yield Glancing(engine)
    engine.close()


async def test_whoever_asks_in_one_tick_is_answered_by_one_read(shop):
    await shop.bought(user="alice")
    await shop.bought(user="bob")
    glancing = Glancing(shop.engine)
    reads = Reads(glancing)
    names = ["alice", "bob", "nobody", "alice"]

    answers = await asyncio.gather(*(reads.ask(UserNamed(user=name), UserNamed(user="bob")) for name in names))

    told = [[[row.user for row in rows] for rows in answer] for answer in answers]
    assert told == [[["alice"], ["bob"]], [["bob"], ["bob"]], [[], ["bob"]], [["alice"], ["bob"]]]
    assert glancing.reads == 1


async def test_a_caller_who_has_gone_takes_no_answer_along(glancing):
    reads = Reads(glancing)
    gone, stays = (asyncio.create_task(reads.ask(UserNamed(user="alice"))) for _ in range(2))
    await asyncio.sleep(0)

    gone.cancel()

    assert await stays == [[]]


async def test_a_read_that_fails_fails_for_all_who_asked_and_for_nobody_after(glancing):
    reads = Reads(glancing)
    glancing.fault = LedgerUnavailable("away")

    failed = await asyncio.gather(*(reads.ask(UserNamed(user="a")) for _ in range(2)), return_exceptions=True)
    glancing.fault = None

    assert [type(fault) for fault in failed] == [LedgerUnavailable, LedgerUnavailable]
    assert await reads.ask(UserNamed(user="a")) == [[]]
