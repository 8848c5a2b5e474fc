"""What becomes of the money: delayed debits, refunds and disputes move credits by the share of the money, both ways."""

from __future__ import annotations

import pytest

from tests.support.books import Balance
from tests.support.commands import record

DEBIT_THAT_PAYS = "000123456789"
DEBIT_THAT_FAILS = "000222222227"


def intent_of(shop) -> str:
    return shop.events("payment_intent.created")[0]["data"]["object"]["id"]


# Delayed payments


async def test_a_debit_grants_nothing_until_it_has_succeeded(shop):
    await shop.bought(number=DEBIT_THAT_PAYS)
    await shop.tell_all("checkout.session.completed")
    before = (shop.orders()[0].state, shop.balance().available)

    shop.fake.act("settle_debit", payment_intent=intent_of(shop))
    await shop.tell_all("checkout.session.async_payment_succeeded")

    assert before == ("awaiting_payment", "0")
    assert (shop.orders()[0].state, shop.balance().available) == ("paid", "2000")


async def test_a_debit_that_fails_grants_nothing_ever(shop):
    await shop.bought(number=DEBIT_THAT_FAILS)
    shop.fake.act("settle_debit", payment_intent=intent_of(shop), succeeds=False)

    await shop.tell_all()

    assert (shop.orders()[0].state, shop.balance()) == ("failed", Balance("0", "0", "0"))


async def test_an_abandoned_checkout_expires_and_is_no_failure(shop):
    session = await shop.checkout()
    shop.fake.act("expire_session", session=session)

    await shop.tell_all()

    assert (shop.orders()[0].state, shop.balance()) == ("expired", Balance("0", "0", "0"))


async def test_a_declined_card_leaves_the_order_open_for_another(shop):
    session = await shop.checkout()
    with pytest.raises(Exception, match="card_declined"):
        shop.fake.act("pay_session", session=session, number="4000000000000002")
    await shop.tell_all()
    before = shop.orders()[0].state

    shop.fake.act("pay_session", session=session)
    await shop.tell_all()

    assert (before, shop.orders()[0].state, shop.balance().available) == ("open", "paid", "2000")


# Refunds


async def test_a_refund_of_a_part_takes_that_part(shop):
    await shop.bought()
    await shop.tell_all()

    shop.fake.act("refund_charge", charge=shop.charge_of(), amount=450)
    await shop.tell_all()

    assert shop.balance() == Balance("1500", "0", "1500")


async def test_a_refund_of_what_was_spent_becomes_debt(shop):
    await shop.bought()
    await shop.tell_all()
    shop.books.do(record(1900, user="alice"))

    shop.fake.act("refund_charge", charge=shop.charge_of())
    await shop.tell_all()

    assert shop.balance() == Balance("0", "0", "0", debt="1900")


async def test_a_pending_refund_takes_nothing_until_it_has_succeeded(shop):
    await shop.bought()
    refund = shop.fake.act("refund_charge", charge=shop.charge_of(), course="pending")
    await shop.tell_all()
    before = shop.balance().available

    shop.fake.act("settle_refund", refund=refund["id"], status="succeeded")
    await shop.tell_all()

    assert (before, shop.balance().available) == ("2000", "0")


async def test_a_refund_that_fails_later_gives_everything_back(shop):
    await shop.bought()
    refund = shop.fake.act("refund_charge", charge=shop.charge_of())
    await shop.tell_all()
    before = shop.balance().available

    shop.fake.act("settle_refund", refund=refund["id"], status="failed")
    await shop.tell_all()

    assert (before, shop.balance().available) == ("0", "2000")


async def test_a_refund_heard_of_before_its_payment_ends_in_the_same(shop):
    await shop.bought()
    shop.fake.act("refund_charge", charge=shop.charge_of(), amount=900)

    await shop.tell_all("charge.refunded")
    await shop.tell_all("checkout.session.completed")

    assert shop.balance() == Balance("1000", "0", "1000")


# Disputes


async def test_a_disputed_payment_takes_its_credits_and_gives_them_back_when_won(shop):
    await shop.bought()
    await shop.tell_all()
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of())
    await shop.tell_all()
    taken = shop.balance()

    shop.fake.act("decide_dispute", dispute=dispute["id"], status="won")
    await shop.tell_all()

    assert taken == Balance("0", "0", "0")
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_a_lost_dispute_keeps_what_it_took(shop):
    await shop.bought()
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of())
    shop.fake.act("decide_dispute", dispute=dispute["id"], status="lost")

    await shop.tell_all()

    assert (shop.balance(), shop.sales()[0].dispute) == (Balance("0", "0", "0"), "lost")


async def test_an_inquiry_withholds_and_takes_nothing(shop):
    await shop.bought()
    await shop.tell_all()
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of(), is_inquiry=True)
    await shop.tell_all()
    asked = shop.balance()

    shop.fake.act("decide_dispute", dispute=dispute["id"], status="warning_closed")
    await shop.tell_all()

    assert asked == Balance("2000", "2000", "0")
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_a_refund_beside_a_dispute_never_takes_more_than_was_paid(shop):
    await shop.bought()
    shop.fake.act("refund_charge", charge=shop.charge_of(), amount=900)
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of())
    await shop.tell_all()
    taken = shop.balance()

    shop.fake.act("decide_dispute", dispute=dispute["id"], status="won")
    await shop.tell_all()

    assert (taken, shop.balance()) == (Balance("0", "0", "0"), Balance("1000", "0", "1000"))


async def test_an_inquiry_that_becomes_a_dispute_takes_then(shop):
    await shop.bought()
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of(), is_inquiry=True)
    await shop.tell_all()
    asked = shop.balance()

    shop.fake.act("escalate_dispute", dispute=dispute["id"])
    await shop.tell_all()

    assert (asked, shop.balance()) == (Balance("2000", "2000", "0"), Balance("0", "0", "0"))


async def test_money_that_comes_back_while_a_dispute_is_open_gives_its_credits_back_under_hold(shop):
    await shop.bought()
    dispute = shop.fake.act("dispute_charge", charge=shop.charge_of())
    await shop.tell_all()
    taken = shop.balance()

    shop.fake.act("reinstate_dispute", dispute=dispute["id"])
    await shop.tell_all()
    reinstated = shop.balance()
    shop.fake.act("decide_dispute", dispute=dispute["id"], status="won")
    await shop.tell_all()

    assert (taken, reinstated.posted) == (Balance("0", "0", "0"), "2000")
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_a_warning_of_fraud_is_told_to_the_operator_and_takes_nothing(shop, caplog):
    await shop.bought(number="4000000000005423")

    await shop.tell_all()

    assert shop.messages()["radar.early_fraud_warning.created"] == "done"
    assert "a bank takes a payment for fraud" in caplog.text
    assert shop.balance() == Balance("2000", "0", "2000")


async def test_a_checkout_that_was_paid_does_not_expire(shop):
    session = await shop.bought()
    [event] = shop.events("checkout.session.completed")
    late = event | {"id": "evt_late", "type": "checkout.session.expired"}

    await shop.tell(late, event)

    assert (shop.orders()[0].session, shop.orders()[0].state) == (session, "paid")
    assert shop.balance() == Balance("2000", "0", "2000")
