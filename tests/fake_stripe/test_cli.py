"""Stripe's own scripts, run by Stripe's own command-line tool, deliver the events that they are named after.

They are neither ours nor made for this stand-in. What is delivered is checked by the SDK with the endpoint's secret.
"""

from __future__ import annotations

import json

import pytest
from stripe import Webhook

from tests.support.fake_stripe import TEST_KEY
from tests.support.receiver import receiving
from tests.support.stripe_cli import LISTENED_TO, trigger

BESIDES = (
    "billing_portal.configuration.created",
    "billing_portal.configuration.updated",
    "billing_portal.session.created",
    "charge.captured",
    "charge.failed",
    "charge.succeeded",
    "customer.created",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.sent",
    "invoice.updated",
    "payment_intent.amount_capturable_updated",
    "payment_intent.created",
    "payment_method.attached",
    "payment_method.updated",
    "price.created",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
    "setup_intent.canceled",
    "setup_intent.created",
    "setup_intent.requires_action",
)


@pytest.mark.all
@pytest.mark.parametrize("event", LISTENED_TO + BESIDES)
def test_the_script_of_an_event_succeeds_and_the_event_is_delivered(fake, tmp_path, event):
    fake.settings(settle_after_s=0)
    with receiving() as receiver:
        endpoint = fake.client(TEST_KEY).v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})

        ran = trigger(event, fake.base_url, tmp_path)
        fake.settled()

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert event in receiver.types
    for signature, body in receiver.arrived:
        checked = Webhook.construct_event(body, signature, endpoint.secret)
        assert checked.type == json.loads(body)["type"]


@pytest.mark.all
def test_a_script_that_the_stand_in_cannot_follow_fails(fake, tmp_path):
    fake.fault(path="/v1/prices", status=500)

    ran = trigger("checkout.session.completed", fake.base_url, tmp_path)

    assert ran.returncode == 1
    assert "checkout.session.completed" not in fake.event_types()
