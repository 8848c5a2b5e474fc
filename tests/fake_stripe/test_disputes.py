"""Banks take charges back: what moves when, and what each step is told by."""

from __future__ import annotations

import pytest
import stripe

from tests.fake_stripe.making import session


@pytest.fixture
def charge(fake, client):
    made = session(client)
    fake.act("pay_session", session=made.id)
    intent = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]}).payment_intent
    return intent.latest_charge


def moved(client):
    """Return what disputes moved on the balance, the newest first."""
    return [each.amount for each in client.v1.balance_transactions.list({"type": "adjustment"}).data]


def test_a_dispute_takes_its_money_at_once(fake, client, charge):
    dispute = fake.act("dispute_charge", charge=charge)

    assert dispute["status"] == "needs_response"
    assert moved(client) == [-1800]
    assert client.v1.charges.retrieve(charge).disputed
    assert fake.event_types()[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


def test_a_dispute_that_is_won_brings_the_money_back(fake, client, charge):
    dispute = fake.act("dispute_charge", charge=charge)

    fake.act("decide_dispute", dispute=dispute["id"], status="won")

    assert moved(client) == [1800, -1800]
    assert fake.event_types()[-2:] == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]


def test_a_dispute_that_is_lost_moves_nothing_more(fake, client, charge):
    dispute = fake.act("dispute_charge", charge=charge)

    fake.act("decide_dispute", dispute=dispute["id"], status="lost")

    assert moved(client) == [-1800]
    assert client.v1.disputes.retrieve(dispute["id"]).status == "lost"


def test_an_inquiry_moves_nothing_until_it_becomes_a_dispute(fake, client, charge):
    inquiry = fake.act("dispute_charge", charge=charge, is_inquiry=True)
    before = moved(client)

    fake.act("escalate_dispute", dispute=inquiry["id"])

    assert before == []
    assert moved(client) == [-1800]
    assert client.v1.disputes.retrieve(inquiry["id"]).status == "needs_response"


def test_an_inquiry_that_is_closed_never_moved_anything(fake, client, charge):
    inquiry = fake.act("dispute_charge", charge=charge, is_inquiry=True)

    closed = client.v1.disputes.close(inquiry["id"])

    assert (closed.status, moved(client)) == ("warning_closed", [])


def test_winning_evidence_wins(fake, client, charge):
    dispute = fake.act("dispute_charge", charge=charge)

    client.v1.disputes.update(dispute["id"], {"evidence": {"uncategorized_text": "winning_evidence"}})

    assert client.v1.disputes.retrieve(dispute["id"]).status == "won"


def test_a_disputed_charge_is_not_refunded(fake, client, charge):
    fake.act("dispute_charge", charge=charge)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge})

    assert refused.value.code == "charge_disputed"


def test_a_part_of_a_charge_can_be_disputed(fake, client, charge):
    fake.act("dispute_charge", charge=charge, amount=500)

    assert moved(client) == [-500]


@pytest.mark.parametrize(
    ("number", "event"),
    [
        ("4000000000000259", "charge.dispute.funds_withdrawn"),
        ("4000000000001976", "charge.dispute.created"),
        ("4000000000005423", "radar.early_fraud_warning.created"),
    ],
)
def test_test_cards_do_what_they_are_for(fake, client, number, event):
    fake.act("pay_session", session=session(client).id, number=number)
    fake.settled()

    assert fake.event_types()[-1] == event


def test_a_refund_can_be_pending_first(fake, client):
    fake.act("pay_session", session=(made := session(client)).id, number="4000000000007726")
    intent = client.v1.checkout.sessions.retrieve(made.id).payment_intent

    refund = client.v1.refunds.create({"payment_intent": intent})
    fake.advance(10)

    assert refund.status == "pending"
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert fake.event_types()[-2:] == ["refund.updated", "charge.refund.updated"]


def test_a_refund_that_fails_is_no_longer_counted(fake, client):
    fake.act("pay_session", session=(made := session(client)).id, number="4000000000005126")
    intent = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]}).payment_intent

    refund = client.v1.refunds.create({"payment_intent": intent.id})
    before = client.v1.charges.retrieve(intent.latest_charge).amount_refunded
    fake.advance(10)

    failed = client.v1.refunds.retrieve(refund.id)
    assert (before, failed.status, failed.failure_reason) == (1800, "failed", "expired_or_canceled_card")
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == 0
    assert "refund.failed" in fake.event_types()
