"""Workflows and their estimates, what a failed run pays, and the packages for sale."""

from __future__ import annotations

import pytest

from callfare import Callfare, Credits, Package, Usd, plain
from callfare.errors import InvalidAmount, InvalidInput, UnknownMeter, UnknownWorkflow, UnpricedModel
from tests.facade.doors import balance, image, speech, texts

COVER = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1536"}}
VOICE = {"model": "gpt-4o-mini-tts", "usage": {"characters": "1000"}, "at_least": 1, "at_most": 5}


# The five that come with the package


@pytest.mark.parametrize(
    ("workflow", "low", "high"),
    [
        ("tweet", "15", "50"), ("thread", "20", "75"), ("carousel", "50", "200"), ("story", "100", "500"),
        ("video", "200", "1000"),
    ],
)  # fmt: skip
async def test_the_specified_workflows_are_known_from_the_start(fare, workflow, low, high):
    estimate = await fare.estimate(workflow)

    assert texts(estimate, "workflow", "low", "high", "rests_on", "on_failure") == (
        workflow, low, high, "declared", "charge",
    )  # fmt: skip
    assert (estimate.parts, estimate.past_runs, estimate.past_median) == ((), 0, None)


@pytest.mark.parametrize("hold", [{}, {"hold": "low"}, {"hold": "high"}], ids=str)
async def test_an_unknown_workflow_needs_a_hold_and_the_error_says_so(alice, ledger, hold):
    before = ledger.rows()

    with pytest.raises(UnknownWorkflow) as caught:
        await alice.open_run("opera", user="alice", **hold)

    assert caught.value.message == (
        "workflow 'opera' has no estimate to hold by; pass hold= an amount of credits, "
        "or declare it with fare.workflow('opera', low=…, high=…)"
    )
    assert caught.value.param == "workflow"
    assert ledger.rows() == before


async def test_an_unknown_workflow_has_no_estimate(fare):
    with pytest.raises(UnknownWorkflow):
        await fare.estimate("opera")


async def test_an_unknown_workflow_runs_under_an_amount(alice):
    async with alice.run("opera", user="alice", run_id="r1", hold=20) as run:
        await image(run)

    (summary,) = (await alice.history("alice")).items
    assert (summary.workflow, summary.low, summary.high) == ("opera", None, None)


# Declared ones


async def test_a_declared_range_is_what_is_held(alice):
    alice.workflow("opera", low="2.5", high=30)

    await alice.open_run("opera", user="alice", run_id="r1")
    await alice.open_run("opera", user="alice", run_id="r2", hold="high")

    assert (await alice.balance("alice")).held == Credits("32.5")
    (second, first) = (await alice.history("alice")).items
    assert (first.low, first.high, second.held) == (Credits("2.5"), Credits(30), Credits(30))


async def test_declaring_a_workflow_again_puts_the_new_range_in_place(fare):
    fare.workflow("tweet", low=1, high=2)

    assert texts(await fare.estimate("tweet"), "low", "high") == ("1", "2")


async def test_declaring_a_workflow_writes_nothing(fare, ledger):
    fare.workflow("opera", low=1, high=2)

    assert set(map(len, ledger.rows().values())) == {0}


async def test_a_range_follows_from_parts_at_present_prices(fare):
    fare.workflow("talk", parts=[COVER, VOICE])

    estimate = await fare.estimate("talk")

    # One cover of 8 credits, and one to five voices of 1.2 credits.
    assert texts(estimate, "low", "high", "rests_on") == ("9.2", "14", "parts")
    cover, voice = estimate.parts
    assert (cover.model, cover.at_least, cover.at_most, str(cover.credits_each)) == ("gpt-image-1", 1, 1, "8")
    assert (voice.model, voice.at_least, voice.at_most, str(voice.credits_each)) == ("gpt-4o-mini-tts", 1, 5, "1.2")


async def test_a_declared_end_stands_before_what_follows_from_parts(fare):
    fare.workflow("talk", high=20, parts=[COVER, VOICE])

    assert texts(await fare.estimate("talk"), "low", "high", "rests_on") == ("9.2", "20", "parts")


async def test_parts_that_may_not_be_made_at_all_cost_nothing_at_least(fare):
    fare.workflow("talk", parts=[VOICE | {"at_least": 0}])

    assert texts(await fare.estimate("talk"), "low", "high") == ("0", "6")


async def test_parts_of_a_model_without_a_price_are_refused_when_the_run_begins(alice, ledger):
    alice.workflow("odd", parts=[{"model": "gpt-9", "usage": {"input_tokens": 1}}])
    before = ledger.rows()

    with pytest.raises(UnpricedModel):
        await alice.estimate("odd")
    with pytest.raises(UnpricedModel):
        await alice.open_run("odd", user="alice")
    assert ledger.rows() == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, InvalidInput),
        ({"low": 1}, InvalidInput),
        ({"high": 1}, InvalidInput),
        ({"low": 2, "high": 1}, InvalidAmount),
        ({"low": -1, "high": 1}, InvalidAmount),
        ({"high": -1, "parts": [COVER]}, InvalidAmount),
        ({"low": 0.5, "high": 1}, InvalidAmount),
        ({"low": True, "high": 1}, InvalidAmount),
        ({"low": "NaN", "high": 1}, InvalidAmount),
        ({"low": 1, "high": 10**30}, InvalidAmount),
        ({"low": 1, "high": 2, "on_failure": "shrug"}, InvalidInput),
        ({"low": 1, "high": 2, "on_failure": None}, InvalidInput),
        ({"low": 1, "high": 2, "on_failure": []}, InvalidInput),
        ({"parts": 5}, InvalidInput),
        ({"parts": None}, InvalidInput),
        ({"parts": "COVER"}, InvalidInput),
        ({"parts": COVER}, InvalidInput),
        ({"parts": [None]}, InvalidInput),
        ({"parts": [{}]}, InvalidInput),
        ({"parts": [{"model": "gpt-5-mini"}]}, InvalidInput),
        ({"parts": [{"usage": {"images": 1}}]}, InvalidInput),
        ({"parts": [{"model": None, "usage": {"images": 1}}]}, InvalidInput),
        ({"parts": [{"model": "gpt-5-mini", "usage": {"cups": 1}}]}, UnknownMeter),
        ({"parts": [{"model": "gpt-5-mini", "usage": None}]}, InvalidInput),
        ({"parts": [COVER | {"attributes": {"weight": "1"}}]}, InvalidInput),
        ({"parts": [COVER | {"attributes": 3}]}, InvalidInput),
        ({"parts": [COVER | {"at_least": -1}]}, InvalidInput),
        ({"parts": [COVER | {"at_least": True}]}, InvalidInput),
        ({"parts": [COVER | {"at_most": 1.5}]}, InvalidInput),
        ({"parts": [COVER | {"at_most": "2"}]}, InvalidInput),
        ({"parts": [COVER | {"at_least": 3, "at_most": 2}]}, InvalidInput),
        ({"parts": [COVER | {"at_most": 10**13}]}, InvalidInput),
        ({"parts": [COVER | {"at_mots": 2}]}, InvalidInput),
    ],
    ids=str,
)
def test_a_workflow_that_makes_no_sense_is_refused_and_not_known(arguments, error):
    fare = Callfare("memory://")

    with pytest.raises(error):
        fare.workflow("odd", **arguments)
    with pytest.raises(UnknownWorkflow):
        fare.estimate("odd")


# What runs have cost


async def test_an_estimate_tells_what_completed_runs_of_the_user_have_cost(alice):
    await alice.grant("bob", 100, key="welcome")
    for count in (1, 2, 3, 5):
        async with alice.run("tweet", user="alice", hold=1) as run:
            await image(run, count)
    async with alice.run("tweet", user="bob", hold=1) as run:
        await image(run, 9)
    async with alice.run("opera", user="alice", hold=1) as run:
        await speech(run)
    failed = await alice.open_run("tweet", user="alice", hold=1)
    await image(failed, 9)
    await failed.close("failed")

    mine, everybody = await alice.estimate("tweet", user="alice"), await alice.estimate("tweet")

    assert (mine.past_runs, mine.past_median, mine.past_highest) == (4, Credits(16), Credits(40))
    assert (mine.low, mine.high) == (Credits(15), Credits(50))
    assert (everybody.past_runs, everybody.past_median, everybody.past_highest) == (0, None, None)


async def test_an_estimate_of_a_user_without_runs_has_no_past(alice):
    estimate = await alice.estimate("tweet", user="nobody")

    assert (estimate.past_runs, estimate.past_median, estimate.past_highest) == (0, None, None)


# What a failed run pays


async def test_a_failed_run_of_a_workflow_that_waives_costs_its_user_nothing(alice):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await image(run)

    receipt = await run.close("failed")

    assert texts(receipt, "outcome", "charged", "captured", "given_back", "waived", "cost") == (
        "failed", "0", "0", "10", "8", "0.08",
    )  # fmt: skip
    assert await balance(alice) == ("100", "0", "0", "100", "0")


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
async def test_a_workflow_that_waives_is_paid_for_when_it_did_not_fail(alice, outcome):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice")
    await image(run)

    receipt = await run.close(outcome)

    assert texts(receipt, "charged", "waived") == ("8", "0")


async def test_waiving_is_a_transfer_that_everybody_can_see(alice):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await image(run)
    await run.close("failed")

    waive, _grant = (await alice.transactions("alice")).items
    report = await alice.usage("alice")

    assert (waive.kind, waive.run_id, texts(waive, "amount", "change")) == ("waive", "r1", ("8", "0"))
    assert texts(report, "credits", "cost") == ("0", "0.08")


async def test_what_comes_after_a_waiver_is_on_the_house_too(alice):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await image(run)
    await run.close("failed")

    late = await image(run)

    assert (late.flags, *texts(late, "credits", "cost")) == (("late", "waived"), "0", "0.08")
    assert texts((await alice.history("alice")).items[0], "charged", "cost") == ("0", "0.16")
    assert await balance(alice) == ("100", "0", "0", "100", "0")


async def test_every_row_of_a_waived_run_can_be_explained(alice):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await image(run)
    await run.close("failed")
    await image(run)

    told = [await alice.explain(call) for call in (await alice.calls("r1")).items]

    assert [(one.call.kind, [item.kind for item in one.transfers]) for one in told] == [
        ("usage", ["waive"]), ("usage", ["waive"]), ("waiver", ["waive"]),
    ]  # fmt: skip


async def test_a_waiver_is_decided_when_the_run_begins(alice, ledger):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await image(run)
    other = ledger.open()
    other.workflow("kind", low=10, high=20, on_failure="charge")

    receipt = await other.close_run("r1", "failed")

    assert texts(receipt, "charged", "waived") == ("0", "8")


# Packages


async def test_the_four_packages_are_those_of_the_specification(fare):
    packages = await fare.packages()

    assert [(package.id, package.name, *texts(package, "credits", "price")) for package in packages] == [
        ("credits_500", "Starter", "500", "5"),
        ("credits_2000", "Creator", "2000", "18"),
        ("credits_5000", "Pro", "5000", "40"),
        ("credits_15000", "Studio", "15000", "100"),
    ]
    assert [package.credits_per_usd for package in packages] == [100, 111, 125, 150]


async def test_a_package_is_said_in_plain_values(fare):
    package = (await fare.packages())[1]

    assert plain(package) == {
        "id": "credits_2000", "name": "Creator", "credits": "2000", "price": "18", "credits_per_usd": 111,
    }  # fmt: skip
    assert package == Package(
        id="credits_2000", name="Creator", credits=Credits(2000), price=Usd(18), credits_per_usd=111
    )
