"""Explanations: from a charge back to the provider's counts, the arithmetic, the run and the credit that paid."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from callfare import Credits, plain
from callfare.capture.base import Intent
from callfare.engine.metering import Metering
from callfare.errors import ChargeNotFound
from callfare.usage.extract import Reading
from tests.facade.doors import balance, chat, engine_of, image, texts

CHAT = Intent(provider="openai", base_url="https://api", operation="chat", model="gpt-5-mini", usage={}, attributes={})


def reading(output_tokens, response_id="resp_1"):
    """Return what a provider says of a chat."""
    usage = {"input_tokens": 1000, "output_tokens": output_tokens}
    return Reading(
        model="gpt-5-mini-2025-08-07", usage=usage, attributes={}, response_id=response_id,
        raw={"prompt_tokens": 1000, "completion_tokens": output_tokens}, incomplete=False,
    )  # fmt: skip


async def test_a_charge_of_a_settled_run_is_followed_to_the_lot_that_paid(alice):
    async with alice.run("story", user="alice", run_id="r1", hold=20) as run:
        charge = await image(run)

    told = await alice.explain(charge)

    assert told.call.id == charge.id
    assert told.arithmetic == ("images: 1 × $0.08 / 1 = $0.08 = 8 credits",)
    assert (told.run.run_id, told.run.status) == ("r1", "completed")
    assert [(item.kind, item.run_id, str(item.amount)) for item in told.transfers] == [("capture", "r1", "8")]
    assert [(move.account, str(move.amount), move.lot, move.source) for move in told.movements] == [
        ("customer", "-8", "welcome", "adjustment"),
        ("revenue", "8", None, None),
    ]
    assert (told.raw, told.corrections) == (None, ())


async def test_a_charge_is_named_by_its_id_or_by_itself(alice):
    charge = await image(alice, user="alice")
    run = await alice.open_run("story", user="alice", run_id="r1", hold=1)
    await chat(run)
    (call,) = (await alice.calls("r1")).items

    assert await alice.explain(charge.id) == await alice.explain(charge)
    assert (await alice.explain(call)).call == call


async def test_a_charge_outside_a_run_is_followed_to_its_own_transfer(alice):
    charge = await image(alice, user="alice")

    told = await alice.explain(charge)

    assert told.run is None
    assert [(item.kind, texts(item, "change", "debt_change")) for item in told.transfers] == [("charge", ("-8", "0"))]


async def test_a_charge_that_nothing_covered_shows_the_debt(alice):
    charge = await image(alice, 13, user="alice")

    told = await alice.explain(charge)

    assert [(move.account, str(move.amount)) for move in told.movements] == [
        ("customer", "-100"), ("receivable", "-4"), ("revenue", "104"),
    ]  # fmt: skip
    assert str(told.call.debt) == "4"


async def test_a_charge_of_an_open_run_has_moved_nothing_yet(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=20)
    charge = await image(run)

    told = await alice.explain(charge)

    assert (told.run.status, told.transfers, told.movements) == ("open", (), ())


async def test_a_late_call_is_not_mistaken_for_a_part_of_its_run(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=20)
    await image(run)
    await run.close()
    late = await image(run, 2)

    told = await alice.explain(late)

    assert (told.run.run_id, told.call.flags) == ("r1", ("late",))
    assert [(item.kind, str(item.change)) for item in told.transfers] == [("charge", "-16")]


async def test_the_arithmetic_says_whose_rate_was_taken_and_the_markup(ledger):
    fare = ledger.open(markup="1.5")
    await fare.grant("alice", 100, key="welcome")
    usage = {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 100}

    told = await fare.explain(await fare.record("gpt-5-mini", usage, user="alice"))

    assert told.arithmetic == (
        "input_tokens: 600 × $0.15 / 1000000 = $0.00009 × 3/2 = 0.0135 credits",
        "cached_input_tokens: 400 × $0.15 / 1000000 (the rate of input_tokens) = $0.00006 × 3/2 = 0.009 credits",
        "output_tokens: 100 × $0.60 / 1000000 = $0.00006 × 3/2 = 0.009 credits",
    )


async def test_a_call_without_a_price_says_why(alice):
    told = await alice.explain(await alice.record("gpt-9", {"input_tokens": 7}, user="alice"))

    (line,) = told.arithmetic
    assert line.startswith("input_tokens: 7 × no rate (")
    assert "gpt-9" in line
    assert (told.call.status, told.transfers) == ("unpriced", ())


async def test_a_step_and_its_later_attempt_are_explained_apart(alice, ledger):
    request = {"workflow": "story", "user": "alice", "run_id": "r1", "hold": 20}
    first = await image(await alice.open_run(**request), step="cover")
    attempt = await image(await ledger.open().open_run(**request), 2, step="cover")

    one, other = await alice.explain(first), await alice.explain(attempt)

    assert (one.call.step, one.call.flags, str(one.call.credits)) == ("cover", (), "8")
    assert (one.transfers, other.transfers) == ((), ())
    assert (other.call.step, other.call.flags, *texts(other.call, "cost", "credits")) == (
        "cover", ("attempt",), "0.16", "0",
    )  # fmt: skip


async def test_a_corrected_charge_shows_what_the_provider_said_last(alice):
    async with alice.run("story", user="alice", run_id="r1", hold=20):
        ticket = Metering(engine_of(alice)).admit(CHAT)
        ticket.settle(reading(100), estimated=True)
        ticket.settle(reading(300))
    estimate, _ = (await alice.calls("r1")).items

    told = await alice.explain(estimate)

    # 1000 tokens in and 100 out were 0.021 credits; 200 more out are 0.012.
    assert (told.call.flags, str(told.call.credits)) == (("estimated",), "0.021")
    assert told.raw == {"prompt_tokens": 1000, "completion_tokens": 100}
    assert [(call.kind, str(call.credits), dict(call.usage)) for call in told.corrections] == [
        ("correction", "0.012", {"input_tokens": 1000, "output_tokens": 300})
    ]
    assert (await alice.balance("alice")).posted == Credits("99.967")


async def test_a_correction_downward_is_given_back_and_shown(alice):
    with alice.user("alice"):
        ticket = Metering(engine_of(alice)).admit(CHAT)
        ticket.settle(reading(1000), estimated=True)
        ticket.settle(reading(0))
    (transfer, *_) = (await alice.transactions("alice")).items
    account = transfer.id.split("_")[1]

    told = await alice.explain(f"chg_{account}_{transfer.reference}")

    assert [str(call.credits) for call in told.corrections] == ["-0.06"]
    assert [(item.kind, str(item.change)) for item in told.transfers] == [("charge", "-0.075"), ("correction", "0.06")]
    assert await balance(alice) == ("99.985", "0", "0", "99.985", "0")


async def test_a_correction_is_rated_at_the_time_of_its_call(ledger, clock):
    fare = ledger.open(markup={clock_time(clock, 60): 3})
    await fare.grant("alice", 100, key="welcome")
    with fare.user("alice"):
        ticket = Metering(engine_of(fare)).admit(CHAT)
        ticket.settle(reading(100), estimated=True)
        clock.advance(120)
        ticket.settle(reading(300))

    assert (await fare.balance("alice")).posted == Credits("99.967")


def clock_time(clock, seconds):
    """Return the time so many seconds from now."""
    return datetime.fromtimestamp(clock.now_us() // 1_000_000 + seconds, UTC)


async def test_an_explanation_is_said_in_plain_values(alice):
    told = plain(await alice.explain(await image(alice, user="alice")))

    assert told["call"]["credits"] == "8"
    assert told["call"]["at"] == "2026-11-23T12:00:00Z"
    assert told["movements"][0] == {
        "account": "customer", "amount": "-8", "lot": "welcome", "source": "adjustment", "paid": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "charge",
    [
        "chg_0000000000000_x", "chg_zzzzzzzzzzzzz_x", "chg_zzzzzzzzzzzzz_", "chg__", "chg", "txn_0000000000000_1",
        "chg_000000000000!_x", "chg_" + "0" * 13 + "_" + "x" * 4000, "welcome", "ünïcode",
    ],
    ids=lambda charge: charge[:20],
)  # fmt: skip
async def test_a_charge_nobody_made_is_not_found(alice, charge):
    with pytest.raises(ChargeNotFound) as caught:
        await alice.explain(charge)

    assert caught.value.param == "charge"
