"""A processor's customers and messages, and what is put aside, on every store."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from callfare.errors import Conflict, NotFound
from callfare.ledger.rows import User
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.ledger.verify import verify
from callfare.store.protocol import (
    CustomerOf,
    DeliveryNamed,
    FactNamed,
    InboxDue,
    LiveSubscriptions,
    OrderNamed,
    OrdersOf,
    QuarantineAfter,
    SaleNamed,
    SalesPaidBy,
    SubscriptionNamed,
    SubscriptionsOf,
    UnsettledOrders,
    UserOf,
)
from tests.support.commands import START_US, account_number
from tests.support.sale_commands import (
    claim,
    claim_customer,
    drop_customer,
    link_customer,
    mirror,
    move_order,
    note_fact,
    open_order,
    order_name,
    put_aside,
    settle_message,
    settle_sale,
    take,
    take_out,
)

ALICE, BOB = account_number("alice"), account_number("bob")


def customer_of(books) -> str | None:
    return books.rows(User)[0].stripe_customer_id


# Customers


def test_however_many_ask_there_is_one_row_for_a_customer(books):
    first, second = books.batch(claim_customer(), claim_customer())

    assert (first.is_replay, second.is_replay, second.customer, second.attempt) == (False, True, None, 1)
    assert len(books.rows(Customer)) == 1


def test_the_first_customer_of_an_attempt_stays(books):
    books.do(claim_customer())

    first, second = books.batch(link_customer("cus_1"), link_customer("cus_2"))

    assert (first.customer, second.customer) == ("cus_1", "cus_1")
    assert customer_of(books) == "cus_1"


def test_a_dropped_customer_leaves_room_for_one_more_attempt(books):
    books.do_all(claim_customer(), link_customer("cus_1"), drop_customer("cus_1"))

    late = books.do(link_customer("cus_0", attempt=1))
    dropped = customer_of(books)
    books.do(link_customer("cus_2", attempt=2))

    assert (late.customer, dropped, customer_of(books)) == (None, None, "cus_2")


def test_a_customer_who_is_not_theirs_is_not_dropped(books):
    books.do_all(claim_customer(), link_customer("cus_1"), drop_customer("cus_9"))

    assert customer_of(books) == "cus_1"


def test_test_and_live_customers_stand_apart(books):
    books.do_all(claim_customer(), claim_customer(mode="live"), link_customer("cus_1"))

    assert [(row.mode, row.customer) for row in books.rows(Customer)] == [("live", None), ("test", "cus_1")]


# Messages


def test_a_message_is_kept_once_and_claimed_by_whoever_brings_it(books):
    first, second = books.batch(take(), take())

    assert (first.is_claimed, first.attempts, first.state) == (True, 1, "waiting")
    assert (second.is_claimed, second.is_replay) == (False, True)
    [row] = books.reopened().rows(Delivery)
    assert (row.body, row.state, row.claimed_until_us) == ('{"id":"evt_1"}', "waiting", START_US + 60_000_000)


def test_a_message_that_is_none_of_ours_is_kept_and_never_waits(books):
    receipt = books.do(take(reason="of another installation"))

    assert (receipt.state, receipt.is_claimed) == ("ignored", False)
    assert books.store.select(InboxDue(now_us=2**62, limit=10)) == []


def test_a_claimed_message_is_nobody_elses_until_the_claim_ends(books):
    books.do(take())

    early = books.do(claim())
    books.advance(seconds=60)
    first, second = books.batch(claim(), claim())

    assert (early.is_claimed, first.is_claimed, second.is_claimed) == (False, True, False)
    assert first.attempts == 2


def test_an_abandoned_message_is_found_again(books):
    books.do_all(take("evt_1"), take("evt_2"), settle_message(message="evt_2"))

    before = books.store.select(InboxDue(now_us=books.clock.now_us(), limit=10))
    books.advance(seconds=61)
    after = books.store.select(InboxDue(now_us=books.clock.now_us(), limit=10))

    assert (before, [row.message_id for row in after]) == ([], ["evt_1"])


def test_what_is_done_stays_done(books):
    books.do_all(take(), settle_message("done"))

    again = books.do(settle_message("waiting", wait_s=5))
    claimed = books.do(claim())

    assert (again.state, claimed.is_claimed) == ("done", False)


def test_a_message_that_failed_waits_before_it_is_tried_again(books):
    books.do_all(take(), settle_message("waiting", wait_s=30))

    early = books.do(claim())
    books.advance(seconds=30)

    assert (early.is_claimed, books.do(claim()).is_claimed) == (False, True)


def test_a_message_nobody_knows_is_not_found(books):
    with pytest.raises(NotFound):
        books.do(claim("evt_9"))


def test_messages_of_one_batch_keep_each_its_own_text(books):
    bodies = ['{"a":"\u00e9\U0001f680"}', "{}", '{"b":"\\\\\\"\\n\'"}', "x" * 9000, '{"c":"\u00e9"}']
    books.batch(*(replace(take(f"evt_{number}"), body=body) for number, body in enumerate(bodies)))
    books.batch(claim("evt_0"), settle_message("done", "evt_1"), settle_message("waiting", "evt_3", wait_s=9))

    kept = books.reopened().rows(Delivery)

    assert [row.body for row in kept] == bodies
    assert [row.state for row in kept] == ["waiting", "done", "waiting", "waiting", "waiting"]
    assert verify(books.store.scan).faults == ()


# Quarantine


def test_a_payment_is_put_aside_once_and_claimed_once(books):
    books.do_all(put_aside(), put_aside())

    books.do(take_out())

    with pytest.raises(Conflict):
        books.do(take_out())
    [row] = books.rows(Quarantined)
    assert (row.reason, row.claimed_by, row.resolution) == ("amount_differs", "key:k", "dismissed")


def test_what_is_granted_out_of_quarantine_is_granted_once(books):
    books.do_all(open_order(), move_order("quarantined", 1), put_aside())

    books.do(settle_sale(order_version=2, claims="order:1"))

    with pytest.raises(Conflict):
        books.do(settle_sale(1, order_version=3, claims="order:1"))
    assert (books.balance().available, books.rows(Quarantined)[0].resolution) == ("2000", "granted")


def test_what_is_not_in_quarantine_cannot_be_claimed(books):
    with pytest.raises(NotFound):
        books.do(take_out("order:9"))


# Facts


def test_a_fixed_fact_stays_as_it_was_first_told(books):
    first, second = books.batch(note_fact("inst_1"), note_fact("inst_2"))

    assert (first.value, second.value, second.is_replay) == ("inst_1", "inst_1", True)


def test_a_fact_that_is_not_fixed_moves(books):
    books.do_all(note_fact("1", name="cursor", is_fixed=False), note_fact("2", name="cursor", is_fixed=False))

    assert [(row.name, row.value) for row in books.rows(Installation)] == [("cursor", "2")]


# Asking


def test_everything_is_found_by_its_name(books):
    books.do_all(open_order(kind="plan"), settle_sale(), claim_customer(), mirror(), take(), put_aside(), note_fact())
    ask = books.store.select

    assert [type(row) for row in ask(OrderNamed(account_id=ALICE, order_id=order_name()))] == [Order]
    assert [type(row) for row in ask(SaleNamed(account_id=ALICE, sale_id=order_name()))] == [Sale]
    assert [row.sale_id for row in ask(SalesPaidBy(payment="pi_1"))] == [order_name()]
    assert [type(row) for row in ask(CustomerOf(account_id=ALICE, mode="test"))] == [Customer]
    assert [type(row) for row in ask(SubscriptionNamed(account_id=ALICE, subscription="sub_1"))] == [Subscription]
    assert [type(row) for row in ask(DeliveryNamed(account_id=0, message_id="evt_1"))] == [Delivery]
    assert [row.item_id for row in ask(QuarantineAfter(after_item_id="", limit=9))] == ["order:1"]
    assert [row.value for row in ask(FactNamed(account_id=0, name="instance"))] == ["inst_1"]


def test_alike_questions_that_are_asked_together_get_an_answer_each(books):
    books.do_all(open_order(), open_order("bob"), open_order(number=2), settle_sale(number=2))
    names = [(ALICE, order_name(number=2)), (ALICE, order_name()), (BOB, order_name("bob")), (BOB, order_name())]
    twice = [*names, names[0]]

    answers = books.store.select_all(
        [
            *(OrderNamed(account_id=account, order_id=name) for account, name in twice),
            *(SaleNamed(account_id=account, sale_id=name) for account, name in twice),
            *(UserOf(account_id=account) for account in (BOB, ALICE, 7, BOB)),
            OrdersOf(account_id=BOB, limit=9),
        ]
    )

    told = [[row.pk[1:] for row in rows] for rows in answers]
    assert told[:5] == [[names[0]], [names[1]], [names[2]], [], [names[0]]]
    assert told[5:10] == [[names[0]], [], [], [], [names[0]]]
    assert told[10:] == [[("bob",)], [("alice",)], [], [("bob",)], [names[2]]]


def test_orders_that_wait_for_their_end_come_in_pages(books):
    for number in range(1, 6):
        books.do(open_order(number=number))
    books.do(settle_sale(number=2))
    books.advance(seconds=5)
    books.do(move_order("open", 1, 5))
    limit_us = START_US + 1

    first = books.store.select(UnsettledOrders(before_us=limit_us, after_account_id=-1, after_order_id="", limit=2))
    last = first[-1]
    rest = books.store.select(
        UnsettledOrders(before_us=limit_us, after_account_id=ALICE, after_order_id=last.order_id, limit=2)
    )

    assert [row.order_id for row in (*first, *rest)] == [order_name(number=number) for number in (1, 3, 4)]


def test_orders_of_an_account_come_newest_first(books):
    books.do(open_order())
    books.advance(seconds=1)
    books.do(open_order(number=2))

    found = books.store.select(OrdersOf(account_id=ALICE, limit=9))

    assert [row.order_id for row in found] == [order_name(number=2), order_name()]


def test_plans_that_have_ended_are_not_live(books):
    books.do_all(open_order(kind="plan"), mirror())

    before = books.store.select(LiveSubscriptions(after_account_id=-1, after_subscription="", limit=9))
    books.do(mirror(1, "canceled", ended_at_us=START_US))
    after = books.store.select(LiveSubscriptions(after_account_id=-1, after_subscription="", limit=9))

    assert ([row.subscription for row in before], after) == (["sub_1"], [])
    assert [row.status for row in books.store.select(SubscriptionsOf(account_id=ALICE))] == ["canceled"]
