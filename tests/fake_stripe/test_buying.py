"""A package is bought through the real SDK: session, payer, charge, events, refund."""

from __future__ import annotations

import pytest
import stripe

from tests.fake_stripe.making import session
from tests.support.fake_stripe import FakeStripeRefused


def test_a_new_session_is_open_and_has_no_intent_yet(client):
    made = session(client, client_reference_id="order_1", metadata={"order": "1"})

    assert (made.status, made.payment_status, made.payment_intent) == ("open", "unpaid", None)
    assert (made.amount_subtotal, made.amount_total, made.currency) == (1800, 1800, "usd")
    assert made.client_reference_id == "order_1"
    assert made.url.endswith(f"/c/pay/{made.id}")


def test_a_paid_session_leads_to_its_charge_and_fee(fake, client):
    made = session(client, payment_intent_data={"metadata": {"order": "1"}})

    fake.act("pay_session", session=made.id)

    paid = client.v1.checkout.sessions.retrieve(
        made.id, {"expand": ["payment_intent.latest_charge.balance_transaction", "line_items"]}
    )
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.payment_intent.metadata["order"] == "1"
    assert paid.payment_intent.latest_charge.balance_transaction.net == 1717
    assert paid.line_items.data[0].price.unit_amount == 1800


def test_paying_is_told_in_the_order_of_what_happened(fake, client):
    fake.act("pay_session", session=session(client).id)

    assert fake.event_types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
        "charge.updated",
    ]


def test_the_balance_transaction_is_not_known_when_the_charge_is_told_of(fake, client):
    fake.act("pay_session", session=session(client).id)

    assert fake.events("charge.succeeded")[0]["data"]["object"]["balance_transaction"] is None
    assert fake.events("charge.updated")[0]["data"]["previous_attributes"] == {"balance_transaction": None}


def test_a_declined_card_leaves_the_session_open_for_another_try(fake, client):
    made = session(client)

    with pytest.raises(FakeStripeRefused, match="card_declined"):
        fake.act("pay_session", session=made.id, number="4000000000009995")
    fake.act("pay_session", session=made.id)

    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"
    assert fake.event_types()[:4] == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "charge.succeeded",
    ]


def test_an_expired_session_cannot_be_paid_nor_expired_again(fake, client):
    made = session(client)

    assert client.v1.checkout.sessions.expire(made.id).status == "expired"

    with pytest.raises(FakeStripeRefused, match="status of `expired`"):
        fake.act("pay_session", session=made.id)
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        client.v1.checkout.sessions.expire(made.id)
    assert fake.event_types() == ["checkout.session.expired"]


def test_a_session_expires_by_itself_after_a_day(fake, client):
    made = session(client)

    fake.advance(86_300)
    assert client.v1.checkout.sessions.retrieve(made.id).status == "open"
    fake.advance(101)

    assert client.v1.checkout.sessions.retrieve(made.id).status == "expired"


def test_a_delayed_debit_completes_the_session_unpaid_and_pays_later(fake, client):
    fake.settings(settle_after_s=None)
    made = session(client, line_items=[_in_euro()], allowed_payment_method_types=["sepa_debit"])

    fake.act("pay_session", session=made.id, number="AT611904300234573201")
    unpaid = client.v1.checkout.sessions.retrieve(made.id)
    fake.act("settle_debit", payment_intent=unpaid.payment_intent)

    assert (unpaid.status, unpaid.payment_status) == ("complete", "unpaid")
    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"
    assert fake.event_types()[-2:] == ["checkout.session.async_payment_succeeded", "charge.updated"]


def test_a_delayed_debit_that_fails_is_told(fake, client):
    made = session(client, line_items=[_in_euro()], allowed_payment_method_types=["sepa_debit"])

    fake.act("pay_session", session=made.id, number="AT861904300235473202")
    fake.advance(10)

    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "unpaid"
    assert fake.event_types()[-1] == "checkout.session.async_payment_failed"


def _in_euro():
    return {
        "quantity": 1,
        "price_data": {"currency": "eur", "unit_amount": 1800, "product_data": {"name": "Creator"}},
    }


def test_a_card_that_asks_its_bearer_pays_once_it_was_confirmed(fake, client):
    made = session(client)

    asked = fake.act("pay_session", session=made.id, number="4000000000003220")
    fake.act("authenticate_session", session=made.id)

    assert asked["status"] == "open"
    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"


def test_parts_of_a_charge_are_refunded_until_nothing_is_left(fake, client):
    fake.act("pay_session", session=(made := session(client)).id)
    intent = client.v1.checkout.sessions.retrieve(made.id).payment_intent

    client.v1.refunds.create({"payment_intent": intent, "amount": 800})
    client.v1.refunds.create({"payment_intent": intent})

    charge = client.v1.charges.retrieve(client.v1.payment_intents.retrieve(intent).latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (1800, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent})
    assert refused.value.code == "charge_already_refunded"


def test_the_portal_lets_a_customer_in(client):
    customer = client.v1.customers.create({"email": "a@example.com"})

    portal = client.v1.billing_portal.sessions.create({"customer": customer.id, "return_url": "http://127.0.0.1:1/"})

    assert portal.url.endswith(f"/p/session/{portal.id}")
    assert portal.customer == customer.id
