"""How payments are set up: files of packages, keys and addresses, the command line, live and test kept apart."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from fractions import Fraction
from urllib.parse import urlsplit

import pytest

from callfare.errors import InvalidInput, Misconfigured
from callfare.facade import open_engine
from callfare.ledger.receipts import FactReceipt
from callfare.ledger.sale_commands import NoteFact
from callfare.payments.config import read_config
from callfare.payments.events import WANTED
from callfare.payments.overseeing import examine, set_up, webhook_of
from callfare.payments.packages import below_cost, edition_of, load_for_sale, seed_packages
from tests.support.fake_stripe import TEST_KEY
from tests.support.ports import is_refused
from tests.support.processes import environment
from tests.support.selling import selling
from tests.support.shop import opened_shop
from tests.support.slow_store import until

HERE = "https://billing.example.com"
FILE = """
[[package]]
id = "small"
name = "Small"
credits = 100
price = "2.00"

[[plan]]
id = "monthly"
name = "Monthly"
credits = "2500.5"
price = "20.00"
rolls_over = true
"""


# Packages and plans


def test_a_file_replaces_what_is_for_sale(tmp_path):
    file = tmp_path / "packages.toml"
    file.write_text(FILE)

    sold = load_for_sale(file)

    assert [(one.id, str(one.credits), one.credits_per_usd) for one in sold.packages] == [("small", "100", 50)]
    assert [(one.id, str(one.credits), one.rolls_over) for one in sold.plans] == [("monthly", "2500.5", True)]
    assert sold.find("monthly") is sold.plans[0]
    assert sold.find("credits_500") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('price = "2.00"', "price = 2.5", "decimal"),
        ('price = "2.00"', 'price = "2.005"', "whole cents"),
        ('price = "2.00"', 'price = "0"', "above 0"),
        ('price = "2.00"', 'price = "-1"', "small"),
        ("credits = 100", "credits = 0", "above 0"),
        ('id = "small"', 'id = "a b"', "letters"),
        ('id = "small"', 'id = "monthly"', "twice"),
        ('name = "Small"', 'name = ""', "name"),
        ('name = "Small"', 'colour = "red"', "colour"),
        ("rolls_over = true", "rolls_over = 1", "rolls_over"),
        ("[[package]]", "[[thing]]", "thing"),
        ("[[package]]", "[package]", "package"),
    ],
)
def test_what_cannot_be_sold_is_named(tmp_path, old, new, said):
    file = tmp_path / "packages.toml"
    file.write_text(FILE.replace(old, new))

    with pytest.raises(Misconfigured, match=said):
        load_for_sale(file)


def test_an_edition_changes_with_what_is_sold(tmp_path):
    starter, creator = seed_packages()[:2]

    assert edition_of(starter) == edition_of(seed_packages()[0])
    assert edition_of(starter) != edition_of(creator)


def test_what_sells_below_cost_is_named():
    assert [one.id for one in below_cost(seed_packages(), Fraction(1))] == [
        "credits_2000", "credits_5000", "credits_15000",
    ]  # fmt: skip
    assert below_cost(seed_packages(), Fraction(3, 2)) == ()


# Keys


def test_without_a_key_there_are_no_payments():
    assert read_config(HERE, {}) is None
    assert read_config(HERE, {"STRIPE_SECRET_KEY": "  "}) is None


def test_the_key_tells_the_mode_and_several_secrets_are_read():
    config = read_config(HERE, {"STRIPE_SECRET_KEY": "rk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2 ,,"})

    assert config is not None
    assert (config.mode, config.webhook_secrets) == ("live", ("whsec_1", "whsec_2"))
    assert config.success_url == f"{HERE}/api/billing/checkout/done?sessionId={{CHECKOUT_SESSION_ID}}"
    assert "whsec_1" not in repr(config)
    assert "rk_live_1" not in repr(config)


@pytest.mark.parametrize(
    "environ",
    [
        {"STRIPE_SECRET_KEY": "pk_test_1"},
        {"STRIPE_SECRET_KEY": "hunter2"},
        {"STRIPE_SECRET_KEY": "sk_test_1", "CALLFARE_CHECKOUT_SUCCESS_URL": "javascript:alert(1)"},
        {"STRIPE_SECRET_KEY": "sk_test_1", "CALLFARE_STRIPE_API_URL": "nowhere"},
        {"STRIPE_SECRET_KEY": "sk_live_1", "CALLFARE_STRIPE_API_URL": "http://127.0.0.1:1"},
        {"STRIPE_SECRET_KEY": "sk_test_1", "CALLFARE_STRIPE_METHODS": "card;drop"},
    ],
)
def test_what_cannot_be_meant_is_refused_without_quoting_it(environ):
    with pytest.raises(Misconfigured) as caught:
        read_config(HERE, environ)

    assert environ["STRIPE_SECRET_KEY"] not in caught.value.message


@pytest.mark.parametrize(("seen", "mode"), [("live", "test"), ("test", "live")])
async def test_a_ledger_that_has_seen_one_mode_refuses_the_other(fake, seen, mode):
    engine = open_engine("memory://", (), seed_prices=True, markup=1, require_user=False, clock=None)
    engine.commit(NoteFact(name="stripe_mode", value=seen, is_fixed=True), FactReceipt)

    with pytest.raises(Misconfigured, match=f"used with {seen} keys"):
        async with opened_shop(fake, engine=engine, mode=mode):
            pass
    engine.close()


async def test_a_ledger_that_has_sold_with_one_account_refuses_the_key_of_another(fake, tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    async with opened_shop(fake, url) as shop:
        await shop.checkout()
    fake.settings(account="acct_other")

    with pytest.raises(Misconfigured, match="acct_1FakeStripe00000, and STRIPE_SECRET_KEY is of acct_other"):
        async with opened_shop(fake, url):
            pass


async def test_an_account_that_could_not_be_asked_for_at_first_is_asked_for_before_anything_is_sold(fake, tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    async with opened_shop(fake, url) as shop:
        session = await shop.bought()
        told = shop.events("checkout.session.completed")
    fake.settings(account="acct_other")
    fake.fault(path="/v1/account", status=503, times=3)

    async with opened_shop(fake, url) as shop:
        for ask in (shop.checkout("credits_500"), shop.till.orders.portal("alice", None), shop.till.reconciler.run()):
            with pytest.raises(Misconfigured, match="acct_other"):
                await ask
        await shop.tell(*told)
        before = (shop.messages(), len(shop.orders()))
        fake.settings(account="acct_1FakeStripe00000")
        shop.clock.advance(3600)
        await shop.till.work_due()

        assert before == ({"checkout.session.completed": "waiting"}, 1)
        assert ([order.session for order in shop.orders()], shop.balance().available) == ([session], "2000")


async def test_a_restricted_key_that_may_not_read_its_account_sells_all_the_same(fake):
    fake.fault(path="/v1/account", status=403, code="")

    async with opened_shop(fake) as shop:
        await shop.bought()
        await shop.tell_all("checkout.session.completed")

        assert shop.balance().available == "2000"


# Stripe's side


async def test_the_endpoint_is_made_once_and_completed_afterwards(shop):
    made = await set_up(shop.till.desk, HERE)
    shop.fake.client().v1.webhook_endpoints.update(made.id, {"enabled_events": ["invoice.paid"], "disabled": True})

    before = {one.name: one.is_right for one in await examine(shop.till.desk, HERE)}
    again = await set_up(shop.till.desk, HERE)
    after = {one.name: one.is_right for one in await examine(shop.till.desk, HERE)}

    assert (made.id, made.secret is not None, again.secret) == (again.id, True, None)
    assert set(again.events) == set(WANTED)
    assert (before["endpoint"], after["endpoint"]) == (False, True)
    assert all(after.values())


async def test_an_endpoint_of_another_version_is_told_of(shop):
    url = webhook_of(HERE)
    shop.fake.client().v1.webhook_endpoints.create(
        {"url": url, "enabled_events": ["*"], "api_version": "2025-04-30.basil"}
    )

    checks = {one.name: one for one in await examine(shop.till.desk, HERE)}

    assert "2025-04-30.basil" in checks["endpoint"].message
    with pytest.raises(Misconfigured, match="cannot be changed"):
        await set_up(shop.till.desk, HERE)


async def test_what_is_missing_is_said(fake):
    async with opened_shop(fake, webhook_secrets=()) as shop:
        checks = {one.name: one.is_right for one in await examine(shop.till.desk, HERE)}

    assert checks == {"secret": False, "mode": True, "key": True, "endpoint": False, "quarantine": True}


@pytest.mark.parametrize("url", ["", "billing", "ftp://x", "https://x/path"])
def test_an_address_has_to_be_a_bare_one(url):
    with pytest.raises(InvalidInput):
        webhook_of(url)


# The command line


def callfare(folder, fake, *words: str) -> subprocess.CompletedProcess[str]:
    variables = environment() | {"STRIPE_SECRET_KEY": TEST_KEY, "CALLFARE_STRIPE_API_URL": fake.base_url}
    return subprocess.run(
        [sys.executable, "-m", "callfare", *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_stripe_is_set_up_examined_and_reconciled_from_the_command_line(fake, tmp_path):
    made = callfare(tmp_path, fake, "stripe", "setup", "--url", HERE, "--json")
    examined = callfare(tmp_path, fake, "stripe", "doctor", "--url", HERE)
    reconciled = callfare(tmp_path, fake, "stripe", "reconcile", "--json")
    listed = callfare(tmp_path, fake, "stripe", "quarantine")
    claimed = callfare(tmp_path, fake, "stripe", "claim", "order:none")

    assert json.loads(made.stdout)["secret"].startswith("whsec_")
    assert (examined.returncode, "STRIPE_WEBHOOK_SECRET is not set" in examined.stdout) == (1, True)
    assert json.loads(reconciled.stdout)["unmatched"] == []
    assert "nothing is in quarantine" in listed.stdout
    assert claimed.returncode == 4
    assert not any(TEST_KEY in done.stdout + done.stderr for done in (made, examined, reconciled, listed, claimed))


def test_the_server_sells_through_a_stand_in_beside_it(tmp_path):
    with selling(tmp_path) as seller:
        url = seller.checkout("user_123")

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/c/pay/cs_test_\w+", url)
    assert seller.process.returncode == 0


def test_the_stand_in_is_gone_with_a_server_that_was_killed(tmp_path):
    with selling(tmp_path) as seller:
        stand_in = urlsplit(seller.fake.base_url)
        address = (stand_in.hostname, stand_in.port)
        with socket.create_connection(address, timeout=60) as held:
            seller.process.kill()
            ended = held.recv(1)
        until(lambda: is_refused(*address))

    assert (ended, seller.process.returncode) == (b"", -signal.SIGKILL)


def test_the_stand_in_is_refused_on_a_ledger_with_live_keys(tmp_path):
    engine = open_engine(
        f"sqlite:///{tmp_path}/callfare.db", (), seed_prices=True, markup=1, require_user=False, clock=None
    )
    engine.create()
    engine.commit(NoteFact(name="stripe_mode", value="live", is_fixed=True), FactReceipt)
    engine.close()

    done = subprocess.run(
        [sys.executable, "-m", "callfare", "serve", "--port", "0", "--fake-stripe"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 7
    assert "used with live keys" in done.stderr


def test_a_server_does_not_start_with_the_key_of_another_account(fake, tmp_path):
    before = callfare(tmp_path, fake, "stripe", "setup", "--url", HERE)
    fake.settings(account="acct_other")

    refused = callfare(tmp_path, fake, "serve", "--port", "0")
    examined = callfare(tmp_path, fake, "stripe", "doctor", "--url", HERE)

    assert (before.returncode, refused.returncode, examined.returncode) == (0, 7, 1)
    assert "this ledger has been used with Stripe's account acct_1FakeStripe00000" in refused.stderr
    assert "acct_other" in examined.stdout


def test_a_server_that_sells_says_when_it_starts_what_sells_below_cost(fake, tmp_path):
    variables = environment() | {"STRIPE_SECRET_KEY": TEST_KEY, "CALLFARE_STRIPE_API_URL": fake.base_url}
    process = subprocess.Popen(
        [sys.executable, "-m", "callfare", "serve", "--port", "0"],
        cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        process.send_signal(signal.SIGTERM)

    assert "credits are sold in test mode" in said
    assert "Creator sold for $18.00 pays for $20.00 of list cost" in said
    assert "a markup of 1.5 or more" in said
