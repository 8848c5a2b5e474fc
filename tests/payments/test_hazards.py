"""Every event that matters and every way to get payments wrong, each with the tests that are for it.

The rows are those of the survey that payments were built from. An event that nothing is done about says why, and is
delivered here to see that; whatever a row names is a test that is there.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from callfare.payments.events import WANTED
from tests.support.books import Balance

FOLDER = Path(__file__).parent

# Each event that is listened to, and a test that shows what it brings about.
HANDLED = {
    "checkout.session.completed": "test_buying.py::test_a_paid_checkout_grants_its_credits_by_its_message",
    "checkout.session.async_payment_succeeded": "test_money.py::test_a_debit_grants_nothing_until_it_has_succeeded",
    "checkout.session.async_payment_failed": "test_money.py::test_a_debit_that_fails_grants_nothing_ever",
    "checkout.session.expired": "test_money.py::test_an_abandoned_checkout_expires_and_is_no_failure",
    "payment_intent.succeeded": "test_orders_of_events.py::test_every_order_of_a_purchases_events_ends_in_one_state",
    "payment_intent.payment_failed": "test_money.py::test_a_declined_card_leaves_the_order_open_for_another",
    "payment_intent.canceled": "test_hazards.py::test_what_is_only_heard_of_changes_nothing",
    "charge.refunded": "test_money.py::test_a_refund_heard_of_before_its_payment_ends_in_the_same",
    "refund.created": "test_orders_of_events.py::test_every_order_of_a_purchases_events_ends_in_one_state",
    "refund.updated": "test_money.py::test_a_pending_refund_takes_nothing_until_it_has_succeeded",
    "refund.failed": "test_money.py::test_a_refund_that_fails_later_gives_everything_back",
    "charge.dispute.created": "test_money.py::test_an_inquiry_withholds_and_takes_nothing",
    "charge.dispute.updated": "test_money.py::test_an_inquiry_that_becomes_a_dispute_takes_then",
    "charge.dispute.funds_withdrawn": "test_money.py::test_an_inquiry_that_becomes_a_dispute_takes_then",
    "charge.dispute.funds_reinstated": (
        "test_money.py::test_money_that_comes_back_while_a_dispute_is_open_gives_its_credits_back_under_hold"
    ),
    "charge.dispute.closed": "test_money.py::test_a_lost_dispute_keeps_what_it_took",
    "radar.early_fraud_warning.created": (
        "test_money.py::test_a_warning_of_fraud_is_told_to_the_operator_and_takes_nothing"
    ),
    "customer.subscription.created": "test_plans.py::test_what_tells_of_the_plan_alone_grants_nothing",
    "customer.subscription.updated": (
        "test_browser.py::test_a_new_subscriber_has_the_first_month_and_ends_the_plan_in_the_portal"
    ),
    "customer.subscription.deleted": "test_plans.py::test_a_plan_that_was_ended_is_mirrored_and_keeps_its_credits",
    "customer.subscription.paused": "test_hazards.py::test_every_word_about_a_plan_mirrors_it_and_grants_nothing",
    "customer.subscription.resumed": "test_hazards.py::test_every_word_about_a_plan_mirrors_it_and_grants_nothing",
    "customer.subscription.pending_update_applied": (
        "test_hazards.py::test_every_word_about_a_plan_mirrors_it_and_grants_nothing"
    ),
    "customer.subscription.pending_update_expired": (
        "test_hazards.py::test_every_word_about_a_plan_mirrors_it_and_grants_nothing"
    ),
    "customer.subscription.trial_will_end": (
        "test_hazards.py::test_every_word_about_a_plan_mirrors_it_and_grants_nothing"
    ),
    "invoice.paid": "test_plans.py::test_a_new_plan_grants_its_first_month_once",
    "invoice.payment_failed": ("test_plans.py::test_a_month_that_cannot_be_paid_makes_it_past_due_and_grants_nothing"),
    "invoice.payment_action_required": "test_hazards.py::test_an_invoice_that_is_not_paid_grants_nothing",
    "invoice.finalization_failed": "test_hazards.py::test_an_invoice_that_is_not_paid_grants_nothing",
    "invoice.voided": "test_hazards.py::test_an_invoice_that_is_not_paid_grants_nothing",
    "invoice.marked_uncollectible": "test_hazards.py::test_an_invoice_that_is_not_paid_grants_nothing",
    "invoice.overpaid": "test_hazards.py::test_an_invoice_that_is_not_paid_grants_nothing",
    "customer.deleted": "test_customers.py::test_a_deleted_customer_is_forgotten_and_the_balance_stays",
}
_TOP_UPS = "it tells of payments without the payer, and there are no automatic top-ups"
# Each event that is not asked for, and why; where Stripe sends it all the same it is kept and ignored.
LEFT = {
    "payment_intent.requires_action": _TOP_UPS,
    "payment_intent.processing": "the completed checkout tells that the bank is not done",
    "payment_method.attached": _TOP_UPS,
    "payment_method.detached": _TOP_UPS,
    "payment_method.automatically_updated": _TOP_UPS,
    "setup_intent.succeeded": _TOP_UPS,
    "setup_intent.setup_failed": _TOP_UPS,
    "customer.updated": "a user's address is what the application says it is, and plans tell their own state",
    "invoice_payment.paid": "it stands beside invoice.paid, and its grant has the same key",
    "credit_note.created": "one that gives money back makes a refund, and the refund's own event tells",
    "credit_note.updated": "as credit_note.created",
    "credit_note.voided": "as credit_note.created",
    "payout.reconciliation_completed": "the reconciler has a timer of its own",
}
# These stand beside another event of the same fact; they are taken where somebody asks Stripe for them.
TWINS = {"charge.refund.updated": "refund.updated", "invoice.payment_succeeded": "invoice.paid"}

# Each hazard, and the tests that are for it.
HAZARDS = {
    "delayed methods": [
        "test_money.py::test_a_debit_grants_nothing_until_it_has_succeeded",
        "test_planted.py::test_without_the_look_at_the_payment_a_debit_grants_at_once",
        "test_browser.py::test_a_debit_is_awaited_on_the_page_and_granted_when_the_bank_has_paid",
    ],
    "duplicates and replays": [
        "test_buying.py::test_everything_that_stripe_tells_of_one_purchase_grants_once",
        "test_planted.py::test_by_the_events_id_alone_two_events_of_one_payment_grant_twice",
    ],
    "dedupe that loses money": [
        "test_dying.py::test_a_message_that_was_cut_off_is_worked_on_by_whoever_comes_after",
        "test_planted.py::test_marked_done_before_its_effect_a_message_that_was_cut_off_is_lost",
    ],
    "memory-only dedupe": ["test_taking.py::test_what_was_said_yes_to_survives_a_kill_and_is_granted_once"],
    "out of order": [
        "test_orders_of_events.py::test_every_order_of_a_purchases_events_ends_in_one_state",
        "test_orders_of_events.py::test_a_plans_life_ends_in_one_state",
        "test_planted.py::test_without_versions_an_answer_that_was_late_undoes_a_newer_one",
        "test_money.py::test_a_checkout_that_was_paid_does_not_expire",
    ],
    "stale nested objects": [
        "test_messages.py::test_a_message_can_say_what_it_likes_and_the_order_decides",
        "test_messages.py::test_a_message_of_another_version_counts_all_the_same",
    ],
    "other apps in the account": [
        "test_messages.py::test_another_installations_checkout_in_the_same_account_is_ignored",
        "test_messages.py::test_what_bears_our_stamp_and_has_no_order_waits_and_is_tried_again",
        "test_planted.py::test_without_the_stamp_two_installations_take_each_others_payments_for_lost",
    ],
    "livemode mismatch": [
        "test_messages.py::test_a_message_of_the_other_mode_is_kept_and_ignored",
        "test_set_up.py::test_a_ledger_that_has_seen_one_mode_refuses_the_other",
        "test_set_up.py::test_a_ledger_that_has_sold_with_one_account_refuses_the_key_of_another",
    ],
    "raw body and signatures": ["test_messages.py::test_only_what_stripe_has_signed_now_is_believed"],
    "stamps of the future": ["test_planted.py::test_without_the_bound_ahead_a_stamp_of_the_future_never_grows_old"],
    "amounts and metadata": [
        "test_quotes.py::test_each_figure_of_a_paid_checkout_that_differs_puts_it_aside",
        "test_planted.py::test_with_credits_from_the_metadata_whoever_writes_it_decides",
        "test_planted.py::test_without_a_comparison_a_cheaper_checkout_buys_the_package",
    ],
    "identity": [
        "test_http.py::test_a_users_token_buys_for_that_user_only",
        "test_http.py::test_the_addresses_a_payer_comes_back_to_are_never_the_callers",
    ],
    "discounts": [
        "test_quotes.py::test_what_is_asked_for_leaves_no_room_for_another_price",
        "test_quotes.py::test_what_was_given_away_at_stripe_is_not_granted",
    ],
    "taxes": ["test_quotes.py::test_taxes_are_paid_on_top_and_a_refund_takes_its_share_of_the_whole"],
    "currencies and adaptive pricing": [
        "test_quotes.py::test_each_figure_of_a_paid_checkout_that_differs_puts_it_aside",
        "test_quotes.py::test_what_is_asked_for_leaves_no_room_for_another_price",
    ],
    "a race for the customer": ["test_customers.py::test_however_many_ask_at_once_there_is_one_customer"],
    "a customer who is gone": [
        "test_customers.py::test_a_customer_who_is_gone_is_made_anew_once",
        "test_customers.py::test_no_other_refusal_makes_another_customer",
    ],
    "idempotency keys": [
        "test_customers.py::test_an_answer_that_was_lost_is_found_by_asking_again",
        "test_customers.py::test_the_same_key_for_another_package_is_a_conflict",
    ],
    "the page after paying": [
        "test_http.py::test_the_page_after_paying_settles_without_a_message",
        "test_hazards.py::test_the_page_thanks_nobody_before_the_credit_is_there",
    ],
    "an abandoned checkout": ["test_money.py::test_an_abandoned_checkout_expires_and_is_no_failure"],
    "refunds": [
        "test_money.py::test_a_refund_of_a_part_takes_that_part",
        "test_money.py::test_a_refund_of_what_was_spent_becomes_debt",
        "test_planted.py::test_in_cents_and_not_in_shares_a_refund_takes_too_little",
        "test_plans.py::test_a_credit_note_that_refunds_a_month_takes_its_share",
    ],
    "disputes": [
        "test_money.py::test_a_disputed_payment_takes_its_credits_and_gives_them_back_when_won",
        "test_money.py::test_a_refund_beside_a_dispute_never_takes_more_than_was_paid",
        "test_orders_of_events.py::test_a_chain_of_refunds_and_disputes_ends_in_one_state",
    ],
    "a plan's grants": [
        "test_plans.py::test_another_seat_in_the_middle_of_a_month_grants_nothing",
        "test_plans.py::test_a_trial_grants_nothing_and_its_first_paid_month_does",
        "test_planted.py::test_a_proration_is_no_month",
    ],
    "paid after the end": ["test_plans.py::test_a_month_paid_for_after_the_end_waits_for_a_person"],
    "receipts": ["test_quotes.py::test_what_is_asked_for_leaves_no_room_for_another_price"],
    "the endpoint's health": [
        "test_set_up.py::test_the_endpoint_is_made_once_and_completed_afterwards",
        "test_set_up.py::test_an_endpoint_of_another_version_is_told_of",
    ],
    "Stripe is away, or late": [
        "test_dying.py::test_stripe_goes_away_in_the_middle_and_the_message_waits",
        "test_customers.py::test_a_late_answer_is_an_answer",
    ],
    "messages that never come": [
        "test_buying.py::test_the_reconciler_grants_what_no_message_told_of",
        "test_plans.py::test_the_reconciler_finds_a_month_that_no_message_told_of",
        "test_dying.py::test_a_reconciliation_that_was_cut_off_is_made_up_for_by_the_next",
    ],
    "anything at all": [
        "test_fuzz.py::test_no_event_moves_credit_that_no_payment_stands_behind",
        "test_fuzz.py::test_whatever_stripe_signs_is_answered_with_yes_or_no_over_http",
    ],
}


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((FOLDER / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def there_is(test: str) -> bool:
    path, _, name = test.partition("::")
    return name in names_in(path)


def test_every_event_that_is_asked_for_has_a_test_and_no_other_is():
    assert set(HANDLED) == set(WANTED)
    assert set(TWINS.values()) <= set(WANTED)
    assert not set(LEFT) & set(WANTED)


@pytest.mark.parametrize(
    "row", [*HANDLED.items(), *((name, test) for name in HAZARDS for test in HAZARDS[name])], ids=str
)
def test_whatever_a_row_names_is_there(row):
    assert there_is(row[1])


def test_a_row_that_names_no_test_is_found():
    assert not there_is("test_money.py::test_that_nobody_has_written")


def about(shop, kind: str, name: str) -> dict[str, object]:
    """Return the event that `name` happened to the first object of a kind, as Stripe would send it."""
    told = next(event for event in shop.events() if event["data"]["object"]["object"] == kind)
    return told | {"id": f"evt_{name.replace('.', '_')}", "type": name}


@pytest.mark.parametrize("name", LEFT)
async def test_what_is_not_asked_for_is_kept_and_ignored(shop, name):
    await shop.bought()

    await shop.tell(about(shop, "payment_intent", name))

    assert (shop.messages(), shop.balance()) == ({name: "ignored"}, Balance("0", "0", "0"))


@pytest.mark.parametrize("name", ["payment_intent.canceled", "payment_intent.payment_failed"])
async def test_what_is_only_heard_of_changes_nothing(shop, name):
    """The word is that the payment came to nothing, and Stripe says otherwise when it is asked."""
    await shop.bought()
    await shop.tell_all("checkout.session.completed")

    await shop.tell(about(shop, "payment_intent", name))

    assert (shop.messages()[name], shop.balance()) == ("done", Balance("2000", "0", "2000"))


@pytest.mark.parametrize(
    "word", ["paused", "resumed", "pending_update_applied", "pending_update_expired", "trial_will_end"]
)
async def test_every_word_about_a_plan_mirrors_it_and_grants_nothing(shop, word):
    await shop.bought("plan_creator")

    await shop.tell(about(shop, "subscription", f"customer.subscription.{word}"))

    assert [plan.status for plan in shop.plans()] == ["active"]
    assert shop.balance() == Balance("0", "0", "0")


@pytest.mark.parametrize(
    "word", ["payment_action_required", "finalization_failed", "voided", "marked_uncollectible", "overpaid"]
)
async def test_an_invoice_that_is_not_paid_grants_nothing(shop, word):
    await shop.bought("plan_rolling")
    await shop.tell_all()
    subscription = shop.plans()[0].subscription
    shop.fake.act("set_method", customer=shop.plans()[0].customer, number="4000000000000341")
    shop.fake.act("renew_subscription", subscription=subscription)
    shop.fake.advance(7200)
    failed = shop.events("invoice.payment_failed")[0]

    await shop.tell(failed | {"id": f"evt_{word}", "type": f"invoice.{word}"})

    assert shop.messages()[f"invoice.{word}"] == "done"
    assert shop.balance() == Balance("300", "0", "300")


@pytest.mark.parametrize("twin", TWINS)
async def test_a_twin_is_taken_where_somebody_has_asked_for_it(shop, twin):
    await shop.bought("plan_rolling")
    refund = shop.fake.act("refund_charge", charge=shop.charge_of(), amount=300)
    told = shop.events("refund.created" if twin.startswith("charge") else "invoice.payment_succeeded")[0]
    assert refund["status"] == "succeeded"

    await shop.tell(told | {"type": twin})

    assert shop.balance().available == "200"


async def test_the_page_thanks_nobody_before_the_credit_is_there(shop):
    """What the page says is what the transaction of the grant has answered."""
    session = await shop.bought(number="000123456789")
    before = (await shop.till.come_back(session)).state, shop.balance().available
    intent = shop.events("payment_intent.created")[0]["data"]["object"]["id"]
    shop.fake.act("settle_debit", payment_intent=intent)

    after = (await shop.till.come_back(session)).state, shop.balance().available

    assert (before, after) == (("awaiting_payment", "0"), ("paid", "2000"))
