"""Buying from Python and from the command line, on a ledger here and on one behind a server: the same, everywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from callfare import AsyncCallfare, Callfare, Plan
from callfare.errors import InvalidInput, InvalidUser, KeyConflict, NotFound, PaymentsNotConfigured, PaymentsUnavailable
from callfare.ledger.rows import User
from callfare.ledger.sale_rows import Order
from callfare.payments.opening import open_till
from callfare.payments.packages import offered
from tests.support.books import Books
from tests.support.fake_stripe import TEST_KEY
from tests.support.processes import environment
from tests.support.selling import PACKAGES
from tests.support.serving import engine_on, served

VARIABLES = ("STRIPE_SECRET_KEY", "CALLFARE_STRIPE_API_URL", "CALLFARE_PACKAGES_FILE")


@pytest.fixture
def setup(fake, tmp_path, monkeypatch):
    """Set payments up in the environment, with a file of a package and a plan."""
    file = tmp_path / "packages.toml"
    file.write_text(PACKAGES)
    for name, value in zip(VARIABLES, (TEST_KEY, fake.base_url, str(file)), strict=True):
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def ledger(setup, tmp_path):
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def server(setup, tmp_path):
    """A server that sells; whoever asks it has no key of Stripe's, and no file of what is for sale."""
    engine = engine_on(f"sqlite:///{tmp_path}/shop.db")
    till = open_till(engine, offered(engine.settings))
    with served(engine, till=till) as serving:
        for name in VARIABLES:
            setup.delenv(name)
        setup.setenv("CALLFARE_API_KEY", serving.credentials["service"])
        yield serving


@pytest.fixture(params=["ledger", "server"])
def address(request):
    found = request.getfixturevalue(request.param)
    return found if request.param == "ledger" else found.url


def session_of(url: str) -> str:
    return url.rpartition("/")[2]


def rows(tmp_path, table):
    engine = engine_on(f"sqlite:///{tmp_path}/shop.db")
    try:
        return Books(engine.store, engine.clock).rows(table)
    finally:
        engine.close()


def test_what_is_for_sale_is_packages_then_plans(address):
    with Callfare(address) as fare:
        found = fare.packages()

    assert [(one.id, str(one.credits), str(one.price), one.credits_per_usd) for one in found] == [
        ("credits_2000", "2000", "18", 111),
        ("plan_creator", "300", "9", 33),
    ]
    assert [one.rolls_over for one in found if isinstance(one, Plan)] == [False]


def test_a_checkout_leads_to_where_it_is_paid_and_its_order_stands(fake, address, tmp_path):
    with Callfare(address) as fare:
        url = fare.checkout("user_123", "credits_2000", email="user@example.com")

    [order], [user] = rows(tmp_path, Order), rows(tmp_path, User)
    assert url == f"{fake.base_url}/c/pay/{order.session}"
    assert (order.state, order.subtotal, user.user, user.email) == ("open", 1800, "user_123", "user@example.com")


async def test_both_facades_lead_to_the_same_checkout_under_the_same_key(address):
    with Callfare(address) as fare:
        first = fare.checkout("user_123", "plan_creator", key="once")
        async with AsyncCallfare(address) as twin:
            again = await twin.checkout("user_123", "plan_creator", key="once")
            with pytest.raises(KeyConflict):
                await twin.checkout("user_123", "credits_2000", key="once")

    assert first == again


async def test_the_portal_opens_on_both_facades(fake, address):
    with Callfare(address) as fare:
        first = fare.portal("user_123", email="user@example.com")
        async with AsyncCallfare(address) as twin:
            again = await twin.portal("user_123")

    assert first.startswith(f"{fake.base_url}/p/session/")
    assert again.startswith(f"{fake.base_url}/p/session/")
    assert len(fake.events("customer.created")) == 1


def test_what_was_paid_is_granted_by_the_reconciler_where_no_message_comes(fake, ledger):
    with Callfare(ledger) as fare:
        fake.act("pay_session", session=session_of(fare.checkout("user_123", "credits_2000")))
        before = str(fare.balance("user_123").available)
        done = callfare("--db", ledger, "stripe", "reconcile")

        assert (before, done.returncode, str(fare.balance("user_123").available)) == ("0", 0, "2000")
        assert fare.verify().faults == ()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("user_123", "credits_1"), NotFound),
        (("user_123", ""), InvalidInput),
        (("user_123", "credits_\ud800"), InvalidInput),
        (("", "credits_2000"), InvalidUser),
        (("a\x00", "credits_2000"), InvalidUser),
    ],
)
def test_what_cannot_be_bought_is_refused_and_writes_no_order(address, tmp_path, words, refusal):
    with Callfare(address) as fare:
        fare.grant("somebody", 1, key="there is a ledger")
        with pytest.raises(refusal):
            fare.checkout(*words)

    assert rows(tmp_path, Order) == []


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c", "a@b\n", 7])
def test_an_address_that_is_none_is_refused(address, email):
    with Callfare(address) as fare:
        for ask in (
            lambda: fare.checkout("user_123", "credits_2000", email=email),
            lambda: fare.portal("u", email=email),
        ):
            with pytest.raises(InvalidInput) as refused:
                ask()
            assert refused.value.param == "email"


def test_without_a_key_of_stripes_nothing_is_sold_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)

    with Callfare(f"sqlite:///{tmp_path}/shop.db") as fare:
        with pytest.raises(PaymentsNotConfigured, match="STRIPE_SECRET_KEY"):
            fare.checkout("user_123", "credits_2000")
        with pytest.raises(PaymentsNotConfigured, match="STRIPE_SECRET_KEY"):
            fare.portal("user_123")


def test_while_stripe_is_away_that_is_said_and_the_same_key_goes_on(fake, address):
    with Callfare(address) as fare:
        fare.checkout("user_123", "credits_2000")
        fake.fault(path="/v1/checkout/sessions", method="POST", times=12, status=500)
        with pytest.raises(PaymentsUnavailable):
            fare.checkout("user_123", "credits_2000", key="once")
        fake.fault(clear=True)

        assert fare.checkout("user_123", "credits_2000", key="once").startswith(fake.base_url)


# The command line


def callfare(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "callfare", *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_says_where_it_is_paid(fake, address):
    option = "--server" if address.startswith("http") else "--db"

    listed = callfare(option, address, "packages")
    bought = callfare(option, address, "checkout", "user_123", "credits_2000", "--email", "a@example.com", "--key", "k")
    again = callfare(option, address, "checkout", "user_123", "credits_2000", "--email", "a@example.com", "--key", "k")
    portal = callfare(option, address, "--json", "portal", "user_123")
    unknown = callfare(option, address, "checkout", "user_123", "credits_1")

    assert "each month, ends with it" in listed.stdout
    assert bought.stdout.startswith(f"{fake.base_url}/c/pay/cs_test_")
    assert bought.stdout == again.stdout
    assert json.loads(portal.stdout)["url"].startswith(f"{fake.base_url}/p/session/")
    assert (unknown.returncode, "not for sale" in unknown.stderr) == (4, True)
