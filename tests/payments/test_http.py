"""Buying over HTTP: the server, the stand-in and its signed deliveries, each over real sockets."""

from __future__ import annotations

import pytest

from callfare.payments.events import WANTED
from callfare.payments.stripe import API_VERSION
from tests.support.fake_stripe import TEST_KEY
from tests.support.serving import engine_on, served
from tests.support.shop import SECRET, config_of, till_of
from tests.support.slow_store import until

API = "/api/billing"


@pytest.fixture
def house(fake, tmp_path):
    """A server to which the stand-in sends its events, signed by a secret that both know."""
    engine = engine_on(f"sqlite:///{tmp_path}/shop.db")
    config = config_of(fake)
    with served(engine, till=till_of(engine, config)) as serving:
        endpoint = fake.client().v1.webhook_endpoints.create(
            {"url": f"{serving.url}{API}/webhook", "enabled_events": list(WANTED), "api_version": API_VERSION}
        )
        object.__setattr__(config, "webhook_secrets", (SECRET, endpoint.secret))
        yield serving


@pytest.fixture
def service(house):
    with house.client("service") as client:
        yield client


def buy(client, user="user_123", package="credits_2000", email="user@example.com", **headers):
    body = {"userId": user, "email": email, "packageId": package}
    return client.post(f"{API}/checkout", json=body, headers=headers)


def session_of(answer) -> str:
    return answer.json()["url"].rpartition("/")[2].partition("?")[0]


def available(client, user="user_123") -> str:
    return client.get(f"{API}/balance", params={"userId": user}).json()["availableCredits"]


def settled(fake, client, user: str, expected: str) -> None:
    """Return when what was delivered has been worked on: a balance is asked for until it is the expected one."""
    fake.settled()
    until(lambda: available(client, user) == expected)


def test_a_package_is_bought_as_the_specification_says(fake, service):
    answer = buy(service)
    fake.act("pay_session", session=session_of(answer))

    settled(fake, service, "user_123", "2000")
    states = {one["state"] for one in fake.deliveries()}
    assert (answer.status_code, list(answer.json())) == (200, ["url"])
    assert states == {"delivered"}


def test_the_same_key_leads_to_the_same_address(service):
    first, again = (buy(service, **{"Idempotency-Key": "once"}) for _ in range(2))
    others = (
        buy(service, package="credits_500", **{"Idempotency-Key": "once"}),
        buy(service, email="other@example.com", **{"Idempotency-Key": "once"}),
    )

    assert first.json() == again.json()
    assert ["idempotent-replayed" in one.headers for one in (first, again)] == [False, True]
    for other in others:
        assert (other.status_code, other.json()["error"]["code"]) == (409, "key_conflict")
        assert other.json()["error"]["key"] == "once"


def test_the_portal_answers_with_an_address(fake, service):
    answer = service.post(f"{API}/portal", json={"userId": "user_123", "email": "user@example.com"})

    assert answer.status_code == 200
    assert answer.json()["url"].startswith(fake.base_url)


def test_a_users_token_buys_for_that_user_only(house):
    with house.client("alice") as alice, house.client("reader") as reader:
        own, foreign, unscoped = buy(alice, "alice"), buy(alice, "bob"), buy(reader, "alice")
        portal = alice.post(f"{API}/portal", json={"userId": "bob"})

    assert (own.status_code, foreign.status_code, portal.status_code, unscoped.status_code) == (200, 404, 404, 403)


def test_the_addresses_a_payer_comes_back_to_are_never_the_callers(fake, house, service):
    answer = service.post(
        f"{API}/checkout",
        json={"userId": "user_123", "packageId": "credits_2000"},
        headers={"Referer": "https://evil.example/"},
    )

    made = fake.client().v1.checkout.sessions.retrieve(session_of(answer))
    assert made.success_url.startswith("https://shop.example/")
    assert made.cancel_url.startswith("https://shop.example/")


def test_what_is_not_for_sale_is_not_found(service):
    answer = buy(service, package="credits_1")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("headers", [{}, {"Stripe-Signature": "t=1,v1=00"}, {b"Stripe-Signature": b"t=1,v1=\xff"}])
def test_a_message_that_stripe_did_not_sign_is_refused(house, headers):
    with house.client(None) as nobody:
        answer = nobody.post(f"{API}/webhook", content=b'{"id":"evt_1"}', headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")


def test_the_page_after_paying_settles_without_a_message(fake, house, service):
    for endpoint in fake.client().v1.webhook_endpoints.list().data:
        fake.client().v1.webhook_endpoints.delete(endpoint.id)
    session = session_of(buy(service))
    with house.client(None) as payer:
        before = payer.get(f"{API}/checkout/done", params={"sessionId": session})
        fake.act("pay_session", session=session)
        after = payer.get(f"{API}/checkout/done", params={"sessionId": session})
        cancelled = payer.get(f"{API}/checkout/done", params={"cancelled": "true"})
        unknown = payer.get(f"{API}/checkout/done", params={"sessionId": "cs_test_unknown"})
        hostile = payer.get(f"{API}/checkout/done", params={"sessionId": "cs_<script>"})

    assert ("being confirmed" in before.text, 'http-equiv="refresh"' in before.text) == (True, True)
    assert "Thank you" in after.text
    assert after.headers["content-security-policy"].startswith("default-src 'none'")
    assert "Nothing was bought" in cancelled.text
    assert (unknown.status_code, hostile.status_code) == (404, 400)
    assert available(service) == "2000"


def test_without_a_secret_the_webhook_is_off_and_says_so(fake, tmp_path):
    engine = engine_on(f"sqlite:///{tmp_path}/shop.db")
    till = till_of(engine, config_of(fake, webhook_secrets=()))
    with served(engine, till=till) as serving, serving.client(None) as stripe:
        answer = stripe.post(f"{API}/webhook", content=b"{}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "payments_not_configured")


def test_stripe_away_is_said_so_and_the_same_key_goes_on(fake, service):
    fake.fault(path="/v1/checkout/sessions", method="POST", times=3, status=500)

    away = buy(service, **{"Idempotency-Key": "once"})
    back = buy(service, **{"Idempotency-Key": "once"})

    assert (away.status_code, away.json()["error"]["code"]) == (503, "payments_unavailable")
    assert back.status_code == 200


def test_no_answer_and_no_log_shows_the_key_or_the_secret(fake, service, caplog):
    fake.fault(path="/v1/checkout/sessions", method="POST", times=3, status=500)
    told = [buy(service).text, buy(service).text, service.get("/openapi.json").text, caplog.text]

    assert not any(TEST_KEY in text or SECRET in text for text in told)
    assert TEST_KEY not in repr(config_of(fake))
