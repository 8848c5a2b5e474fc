"""Granting credit and reading balances."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from callfare import Credits
from callfare.errors import InvalidTime, KeyConflict, LedgerUnavailable
from tests.facade.doors import START, balance, image, texts


async def test_a_grant_says_what_it_gave(fare):
    receipt = await fare.grant("alice", 2000, key="welcome")

    assert texts(receipt, "user", "key", "credits", "repaid", "available") == ("alice", "welcome", "2000", "0", "2000")
    assert (receipt.expires_at, receipt.is_replay) == (None, False)


async def test_a_user_nobody_has_heard_of_has_nothing(alice):
    assert await balance(alice, "nobody") == ("0", "0", "0", "0", "0")


async def test_reading_a_balance_writes_nothing(alice, ledger):
    before = ledger.rows()

    await alice.balance("alice")
    await alice.balance("nobody")

    assert ledger.rows() == before


@pytest.mark.parametrize(
    "amount", [18, "18", "18.0", "18.000000000", Decimal("18.00"), Decimal("1.8E+1"), Credits(18)], ids=repr
)
async def test_every_way_to_say_an_amount_is_the_same_grant(fare, amount):
    await fare.grant("alice", 18, key="one")

    again = await fare.grant("alice", amount, key="one")

    assert (again.is_replay, again.credits) == (True, Credits(18))
    assert await balance(fare) == ("18", "0", "0", "18", "0")


async def test_a_repeated_grant_gets_the_first_answer(alice, ledger):
    first = await alice.grant("alice", "0.000000001", key="crumb")
    await alice.grant("alice", 50, key="more")
    before = ledger.rows()

    again = await alice.grant("alice", "0.000000001", key="crumb")

    assert again.is_replay
    assert (again.credits, again.available) == (first.credits, first.available)
    assert ledger.rows() == before


async def test_a_repeat_on_another_facade_gets_the_first_answer(alice, ledger):
    again = await ledger.open().grant("alice", 100, key="welcome")

    assert again.is_replay
    assert await balance(alice) == ("100", "0", "0", "100", "0")


@pytest.mark.parametrize(
    "other",
    [{"credits": 101}, {"source": "promo"}, {"expires_at": START + timedelta(days=1)}],
    ids=lambda other: next(iter(other)),
)
async def test_the_same_key_with_another_grant_is_a_conflict(alice, ledger, other):
    before = ledger.rows()

    with pytest.raises(KeyConflict) as caught:
        await alice.grant("alice", **({"credits": 100, "key": "welcome"} | other))

    assert (caught.value.key, caught.value.param) == ("welcome", "key")
    assert caught.value.message == "key 'welcome' was used before with another request; use a new key for a new request"
    assert ledger.rows() == before


async def test_two_users_may_have_a_grant_under_one_key(alice):
    receipt = await alice.grant("bob", 7, key="welcome")

    assert not receipt.is_replay
    assert await balance(alice, "bob") == ("7", "0", "0", "7", "0")
    assert await balance(alice, "alice") == ("100", "0", "0", "100", "0")


async def test_a_grant_expires_at_its_time_without_any_job(fare, clock):
    await fare.grant("alice", 30, key="short", expires_at=START + timedelta(hours=1))
    await fare.grant("alice", 5, key="long")

    clock.advance(3599)
    before = await balance(fare)
    clock.advance(1)

    assert before == ("35", "0", "0", "35", "0")
    assert await balance(fare) == ("5", "0", "0", "5", "0")


async def test_a_repeat_after_the_credit_has_expired_still_gets_the_first_answer(fare, clock):
    expires_at = START + timedelta(hours=1)
    await fare.grant("alice", 30, key="short", expires_at=expires_at)
    clock.advance(3601)

    again = await fare.grant("alice", 30, key="short", expires_at=expires_at)

    assert (again.is_replay, again.expires_at) == (True, expires_at)


@pytest.mark.parametrize("expires_at", [START, START - timedelta(days=1)], ids=["now", "yesterday"])
async def test_credit_that_has_expired_already_is_not_granted(alice, ledger, expires_at):
    before = ledger.rows()

    with pytest.raises(InvalidTime):
        await alice.grant("alice", 30, key="gone", expires_at=expires_at)

    assert ledger.rows() == before


async def test_a_grant_may_expire_in_any_zone_and_is_told_in_utc(fare):
    receipt = await fare.grant("alice", 1, key="one", expires_at=datetime.fromisoformat("2026-12-24T18:00:00+05:45"))

    assert receipt.expires_at.isoformat() == "2026-12-24T12:15:00+00:00"


async def test_what_expires_first_is_spent_first(fare, clock):
    await fare.grant("alice", 10, key="last")
    await fare.grant("alice", 10, key="first", expires_at=START + timedelta(hours=1))

    await image(fare, user="alice")
    clock.advance(3600)

    # Eight of the ten that were to expire are spent; the other two became breakage.
    assert await balance(fare) == ("10", "0", "0", "10", "0")


async def test_a_held_part_of_a_lot_outlives_its_expiry_and_is_gone_when_given_back(fare, clock):
    await fare.grant("alice", 20, key="short", expires_at=START + timedelta(minutes=30))
    run = await fare.open_run("story", user="alice", hold=12)

    clock.advance(1800)
    held = await balance(fare)
    await image(run)
    await run.close()

    assert held == ("12", "12", "0", "0", "0")
    assert await balance(fare) == ("0", "0", "0", "0", "0")


async def test_what_nothing_covers_is_debt_and_the_next_grant_pays_it_first(fare):
    await fare.grant("alice", 5, key="little")

    charge = await image(fare, user="alice")
    owing = await balance(fare)
    receipt = await fare.grant("alice", 10, key="more")

    assert texts(charge, "credits", "debt") == ("8", "3")
    assert owing == ("0", "0", "0", "0", "3")
    assert texts(receipt, "credits", "repaid", "available") == ("10", "3", "7")
    assert await balance(fare) == ("7", "0", "0", "7", "0")


async def test_a_grant_smaller_than_the_debt_leaves_the_rest_of_it(fare):
    await fare.grant("alice", 1, key="little")
    await image(fare, 2, user="alice")

    receipt = await fare.grant("alice", 10, key="more")

    assert texts(receipt, "repaid", "available") == ("10", "0")
    assert await balance(fare) == ("0", "0", "0", "0", "5")


async def test_the_five_balances_of_a_running_run(alice):
    run = await alice.open_run("story", user="alice", hold=40)
    await image(run, 2)

    assert await balance(alice) == ("100", "40", "16", "60", "0")


@pytest.mark.parametrize("source", ["purchase", "promo", "plan", "adjustment"])
async def test_credit_comes_from_four_sources(fare, source):
    await fare.grant("alice", 3, key="one", source=source)

    assert await balance(fare) == ("3", "0", "0", "3", "0")


async def test_closing_a_facade_ends_its_writing(ledger):
    fare = ledger.open()
    await fare.grant("alice", 100, key="welcome")
    await fare.close()

    with pytest.raises(LedgerUnavailable):
        await fare.grant("alice", 1, key="late")

    assert await balance(ledger.open()) == ("100", "0", "0", "100", "0")
