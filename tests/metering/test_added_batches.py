"""What is added to a batch later: held apart until the provider has taken it, then by the batch's own run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from callfare import Callfare
from callfare.capture.base import BatchLine, BatchName, Intent
from callfare.engine.metering import Metering
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from callfare.usage.extract import read

NAME = BatchName(provider="openai", base_url="https://api.openai.com/v1", ids=("batch_1",))
# 2,000,000 tokens at $0.20 a million, the batch rate, are $0.40.
REQUEST = Intent(
    provider="openai",
    base_url="https://api.openai.com/v1",
    operation="chat",
    model="gpt-5-nano",
    usage={"output_tokens": 2_000_000},
    attributes={"processing": "batch"},
)
HELD = Credits(40)


@pytest.fixture
def batches(fare: Callfare) -> Any:
    fare.grant("alice", 100, key="k")
    return Metering(fare._engine).batches


@pytest.fixture
def add(batches: Any) -> Callable[..., None]:
    def added(user: str = "alice") -> None:
        batches.admit([REQUEST], provider="openai", user=user).bind(NAME, is_more=True)

    return added


def test_a_batch_is_the_first_adder_s_and_its_run_holds_all_that_was_added(fare: Callfare, add: Callable[..., None]):
    add()
    assert fare.balance("alice").held == HELD

    add()

    assert fare.balance("alice").held == Credits(80)
    runs = fare.history("alice").items
    assert sorted((run.status, str(run.held)) for run in runs) == [("completed", "0"), ("open", "80")]


def test_what_cannot_be_paid_beside_what_is_held_is_refused(fare: Callfare, add: Callable[..., None]):
    add()
    add()

    with pytest.raises(InsufficientCredit):
        add()

    assert fare.balance("alice").held == Credits(80)


def test_what_somebody_else_adds_is_held_by_the_batch_and_not_by_them(fare: Callfare, add: Callable[..., None]):
    fare.grant("bob", 100, key="b")
    add()

    add("bob")

    assert (fare.balance("alice").held, fare.balance("bob").held) == (Credits(80), Credits(0))


def test_where_the_owner_has_not_enough_nothing_is_held_and_the_results_are_charged(
    fare: Callfare, batches: Any, add: Callable[..., None], caplog: pytest.LogCaptureFixture
):
    fare.grant("bob", 100, key="b")
    add()
    add()

    add("bob")

    assert "could not hold what was added to batch" in caplog.text
    assert (fare.balance("alice").held, fare.balance("bob").held) == (Credits(80), Credits(0))
    reading = read("chat", {"id": "x", "usage": {"prompt_tokens": 0, "completion_tokens": 1000}}, model="gpt-5-nano")
    batches.deliver(NAME, [BatchLine(intent=REQUEST, reading=reading, estimated=False)], is_whole=True, user="bob")
    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (1, 0)
    assert fare.balance("alice").held == Credits(0)


async def test_tasks_add_alike(fare: Callfare, batches: Any):
    for _ in range(2):
        ticket = await batches.admit_async([REQUEST], provider="openai", user="alice")
        await ticket.bind_async(NAME, is_more=True)

    runs = fare.history("alice").items
    assert sorted((run.status, str(run.held)) for run in runs) == [("completed", "0"), ("open", "80")]


def test_more_of_the_same_batch_in_a_run_comes_out_of_its_hold(fare: Callfare, batches: Any):
    first = batches.admit([REQUEST], provider="openai", user="alice")
    first.bind(NAME, is_more=True)

    with fare.run("story", user="alice", hold=50):
        more = batches.admit([REQUEST], provider="openai")
        more.bind(NAME, is_more=True)

        # 80 by the batch, 10 left of the run's.
        assert fare.balance("alice").held == Credits(90)


def test_a_batch_that_is_made_again_under_its_id_holds_no_more(fare: Callfare, batches: Any):
    for _ in range(2):
        batches.admit([REQUEST], provider="openai", user="alice").bind(NAME)

    assert [run.held for run in fare.history("alice").items] == [HELD, HELD]
