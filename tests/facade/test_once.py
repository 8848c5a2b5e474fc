"""Once: steps, response ids and keys, within a process and across processes that run the same thing again."""

from __future__ import annotations

import pytest

from callfare import Credits
from callfare.errors import InvalidQuantity, KeyConflict, LedgerUnavailable
from tests.facade.doors import balance, chat, engine_of, image, speech, texts

RUN = {"workflow": "story", "user": "alice", "run_id": "r1", "hold": 60}


async def two_steps(fare):
    """Do what a process does that is started again from its beginning."""
    charges = []
    async with fare.run(**RUN) as run:
        with run.step("draft"):
            charges.append(await chat(run))
            charges.append(await chat(run))
        charges.append(await image(run, step="cover"))
    return charges


# Steps


async def test_a_process_that_starts_again_charges_once(alice, ledger):
    first = await two_steps(alice)
    before = ledger.rows()

    again = await two_steps(ledger.open())

    assert [charge.id for charge in again] == [charge.id for charge in first]
    assert [charge.is_replay for charge in again] == [True, True, True]
    assert ledger.rows() == before
    assert await balance(alice) == ("91.946", "0", "0", "91.946", "0")


async def test_a_process_that_died_midway_goes_on_where_it_was(alice, ledger):
    dead = await alice.open_run(**RUN)
    with dead.step("draft"):
        await chat(dead)

    charges = await two_steps(ledger.open())

    assert [charge.is_replay for charge in charges] == [True, False, False]
    assert await balance(alice) == ("91.946", "0", "0", "91.946", "0")


async def test_calls_of_one_step_are_numbered_and_each_is_charged(alice):
    run = await alice.open_run(**RUN)
    with run.step("draft"):
        keys = [(await chat(run)).key for _ in range(3)]

    assert keys == ["step:r1:draft:1", "step:r1:draft:2", "step:r1:draft:3"]


async def test_a_retried_step_that_answered_otherwise_is_kept_with_its_cost_and_not_charged(alice, ledger):
    run = await alice.open_run(**RUN)
    await speech(run, 1000, step="voice")

    again = await ledger.open().open_run(**RUN)
    attempt = await speech(again, 3000, step="voice")
    receipt = await again.close()

    assert (attempt.flags, attempt.is_replay) == (("attempt",), False)
    assert texts(attempt, "cost", "credits") == ("0.036", "0")
    # The run used 1.2 credits; it cost 0.012 and 0.036 dollars.
    assert texts(receipt, "charged", "cost") == ("1.2", "0.048")
    assert receipt.calls == 2


async def test_a_repeated_attempt_is_kept_once(alice, ledger):
    run = await alice.open_run(**RUN)
    await speech(run, 1000, step="voice")
    await speech(await ledger.open().open_run(**RUN), 3000, step="voice")
    before = ledger.rows()

    again = await speech(await ledger.open().open_run(**RUN), 3000, step="voice")

    assert (again.flags, again.is_replay) == (("attempt",), True)
    assert ledger.rows() == before


async def test_a_retried_step_with_the_same_response_is_the_same_call(alice, ledger):
    run = await alice.open_run(**RUN)
    await chat(run, 1000, 200, step="draft", response_id="resp_1")
    before = ledger.rows()

    again = await chat(await ledger.open().open_run(**RUN), 1000, 200, step="draft", response_id="resp_1")

    assert again.is_replay
    assert ledger.rows() == before


async def test_a_call_that_was_refused_does_not_use_its_number_up(alice):
    run = await alice.open_run(**RUN)
    with run.step("draft"):
        with pytest.raises(InvalidQuantity):
            await chat(run, -1)
        charge = await chat(run)

    assert charge.key == "step:r1:draft:1"


async def test_a_call_repeated_while_nobody_knows_whether_it_was_written_charges_once(alice, monkeypatch):
    run = await alice.open_run(**RUN)
    store = engine_of(alice).store
    apply = store.apply

    def lose_the_answer(commands):
        apply(commands)
        raise LedgerUnavailable("the disk went away")

    monkeypatch.setattr(store, "apply", lose_the_answer)
    # Without a spool, which would keep the call: tests/spool.
    monkeypatch.setattr(engine_of(alice)._committer, "_keep", None)
    with run.step("draft"):
        with pytest.raises(LedgerUnavailable):
            await chat(run)
        monkeypatch.undo()
        charge = await chat(run)

    assert (charge.is_replay, charge.key) == (True, "step:r1:draft:1")
    assert (await alice.balance("alice")).spent == Credits("0.027")


async def test_opening_a_handle_again_goes_on_numbering(alice):
    run = await alice.open_run(**RUN)
    await chat(run, step="draft")

    await run.open()
    charge = await chat(run, step="draft")

    assert (charge.key, charge.flags) == ("step:r1:draft:2", ())


@pytest.mark.parametrize(
    ("one", "other"),
    [(("r:1", "a"), ("r", "1:a")), (("r%3A1", "a"), ("r:1", "a")), (("r", "a#b"), ("r", "a%23b"))],
    ids=["colon", "escaped", "hash"],
)
async def test_steps_whose_names_run_together_are_two_steps(alice, one, other):
    for run_id, step in (one, other):
        run = await alice.open_run("story", user="alice", run_id=run_id, hold=10)
        charge = await image(run, step=step)
        assert (charge.flags, charge.credits) == ((), Credits(8))

    assert (await alice.balance("alice")).spent == Credits(16)


async def test_steps_of_two_users_are_two_steps(alice):
    await alice.grant("bob", 100, key="welcome")
    mine = await alice.open_run("story", user="alice", run_id="r1", hold=10)
    theirs = await alice.open_run("story", user="bob", run_id="r1", hold=10)

    await image(mine, step="cover")
    charge = await image(theirs, step="cover")

    assert (charge.flags, charge.credits, charge.is_replay) == ((), Credits(8), False)


# Responses


async def test_a_response_charges_once_wherever_it_is_told(alice, ledger):
    run = await alice.open_run(**RUN)
    first = await chat(run, response_id="resp_1")
    other = await alice.open_run("tweet", user="alice", run_id="r2", hold=10)
    before = ledger.rows()

    in_run = await chat(run, response_id="resp_1")
    elsewhere = await chat(other, response_id="resp_1")
    outside = await chat(ledger.open(), user="alice", response_id="resp_1")

    assert [charge.id for charge in (in_run, elsewhere, outside)] == [first.id] * 3
    assert ledger.rows() == before


async def test_a_response_told_with_other_usage_is_kept_flagged_and_not_charged(alice):
    await chat(alice, 1000, 200, user="alice", response_id="resp_1")

    second = await chat(alice, 2000, 200, user="alice", response_id="resp_1")
    third = await chat(alice, 3000, 200, user="alice", response_id="resp_1")

    assert (second.flags, third.flags) == (("duplicate",), ("duplicate",))
    assert second.id != third.id
    assert texts(second, "cost", "credits") == ("0.00042", "0")
    assert texts(third, "cost", "credits") == ("0.00057", "0")
    assert (await alice.balance("alice")).posted == Credits("99.973")


async def test_a_response_under_two_steps_charges_once(alice):
    run = await alice.open_run(**RUN)
    first = await chat(run, step="draft", response_id="resp_1")

    again = await chat(run, step="polish", response_id="resp_1")

    assert (again.id, again.is_replay) == (first.id, True)


@pytest.mark.parametrize("other", [{"provider": "azure"}, {"response_id": "resp_2"}, {"user": "bob"}], ids=str)
async def test_what_is_another_response_is_charged(alice, other):
    first = {"user": "alice", "provider": "openai", "response_id": "resp_1"}
    await chat(alice, **first)

    charge = await chat(alice, **(first | other))

    assert (charge.flags, charge.is_replay) == ((), False)


async def test_calls_without_a_response_id_are_all_charged(alice):
    one = await chat(alice, user="alice", response_id="")
    two = await chat(alice, user="alice", response_id="")

    assert one.id != two.id
    assert (await alice.balance("alice")).posted == Credits("99.946")


# Keys


async def test_a_key_makes_a_call_once(alice, ledger):
    first = await chat(alice, user="alice", key="import:17#3")
    before = ledger.rows()

    again = await chat(ledger.open(), user="alice", key="import:17#3")

    assert (first.key, again.key) == ("import:17#3", "import:17#3")
    assert (again.id, again.is_replay) == (first.id, True)
    assert ledger.rows() == before


@pytest.mark.parametrize(
    "other",
    [
        {"output_tokens": 201}, {"model": "gpt-5-nano"}, {"metadata": {"a": 1}}, {"operation": "chat"},
        {"provider": "azure"}, {"response_id": "resp_2"},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
async def test_a_key_with_another_call_is_a_conflict(alice, ledger, other):
    body = {"output_tokens": 200, "model": "gpt-5-mini"}
    rest = {name: value for name, value in other.items() if name not in body}
    body |= {name: value for name, value in other.items() if name in body}
    await chat(alice, user="alice", key="one")
    before = ledger.rows()

    with pytest.raises(KeyConflict) as caught:
        await alice.record(
            body["model"],
            {"input_tokens": 1000, "output_tokens": body["output_tokens"]},
            user="alice",
            key="one",
            **rest,
        )

    assert caught.value.key == "one"
    assert ledger.rows() == before


async def test_a_key_that_is_not_given_is_made_and_returned(alice):
    first = await chat(alice, user="alice")
    second = await chat(alice, user="alice")

    assert first.key != second.key
    assert first.id.endswith(first.key)


async def test_a_key_belongs_to_its_user(alice):
    await chat(alice, user="alice", key="one")

    charge = await chat(alice, 5000, user="bob", key="one")

    assert (charge.is_replay, charge.debt) == (False, Credits("0.087"))


async def test_one_key_stands_for_one_thing(alice, ledger):
    run = await alice.open_run(**RUN)
    await chat(alice, user="alice", key="one")
    before = ledger.rows()

    with pytest.raises(KeyConflict):
        await chat(alice, user="alice", key="welcome")
    with pytest.raises(KeyConflict):
        await alice.grant("alice", 5, key="one")
    with pytest.raises(KeyConflict):
        await run.extend(5, key="one")
    with pytest.raises(KeyConflict):
        await run.close(key="one")
    assert ledger.rows() == before
