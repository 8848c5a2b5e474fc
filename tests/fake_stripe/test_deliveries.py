"""Webhooks as they arrive: signed, in order, again after failures, and spoiled as a test wishes."""

from __future__ import annotations

import threading

import httpx
import pytest
import stripe
from stripe import Webhook

from tests.fake_stripe.making import session
from tests.support.receiver import receiving
from tests.support.slow_store import until


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


@pytest.fixture
def endpoint(client, receiver):
    return client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["customer.created"], "api_version": stripe.api_version}
    )


def arrived(fake, receiver):
    fake.settled()
    return receiver.types


def test_an_event_arrives_signed_with_the_endpoints_secret(fake, client, receiver, endpoint):
    customer = client.v1.customers.create({"email": "a@example.com"})
    fake.settled()

    signature, body = receiver.arrived[0]
    event = Webhook.construct_event(body, signature, endpoint.secret)
    assert (event.data.object.id, event.api_version, event.livemode) == (customer.id, stripe.api_version, False)
    assert event.request.idempotency_key is not None
    with pytest.raises(stripe.SignatureVerificationError):
        Webhook.construct_event(body, signature, "whsec_other")


def test_only_what_an_endpoint_asked_for_arrives(fake, client, receiver, endpoint):
    client.v1.customers.update(client.v1.customers.create({}).id, {"name": "A"})

    assert arrived(fake, receiver) == ["customer.created"]


def test_a_disabled_and_a_deleted_endpoint_get_nothing(fake, client, receiver, endpoint):
    client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    client.v1.customers.create({})
    client.v1.webhook_endpoints.delete(endpoint.id)
    client.v1.customers.create({})

    assert arrived(fake, receiver) == []


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_is_not_taken_is_sent_again_later(fake, client, receiver, endpoint, status):
    receiver.answers.append(status)
    client.v1.customers.create({})
    fake.settled()
    before = len(receiver.arrived)

    fake.advance(301)

    assert (before, len(receiver.arrived)) == (1, 2)
    assert receiver.events[0]["id"] == receiver.events[1]["id"]
    assert [each["status"] for each in fake.deliveries()[0]["attempts"]] == [status, 200]
    assert fake.deliveries()[0]["state"] == "delivered"


def test_after_three_days_it_is_sent_no_more(fake, client, receiver, endpoint):
    receiver.answers.extend([500] * 50)
    client.v1.customers.create({})

    fake.advance(30 * 86_400)

    assert fake.deliveries()[0]["state"] == "failed"
    assert len(receiver.arrived) == 10


def test_an_endpoint_that_does_not_answer_in_time_has_not_taken_it(fake, client, receiver, endpoint):
    fake.post("state", {"timeout_s": 0.2})
    receiver.gate = threading.Event()

    client.v1.customers.create({})
    fake.settled()

    assert fake.deliveries()[0]["attempts"][0]["error"] == "timed out"


def test_events_not_delivered_are_listed_as_such(fake, client, receiver, endpoint):
    receiver.answers.append(500)
    client.v1.customers.create({"name": "first"})
    client.v1.customers.create({"name": "second"})
    fake.settled()

    missed = client.v1.events.list({"delivery_success": False}).data

    assert [each.data.object.name for each in missed] == ["first"]
    assert client.v1.events.list({"delivery_success": True}).data[0].data.object.name == "second"


def test_several_endpoints_each_get_it_by_their_own_secret(fake, client, receiver, endpoint):
    with receiving() as other:
        second = client.v1.webhook_endpoints.create({"url": other.url, "enabled_events": ["*"]})
        client.v1.customers.create({})
        fake.settled()

        Webhook.construct_event(other.arrived[0][1], other.arrived[0][0], second.secret)
    Webhook.construct_event(receiver.arrived[0][1], receiver.arrived[0][0], endpoint.secret)


def test_while_a_secret_is_rolled_both_verify(fake, client, receiver, endpoint):
    new = fake.act("roll_secret", endpoint=endpoint.id)["secret"]
    client.v1.customers.create({})
    fake.settled()

    signature, body = receiver.arrived[0]
    assert (
        Webhook.construct_event(body, signature, new).id == Webhook.construct_event(body, signature, endpoint.secret).id
    )


def test_deliveries_can_be_held_and_let_go_in_another_order_and_more_than_once(fake, client, receiver, endpoint):
    fake.post("deliveries/hold", {})
    for name in ("a", "b", "c"):
        client.v1.customers.create({"name": name})

    fake.post("deliveries/release", {"order": "reverse", "times": 2})

    names = [event["data"]["object"]["name"] for event in receiver.events]
    assert names == ["c", "c", "b", "b", "a", "a"]


def test_the_order_of_a_seed_is_the_same_each_time(fake, client, receiver, endpoint):
    orders = set()
    for _ in range(2):
        fake.reset(seed="tests")
        client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
        fake.post("deliveries/hold", {})
        for name in ("a", "b", "c", "d"):
            client.v1.customers.create({"name": name})
        fake.post("deliveries/release", {"order": "seed:8"})
        orders.add("".join(event["data"]["object"]["name"] for event in receiver.events[-4:]))

    assert len(orders) == 1
    assert orders != {"abcd"}


def test_a_delivery_can_be_doubled_dropped_or_late(fake, client, receiver, endpoint):
    fake.spoil(copies=2)
    fake.spoil(drop=True)
    fake.spoil(after_s=60)
    for name in ("twice", "never", "late", "plain"):
        client.v1.customers.create({"name": name})
    fake.settled()
    before = [event["data"]["object"]["name"] for event in receiver.events]

    fake.advance(61)

    assert before == ["twice", "twice", "plain"]
    assert receiver.events[-1]["data"]["object"]["name"] == "late"
    assert [each["state"] for each in fake.deliveries()].count("dropped") == 1


def test_a_delivery_can_lie_about_version_mode_secret_and_time(fake, client, receiver, endpoint):
    fake.spoil(overrides={"livemode": True, "api_version": "2020-08-27"})
    fake.spoil(secret="whsec_wrong")
    fake.spoil(stamp_ahead_s=-400)
    for _ in range(3):
        client.v1.customers.create({})
    fake.settled()

    assert (receiver.events[0]["livemode"], receiver.events[0]["api_version"]) == (True, "2020-08-27")
    for signature, body in receiver.arrived[1:]:
        with pytest.raises(stripe.SignatureVerificationError):
            Webhook.construct_event(body, signature, endpoint.secret)


def test_an_endpoint_without_a_version_gets_the_accounts(fake, client, receiver):
    client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["customer.created"], "api_version": "2025-04-30.basil"}
    )
    client.v1.customers.create({})
    fake.settled()

    assert receiver.events[0]["api_version"] == "2025-04-30.basil"


def test_an_event_of_another_application_can_be_sent(fake, client, receiver, endpoint):
    customer = client.v1.customers.create({}).to_dict()
    fake.act("emit_event", type="customer.created", object={**customer, "id": "cus_foreign"})
    fake.settled()

    assert receiver.events[1]["data"]["object"]["id"] == "cus_foreign"


def test_an_event_can_be_sent_once_more(fake, client, receiver, endpoint):
    client.v1.customers.create({})
    fake.settled()

    fake.post("deliveries/resend", {"event": receiver.events[0]["id"]})

    assert receiver.events[0]["id"] == receiver.events[1]["id"]
    assert receiver.events[0]["data"] == receiver.events[1]["data"]


def test_the_payer_is_sent_on_only_after_the_webhook_was_answered(fake, client, receiver):
    client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["checkout.session.completed"]})
    receiver.gate = threading.Event()
    made = session(client)
    sent_on = threading.Event()

    def pay():
        form = {"email": "a@example.com", "method": "card", "number": "4242424242424242", "name": "J"}
        httpx.post(made.url, data=form, trust_env=False, follow_redirects=False, timeout=120)
        sent_on.set()

    paying = threading.Thread(target=pay, daemon=True)
    paying.start()
    until(lambda: receiver.arrived)
    was_sent_on = sent_on.wait(0.3)
    receiver.gate.set()
    paying.join(60)

    assert not was_sent_on
    assert sent_on.is_set()
