"""A package is bought: the order first, then Stripe, then the credit, once, through whichever door it is heard of."""

from __future__ import annotations

import json

import pytest

from callfare.errors import InvalidInput
from callfare.ledger.rows import User
from tests.support.books import Balance


async def test_a_checkout_leads_to_an_address_and_grants_nothing(shop):
    session = await shop.checkout()

    [order] = shop.orders()
    assert (order.state, order.session, order.subtotal, order.customer is not None) == ("open", session, 1800, True)
    assert shop.balance() == Balance("0", "0", "0")


async def test_a_paid_checkout_grants_its_credits_by_its_message(shop):
    await shop.bought()

    await shop.tell_all("checkout.session.completed")

    assert shop.balance() == Balance("2000", "0", "2000")
    assert [order.state for order in shop.orders()] == ["paid"]
    assert shop.messages() == {"checkout.session.completed": "done"}


async def test_everything_that_stripe_tells_of_one_purchase_grants_once(shop):
    await shop.bought()

    await shop.tell_all()
    await shop.tell_all()

    assert shop.balance() == Balance("2000", "0", "2000")


async def test_the_page_a_payer_comes_back_to_grants_without_a_message(shop):
    session = await shop.bought()

    settled = await shop.till.come_back(session)
    again = await shop.till.come_back(session)

    assert (settled.state, again.state) == ("paid", "paid")
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_the_reconciler_grants_what_no_message_told_of(shop):
    await shop.bought()
    shop.advance(300)

    done = await shop.till.reconciler.run()
    again = await shop.till.reconciler.run()

    assert (done.unmatched, again.unmatched) == ([], [])
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_what_is_sent_to_stripe_names_the_order_and_the_installation(shop):
    session = await shop.checkout()

    made = shop.fake.client().v1.checkout.sessions.retrieve(session)
    [order] = shop.orders()
    assert made.client_reference_id == order.order_id
    assert made.metadata["callfare_order"] == order.order_id
    assert made.metadata["callfare_instance"] == order.instance
    assert made.success_url == "https://shop.example/done?sessionId={CHECKOUT_SESSION_ID}"
    assert json.loads(order.request)["line_items"][0]["price_data"]["unit_amount"] == 1800


async def test_the_buyer_is_known_to_stripe_by_their_address(shop):
    await shop.checkout()

    [user] = shop.books.rows(User)
    customer = shop.fake.client().v1.customers.retrieve(user.stripe_customer_id)
    assert (user.email, customer.email) == ("alice@example.com", "alice@example.com")


async def test_the_portal_leads_to_the_same_customer(shop):
    await shop.checkout()

    url = await shop.till.orders.portal("alice", "alice@example.com")

    assert url.startswith(shop.fake.base_url)
    assert len({event["data"]["object"]["id"] for event in shop.events("customer.created")}) == 1


@pytest.mark.parametrize(
    "email", ["", "somebody", "@", "a@b@c", "a @b.c", "a@b.c\n", "a@b.c\x00", "a@b.c\ud800", "a@" + "b" * 300]
)
async def test_an_email_that_is_none_is_refused_before_anybody_hears_of_it(shop, email):
    for ask in (shop.till.orders.checkout("alice", email, "credits_2000"), shop.till.orders.portal("alice", email)):
        with pytest.raises(InvalidInput) as refused:
            await ask

        assert refused.value.param == "email"

    assert shop.orders() == []
    assert shop.fake.client().v1.customers.list().data == []
