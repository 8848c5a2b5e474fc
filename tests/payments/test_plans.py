"""A plan grants each month by the line of its paid invoice, and says otherwise only what somebody is entitled to."""

from __future__ import annotations

from callfare.payments import settlement
from callfare.payments.overseeing import grant_anyway, quarantined
from tests.support.books import Balance

MONTH_S = 31 * 24 * 3600


def subscription_of(shop) -> str:
    return shop.events("customer.subscription.created")[0]["data"]["object"]["id"]


async def subscribed(shop, plan: str = "plan_creator", **more) -> str:
    await shop.bought(plan, **more)
    await shop.tell_all()
    return subscription_of(shop)


async def test_a_new_plan_grants_its_first_month_once(shop):
    await subscribed(shop)
    await shop.tell_all()

    assert shop.balance() == Balance("300", "0", "300")
    [plan] = shop.plans()
    assert (plan.product, plan.status, plan.is_ending) == ("plan_creator", "active", 0)
    assert [sale.source for sale in shop.sales()] == ["plan"]


async def test_what_tells_of_the_plan_alone_grants_nothing(shop):
    await shop.bought("plan_creator")

    await shop.tell_all("customer.subscription.created", "customer.subscription.updated", "payment_method.attached")

    assert shop.balance() == Balance("0", "0", "0")


async def test_a_renewal_grants_the_next_month_and_the_old_one_has_ended(shop):
    subscription = await subscribed(shop)
    shop.advance(MONTH_S)
    shop.fake.advance(7200)

    await shop.tell_all()

    assert shop.balance().available == "300"
    assert len(shop.sales()) == 2
    assert shop.plans()[0].subscription == subscription


async def test_what_rolls_over_is_kept(shop):
    await subscribed(shop, "plan_rolling")
    shop.advance(MONTH_S)
    shop.fake.advance(7200)

    await shop.tell_all()

    assert shop.balance().available == "600"


async def test_a_month_that_was_refunded_is_taken_back(shop):
    await subscribed(shop)

    shop.fake.act("refund_charge", charge=shop.charge_of(), amount=300)
    await shop.tell_all()

    assert shop.balance().available == "200"


async def test_a_plan_that_was_ended_is_mirrored_and_keeps_its_credits(shop):
    subscription = await subscribed(shop)

    shop.fake.act("end_subscription", subscription=subscription)
    await shop.tell_all()

    [plan] = shop.plans()
    assert (plan.status, plan.ended_at_us is not None) == ("canceled", True)
    assert shop.balance().available == "300"


async def test_a_month_that_cannot_be_paid_makes_it_past_due_and_grants_nothing(shop):
    subscription = await subscribed(shop, "plan_rolling")
    customer = shop.plans()[0].customer
    shop.fake.act("set_method", customer=customer, number="4000000000000341")
    shop.advance(MONTH_S)
    shop.fake.advance(7200)

    await shop.tell_all()

    assert (shop.plans()[0].subscription, shop.plans()[0].status) == (subscription, "past_due")
    assert shop.balance().available == "300"


async def test_a_month_paid_for_after_the_end_waits_for_a_person(shop):
    subscription = await subscribed(shop, "plan_rolling")
    customer = shop.plans()[0].customer
    shop.fake.act("set_method", customer=customer, number="4000000000000341")
    shop.advance(MONTH_S)
    shop.fake.advance(7200)
    await shop.tell_all()
    shop.fake.act("end_subscription", subscription=subscription)
    shop.advance(60)
    invoice = shop.events("invoice.payment_failed")[0]["data"]["object"]["id"]
    shop.fake.act("set_method", customer=customer)
    shop.fake.client().v1.invoices.pay(invoice)

    await shop.tell_all()

    assert shop.balance().available == "300"
    [item] = await quarantined(shop.till.desk)
    assert item.reason == "paid_after_the_end"
    await grant_anyway(shop.till.desk, item.item_id, by="tester")
    assert shop.balance().available == "600"


async def test_the_reconciler_finds_a_month_that_no_message_told_of(shop):
    await subscribed(shop, "plan_rolling")
    shop.advance(MONTH_S)
    shop.fake.advance(7200)

    await shop.till.reconciler.run()

    assert shop.balance().available == "600"


async def test_another_seat_in_the_middle_of_a_month_grants_nothing(shop):
    subscription = await subscribed(shop, "plan_rolling")
    client = shop.fake.client()
    item = client.v1.subscriptions.retrieve(subscription)["items"].data[0].id
    client.v1.subscriptions.update(
        subscription, {"items": [{"id": item, "quantity": 2}], "proration_behavior": "always_invoice"}
    )

    await shop.tell_all()

    assert shop.events("invoice.paid")[-1]["data"]["object"]["billing_reason"] == "subscription_update"
    assert (shop.balance().available, shop.quarantined()) == ("300", [])


async def test_a_trial_grants_nothing_and_its_first_paid_month_does(shop):
    subscription = await subscribed(shop, "plan_rolling")
    client = shop.fake.client()
    ends_at_s = client.v1.subscriptions.retrieve(subscription)["items"].data[0].current_period_end
    client.v1.subscriptions.update(
        subscription, {"trial_end": ends_at_s + 14 * 24 * 3600, "proration_behavior": "none"}
    )
    await shop.tell_all()
    on_trial = shop.balance().available
    shop.advance(MONTH_S + 15 * 24 * 3600)
    shop.fake.advance(7200)

    await shop.tell_all()

    assert (on_trial, shop.balance().available) == ("300", "600")


async def test_a_credit_note_that_refunds_a_month_takes_its_share(shop):
    await subscribed(shop, "plan_rolling")
    invoice = shop.events("invoice.paid")[0]["data"]["object"]["id"]

    shop.fake.client().v1.credit_notes.create({"invoice": invoice, "amount": 300, "refund_amount": 300})
    await shop.tell_all()

    assert shop.balance().available == "200"


async def test_a_month_that_differs_from_its_order_is_put_aside_and_the_page_says_so(shop, monkeypatch):
    session = await shop.bought("plan_creator")
    monkeypatch.setattr(settlement, "invoice_differences", lambda order, invoice: ["lines"])

    settled = await shop.till.come_back(session)

    assert (settled.state, settled.reason) == ("quarantined", "lines")
    assert (shop.balance(), [item.reason for item in shop.quarantined()]) == (Balance("0", "0", "0"), ["lines"])


async def test_a_plan_that_stripe_no_longer_knows_keeps_no_other_from_being_reconciled(shop):
    await subscribed(shop, "plan_rolling")
    await shop.bought()
    shop.advance(300)
    shop.fake.fault(path="/v1/subscriptions/*", status=404, code="resource_missing")
    shop.fake.fault(path="/v1/invoices", status=404, code="resource_missing")

    done = await shop.till.reconciler.run()

    assert (done.plans, done.payments, done.unmatched) == (1, 1, [])
    assert shop.balance().available == "2300"
