"""A buyer in a real Chromium, from the server's address to the credit: the product's own server, as it is started.

After each, the balance is asked for over HTTP and `callfare verify` reads the ledger beside the running server.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from callfare.ledger.rows import User
from callfare.ledger.sale_rows import Order, Subscription
from tests.support.browser import PATIENCE_MS, fill_in, new_page, running_browser
from tests.support.selling import Seller, selling

pytestmark = pytest.mark.all

CARD, DECLINED, ASKED = "4242 4242 4242 4242", "4000000000000002", "4000000000003220"
DEBIT_THAT_PAYS, DEBIT_THAT_FAILS = "000123456789", "000222222227"
PAID, PENDING, FAILED = "Thank you", "Your payment is being confirmed", "The payment was not made"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[Seller]:
    with selling(tmp_path_factory.mktemp("seller")) as seller:
        seller.fake.settings(settle_after_s=None)
        yield seller


@pytest.fixture
def seller(process) -> Iterator[Seller]:
    yield process
    assert process.fake.violations() == []
    done = process.verify()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def page(browser) -> Iterator[Page]:
    with new_page(browser) as found:
        yield found


@pytest.fixture
def user() -> str:
    return f"user_{uuid4().hex}"


def sees(page: Page, title: str) -> None:
    """Return when the page after the checkout says so; it looks again by itself."""
    expect(page).to_have_title(title, timeout=PATIENCE_MS)


def settle_debit(seller: Seller, user: str, *, succeeds: bool) -> None:
    """Have the bank decide on a user's last debit."""
    [made] = [
        event["data"]["object"]
        for event in seller.fake.events("payment_intent.processing")
        if event["data"]["object"]["customer"] == customer_of(seller, user)
    ]
    seller.fake.act("settle_debit", payment_intent=made["id"], succeeds=succeeds)


def customer_of(seller: Seller, user: str) -> str | None:
    return next(row.stripe_customer_id for row in seller.rows(User) if row.user == user)


def orders_of(seller: Seller, user: str) -> list[str]:
    """Return how a user's orders stand."""
    [account_id] = [row.account_id for row in seller.rows(User) if row.user == user]
    return [order.state for order in seller.rows(Order) if order.account_id == account_id]


def charges(seller: Seller, user: str) -> int:
    found = seller.fake.events("charge.succeeded")
    return len([one for one in found if one["data"]["object"]["customer"] == customer_of(seller, user)])


def test_a_buyer_of_creator_has_2000_credits_when_the_page_thanks_them(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, CARD)
    sees(page, PAID)

    assert seller.available(user) == "2000"
    assert page.url.startswith(f"{seller.url}/api/billing/checkout/done?sessionId=cs_test_")


def test_a_buyer_whose_card_was_declined_pays_by_another(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, DECLINED)
    expect(page.locator("[role=alert]")).to_have_text("Your card was declined.")
    before = seller.available(user)
    fill_in(page, CARD)
    sees(page, PAID)

    assert (before, seller.available(user), orders_of(seller, user)) == ("0", "2000", ["paid"])


def test_a_buyer_whom_the_bank_asks_has_the_credit_after_saying_yes(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, ASKED)
    page.wait_for_selector("#complete")
    before = seller.available(user)
    page.click("#complete")
    sees(page, PAID)

    assert (before, seller.available(user)) == ("0", "2000")


def test_a_buyer_who_fails_at_the_bank_has_bought_nothing_until_a_card_pays(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, ASKED)
    page.click("#fail")
    expect(page.locator("[role=alert]")).to_contain_text("failed authentication")
    before = (seller.available(user), orders_of(seller, user))
    fill_in(page, CARD)
    sees(page, PAID)

    assert before == ("0", ["open"])
    assert seller.available(user) == "2000"


def test_a_debit_is_awaited_on_the_page_and_granted_when_the_bank_has_paid(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, DEBIT_THAT_PAYS, method="us_bank_account")
    sees(page, PENDING)
    before = (seller.available(user), orders_of(seller, user))
    settle_debit(seller, user, succeeds=True)
    sees(page, PAID)

    assert before == ("0", ["awaiting_payment"])
    assert (seller.available(user), orders_of(seller, user)) == ("2000", ["paid"])


def test_a_debit_that_fails_is_said_on_the_page_and_grants_nothing(seller, page, user):
    page.goto(seller.checkout(user))
    fill_in(page, DEBIT_THAT_FAILS, method="us_bank_account")
    sees(page, PENDING)
    settle_debit(seller, user, succeeds=False)
    sees(page, FAILED)

    assert (seller.available(user), orders_of(seller, user)) == ("0", ["failed"])


def test_a_buyer_who_turns_back_has_bought_nothing_and_may_come_again(seller, page, user):
    url = seller.checkout(user)
    page.goto(url)
    page.click("#cancel")
    sees(page, "Nothing was bought")
    before = (seller.available(user), orders_of(seller, user))
    page.goto(url)
    fill_in(page, CARD)
    sees(page, PAID)

    assert before == ("0", ["open"])
    assert seller.available(user) == "2000"


def test_a_double_click_on_pay_pays_and_grants_once(seller, page, user):
    page.goto(seller.checkout(user))
    page.fill("#email", "buyer@example.com")
    page.fill("#number", CARD)
    page.dblclick("#submit")
    sees(page, PAID)

    assert (seller.available(user), charges(seller, user), orders_of(seller, user)) == ("2000", 1, ["paid"])


def test_a_buyer_who_looks_again_and_goes_back_is_granted_once(seller, page, user):
    url = seller.checkout(user)
    page.goto(url)
    fill_in(page, CARD)
    sees(page, PAID)
    page.reload()
    sees(page, PAID)
    page.goto(url)
    sees(page, "Done")

    assert (seller.available(user), charges(seller, user)) == ("2000", 1)


def test_a_new_subscriber_has_the_first_month_and_ends_the_plan_in_the_portal(seller, page, user):
    page.goto(seller.checkout(user, "plan_creator"))
    fill_in(page, CARD)
    sees(page, PAID)
    first_month = seller.available(user)

    page.goto(seller.portal(user))
    page.fill("#number", "5555555555554444")
    page.click("#update")
    page.wait_for_selector("text=mastercard •••• 4444")
    page.click("button[name=cancel]")
    page.wait_for_selector("text=ends with its period")
    seller.fake.settled()

    assert first_month == "300"
    assert is_ending(seller, user)
    assert seller.available(user) == "300"
    page.click("#return")
    assert page.url == f"{seller.url}/api/billing/checkout/done"


def is_ending(seller: Seller, user: str) -> bool:
    """Return when the ledger has heard that a user's plan ends; what was delivered is worked on beside."""
    [account_id] = [row.account_id for row in seller.rows(User) if row.user == user]
    for _ in range(500):
        [plan] = [row for row in seller.rows(Subscription) if row.account_id == account_id]
        if plan.is_ending:
            return True
    return False


def test_a_portal_of_one_user_shows_nothing_of_another(seller, page, user):
    page.goto(seller.portal(user))

    assert page.locator(".plan").count() == 0
    assert page.locator("#invoices tr").count() == 0
    assert f"{user}@example.com" in page.inner_text("h1")
