"""What the SDK's types cannot tell: which events come, which states follow. Each row says where that is known from.

No row was seen at Stripe by us; a title is a page of Stripe's documentation, a number is a public thread with a log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from tests.fake_stripe.making import ADDRESSES, payer, plan, session, subscription
from tests.support.fake_stripe import FakeStripeRefused


@dataclass(frozen=True)
class Row:
    """Something that is done, and what is known of it afterwards."""

    what: str
    source: str
    do: Callable[[Any, Any], Any]
    known: Any


def types_of_a_purchase(fake, client):
    fake.act("pay_session", session=session(client).id)
    fake.settled()
    return set(fake.event_types())


def types_of_a_subscription_by_checkout(fake, client):
    line = {"price": plan(client), "quantity": 1}
    made = client.v1.checkout.sessions.create({"mode": "subscription", "line_items": [line], **ADDRESSES})
    before = len(fake.events())
    fake.act("pay_session", session=made.id)
    fake.settled()
    return set(fake.event_types()[before:])


def unopened(fake, client):
    return session(client).payment_intent


def delayed(fake, client, number="AT611904300234573201"):
    line = {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 500, "product_data": {"name": "S"}}}
    made = session(client, line_items=[line], allowed_payment_method_types=["sepa_debit"])
    fake.settings(settle_after_s=60)
    fake.act("pay_session", session=made.id, number=number)
    now = client.v1.checkout.sessions.retrieve(made.id)
    return made.id, (now.status, now.payment_status)


def delayed_at_first(fake, client):
    return delayed(fake, client)[1]


def delayed_in_the_end(fake, client):
    made, _ = delayed(fake, client)
    fake.advance(61)
    return client.v1.checkout.sessions.retrieve(made).payment_status, fake.event_types()[-2]


def delayed_and_failed(fake, client):
    made, _ = delayed(fake, client, "AT861904300235473202")
    fake.advance(61)
    return client.v1.checkout.sessions.retrieve(made).payment_status, fake.event_types()[-1]


def declined(fake, client):
    made = session(client)
    with pytest.raises(FakeStripeRefused):
        fake.act("pay_session", session=made.id, number="4000000000000002")
    now = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    return now.status, now.payment_intent.status, now.payment_intent.payment_method


def asked(fake, client):
    made = session(client)
    fake.act("pay_session", session=made.id, number="4000000000003220")
    now = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    return now.status, now.payment_intent.status


def refused_off_session(fake, client):
    customer = payer(client, "pm_card_authenticationRequiredOnSetup")
    method = client.v1.customers.payment_methods.list(customer).data[0].id
    params = {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method}
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_intents.create({**params, "off_session": True, "confirm": True})
    intent = refused.value.json_body["error"]["payment_intent"]
    return refused.value.http_status, refused.value.code, intent["status"]


def expired(fake, client):
    made = session(client)
    fake.advance(86_460)
    return client.v1.checkout.sessions.retrieve(made.id).status, fake.event_types()


def disputed(fake, client, **more):
    made = session(client)
    fake.act("pay_session", session=made.id)
    intent = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]}).payment_intent
    before = len(fake.events())
    return before, fake.act("dispute_charge", charge=intent.latest_charge, **more)


def won(fake, client):
    before, dispute = disputed(fake, client)
    fake.act("decide_dispute", dispute=dispute["id"], status="won")
    moves = client.v1.disputes.retrieve(dispute["id"]).balance_transactions
    return fake.event_types()[before:], [(move.amount, move.fee) for move in moves]


def inquired(fake, client):
    before, inquiry = disputed(fake, client, is_inquiry=True)
    return fake.event_types()[before:], inquiry["status"], inquiry["is_charge_refundable"]


def refunded(fake, client):
    made = session(client)
    fake.act("pay_session", session=made.id)
    before = len(fake.events())
    client.v1.refunds.create({"payment_intent": client.v1.checkout.sessions.retrieve(made.id).payment_intent})
    return set(fake.event_types()[before:])


def one_seat_more(fake, client):
    begun = subscription(client)
    item = begun["items"].data[0]
    changed = client.v1.subscriptions.update(begun.id, {"items": [{"id": item.id, "quantity": 2}]})
    return changed["items"].data[0].current_period_end - item.current_period_end


def first_invoice_declined(fake, client):
    customer = payer(client, "pm_card_chargeCustomerFail")
    begun = client.v1.subscriptions.create({"customer": customer, "items": [{"price": plan(client)}]})
    fake.advance(23 * 3_600 + 60)
    return begun.status, client.v1.subscriptions.retrieve(begun.id).status


def on_trial(fake, client):
    begun = subscription(client, trial_period_days=14)
    invoice = client.v1.invoices.retrieve(begun.latest_invoice)
    return begun.status, invoice.status, invoice.total


def renewed(fake, client):
    begun = subscription(client)
    fake.act("renew_subscription", subscription=begun.id)
    latest = client.v1.subscriptions.retrieve(begun.id).latest_invoice
    statuses = [client.v1.invoices.retrieve(latest).status]
    fake.advance(3_600)
    return [*statuses, client.v1.invoices.retrieve(latest).status]


def renewal_declined(fake, client):
    begun = subscription(client)
    fake.act("set_method", customer=begun.customer, number="4000000000000341")
    fake.act("renew_subscription", subscription=begun.id)
    before = len(fake.events())
    fake.advance(3_600)
    status = client.v1.subscriptions.retrieve(begun.id).status
    return status, [each for each in fake.event_types()[before:] if each.startswith(("invoice", "customer"))]


def to_end(fake, client):
    begun = subscription(client)
    client.v1.subscriptions.update(begun.id, {"cancel_at_period_end": True})
    now = fake.event_types()[-1]
    fake.advance(31 * 86_400)
    return now, fake.event_types()[-1]


def customer_deleted(fake, client):
    begun = subscription(client)
    client.v1.customers.delete(begun.customer)
    return client.v1.subscriptions.retrieve(begun.id).status


def invoice_fields(fake, client):
    invoice = client.v1.invoices.retrieve(subscription(client).latest_invoice)
    return [name for name in ("subscription", "payment_intent", "charge") if name in invoice.to_dict()]


PURCHASE = {
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "checkout.session.completed",
    "charge.updated",
}
# Both logs in the thread have exactly these, in two orders; the last three are newer than it.
SUBSCRIPTION = {
    "charge.succeeded",
    "payment_method.attached",
    "invoice.created",
    "customer.subscription.created",
    "invoice.updated",
    "invoice.finalized",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "payment_intent.created",
    "payment_intent.succeeded",
    "checkout.session.completed",
    "customer.created",
    "invoice_payment.paid",
    "charge.updated",
}
DISPUTE = ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
WON = [*DISPUTE, "charge.dispute.closed", "charge.dispute.funds_reinstated"]

ROWS = (
    Row("a purchase's events", "Fulfill orders; Asynchronous capture", types_of_a_purchase, PURCHASE),
    Row("a plan's events", "pay-rails/pay#282", types_of_a_subscription_by_checkout, SUBSCRIPTION),
    Row("an unopened session has no intent", "ai-shifu/ai-shifu#2855", unopened, None),
    Row("a debit completes unpaid", "Fulfill orders", delayed_at_first, ("complete", "unpaid")),
    Row(
        "a debit that succeeds",
        "Fulfill orders",
        delayed_in_the_end,
        ("paid", "checkout.session.async_payment_succeeded"),
    ),
    Row(
        "a debit that fails", "Fulfill orders", delayed_and_failed, ("unpaid", "checkout.session.async_payment_failed")
    ),
    Row("a decline", "How PaymentIntents work", declined, ("open", "requires_payment_method", None)),
    Row("a bank that asks", "3D Secure authentication", asked, ("open", "requires_action")),
    Row(
        "a bank that asks nobody",
        "Save and reuse a payment method: off-session",
        refused_off_session,
        (402, "authentication_required", "requires_payment_method"),
    ),
    Row("a session's day", "Checkout Session: expires_at", expired, ("expired", ["checkout.session.expired"])),
    Row("a dispute won", "How disputes work; fees since June 2025", won, (WON, [(-1800, 1500), (1800, 0)])),
    Row("an inquiry", "Inquiries", inquired, (["charge.dispute.created"], "warning_needs_response", True)),
    Row("a refund", "Refund and cancel payments", refunded, {"refund.created", "charge.refunded"}),
    Row("a seat more moves no period", "proliferate-ai/proliferate#1589", one_seat_more, 0),
    Row(
        "a first invoice that is declined",
        "How subscriptions work",
        first_invoice_declined,
        ("incomplete", "incomplete_expired"),
    ),
    Row("a trial's invoice of nothing", "Trial periods", on_trial, ("trialing", "paid", 0)),
    Row("an hour as a draft", "Subscription webhooks", renewed, ["draft", "paid"]),
    Row(
        "a renewal that is declined",
        "Subscription webhooks",
        renewal_declined,
        ("past_due", ["invoice.finalized", "customer.subscription.updated", "invoice.payment_failed"]),
    ),
    Row(
        "a plan that is to end",
        "Cancel subscriptions",
        to_end,
        ("customer.subscription.updated", "customer.subscription.deleted"),
    ),
    Row("a customer deleted", "API reference: Delete a customer", customer_deleted, "canceled"),
    Row("what invoices no longer have", "Changelog: basil", invoice_fields, []),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_it_is_as_it_is_known(fake, client, row):
    assert row.do(fake, client) == row.known, row.source
