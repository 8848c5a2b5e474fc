"""The end of a run: closed once, closed again, expired when abandoned; what comes after it or before its beginning."""

from __future__ import annotations

import pytest

from callfare import Credits
from callfare.errors import InvalidInput, KeyConflict, RunClosed, RunNotFound
from tests.facade.doors import balance, chat, image, speech, status, texts

# Closing again


async def test_closing_twice_returns_the_first_receipt(alice, ledger):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await image(run)
    first = await run.close()
    before = ledger.rows()

    for again in (await run.close(), await alice.close_run("r1"), await ledger.open().close_run("r1")):
        assert again.is_replay
        assert (again.charged, again.given_back, again.closed_at) == (
            first.charged, first.given_back, first.closed_at,
        )  # fmt: skip
    assert ledger.rows() == before


async def test_the_key_a_close_returns_closes_it_again(alice):
    await alice.open_run("story", user="alice", run_id="r1", hold=40)
    first = await alice.close_run("r1", "failed")

    again = await alice.close_run("r1", "failed", key=first.key)

    assert again.is_replay


@pytest.mark.parametrize("ask", ["failed", "cancelled"])
async def test_another_outcome_than_the_first_is_refused(alice, ledger, ask):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await run.close("completed")
    before = ledger.rows()

    with pytest.raises(RunClosed) as caught:
        await alice.close_run("r1", ask)

    assert caught.value.facts() == {
        "code": "run_closed",
        "message": "run 'r1' has ended as completed; open a new run to go on",
        "param": "run_id",
        "run_id": "r1",
        "outcome": "completed",
    }
    assert ledger.rows() == before


async def test_a_close_key_with_another_request_is_a_conflict(alice):
    one = await alice.open_run("story", user="alice", run_id="r1", hold=10)
    two = await alice.open_run("story", user="alice", run_id="r2", hold=10)
    await one.close(key="end")

    with pytest.raises(KeyConflict) as caught:
        await two.close(key="end")

    assert caught.value.key == "end"
    assert (await one.close(key="end")).is_replay


async def test_one_run_id_of_two_users_is_closed_by_naming_the_user(alice):
    await alice.grant("bob", 50, key="welcome")
    first = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    second = await alice.open_run("story", user="bob", run_id="r1", hold=30)
    await image(first)
    await image(second, 2)

    with pytest.raises(InvalidInput) as caught:
        await alice.close_run("r1")
    receipt = await alice.close_run("r1", user="bob")

    assert caught.value.param == "user"
    assert receipt.charged == Credits(16)
    assert [call.credits for call in (await alice.calls(first)).items] == [Credits(8)]
    assert (await alice.balance("alice")).held == Credits(40)


async def test_a_run_of_another_user_is_as_good_as_unknown(alice):
    await alice.grant("bob", 50, key="welcome")
    await alice.open_run("story", user="alice", run_id="r1", hold=40)

    with pytest.raises(RunNotFound):
        await alice.close_run("r1", user="bob")
    with pytest.raises(RunNotFound):
        await alice.calls("r1", user="bob")


# What comes late, or never


async def test_usage_after_the_end_is_charged_directly_and_flagged(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40)
    await image(run)
    await run.close()

    late = await image(run)

    assert (late.flags, late.run_id) == (("late",), "r1")
    assert texts(late, "credits", "debt", "left") == ("8", "0", "0")
    assert await balance(alice) == ("84", "0", "0", "84", "0")


async def test_an_abandoned_run_expires_and_pays_for_what_it_used(alice, clock):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40, ttl_s=600)
    await image(run)

    clock.advance(599)
    before = await balance(alice), await status(alice)
    clock.advance(1)

    assert before == (("100", "40", "8", "60", "0"), "open")
    assert await balance(alice) == ("92", "0", "0", "92", "0")
    assert await status(alice) == "expired"


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
async def test_closing_an_expired_run_returns_the_receipt_of_its_expiry(alice, clock, outcome):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40, ttl_s=600)
    await image(run)
    clock.advance(700)

    receipt = await run.close(outcome)

    assert texts(receipt, "outcome", "charged", "given_back") == ("expired", "8", "32")
    assert receipt.closed_at.isoformat() == "2026-11-23T12:10:00+00:00"


async def test_a_block_that_outlived_its_hold_ends_without_an_error(alice, clock):
    async with alice.run("story", user="alice", run_id="r1", hold=40, ttl_s=600) as run:
        clock.advance(700)
        late = await image(run)

    assert late.flags == ("late",)
    assert await status(alice) == "expired"
    assert await balance(alice) == ("92", "0", "0", "92", "0")


async def test_every_call_and_every_touch_renews_the_hold(alice, clock):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=40, ttl_s=600)

    clock.advance(400)
    await speech(run)
    clock.advance(400)
    touched = await run.touch()
    clock.advance(599)

    assert touched.expires_at.isoformat() == "2026-11-23T12:23:20+00:00"
    assert await status(alice) == "open"


async def test_the_history_shows_an_expired_run_as_it_is_before_anything_was_written(alice, clock):
    await alice.open_run("story", user="alice", run_id="r1", hold=40, ttl_s=600)
    clock.advance(700)

    (run,) = (await alice.history("alice")).items

    assert (run.status, str(run.held)) == ("expired", "0")
    assert run.closed_at.isoformat() == "2026-11-23T12:10:00+00:00"


async def test_touching_and_extending_what_has_ended_is_refused(alice):
    run = await alice.open_run("story", user="alice", hold=10)
    await run.close()

    with pytest.raises(RunClosed):
        await run.touch()
    with pytest.raises(RunClosed):
        await run.extend(1)


async def test_nothing_can_be_done_with_a_run_that_was_not_opened(alice, ledger):
    run = alice.run("story", user="alice", run_id="r1", hold=10)
    before = ledger.rows()

    for attempt in (chat(run), run.touch(), run.extend(1), run.close()):
        with pytest.raises(RunNotFound) as caught:
            await attempt
        assert caught.value.run_id == "r1"
    with pytest.raises(RunNotFound):
        _ = run.left
    assert ledger.rows() == before


async def test_a_run_nobody_opened_is_not_found_and_the_error_says_where_to_look(alice):
    with pytest.raises(RunNotFound) as caught:
        await alice.close_run("ghost")

    assert caught.value.message == "there is no run 'ghost'; list runs with `callfare history USER`"


async def test_a_run_in_which_nothing_happened_costs_nothing(alice):
    async with alice.run("story", user="alice", run_id="r1", hold=40):
        pass

    (run,) = (await alice.history("alice")).items
    assert (run.calls, str(run.charged), str(run.cost)) == (0, "0", "0")
    assert [item.kind for item in (await alice.transactions("alice")).items] == ["grant"]
