"""Runs: opened under a hold, drawn down by calls, closed once, expired when abandoned."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from callfare import Credits
from callfare.context import current_run, current_user
from callfare.errors import InsufficientCredit, KeyConflict
from tests.facade.doors import balance, image, status, texts

# As a block


async def test_a_block_holds_draws_and_gives_the_rest_back(alice):
    async with alice.run("story", user="alice", run_id="r1", hold=40) as run:
        held = await balance(alice)
        charge = await image(run)
        drawn = await balance(alice)

    assert held == ("100", "40", "0", "60", "0")
    assert texts(charge, "credits", "left", "debt", "run_id") == ("8", "32", "0", "r1")
    assert drawn == ("100", "40", "8", "60", "0")
    assert await balance(alice) == ("92", "0", "0", "92", "0")
    assert await status(alice) == "completed"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no"), "failed"),
        (SystemExit(3), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
async def test_a_block_left_by_an_error_ends_as_what_the_error_says_and_pays(alice, error, outcome):
    async def work():
        async with alice.run("story", user="alice", run_id="r1", hold=40) as run:
            await image(run)
            raise error

    with pytest.raises(type(error)) as caught:
        await work()

    assert caught.value is error
    assert await status(alice) == outcome
    assert await balance(alice) == ("92", "0", "0", "92", "0")


async def test_a_cancelled_task_ends_its_run_as_cancelled(alice):
    async def work():
        async with alice.run("story", user="alice", run_id="r1", hold=40) as run:
            await image(run)
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await status(alice) == "cancelled"
    assert await balance(alice) == ("92", "0", "0", "92", "0")


async def test_a_refused_run_never_enters_its_block(alice, ledger):
    before = ledger.rows()

    with pytest.raises(InsufficientCredit) as caught:
        async with alice.run("story", user="alice", hold="100.5"):
            pytest.fail("the block was entered")

    assert texts(caught.value, "user", "needed", "available", "shortfall") == ("alice", "100.5", "100", "0.5")
    assert caught.value.message.startswith("alice needs 100.5 credits and has 100 available, 0.5 short; ")
    assert caught.value.message.endswith(" grant alice 0.5`")
    assert ledger.rows() == before


async def test_the_next_step_of_a_refusal_can_be_pasted_whoever_the_user_is(alice):
    with pytest.raises(InsufficientCredit) as caught:
        await alice.open_run("story", user="o'hara; rm -rf .", hold=1)

    assert caught.value.message.endswith(""" grant 'o'"'"'hara; rm -rf .' 1`""")


async def test_a_block_that_closed_its_own_run_keeps_the_outcome_it_chose(alice):
    async with alice.run("story", user="alice", run_id="r1", hold=40) as run:
        await image(run)
        receipt = await run.close("failed")

    assert (receipt.outcome, receipt.charged) == ("failed", Credits(8))
    assert await status(alice) == "failed"


async def test_runs_nest_and_each_pays_for_itself(alice):
    await alice.grant("bob", 50, key="welcome")

    async with alice.run("story", user="alice", run_id="outer", hold=40) as outer:
        await image(outer)
        async with alice.run("tweet", user="bob", run_id="inner", hold=20) as inner:
            await image(inner)
            await image(outer)
        await image(outer)

    assert await balance(alice, "alice") == ("76", "0", "0", "76", "0")
    assert await balance(alice, "bob") == ("42", "0", "0", "42", "0")


async def test_one_handle_may_be_entered_twice_and_leaves_no_trace(alice):
    run = alice.run("story", user="alice", run_id="r1", hold=40)
    async with run:
        async with run:
            await image(run)
        assert current_run.get().run_id == "r1"

    assert (current_run.get(), current_user.get()) == (None, None)
    assert await balance(alice) == ("92", "0", "0", "92", "0")


# Opened and closed apart


async def test_open_run_and_close_run_do_what_a_block_does(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await image(run)

    receipt = await alice.close_run("r1")

    assert texts(receipt, "run_id", "outcome", "charged", "captured", "given_back", "debt", "waived", "cost") == (
        "r1", "completed", "8", "8", "32", "0", "0", "0.08",
    )  # fmt: skip
    assert (receipt.calls, receipt.unpriced_calls, receipt.is_replay) == (1, 0, False)
    assert await balance(alice) == ("92", "0", "0", "92", "0")


async def test_a_run_opened_here_is_closed_there(alice, ledger):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await image(run)

    receipt = await ledger.open().close_run("r1", "failed")

    assert texts(receipt, "outcome", "charged") == ("failed", "8")
    assert await balance(alice) == ("92", "0", "0", "92", "0")


async def test_a_run_says_its_id_before_it_is_opened(alice):
    run = alice.run("story", user="alice", hold=1)

    assert run.id.startswith("run_")
    assert (run.user, run.workflow) == ("alice", "story")


async def test_making_a_run_writes_nothing_until_it_is_opened(alice, ledger):
    before = ledger.rows()

    alice.run("story", user="alice", run_id="r1", hold=40)

    assert ledger.rows() == before


async def test_what_is_left_of_a_hold_is_known_to_its_handle(alice):
    run = await alice.open_run("story", user="alice", hold=10)

    await image(run)

    assert run.left == Credits(2)


async def test_a_run_draws_more_than_it_held_while_credit_is_available(alice):
    run = await alice.open_run("story", user="alice", hold=10)

    charge = await image(run, 3)

    assert texts(charge, "credits", "debt", "left") == ("24", "0", "0")
    assert await balance(alice) == ("100", "24", "24", "76", "0")


async def test_what_a_run_uses_beyond_all_credit_is_debt_at_once(alice):
    run = await alice.open_run("story", user="alice", hold=10)

    charge = await image(run, 15)
    owing = await balance(alice)
    receipt = await run.close()

    assert texts(charge, "credits", "debt", "left") == ("120", "20", "0")
    assert owing == ("100", "100", "100", "0", "20")
    assert texts(receipt, "charged", "captured", "debt") == ("120", "100", "20")
    assert await balance(alice) == ("0", "0", "0", "0", "20")


async def test_a_debt_stands_in_the_way_of_the_next_run(alice):
    await image(alice, 15, user="alice")

    with pytest.raises(InsufficientCredit) as caught:
        await alice.open_run("story", user="alice", hold=0)

    assert caught.value.shortfall == Credits(20)


# Holds


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        ("low", "15"), ("high", "50"), (7, "7"), ("7.25", "7.25"), (Decimal("0.000000001"), "0.000000001"),
        (Credits("99.5"), "99.5"), (0, "0"),
    ],
    ids=str,
)  # fmt: skip
async def test_a_hold_is_an_end_of_the_estimate_or_an_amount(alice, hold, held):
    await alice.open_run("tweet", user="alice", hold=hold)

    assert (await alice.balance("alice")).held == Credits(held)


async def test_without_a_word_the_low_end_of_the_estimate_is_held(alice):
    await alice.open_run("carousel", user="alice")

    assert (await alice.balance("alice")).held == Credits(50)


async def test_extending_reserves_more_and_says_how_much_is_held(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=10)

    receipt = await run.extend("15.5", key="more")
    again = await run.extend("15.5", key="more")

    assert texts(receipt, "run_id", "held", "used") == ("r1", "25.5", "0")
    assert again == receipt
    assert run.left == Credits("25.5")
    assert (await alice.balance("alice")).held == Credits("25.5")


async def test_extending_beyond_what_is_available_is_refused_with_the_numbers(alice, ledger):
    run = await alice.open_run("story", user="alice", hold=10)
    before = ledger.rows()

    with pytest.raises(InsufficientCredit) as caught:
        await run.extend(91)

    assert texts(caught.value, "user", "needed", "available", "shortfall") == ("alice", "91", "90", "1")
    assert ledger.rows() == before


async def test_the_same_extension_key_with_another_amount_is_a_conflict(alice):
    run = await alice.open_run("story", user="alice", hold=10)
    await run.extend(5, key="more")

    with pytest.raises(KeyConflict) as caught:
        await run.extend(6, key="more")

    assert caught.value.key == "more"


# The same run again


async def test_the_same_id_and_request_is_the_same_run_and_sees_its_draw(alice, ledger):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await image(run)
    before = ledger.rows()

    again = await ledger.open().open_run("story", user="alice", run_id="r1", hold=40)

    assert again.left == Credits(32)
    assert ledger.rows() == before


@pytest.mark.parametrize("hold", ["40", "40.0", Decimal(40), Decimal("4E+1"), Credits(40)], ids=repr)
async def test_the_same_hold_in_other_words_is_the_same_run(alice, ledger, hold):
    await alice.open_run("story", user="alice", run_id="r1", hold=40)

    await ledger.open().open_run("story", user="alice", run_id="r1", hold=hold)

    assert (await alice.balance("alice")).held == Credits(40)


@pytest.mark.parametrize(
    "other",
    [{"hold": 41}, {"workflow": "tweet"}, {"ttl_s": 60}, {"input": {"topic": "cats"}}],
    ids=lambda other: next(iter(other)),
)
async def test_the_same_id_for_another_request_is_a_conflict(alice, ledger, other):
    await alice.open_run("story", user="alice", run_id="r1", hold=40)
    before = ledger.rows()

    with pytest.raises(KeyConflict) as caught:
        await alice.open_run(**({"workflow": "story", "user": "alice", "run_id": "r1", "hold": 40} | other))

    assert caught.value.key == "r1"
    assert ledger.rows() == before


async def test_a_run_whose_workflow_was_declared_anew_is_still_the_same_run(alice, ledger):
    await alice.open_run("story", user="alice", run_id="r1", hold="low", input={"topic": "cats"})
    later = ledger.open()
    later.workflow("story", low=7, high=9)

    again = await later.open_run("story", user="alice", run_id="r1", hold="low", input={"topic": "cats"})

    assert again.left == Credits(100)


async def test_a_refused_run_id_may_be_used_after_a_grant(alice):
    with pytest.raises(InsufficientCredit):
        await alice.open_run("story", user="alice", run_id="r1", hold=120)
    await alice.grant("alice", 50, key="more")

    run = await alice.open_run("story", user="alice", run_id="r1", hold=120)

    assert run.left == Credits(120)


async def test_opening_one_handle_twice_is_harmless(alice):
    run = alice.run("story", user="alice", hold=40)

    await run.open()
    await run.open()

    assert (await alice.balance("alice")).held == Credits(40)
