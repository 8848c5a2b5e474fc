"""The hosted pages as a browser without scripts sees them: forms that are filled in and sent."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.fake_stripe.making import payer, session, subscription

EMAIL = "buyer@example.com"


@pytest.fixture
def browser():
    with httpx.Client(follow_redirects=False, trust_env=False) as found:
        yield found


def form(number="4242424242424242", **more):
    return {"email": EMAIL, "method": "card", "number": number, "name": "Jenny Rosen", **more}


def test_the_page_shows_what_is_sold_and_for_how_much(client, browser):
    shown = browser.get(session(client).url)

    assert shown.status_code == 200
    assert "Creator" in shown.text
    assert "Pay $18.00" in shown.text


def test_paying_leads_to_the_success_address_with_the_sessions_id(client, browser):
    made = session(client)

    answer = browser.post(made.url, data=form())

    assert (answer.status_code, answer.headers["location"]) == (303, f"http://127.0.0.1:1/done?id={made.id}")
    paid = client.v1.checkout.sessions.retrieve(made.id)
    assert (paid.payment_status, paid.customer_details.email) == ("paid", EMAIL)


def test_a_second_click_pays_nothing_more(fake, client, browser):
    made = session(client)

    first, second = browser.post(made.url, data=form()), browser.post(made.url, data=form())

    assert first.headers["location"] == second.headers["location"]
    assert fake.event_types().count("charge.succeeded") == 1


def test_a_decline_is_shown_and_the_payer_may_try_again(client, browser):
    made = session(client)

    declined = browser.post(made.url, data=form("4000000000000002"))
    again = browser.post(made.url, data=form())

    assert declined.status_code == 402
    assert "Your card was declined." in declined.text
    assert again.status_code == 303


def test_a_number_that_is_no_test_number_is_refused(fake, client, browser):
    answer = browser.post(session(client).url, data=form("4111111111111111"))

    assert "Your card number is incorrect." in answer.text
    assert fake.event_types() == []


def test_the_bank_asks_and_the_payer_confirms(client, browser):
    made = session(client)

    asked = browser.post(made.url, data=form("4000000000003220"))
    bank = browser.get(f"{made.url.partition('/c/')[0]}{asked.headers['location']}")
    done = browser.post(str(bank.url), data={"answer": "complete"})

    assert "Is it you who pays $18.00?" in bank.text
    assert done.headers["location"].endswith(made.id)
    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"


def test_the_bank_asks_and_the_payer_refuses(client, browser):
    made = session(client)
    asked = browser.post(made.url, data=form("4000000000003220"))

    refused = browser.post(f"{made.url.partition('/c/')[0]}{asked.headers['location']}", data={"answer": "fail"})

    assert "failed authentication" in refused.text
    assert client.v1.checkout.sessions.retrieve(made.id).status == "open"


def test_cancelling_is_a_link_back_and_leaves_the_session_open(client, browser):
    made = session(client)

    shown = browser.get(made.url)

    assert re.search(r'id="cancel" href="([^"]+)"', shown.text)[1] == "http://127.0.0.1:1/no"
    assert client.v1.checkout.sessions.retrieve(made.id).status == "open"


def test_an_expired_session_says_so(client, browser):
    made = session(client)
    client.v1.checkout.sessions.expire(made.id)

    assert browser.get(made.url).status_code == 410


def test_what_a_shop_calls_its_goods_is_no_markup(client, browser):
    line = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": 100, "product_data": {"name": "<script>alert(1)</script>"}},
    }

    shown = browser.get(session(client, line_items=[line]).url)

    assert "<script>alert" not in shown.text
    assert "&lt;script&gt;alert(1)" in shown.text


def test_the_portal_takes_a_new_card(client, browser):
    customer = payer(client)
    portal = client.v1.billing_portal.sessions.create({"customer": customer})

    browser.post(f"{portal.url}/method", data={"number": "5555555555554444"})

    assert "mastercard •••• 4444" in browser.get(portal.url).text
    found = client.v1.customers.retrieve(customer, {"expand": ["invoice_settings.default_payment_method"]})
    assert found.invoice_settings.default_payment_method.card.last4 == "4444"


def test_the_portal_ends_a_plan_with_its_period_and_keeps_it_again(fake, client, browser):
    begun = subscription(client)
    portal = client.v1.billing_portal.sessions.create({"customer": begun.customer})

    browser.post(f"{portal.url}/cancel", data={"subscription": begun.id})
    ending = client.v1.subscriptions.retrieve(begun.id).cancel_at_period_end
    browser.post(f"{portal.url}/renew", data={"subscription": begun.id})

    assert ending
    assert not client.v1.subscriptions.retrieve(begun.id).cancel_at_period_end


def test_the_portal_of_one_customer_does_not_end_anothers_plan(client, browser):
    begun = subscription(client)
    portal = client.v1.billing_portal.sessions.create({"customer": payer(client)})

    browser.post(f"{portal.url}/cancel", data={"subscription": begun.id})

    assert not client.v1.subscriptions.retrieve(begun.id).cancel_at_period_end


def test_the_portal_lists_invoices_and_closes_after_an_hour(fake, client, browser):
    begun = subscription(client)
    portal = client.v1.billing_portal.sessions.create({"customer": begun.customer})
    listed = browser.get(portal.url)

    fake.advance(3_700)

    assert f"/i/{begun.latest_invoice}" in listed.text
    assert browser.get(portal.url).status_code == 404


def test_an_open_invoice_is_paid_on_its_page(fake, client, browser):
    begun = subscription(client)
    fake.act("set_method", customer=begun.customer, number="4000000000000341")
    fake.act("renew_subscription", subscription=begun.id)
    fake.advance(3_600)
    invoice = client.v1.invoices.retrieve(client.v1.subscriptions.retrieve(begun.id).latest_invoice)

    browser.post(invoice.hosted_invoice_url, data={"number": "4242424242424242"})

    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert client.v1.subscriptions.retrieve(begun.id).status == "active"
