"""What every request meets: keys, versions, idempotency, pages, expansion, refusals, faults."""

from __future__ import annotations

import threading

import httpx
import pytest
import stripe

from tests.fake_stripe.making import session
from tests.support.fake_stripe import TEST_KEY
from tests.support.slow_store import until


@pytest.fixture
def raw(fake):
    with httpx.Client(
        base_url=fake.base_url, trust_env=False, headers={"Authorization": f"Bearer {TEST_KEY}"}, timeout=120
    ) as found:
        yield found


def test_no_key_and_a_key_of_the_other_mode_are_refused(fake):
    assert httpx.get(f"{fake.base_url}/v1/customers", trust_env=False).status_code == 401
    with pytest.raises(stripe.AuthenticationError):
        fake.client("sk_live_51FakeStripe").v1.customers.list()


def test_in_live_mode_only_live_keys_are_taken_and_objects_say_so(fake):
    fake.post("state", {"livemode": True})

    made = fake.client("sk_live_51FakeStripe").v1.customers.create({})

    assert made.livemode
    with pytest.raises(stripe.AuthenticationError):
        fake.client().v1.customers.list()


def test_a_key_used_again_brings_the_first_answer_and_makes_nothing(client):
    first = client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})
    second = client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})

    assert first.id == second.id
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.headers["Original-Request"] == first.last_response.request_id
    assert len(client.v1.customers.list().data) == 1


def test_a_key_used_for_another_request_is_a_mismatch(client):
    client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k1"})

    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k1"})


def test_a_key_is_forgotten_after_a_day(fake, client):
    first = client.v1.customers.create({}, {"idempotency_key": "k1"})

    fake.advance(86_401)

    assert client.v1.customers.create({}, {"idempotency_key": "k1"}).id != first.id


def test_a_key_is_in_use_while_its_request_is_answered(fake, client):
    fake.fault(path="/v1/customers", when="after", status=None, late_s=120)
    answered = []
    slow = threading.Thread(
        target=lambda: answered.append(client.v1.customers.create({}, {"idempotency_key": "k1"})), daemon=True
    )

    slow.start()
    until(lambda: fake.events("customer.created"))
    with pytest.raises(stripe.APIError) as refused:
        client.v1.customers.create({}, {"idempotency_key": "k1"})
    fake.fault(clear=True)
    slow.join(60)

    assert refused.value.http_status == 409
    assert refused.value.json_body["error"]["code"] == "idempotency_key_in_use"
    assert answered[0].id == client.v1.customers.create({}, {"idempotency_key": "k1"}).id


def test_an_invalid_request_does_not_use_its_key_up(client):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"emial": "x"}, {"idempotency_key": "k1"})

    assert client.v1.customers.create({"email": "x@example.com"}, {"idempotency_key": "k1"}).email == "x@example.com"


def test_a_decline_is_kept_under_its_key(fake, client):
    params = {"amount": 500, "currency": "usd", "payment_method": "pm_card_chargeDeclined", "confirm": True}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.create(params, {"idempotency_key": "k1"})

    assert fake.event_types().count("charge.failed") == 1


def test_an_answer_lost_after_the_work_is_found_again_by_the_sdks_own_retry(fake):
    fake.fault(path="/v1/customers", when="after", status=500)

    made = fake.client(retries=2).v1.customers.create({"email": "a@example.com"})

    assert [each["data"]["object"]["id"] for each in fake.events("customer.created")] == [made.id]


def test_without_retries_the_work_is_done_and_the_answer_lost(fake, client):
    fake.fault(path="/v1/customers", when="after", status=500)

    with pytest.raises(stripe.APIError):
        client.v1.customers.create({})

    assert len(fake.events("customer.created")) == 1


def test_an_error_kept_under_its_key_comes_again(fake, client):
    fake.fault(path="/v1/customers", when="kept", status=500)

    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.customers.create({}, {"idempotency_key": "k1"})


def test_an_error_before_the_work_leaves_nothing(fake, client):
    fake.fault(path="/v1/customers", status=503)

    with pytest.raises(stripe.APIError):
        client.v1.customers.create({})

    assert fake.events() == []


def test_too_many_requests_and_a_cut_connection(fake, client):
    fake.fault(path="/v1/customers", status=429)
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.list()

    fake.fault(path="/v1/customers", when="after", status=0)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({})
    assert len(fake.events("customer.created")) == 1


def test_lists_come_newest_first_in_pages_and_walk_both_ways(client):
    ids = [client.v1.customers.create({"name": str(number)}).id for number in range(5)]

    first = client.v1.customers.list({"limit": 2})
    assert ([each.id for each in first.data], first.has_more) == (ids[:2:-1], True)
    assert [each.id for each in first.auto_paging_iter()] == ids[::-1]
    back = client.v1.customers.list({"limit": 2, "ending_before": ids[0]})
    assert [each.id for each in back.data] == [ids[2], ids[1]]
    assert [each.id for each in back.auto_paging_iter()] == ids[1:]


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_has_one_to_a_hundred(client, limit):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.list({"limit": limit})


def test_events_are_listed_for_thirty_days_by_type(fake, client):
    made = session(client)
    fake.act("pay_session", session=made.id)

    types = [each.type for each in client.v1.events.list({"types": ["charge.succeeded", "charge.updated"]}).data]
    starred = [each.type for each in client.v1.events.list({"type": "checkout.*"}).data]
    fake.advance(31 * 86_400)

    assert types == ["charge.updated", "charge.succeeded"]
    assert starred == ["checkout.session.completed"]
    assert client.v1.events.list({"type": "charge.succeeded"}).data == []


def test_what_cannot_be_expanded_is_refused(client):
    customer = client.v1.customers.create({})

    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.customers.retrieve(customer.id, {"expand": ["email"]})


def test_what_is_expanded_in_a_list_is_an_object(fake, client):
    made = session(client, customer=client.v1.customers.create({"email": "a@example.com"}).id)
    fake.act("pay_session", session=made.id)

    listed = client.v1.checkout.sessions.list({"expand": ["data.customer", "data.line_items"]})

    assert listed.data[0].customer.email == "a@example.com"
    assert listed.data[0].line_items.data[0].quantity == 1


@pytest.mark.parametrize(
    ("path", "fields", "code", "param"),
    [
        ("customers", {"emial": "x"}, "parameter_unknown", "emial"),
        ("customers", {"address[cite]": "x"}, "parameter_unknown", "address[cite]"),
        ("checkout/sessions", {"mode": "payment", "success_url": "http://a/"}, "parameter_missing", "line_items"),
        ("checkout/sessions", {"mode": "pay"}, None, "mode"),
        ("refunds", {"payment_intent": "pi_none"}, "resource_missing", "payment_intent"),
        ("payment_intents", {"amount": "1.5", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ("payment_intents", {"amount": "9" * 30, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ("payment_intents", {"amount": "10", "currency": "usd"}, "amount_too_small", "amount"),
        ("payment_intents", {"currency": "usd"}, "parameter_missing", "amount"),
        ("customers", {"name": "a\x00b"}, None, "name"),
        ("customers", {"name[first]": "a"}, None, "name"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(raw, path, fields, code, param):
    answer = raw.post(f"/v1/{path}", data=fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error.get("code"), error["param"]) == (
        400,
        "invalid_request_error",
        code,
        param,
    )


@pytest.mark.parametrize(
    "body",
    [b"name=%ff", b"\xff\xfe", b"a[" * 40 + b"=1", b"name=a&name[x]=b", b"&".join([b"a=1"] * 6_000), b"x" * 1_100_000],
    ids=["no utf-8", "bytes", "deep", "both", "many", "large"],
)
def test_unreadable_bodies_are_refused_not_failed(raw, body):
    answer = raw.post("/v1/customers", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_each_answer_has_a_request_id_and_the_version(client):
    made = client.v1.customers.create({})

    assert made.last_response.request_id.startswith("req_")
    assert made.last_response.headers["Stripe-Version"] == stripe.api_version


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # the SDK's way to call httpx
async def test_the_sdks_async_methods_work_too(fake):
    over_httpx = stripe.HTTPXClient()
    client = stripe.StripeClient(TEST_KEY, base_addresses={"api": fake.base_url}, http_client=over_httpx)

    made = await client.v1.customers.create_async({"email": "a@example.com"})

    assert (await client.v1.customers.retrieve_async(made.id)).email == "a@example.com"
    await over_httpx.close_async()


def test_a_deleted_customer_can_be_looked_at_and_not_used(client):
    customer = client.v1.customers.create({})
    client.v1.customers.delete(customer.id)

    assert client.v1.customers.retrieve(customer.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        session(client, customer=customer.id)


@pytest.mark.parametrize("kind", ["payment_intents", "setup_intents"])
def test_an_intent_is_not_handed_to_a_customer_that_does_not_exist(client, kind):
    intents = getattr(client.v1, kind)
    made = intents.create({"amount": 900, "currency": "usd"} if kind == "payment_intents" else {})

    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        intents.update(made.id, {"customer": "💥"})

    assert intents.retrieve(made.id).customer is None


def test_an_empty_text_of_a_session_is_none(client):
    made = session(client, custom_text={"submit": ""})

    assert made.custom_text.submit is None


def test_the_same_seed_makes_the_same_ids(fake, client):
    fake.reset(seed="one")
    first = client.v1.customers.create({}).id
    fake.reset(seed="one")

    assert client.v1.customers.create({}).id == first
