"""What holds at the stand-in and must hold at Stripe: the same tests, there too with `--live-sandbox` and a test key.

    CALLFARE_STRIPE_SANDBOX_KEY=sk_test_… ./run test --live-sandbox tests/fake_stripe/test_contract.py

Without the option they run against the stand-in alone, and the report's header says that Stripe was not asked. They use
the SDK and nothing else, make objects in the sandbox, and refuse a live key.
"""

from __future__ import annotations

import os

import pytest
import stripe

from callfare.ids import random_base62
from tests.fake_stripe.making import payer, plan, session, subscription

KEY = "CALLFARE_STRIPE_SANDBOX_KEY"


def pytest_generate_tests(metafunc):
    if "api" in metafunc.fixturenames:
        with_sandbox = metafunc.config.getoption("--live-sandbox")
        metafunc.parametrize("api", ["stand-in", *(["sandbox"] if with_sandbox else [])], indirect=True)


@pytest.fixture
def api(request):
    """A client of the SDK, of the stand-in or of the sandbox."""
    if request.param == "stand-in":
        return request.getfixturevalue("client")
    return sandbox(os.environ.get(KEY, ""))


def sandbox(key):
    if not key.startswith(("sk_test_", "rk_test_")):
        pytest.fail(f"{KEY} must hold a test key of Stripe's; a live one is never used")
    return stripe.StripeClient(key, max_network_retries=2)


@pytest.mark.parametrize("key", ["", "sk_live_51abc", "whsec_1"])
def test_a_key_that_is_no_test_key_is_never_used(key):
    with pytest.raises(pytest.fail.Exception, match="must hold a test key"):
        sandbox(key)


def test_a_customer_is_kept_with_its_metadata(api):
    made = api.v1.customers.create({"email": "contract@example.com", "metadata": {"user": "u1"}})

    found = api.v1.customers.retrieve(made.id)

    assert (found.email, found.metadata["user"], found.livemode) == ("contract@example.com", "u1", False)


def test_a_key_brings_the_same_answer_and_refuses_another_request(api):
    key = f"contract-{random_base62(12)}"
    first = api.v1.customers.create({"name": "A"}, {"idempotency_key": key})

    assert api.v1.customers.create({"name": "A"}, {"idempotency_key": key}).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        api.v1.customers.create({"name": "B"}, {"idempotency_key": key})


def test_an_unknown_parameter_is_named(api):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.customers.create({"emial": "x"})

    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "emial")


def test_what_is_not_there_is_missing(api):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.customers.retrieve("cus_none")

    assert (refused.value.code, refused.value.http_status) == ("resource_missing", 404)


def test_a_deleted_customer_says_so(api):
    customer = api.v1.customers.create({})
    api.v1.customers.delete(customer.id)

    assert api.v1.customers.retrieve(customer.id).deleted


def test_a_session_is_open_unpaid_and_without_an_intent(api):
    made = session(api, client_reference_id="order_1")

    assert (made.status, made.payment_status, made.payment_intent) == ("open", "unpaid", None)
    assert (made.amount_subtotal, made.client_reference_id) == (1800, "order_1")
    assert api.v1.checkout.sessions.line_items.list(made.id).data[0].price.unit_amount == 1800


def test_a_session_expires_once(api):
    made = session(api)

    assert api.v1.checkout.sessions.expire(made.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.checkout.sessions.expire(made.id)


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ],
)
def test_a_card_is_declined_as_its_number_says(api, card, code, decline_code):
    with pytest.raises(stripe.CardError) as refused:
        api.v1.payment_intents.create(
            {"amount": 900, "currency": "usd", "payment_method": card, "confirm": True, "return_url": "https://a.test/"}
        )

    error = refused.value.json_body["error"]
    assert (error["code"], error["decline_code"], error["payment_intent"]["status"]) == (
        code,
        decline_code,
        "requires_payment_method",
    )


def test_a_payment_is_refunded_in_parts_and_no_further(api):
    paying = {"payment_method": "pm_card_visa", "confirm": True, "return_url": "https://a.test/"}
    intent = api.v1.payment_intents.create({"amount": 900, "currency": "usd", **paying})

    api.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    api.v1.refunds.create({"payment_intent": intent.id, "amount": 600})

    charge = api.v1.charges.retrieve(intent.latest_charge)
    assert (intent.status, charge.amount_refunded, charge.refunded) == ("succeeded", 900, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"


def test_a_plans_first_invoice_names_it_under_its_parent(api):
    begun = subscription(api)

    invoice = api.v1.invoices.retrieve(begun.latest_invoice)

    assert (begun.status, invoice.status, invoice.billing_reason) == ("active", "paid", "subscription_create")
    assert invoice.parent.subscription_details.subscription == begun.id
    assert "subscription" not in invoice.to_dict()


def test_a_seat_more_moves_no_period(api):
    begun = subscription(api)
    item = begun["items"].data[0]

    changed = api.v1.subscriptions.update(begun.id, {"items": [{"id": item.id, "quantity": 2}]})

    assert changed["items"].data[0].current_period_end == item.current_period_end


def test_a_trial_begins_with_a_paid_invoice_of_nothing(api):
    customer = payer(api)
    begun = api.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": plan(api)}], "trial_period_days": 14}
    )

    invoice = api.v1.invoices.retrieve(begun.latest_invoice)

    assert (begun.status, invoice.status, invoice.total) == ("trialing", "paid", 0)
