"""Plans over time: begun, renewed, behind with payment, prorated, on trial, ended; each invoice with its lines."""

from __future__ import annotations

import pytest
import stripe

from tests.fake_stripe.making import ADDRESSES, payer, plan, subscription
from tests.support.fake_stripe import FakeStripeRefused

MONTH_S = 31 * 86_400


def test_a_subscription_begins_with_a_paid_invoice(fake, client):
    begun = subscription(client, metadata={"user": "u1"})

    invoice = client.v1.invoices.retrieve(begun.latest_invoice, {"expand": ["payments"]})
    assert begun.status == "active"
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 2000)
    assert invoice.parent.subscription_details.subscription == begun.id
    assert invoice.parent.subscription_details.metadata["user"] == "u1"
    assert invoice.payments.data[0].payment.payment_intent.startswith("pi_")
    line = invoice.lines.data[0]
    assert line.parent.subscription_item_details.subscription_item == begun["items"].data[0].id
    assert (line.amount, line.pricing.price_details.price) == (2000, begun["items"].data[0].price.id)


def test_beginning_is_told_in_the_order_of_what_happened(fake, client):
    customer, price = payer(client), plan(client)
    before = len(fake.events())

    client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})

    assert fake.event_types()[before:] == [
        "customer.subscription.created",
        "invoice.created",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "customer.subscription.updated",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "charge.updated",
    ]


def test_a_month_later_it_is_renewed_an_hour_after_the_draft(fake, client):
    begun = subscription(client)
    first = begun["items"].data[0]

    fake.advance(first.current_period_end - fake.get("state")["now_s"] + 10)
    draft = client.v1.subscriptions.retrieve(begun.id).latest_invoice
    status_before = client.v1.invoices.retrieve(draft).status
    fake.advance(3_600)

    renewed = client.v1.subscriptions.retrieve(begun.id)
    invoice = client.v1.invoices.retrieve(draft)
    assert status_before == "draft"
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_cycle")
    assert renewed["items"].data[0].current_period_start == first.current_period_end
    assert invoice.lines.data[0].period.start == first.current_period_end


def test_renewals_go_on_from_month_to_month(fake, client):
    begun = subscription(client)

    fake.advance(365 * 86_400 + 7_200)

    reasons = [each.billing_reason for each in client.v1.invoices.list({"subscription": begun.id, "limit": 100}).data]
    assert reasons.count("subscription_cycle") == 12
    assert len({each["data"]["object"]["id"] for each in fake.events("invoice.paid")}) == 13


def test_a_renewal_that_fails_falls_behind_and_ends_after_three_more_tries(fake, client):
    begun = subscription(client)
    fake.act("set_method", customer=begun.customer, number="4000000000000341")

    fake.act("renew_subscription", subscription=begun.id)
    fake.advance(3_600)
    behind = client.v1.subscriptions.retrieve(begun.id).status
    fake.advance(20 * 86_400)

    assert behind == "past_due"
    assert client.v1.subscriptions.retrieve(begun.id).status == "canceled"
    assert fake.event_types().count("invoice.payment_failed") == 4
    assert fake.event_types().count("customer.subscription.deleted") == 1


def test_a_late_payment_of_a_renewal_makes_it_active_again(fake, client):
    begun = subscription(client)
    fake.act("set_method", customer=begun.customer, number="4000000000000341")
    fake.act("renew_subscription", subscription=begun.id)
    fake.advance(3_600)

    fake.act("set_method", customer=begun.customer)
    fake.advance(4 * 86_400)

    assert client.v1.subscriptions.retrieve(begun.id).status == "active"
    assert fake.event_types().count("invoice.paid") == 2


def test_the_renewal_of_a_cancelled_subscription_can_still_be_paid(fake, client):
    begun = subscription(client)
    fake.act("set_method", customer=begun.customer, number="4000000000000341")
    fake.act("renew_subscription", subscription=begun.id)
    fake.advance(3_600)
    client.v1.subscriptions.cancel(begun.id)
    fake.act("set_method", customer=begun.customer)

    late = client.v1.invoices.pay(client.v1.subscriptions.retrieve(begun.id).latest_invoice)

    assert late.status == "paid"
    assert client.v1.subscriptions.retrieve(begun.id).status == "canceled"


def test_a_declined_first_payment_leaves_it_incomplete_until_it_expires(fake, client):
    customer = payer(client, "pm_card_chargeCustomerFail")
    begun = client.v1.subscriptions.create({"customer": customer, "items": [{"price": plan(client)}]})

    fake.advance(24 * 3_600)

    assert begun.status == "incomplete"
    assert client.v1.subscriptions.retrieve(begun.id).status == "incomplete_expired"
    assert client.v1.invoices.retrieve(begun.latest_invoice).status == "void"


def test_more_seats_are_prorated_and_the_period_stays(fake, client):
    begun = subscription(client)
    item = begun["items"].data[0]
    fake.post("clock", {"still": True})
    fake.post("clock", {"set": item.current_period_start + (item.current_period_end - item.current_period_start) // 2})

    changed = client.v1.subscriptions.update(
        begun.id, {"items": [{"id": item.id, "quantity": 3}], "proration_behavior": "always_invoice"}
    )

    invoice = client.v1.invoices.retrieve(client.v1.subscriptions.retrieve(begun.id).latest_invoice)
    assert invoice.billing_reason == "subscription_update"
    assert [line.amount for line in invoice.lines.data] == [-1000, 3000]
    assert all(line.parent.invoice_item_details.proration for line in invoice.lines.data)
    assert changed["items"].data[0].current_period_end == item.current_period_end


def test_prorations_wait_for_the_next_renewal_unless_billed_at_once(fake, client):
    begun = subscription(client)
    item = begun["items"].data[0]

    client.v1.subscriptions.update(begun.id, {"items": [{"id": item.id, "quantity": 2}]})
    fake.act("renew_subscription", subscription=begun.id)

    invoice = client.v1.invoices.retrieve(client.v1.subscriptions.retrieve(begun.id).latest_invoice)
    kinds = [line.parent.type for line in invoice.lines.data]
    assert kinds == ["invoice_item_details", "invoice_item_details", "subscription_item_details"]


def test_a_trial_begins_with_an_invoice_of_nothing_and_ends_with_a_full_one(fake, client):
    begun = subscription(client, trial_period_days=14)
    first = client.v1.invoices.retrieve(begun.latest_invoice)

    fake.advance(14 * 86_400 + 3_700)

    second = client.v1.invoices.retrieve(client.v1.subscriptions.retrieve(begun.id).latest_invoice)
    assert (begun.status, first.status, first.amount_paid) == ("trialing", "paid", 0)
    assert (second.status, second.amount_paid) == ("paid", 2000)
    assert fake.event_types().count("customer.subscription.trial_will_end") == 1


def test_a_trial_without_a_method_pauses_when_it_was_told_to(fake, client):
    customer = client.v1.customers.create({}).id
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    begun = client.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": plan(client)}], "trial_period_days": 7, "trial_settings": settings}
    )

    client.v1.subscriptions.update(begun.id, {"trial_end": "now"})

    assert client.v1.subscriptions.retrieve(begun.id).status == "paused"
    assert "customer.subscription.paused" in fake.event_types()


def test_a_subscription_that_is_to_end_ends_with_its_period(fake, client):
    begun = subscription(client)

    client.v1.subscriptions.update(begun.id, {"cancel_at_period_end": True})
    still = client.v1.subscriptions.retrieve(begun.id)
    fake.advance(MONTH_S)

    assert (still.status, still.cancel_at_period_end) == ("active", True)
    assert client.v1.subscriptions.retrieve(begun.id).status == "canceled"
    assert fake.event_types()[-1] == "customer.subscription.deleted"


def test_deleting_a_customer_ends_what_they_subscribed_to(fake, client):
    begun = subscription(client)

    client.v1.customers.delete(begun.customer)

    assert client.v1.subscriptions.retrieve(begun.id).status == "canceled"
    assert fake.event_types()[-2:] == ["customer.subscription.deleted", "customer.deleted"]


def test_checkout_begins_a_subscription(fake, client):
    made = client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": plan(client), "quantity": 1}],
            "subscription_data": {"metadata": {"user": "u1"}},
            **ADDRESSES,
        }
    )

    fake.act("pay_session", session=made.id)

    paid = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription", "invoice"]})
    assert (paid.status, paid.payment_status, paid.payment_intent) == ("complete", "paid", None)
    assert (paid.subscription.status, paid.subscription.metadata["user"]) == ("active", "u1")
    assert paid.invoice.status == "paid"
    assert paid.subscription.default_payment_method.startswith("pm_")


def test_checkout_saves_a_card_for_later(fake, client):
    customer = client.v1.customers.create({}).id
    made = client.v1.checkout.sessions.create({"mode": "setup", "customer": customer, "currency": "usd", **ADDRESSES})

    fake.act("pay_session", session=made.id)

    done = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["setup_intent.payment_method"]})
    assert (done.payment_status, done.setup_intent.status) == ("no_payment_required", "succeeded")
    assert done.setup_intent.payment_method.customer == customer


def test_a_payment_without_its_payer_is_refused_by_a_card_that_asks(fake, client):
    customer = payer(client, "pm_card_authenticationRequiredOnSetup")
    method = client.v1.customers.payment_methods.list(customer).data[0].id

    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_intents.create(
            {
                "amount": 2000, "currency": "usd", "customer": customer, "payment_method": method,
                "off_session": True, "confirm": True, "error_on_requires_action": True,
            }
        )  # fmt: skip

    assert refused.value.code == "authentication_required"
    assert fake.event_types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_a_session_can_ask_for_an_invoice(fake, client):
    made = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": payer(client),
            "invoice_creation": {"enabled": True},
            "line_items": [
                {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "S"}}}
            ],
            **ADDRESSES,
        }
    )

    fake.act("pay_session", session=made.id)

    paid = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["invoice"]})
    assert (paid.invoice.status, paid.invoice.amount_paid, paid.invoice.billing_reason) == ("paid", 500, "manual")


def test_nothing_can_be_done_to_a_subscription_that_is_not_there(fake):
    with pytest.raises(FakeStripeRefused, match="No such subscription"):
        fake.act("renew_subscription", subscription="sub_none")
