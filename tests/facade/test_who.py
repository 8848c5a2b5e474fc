"""Who pays: the user and the run in force, in this task, in another one, in a thread; and calls that name nobody."""

from __future__ import annotations

import asyncio
import threading
import warnings
from functools import partial

import pytest

from callfare import CarryingExecutor, Credits, UnattributedWarning, carry
from callfare.capture.base import Intent
from callfare.context import current_run, current_user
from callfare.engine.metering import Metering
from callfare.errors import InvalidUser, UserRequired
from callfare.usage.extract import Reading
from tests.facade.doors import balance, chat, engine_of, image

CHAT = Intent(provider="openai", base_url="", operation="chat", model="gpt-5-mini", usage={}, attributes={})


def wrapped_call(fare, *, own_user=None, response_id=""):
    """Do what a wrapped client does around one call of 8 credits."""
    usage = {"images": 1}
    intent = Intent(
        provider="openai", base_url="", operation="image", model="gpt-image-1", usage=usage,
        attributes={"size": "1024x1536"},
    )  # fmt: skip
    reading = Reading(
        model="gpt-image-1", usage=usage, attributes={"size": "1024x1536"}, response_id=response_id, raw={},
        incomplete=False,
    )  # fmt: skip
    Metering(engine_of(fare)).admit(intent, user=own_user).settle(reading)


async def posted(fare, *users):
    return [str((await fare.balance(user)).posted) for user in users]


@pytest.fixture
async def three(alice):
    """A façade on a ledger in which alice, bob and carol have 100 credits each."""
    await alice.grant("bob", 100, key="welcome")
    await alice.grant("carol", 100, key="welcome")
    return alice


async def test_a_call_goes_to_the_user_it_names(three):
    await image(three, user="bob")

    assert await posted(three, "alice", "bob") == ["100", "92"]


async def test_a_call_goes_to_the_user_in_force(three):
    with three.user("bob"):
        await image(three)
        with three.user("carol"):
            await image(three, 2)
        await image(three)

    assert await posted(three, "alice", "bob", "carol") == ["100", "84", "84"]


async def test_a_user_named_in_the_call_wins_over_the_one_in_force(three):
    with three.user("bob"):
        await image(three, user="carol")

    assert await posted(three, "bob", "carol") == ["100", "92"]


async def test_a_user_is_no_longer_in_force_after_an_error(three):
    with pytest.raises(RuntimeError, match="no"), three.user("bob"):
        raise RuntimeError("no")

    assert current_user.get() is None


async def test_a_user_that_is_none_is_refused_before_anything_is_done(three):
    with pytest.raises(InvalidUser), three.user(""):
        pytest.fail("the block was entered")


# Wrapped calls


async def test_a_wrapped_call_is_charged_to_the_run_in_force(three):
    async with three.run("story", user="alice", run_id="r1", hold=20) as run:
        wrapped_call(three)

        assert run.left == Credits(12)
    assert [call.model for call in (await three.calls("r1")).items] == ["gpt-image-1"]


async def test_what_was_entered_last_decides_who_pays(three):
    with three.user("bob"):
        async with three.run("story", user="alice", run_id="r1", hold=20):
            wrapped_call(three)
            with three.user("carol"):
                wrapped_call(three)
        wrapped_call(three)

    assert await posted(three, "alice", "bob", "carol") == ["92", "92", "92"]
    assert len((await three.calls("r1")).items) == 1


async def test_the_own_user_of_a_client_pays_where_nothing_else_says_who(three):
    wrapped_call(three, own_user="carol")
    with three.user("bob"):
        wrapped_call(three, own_user="carol")
    async with three.run("story", user="alice", run_id="r1", hold=20):
        wrapped_call(three, own_user="carol")

    assert await posted(three, "alice", "bob", "carol") == ["92", "92", "92"]
    assert len((await three.calls("r1")).items) == 1


async def test_a_run_can_be_in_force_without_being_opened_or_closed(three):
    run = await three.open_run("story", user="alice", run_id="r1", hold=20)
    with run.active():
        wrapped_call(three)

    assert run.left == Credits(12)
    assert (current_run.get(), current_user.get()) == (None, None)


async def test_a_call_that_does_not_name_the_run_in_force_goes_to_it_all_the_same(three):
    async with three.run("story", user="alice", run_id="r1", hold=20) as run:
        charge = await image(three)

        assert (charge.run_id, run.left) == ("r1", Credits(12))


@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_a_call_that_names_a_user_goes_there_whatever_run_is_in_force(three, name):
    async with three.run("story", user="alice", run_id="r1", hold=20) as run:
        charge = await image(three, user=name)

        assert (charge.run_id, run.left) == (None, Credits(20))
    assert await posted(three, name) == ["92"]


async def test_a_user_in_force_inside_a_run_stands_before_it(three):
    async with three.run("story", user="alice", run_id="r1", hold=20):
        with three.user("bob"):
            charge = await image(three)

    assert (charge.run_id, await posted(three, "alice", "bob")) == (None, ["100", "92"])


async def test_a_step_counts_for_calls_that_do_not_name_their_run(three):
    async with three.run("story", user="alice", run_id="r1", hold=20) as run:
        with run.step("cover"):
            charge = await image(three)

    assert charge.key == "step:r1:cover:1"


async def test_a_run_of_one_ledger_is_not_in_force_for_another(three, ledger, tmp_path):
    other = type(ledger)("memory", "sync", tmp_path, ledger.clock).open()
    await other.grant("alice", 50, key="welcome")

    async with three.run("story", user="alice", run_id="r1", hold=20):
        wrapped_call(other)

    assert await posted(three, "alice") == ["100"]
    assert await posted(other, "alice") == ["42"]


async def test_a_call_that_failed_before_it_used_anything_leaves_its_number_to_its_repeat(three):
    meter = Metering(engine_of(three))
    reading = Reading(
        model="gpt-5-mini", usage={"input_tokens": 1000, "output_tokens": 200}, attributes={}, response_id="resp_1",
        raw={}, incomplete=False,
    )  # fmt: skip
    async with three.run("story", user="alice", run_id="r1", hold=20) as run:
        with run.step("draft"):
            meter.admit(CHAT).release()
            meter.admit(CHAT).settle(reading)

    (call,) = (await three.calls("r1")).items
    assert call.id.endswith("step:r1:draft:1")


# Tasks and threads


async def test_a_task_inherits_the_user_and_what_it_does_stays_its_own(three):
    async def work(name):
        with three.user(name):
            await asyncio.sleep(0)
            await image(three)

    with three.user("alice"):
        await asyncio.gather(work("bob"), work("carol"), image(three))

    assert await posted(three, "alice", "bob", "carol") == ["92", "92", "92"]


async def test_tasks_in_parallel_draw_one_hold_exactly(three):
    async with three.run("story", user="alice", run_id="r1", hold=50) as run:
        await asyncio.gather(*(chat(run) for _ in range(40)))

        assert run.left == Credits("48.92")
    (summary,) = (await three.history("alice")).items
    assert (summary.calls, summary.charged) == (40, Credits("1.08"))


def in_threads(count, work):
    """Do the same in so many threads at once, and return what went wrong."""
    together = threading.Barrier(count)
    faults = []

    def go():
        try:
            together.wait()
            work()
        except BaseException as fault:  # noqa: BLE001 - the caller asserts that there is none
            faults.append(fault)

    threads = [threading.Thread(target=go) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


async def test_threads_in_parallel_draw_one_hold_exactly(three):
    run = await three.open_run("story", user="alice", run_id="r1", hold=30)

    faults = in_threads(6, lambda: [asyncio.run(chat(run)) for _ in range(5)])

    assert faults == []
    receipt = await run.close()
    assert (receipt.calls, receipt.charged) == (30, Credits("0.81"))
    assert await balance(three) == ("99.19", "0", "0", "99.19", "0")


async def test_threads_that_repeat_one_call_charge_it_once(three):
    faults = in_threads(6, lambda: asyncio.run(image(three, user="alice", key="one")))

    assert faults == []
    assert await posted(three, "alice") == ["92"]


async def test_a_plain_thread_does_not_know_the_user(three):
    seen = []
    with three.user("alice"):
        thread = threading.Thread(target=lambda: seen.append(current_user.get()))
        thread.start()
        thread.join()

    assert seen == [None]


async def test_a_carried_function_takes_user_and_run_along(three):
    seen = []

    def look(greeting, *, name):
        seen.append((greeting, name, current_user.get(), current_run.get().run_id))
        return 7

    async with three.run("story", user="alice", run_id="r1", hold=20):
        carried = carry(look)
    in_threads(2, lambda: carried("hi", name="x"))

    assert seen == [("hi", "x", "alice", "r1")] * 2
    assert (carried.__name__, carried("hi", name="x"), current_user.get()) == ("look", 7, None)


async def test_a_carrying_pool_takes_user_and_run_along(three):
    with CarryingExecutor(max_workers=2) as pool:
        async with three.run("story", user="alice", run_id="r1", hold=50):
            for done in [pool.submit(wrapped_call, three) for _ in range(3)]:
                done.result()
            list(pool.map(partial(wrapped_call, three), []))
        with three.user("bob"):
            pool.submit(wrapped_call, three).result()
            assert list(pool.map(str.upper, ["a", "b"])) == ["A", "B"]

    assert await posted(three, "alice", "bob") == ["76", "92"]


# Nobody


async def test_a_call_that_names_nobody_is_charged_to_unattributed_and_warned_of_once(three):
    with pytest.warns(UnattributedWarning, match="names no user"):
        await image(three)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await image(three)

    assert await balance(three, "unattributed") == ("0", "0", "0", "0", "16")


async def test_the_warning_points_at_the_line_that_made_the_call(three):
    with pytest.warns(UnattributedWarning) as caught:
        await image(three)

    assert caught[0].filename.endswith("tests/facade/doors.py")


async def test_each_facade_warns_once(three, ledger):
    with pytest.warns(UnattributedWarning):
        await chat(three)

    with pytest.warns(UnattributedWarning):
        await chat(ledger.open())


async def test_nobody_is_warned_of_when_somebody_is_named(three):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with three.user("alice"):
            await chat(three)
        await chat(three, user="alice")


async def test_unattributed_calls_can_be_paid_for_like_those_of_a_user(three):
    with pytest.warns(UnattributedWarning):
        await image(three)

    receipt = await three.grant("unattributed", 20, key="house")

    assert (receipt.repaid, receipt.available) == (Credits(8), Credits(12))


async def test_a_ledger_that_requires_users_refuses_a_call_without_one(three, ledger):
    strict = ledger.open(require_user=True)
    before = ledger.rows()

    with pytest.raises(UserRequired) as caught:
        await image(strict)
    with pytest.raises(UserRequired):
        wrapped_call(strict)

    assert caught.value.param == "user"
    assert ledger.rows() == before


async def test_a_ledger_that_requires_users_takes_calls_that_have_one(three, ledger):
    strict = ledger.open(require_user=True)

    await image(strict, user="alice")
    with strict.user("bob"):
        await image(strict)
    async with strict.run("story", user="carol", hold=10) as run:
        await image(run)

    assert await posted(strict, "alice", "bob", "carol") == ["92", "92", "92"]


# Look-alikes

LOOK_ALIKES = [
    "Jos\u00e9", "Jose\u0301", "jose", "JOSE", "Jose", "j\u043ese", "jose\u200b", " jose", "jose ", "jose\u00a0",
    "\uff4a\uff4f\uff53\uff45", "\U0001f642", "\U0001f642\u200d\u2194\ufe0f", "\u202ejose", "\ufeffjose",
    "jose.", "%6aose",
    "a" * 254, "a" * 255, "\ufb00", "ff", "\u00df", "ss", "\u0130", "i", "\u0131", "0", "00", "-1", "None", "NULL",
    "'; DROP TABLE runs;--", "\ue000", "\U0010fffd", "\u212b", "\u00c5", "A\u030a",
]  # fmt: skip


async def test_users_that_look_alike_stay_apart(fare):
    for number, user in enumerate(LOOK_ALIKES, 1):
        await fare.grant(user, number, key="welcome")
    async with fare.run("story", user="Jose\u0301", hold=1):
        pass

    assert len(set(LOOK_ALIKES)) == len(LOOK_ALIKES)
    for number, user in enumerate(LOOK_ALIKES, 1):
        assert (await fare.balance(user)).posted == Credits(number)
        assert (await fare.grant(user, number, key="welcome")).is_replay
        assert len((await fare.history(user)).items) == (number == 2)
