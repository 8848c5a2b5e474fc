"""The hosted pages in a real Chromium: buy, be declined, be asked by the bank, pay by debit, cancel, click twice."""

from __future__ import annotations

import pytest

from tests.fake_stripe.making import payer, session, subscription
from tests.support.browser import fill_in, new_page, running_browser
from tests.support.receiver import receiving

pytestmark = pytest.mark.all


@pytest.fixture(scope="module")
def browser():
    with running_browser() as found:
        yield found


@pytest.fixture
def page(browser):
    with new_page(browser) as found:
        yield found


@pytest.fixture
def shop(fake, client):
    """A page to come back to, which is told of completed sessions too."""
    with receiving() as receiver:
        client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        yield receiver


def checkout(client, shop, **more):
    addresses = {"success_url": f"{shop.url}?id={{CHECKOUT_SESSION_ID}}", "cancel_url": f"{shop.url}?cancelled"}
    return session(client, **addresses, **more)


def test_a_buyer_pays_and_comes_back_after_the_shop_was_told(client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    fill_in(page, "4242 4242 4242 4242")
    page.wait_for_url(f"{shop.url}?id={made.id}")

    assert "checkout.session.completed" in shop.types
    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"


def test_a_declined_buyer_sees_why_and_pays_by_another_card(client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    fill_in(page, "4000000000000002")
    told = page.inner_text("[role=alert]")
    fill_in(page, "4242424242424242")
    page.wait_for_url(f"{shop.url}?id={made.id}")

    assert told == "Your card was declined."


def test_a_buyer_confirms_at_the_bank(client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    fill_in(page, "4000000000003220")
    page.click("#complete")
    page.wait_for_url(f"{shop.url}?id={made.id}")

    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"


def test_a_buyer_who_fails_at_the_bank_is_back_at_the_checkout_and_pays_by_another_card(client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    fill_in(page, "4000000000003220")
    page.click("#fail")
    told = page.inner_text("[role=alert]")
    status = client.v1.checkout.sessions.retrieve(made.id).status
    fill_in(page, "4242424242424242")
    page.wait_for_url(f"{shop.url}?id={made.id}")

    assert "failed authentication" in told
    assert (status, client.v1.checkout.sessions.retrieve(made.id).status) == ("open", "complete")


@pytest.mark.parametrize(
    ("number", "status", "event"),
    [
        ("AT611904300234573201", "paid", "checkout.session.async_payment_succeeded"),
        ("AT861904300235473202", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
def test_a_debit_is_known_days_later(fake, client, shop, page, number, status, event):
    fake.settings(settle_after_s=3 * 86_400)
    line = {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 1800, "product_data": {"name": "C"}}}
    made = checkout(client, shop, line_items=[line], allowed_payment_method_types=["card", "sepa_debit"])

    page.goto(made.url)
    fill_in(page, number, method="sepa_debit")
    page.wait_for_url(f"{shop.url}?id={made.id}")
    before = client.v1.checkout.sessions.retrieve(made.id).payment_status
    fake.advance(3 * 86_400 + 10)

    assert before == "unpaid"
    assert client.v1.checkout.sessions.retrieve(made.id).payment_status == status
    assert event in shop.types


def test_a_buyer_goes_back_without_paying(client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    page.click("#cancel")

    assert page.url == f"{shop.url}?cancelled"
    assert client.v1.checkout.sessions.retrieve(made.id).status == "open"


def test_a_double_click_pays_once(fake, client, shop, page):
    made = checkout(client, shop)

    page.goto(made.url)
    page.fill("#number", "4242424242424242")
    page.fill("#email", "buyer@example.com")
    page.dblclick("#submit")
    page.wait_for_url(f"{shop.url}?id={made.id}")

    assert fake.event_types().count("charge.succeeded") == 1


def test_two_windows_pay_once(fake, client, shop, browser):
    made = checkout(client, shop)

    with new_page(browser) as first, new_page(browser) as second:
        first.goto(made.url)
        second.goto(made.url)
        fill_in(first, "4242424242424242")
        first.wait_for_url(f"{shop.url}?id={made.id}")
        fill_in(second, "5555555555554444")
        second.wait_for_url(f"{shop.url}?id={made.id}")

    assert fake.event_types().count("charge.succeeded") == 1


def test_a_customer_changes_the_card_and_ends_the_plan(client, page):
    begun = subscription(client)
    portal = client.v1.billing_portal.sessions.create({"customer": begun.customer, "return_url": "http://127.0.0.1:1/"})

    page.goto(portal.url)
    page.fill("#number", "5555555555554444")
    page.click("#update")
    page.wait_for_selector("text=mastercard •••• 4444")
    page.click("button[name=cancel]")
    page.wait_for_selector("text=ends with its period")

    assert client.v1.subscriptions.retrieve(begun.id).cancel_at_period_end
    assert page.locator("#invoices tr").count() == 1
    assert page.get_attribute("#return", "href") == "http://127.0.0.1:1/"


def test_a_customer_without_a_plan_sees_no_plan(client, page):
    portal = client.v1.billing_portal.sessions.create({"customer": payer(client)})

    page.goto(portal.url)

    assert page.locator(".plan").count() == 0
    assert page.inner_text("#card").startswith("visa")
