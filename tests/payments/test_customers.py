"""One customer for each user, however many ask; and asking again is harmless, whatever became of the first answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from callfare.errors import InvalidUser, KeyConflict, NotFound, PaymentsUnavailable
from callfare.ledger.rows import User
from callfare.payments.gateway import ProcessorRefused
from callfare.payments.overseeing import dismiss, grant_anyway, quarantined
from tests.support.books import Balance


def created(shop, kind: str = "customer.created") -> int:
    return len(shop.events(kind))


def known_as(shop) -> str | None:
    return shop.books.rows(User)[0].stripe_customer_id


async def test_however_many_ask_at_once_there_is_one_customer(shop):
    await asyncio.gather(*(shop.checkout() for _ in range(8)))

    assert created(shop) == 1
    assert len({order.customer for order in shop.orders()}) == 1


async def test_two_users_have_two_customers(shop):
    await asyncio.gather(shop.checkout(), shop.checkout(user="bob"))

    assert created(shop) == 2


async def test_a_customer_who_is_gone_is_made_anew_once(shop):
    await shop.checkout()
    gone = known_as(shop)
    shop.fake.client().v1.customers.delete(gone)

    session = await shop.checkout()

    assert created(shop) == 2
    assert known_as(shop) not in {None, gone}
    shop.fake.act("pay_session", session=session)
    await shop.tell_all()
    assert shop.balance().available == "2000"


async def test_a_deleted_customer_is_forgotten_and_the_balance_stays(shop):
    await shop.bought()
    await shop.tell_all()
    shop.fake.client().v1.customers.delete(known_as(shop))

    await shop.tell_all()

    assert (known_as(shop), shop.balance().available) == (None, "2000")


async def test_the_portal_of_a_customer_who_is_gone_is_that_of_the_next(shop):
    await shop.checkout()
    shop.fake.client().v1.customers.delete(known_as(shop))

    assert (await shop.till.orders.portal("alice", None)).startswith(shop.fake.base_url)


async def test_no_other_refusal_makes_another_customer(shop):
    await shop.checkout()
    shop.fake.fault(path="/v1/checkout/sessions", method="POST", status=400, code="parameter_invalid_empty")

    with pytest.raises(ProcessorRefused):
        await shop.checkout()

    assert created(shop) == 1


# Asking again


async def test_the_same_key_leads_to_the_same_checkout(shop):
    first = await shop.checkout(key="key:once")
    again = await shop.checkout(key="key:once")

    assert first == again
    assert len(shop.orders()) == 1


async def test_the_same_key_for_another_package_is_a_conflict(shop):
    await shop.checkout(key="key:once")

    with pytest.raises(KeyConflict):
        await shop.checkout("credits_500", key="key:once")


async def test_the_same_key_with_another_address_is_a_conflict_that_stripe_does_not_hear_of(shop):
    await shop.checkout(key="key:once")

    for email in ("other@example.com", None):
        with pytest.raises(KeyConflict):
            await shop.till.orders.checkout("alice", email, "credits_2000", key="key:once")
    [customer] = shop.fake.client().v1.customers.list().data
    assert customer.email == "alice@example.com"


async def test_another_address_under_another_key_is_told_to_stripe(shop):
    await shop.checkout(key="key:once")

    await shop.till.orders.checkout("alice", "other@example.com", "credits_2000", key="key:twice")

    [customer] = shop.fake.client().v1.customers.list().data
    assert customer.email == "other@example.com"


async def test_a_repeat_says_that_it_is_one(shop):
    asked = ("alice", "alice@example.com", "credits_2000")

    first, again = [await shop.till.orders.checkout(*asked, key="key:once") for _ in range(2)]

    assert (first.is_replay, again.is_replay) == (False, True)


async def test_without_a_key_two_clicks_are_two_orders_of_which_one_is_paid(shop):
    first, second = await shop.checkout(), await shop.checkout()
    shop.fake.act("pay_session", session=first)

    await shop.tell_all()

    assert first != second
    assert shop.balance().available == "2000"
    assert sorted(order.state for order in shop.orders()) == ["open", "paid"]


async def test_an_answer_that_was_lost_is_found_by_asking_again(shop):
    """Stripe made the checkout, and the connection broke before it could say so."""
    shop.fake.fault(path="/v1/checkout/sessions", method="POST", when="after", status=500, retry=False)

    with pytest.raises(PaymentsUnavailable):
        await shop.checkout(key="key:once")
    lost = shop.orders()
    session = await shop.checkout(key="key:once")

    assert [order.state for order in lost] == ["created"]
    sessions = shop.fake.client().v1.checkout.sessions.list().data
    assert [one.id for one in sessions] == [session]
    assert [order.session for order in shop.orders()] == [session]


async def test_a_late_answer_is_an_answer(shop):
    shop.fake.fault(path="/v1/checkout/sessions", method="POST", when="after", status=None, late_s=0.2)

    await shop.checkout()

    assert [order.state for order in shop.orders()] == ["open"]


async def test_a_checkout_that_nobody_heard_of_is_settled_by_its_message(shop):
    """The process died between Stripe's answer and its note; the payer had the page all the same."""
    shop.fake.fault(path="/v1/checkout/sessions", method="POST", when="after", status=500, retry=False)
    with pytest.raises(PaymentsUnavailable):
        await shop.checkout(key="key:once")
    [made] = shop.fake.client().v1.checkout.sessions.list().data
    shop.fake.act("pay_session", session=made.id)

    await shop.tell_all()

    assert (shop.orders()[0].state, shop.balance().available) == ("paid", "2000")


async def test_an_order_that_nobody_was_told_of_ends_by_itself(shop):
    shop.fake.fault(path="/v1/checkout/sessions", method="POST", when="before", status=500, times=3)
    with pytest.raises(PaymentsUnavailable):
        await shop.checkout()
    shop.advance(26 * 3600)

    await shop.till.reconciler.run()

    assert [order.state for order in shop.orders()] == ["expired"]


@pytest.mark.parametrize("user", ["", "a\0b", "\ud800", "x" * 256], ids=repr)
async def test_a_user_id_that_is_none_buys_nothing(shop, user):
    for ask in (shop.till.orders.checkout(user, None, "credits_2000"), shop.till.orders.portal(user, None)):
        with pytest.raises(InvalidUser):
            await ask

    assert (shop.orders(), created(shop)) == ([], 0)


async def test_what_is_not_for_sale_makes_no_order(shop):
    with pytest.raises(NotFound):
        await shop.checkout("credits_1")

    assert (shop.orders(), created(shop)) == ([], 0)


# Quarantine


# Rows can be put behind the ledger's back in memory alone.
in_memory = pytest.mark.parametrize("open_shop", ["memory"], indirect=True)


async def tampered(shop) -> str:
    """Return what was put aside: a paid checkout whose order says another amount than Stripe took."""
    session = await shop.checkout()
    store = shop.engine.store
    [order] = shop.orders()
    store.take([order.__class__(**{name: getattr(order, name) for name in order.__struct_fields__} | {"subtotal": 1})])
    shop.fake.act("pay_session", session=session)
    await shop.tell_all()
    store.take(
        [order.__class__(**{n: getattr(shop.orders()[0], n) for n in order.__struct_fields__} | {"subtotal": 1800})]
    )
    return shop.quarantined()[0].item_id


@in_memory
async def test_a_payment_that_differs_from_its_order_grants_nothing_and_is_put_aside_once(shop):
    item = await tampered(shop)
    await shop.tell_all()

    assert [one.item_id for one in await quarantined(shop.till.desk)] == [item]
    assert (shop.orders()[0].state, shop.balance()) == ("quarantined", Balance("0", "0", "0"))
    assert "subtotal" in shop.quarantined()[0].reason
    assert json.loads(shop.quarantined()[0].facts)["order"] == shop.orders()[0].order_id


@in_memory
async def test_what_was_put_aside_is_granted_once_or_dismissed(shop):
    item = await tampered(shop)

    granted = await grant_anyway(shop.till.desk, item, by="tester")

    assert (granted, shop.balance().available) == (2_000_000_000_000, "2000")
    with pytest.raises(Exception, match="claimed by tester"):
        await dismiss(shop.till.desk, item, by="another")
    with pytest.raises(Exception, match="claimed by tester"):
        await grant_anyway(shop.till.desk, item, by="another")


async def test_after_everything_was_deleted_at_stripe_buyers_buy_on(shop):
    """As when test data are deleted in the dashboard, or the stand-in is started anew: nothing of it is known there."""
    await shop.bought()
    await shop.bought("plan_rolling")
    await shop.checkout("credits_500")
    await shop.tell_all()
    before = shop.balance().available
    shop.fake.reset(seed="another world")
    shop.advance(300)

    done = await shop.till.reconciler.run()
    portal = await shop.till.orders.portal("alice", None)
    await shop.bought()
    await shop.tell_all()

    assert (before, done.unmatched, shop.balance().available) == ("2300", [], "4300")
    assert portal.startswith(f"{shop.fake.base_url}/p/session/")
