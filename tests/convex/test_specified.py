"""The specification's four tables as documents: its fields, and that they stay current whoever writes a row."""

from __future__ import annotations

import pytest

from callfare.clock import ManualClock
from callfare.engine import moving
from callfare.store.open import open_store
from tests.support import sale_commands as sales
from tests.support.books import Books
from tests.support.commands import START, START_US, adjust, close, grant, open_run, record

pytestmark = pytest.mark.all


@pytest.fixture
def shown(bridge, address):
    """Returns some fields of all documents of a table, ordered by the first of them."""

    def fields(table, *names):
        found = [tuple(document.get(name) for name in names) for document in bridge.documents(address, table)]
        return sorted(found, key=lambda values: str(values[0]))

    return fields


def test_users_have_who_they_are_what_they_have_and_whom_stripe_knows(books, shown):
    books.do_all(grant("alice", 2000), open_run("r1", hold="500.000000001"))
    books.do_all(sales.claim_customer(), sales.link_customer("cus_9"))

    assert shown("users", "externalId", "email", "stripeCustomerId", "creditsBalance") == [
        ("alice", "alice@example.com", "cus_9", "1499.999999999")
    ]


def test_a_customer_that_stripe_has_dropped_is_no_longer_named(books, shown):
    books.do_all(sales.claim_customer(), sales.link_customer("cus_9"), sales.drop_customer("cus_9"))

    assert shown("users", "externalId", "stripeCustomerId") == [("alice", None)]


PLAN = ("externalId", "subscriptionId", "subscriptionPlan", "subscriptionStatus", "subscriptionPeriodEnd")


def test_users_have_their_plan_as_stripe_says_it_stands(books, shown):
    books.do(sales.open_order(kind="plan"))
    before = shown("users", *PLAN)
    books.do(sales.mirror())
    active = shown("users", *PLAN)
    books.do_all(sales.mirror(1, "past_due"), grant("alice", 1))

    ends_at_ms = START_US // 1000 + 720 * 3600 * 1000
    assert before == [("alice", None, None, None, None)]
    assert active == [("alice", "sub_1", "plan_creator", "active", ends_at_ms)]
    assert shown("users", *PLAN) == [("alice", "sub_1", "plan_creator", "past_due", ends_at_ms)]


def test_a_plan_that_lasts_is_shown_before_a_later_one_that_has_ended(books, shown):
    books.do(sales.open_order(kind="plan"))
    books.do(sales.mirror())
    later = sales.mirror(status="canceled", ended_at_us=START_US + 5)
    books.do(later.__class__(**{**fields_of(later), "subscription": "sub_2", "created_at_us": START_US + 1}))

    assert shown("users", *PLAN[:4]) == [("alice", "sub_1", "plan_creator", "active")]


def fields_of(command):
    return {name: getattr(command, name) for name in command.__struct_fields__}


def test_runs_have_their_owner_and_what_they_cost(books, bridge, address, shown):
    books.do_all(grant("alice", 100), open_run("r1", workflow="story"), record("2.5", run_id="r1"), close("r1"))
    [user] = bridge.documents(address, "users")

    assert shown("workflowRuns", "runId", "userId", "workflowType", "totalCostCents") == [
        ("r1", user["_id"], "story", "2.5000000000")
    ]


def test_usage_has_tokens_durations_and_the_cost_of_each_call(books, shown):
    books.do(grant("alice", 100))
    books.do(record("0.5", user="alice", key="a chat"))
    books.do(record(4, user="alice", key="a video", response_id="v", usage='{"video_seconds":"8.47"}'))
    books.do(record(4, user="alice", key="much", response_id="m", usage='{"input_tokens":"12345678901234567890"}'))
    books.do(adjust("3.5", key="a video"))

    found = shown("usageEvents", "key", "operation", "inputTokens", "outputTokens", "durationSeconds", "costCents")

    assert ("a chat", "responses.create", 1000, 200, None, "0.5000000000") in found
    assert ("a video", "responses.create", None, None, "8.47", "4.0000000000") in found
    assert ("much", "responses.create", None, None, None, "4.0000000000") in found
    assert any(values[5] == "-0.5000000000" for values in found)


def test_transactions_have_what_moved_what_was_paid_and_stripes_reference(books, shown):
    books.do_all(grant("alice", 2000, key="pi_1", paid_picousd=18_000_000_000_000), record("2.5", user="alice"))

    assert shown("transactions", "seq", "kind", "credits", "amountCents", "reference") == [
        (1, "grant", "2000.000000000", 1800, "pi_1"),
        (2, "charge", "2.500000000", None, "call-1"),
    ]


TABLES = ("users", "workflowRuns", "usageEvents", "transactions")


def bare(documents):
    """Return documents without what differs from one deployment to the next."""
    return sorted(
        str({name: value for name, value in one.items() if not name.startswith("_") and name != "userId"})
        for one in documents
    )


def test_a_ledger_that_was_moved_here_shows_what_it_showed_there(bridge, address, books):
    books.do_all(grant("alice", 2000, key="pi_1", paid_picousd=18_000_000_000_000), open_run("r1", hold=40))
    books.do_all(record("2.5", run_id="r1"), sales.open_order(kind="plan"), sales.mirror())
    other = bridge.new_ledger()
    target = Books(open_store(other, ManualClock(START)), books.clock)

    moving.move(books.store, target.store)
    target.store.close()

    for table in TABLES:
        there, here = bridge.documents(address, table), bridge.documents(other, table)
        assert bare(here) == bare(there), table
    bridge.take_back(other)
