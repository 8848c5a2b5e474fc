"""With payments configured a server is as closed as without: hostile bodies, replays, and whose payments are whose."""

from __future__ import annotations

import json

import pytest
import schemathesis
from schemathesis import GenerationMode

from callfare.server.rules import API
from tests.server.test_openapi import PAYMENTS, bearer, send
from tests.server.test_outer import HOSTILE, JSON
from tests.support.fake_stripe import running_fake_stripe
from tests.support.serving import engine_on, served
from tests.support.shop import config_of, till_of

BUY = {"userId": "alice", "email": "alice@example.com", "packageId": "credits_2000"}


@pytest.fixture(scope="module")
def fake():
    """A stand-in for Stripe, which is asked for nothing that Stripe would not take."""
    with running_fake_stripe() as fake:
        yield fake
        assert fake.violations() == []


@pytest.fixture(scope="module")
def shop(fake, tmp_path_factory):
    """A server that sells credits through the stand-in."""
    engine = engine_on(f"sqlite:///{tmp_path_factory.mktemp('selling')}/x.db")
    with served(engine, is_local=False, till=till_of(engine, config_of(fake))) as serving:
        yield serving


@pytest.fixture(scope="module")
def service(shop):
    """A client of a service that may do everything."""
    with shop.client() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def description(service):
    """The description of the API, asked for before so many wrong credentials were sent that none is taken."""
    return service.get("/openapi.json").json()


def refused(answer, *statuses):
    """Return the code of a refusal, which must have the one shape and one of some statuses."""
    error = answer.json()["error"]
    assert answer.status_code in statuses, answer.text
    assert error["request_id"] == answer.headers["x-request-id"]
    return error["code"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("route", ["checkout", "portal"])
def test_a_hostile_body_buys_nothing(service, name, route):
    answer = service.post(f"{API}/{route}", content=HOSTILE[name], headers=JSON | {"Idempotency-Key": "hostile"})

    assert refused(answer, 400, 413).startswith(("invalid_", "body_too_large"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "no address"},
        {"email": "a\0@example.com"},
        {"email": "\ud800@example.com"},
        {"email": "a@example.com\r\nBcc: b@example.com"},
        {"email": "a@" + "x" * 5000},
        {"email": ["a@example.com"]},
        {"email": ""},
        {"packageId": ""},
        {"packageId": "credits_2000\0"},
        {"packageId": "x" * 256},
        {"packageId": 7},
        {"userId": "a\0b"},
        {"userId": "a\ud800"},
        {"userId": "x" * 256},
        {"price": 1},
        {"successUrl": "https://evil.example/"},
        {"quantity": -1},
    ],
    ids=str,
)
def test_a_hostile_value_makes_no_order_and_no_customer(fake, service, wrong):
    before = len(fake.client().v1.customers.list(params={"limit": 100}).data)

    answer = service.post(f"{API}/checkout", content=json.dumps(BUY | {"userId": "mallory"} | wrong), headers=JSON)

    assert refused(answer, 400, 404).startswith(("invalid_", "not_found"))
    assert len(fake.client().v1.customers.list(params={"limit": 100}).data) == before
    assert service.get(f"{API}/audit", params={"userId": "mallory"}).json()["entries"] == []


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "signature", [None, "", "t=1,v1=00", "t=,v1=", "t=99999999999999999999,v1=\u00e9", "v1=" + "0" * 9000]
)
def test_a_hostile_message_is_refused_before_it_is_read(shop, name, signature):
    headers = {} if signature is None else {"Stripe-Signature": signature.encode("latin-1")}

    with shop.client(None) as stripe:
        answer = stripe.post(f"{API}/webhook", content=HOSTILE[name], headers=headers)

    assert refused(answer, 400, 413) in {"invalid_input", "body_too_large"}


@pytest.mark.parametrize("session", ["cs_", "cs_test_%00", "cs_<script>", "../v1/customers", "cs_" + "a" * 300, "%ff"])
def test_a_hostile_checkout_id_shows_no_page_of_anybodys(shop, session):
    with shop.client(None) as payer:
        answer = payer.get(f"{API}/checkout/done?sessionId={session}")

    assert refused(answer, 400) == "invalid_input"


def test_a_checkout_of_another_shop_with_the_same_stripe_is_like_one_that_is_not_there(fake, shop):
    foreign = fake.client().v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://other.example/",
            "line_items": [
                {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "x"}}}
            ],
        }
    )
    with shop.client(None) as payer:
        pages = [
            payer.get(f"{API}/checkout/done", params={"sessionId": one}, headers={"X-Request-Id": "the-same"})
            for one in (foreign.id, "cs_test_nobodys")
        ]

    assert [page.status_code for page in pages] == [404, 404]
    assert pages[0].content == pages[1].content


def test_a_checkout_can_be_repeated_and_every_other_body_under_its_key_is_a_conflict(service):
    headers = {"Idempotency-Key": "the-same"}

    first, again = (service.post(f"{API}/checkout", json=BUY, headers=headers) for _ in range(2))
    others = [
        service.post(f"{API}/checkout", json=BUY | other, headers=headers)
        for other in ({"email": "other@example.com"}, {"email": None}, {"packageId": "credits_500"})
    ]

    assert (first.status_code, again.json()) == (200, first.json())
    assert ["idempotent-replayed" in answer.headers for answer in (first, again)] == [False, True]
    assert {refused(other, 409) for other in others} == {"key_conflict"}


def test_one_key_of_two_users_is_two_orders(shop):
    with shop.client("alice") as alice, shop.client("bob") as bob:
        body, headers = {"packageId": "credits_500"}, {"Idempotency-Key": "of both"}
        addresses = [
            client.post(f"{API}/checkout", json=body, headers=headers).json()["url"] for client in (alice, bob)
        ]

    assert addresses[0] != addresses[1]


@pytest.mark.parametrize("route", ["checkout", "portal"])
def test_a_token_buys_for_nobody_else_and_does_not_learn_who_is_there(shop, route):
    with shop.client("alice") as alice:
        said = [
            alice.post(f"{API}/{route}", json=BUY | {"userId": user}, headers={"X-Request-Id": "the-same"})
            if route == "checkout"
            else alice.post(f"{API}/{route}", json={"userId": user}, headers={"X-Request-Id": "the-same"})
            for user in ("bob", "nobody-has-heard-of")
        ]

    assert [answer.status_code for answer in said] == [404, 404]
    assert said[0].content == said[1].content


@pytest.mark.all
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("caller", ["service", "alice", "reader", None])
def test_whatever_is_sent_to_a_shop_gets_a_declared_answer(shop, description, caller, mode):
    asked = schemathesis.openapi.from_dict(json.loads(json.dumps(description)))
    asked.config.update(base_url=shop.url)
    found = [result.ok() for result in asked.get_all_operations() if result.ok().path.endswith(PAYMENTS)]

    for operation in found:
        send(operation, mode, bearer(shop, caller), is_selling=True)

    assert len(found) == len(PAYMENTS)
