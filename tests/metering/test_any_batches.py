"""Batches of async clients, and of providers and files that tell nonsense."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from callfare import Callfare
from callfare.clock import ManualClock
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit
from callfare.ledger.receipts import GrantReceipt
from callfare.money import Credits
from tests.metering.test_batches import BODY, CEILING, COST, DAY_S, batch_run, make, output_of, requests, upload

WINDOW = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.fixture(autouse=True)
def _granted(fare: Callfare) -> None:
    fare.grant("alice", 10, key="k")


@pytest.fixture
def alice(fare: Callfare) -> Iterator[None]:
    with fare.user("alice"):
        yield


# Async


async def test_an_async_client_s_batch_is_the_maker_s_too(fare: Callfare, fake: FakeOpenAI):
    async with AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        client = fare.wrap(bare)
        with fare.run("story", user="alice", hold=1):
            file = await client.files.create(file=("r.jsonl", requests(BODY, BODY)), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        assert fare.balance("alice").held == CEILING
        await client.batches.retrieve(batch.id)
        told = await client.batches.retrieve(batch.id)

        with fare.user("bob"):
            await client.files.content(told.output_file_id)

        assert (batch_run(fare).status, batch_run(fare).charged) == ("completed", COST)
        assert fare.usage("bob").calls == 0


async def test_an_async_client_is_refused_before_the_batch_is_made(fare: Callfare, fake: FakeOpenAI):
    async with AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        client = fare.wrap(bare, user="alice")
        dear = {**BODY, "max_completion_tokens": 600_000_000}
        file = await client.files.create(file=("r.jsonl", requests(dear)), purpose="batch")

        with pytest.raises(InsufficientCredit):
            await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

    assert fake.counts["POST /v1/batches"] == 0


async def test_a_task_that_is_cancelled_while_its_batch_is_made_gives_the_hold_back(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
):
    file_id, pause = upload(client), Pause()
    fake.script(Fault(pause=pause), path="/batches")
    async with AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        made = asyncio.create_task(fare.wrap(bare, user="alice").batches.create(input_file_id=file_id, **WINDOW))
        assert await asyncio.to_thread(pause.reached.wait, 60)
        assert fare.balance("alice").held == CEILING

        made.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made
        # What this loop asks for next comes after it.
        grant = fare._engine.requests.grant("bob", 1, key="k2", source="promo", expires_at=None)
        await fare._engine.commit_async(grant, GrantReceipt)
        pause.released.set()

    assert fare.balance("alice").held == Credits(0)


async def test_results_that_tasks_read_together_are_charged_once(fare: Callfare, fake: FakeOpenAI, client: OpenAI):
    with fare.user("alice"):
        output = output_of(client, make(client))

    async with AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        await asyncio.gather(
            *(fare.wrap(bare, user=user).files.content(output) for user in ("alice", "bob", "carol") * 2)
        )

    assert [fare.usage(user).calls for user in ("alice", "bob", "carol")] == [2, 0, 0]
    assert batch_run(fare).charged == COST


# Hostile providers


@pytest.mark.parametrize("told", ["b" * 5000, "a\x00b", "ünïcode", "batch:#%"], ids=lambda told: repr(told[:9]))
@pytest.mark.usefixtures("alice")
def test_whatever_a_provider_calls_a_batch_the_caller_has_its_answer(
    fare: Callfare, client: OpenAI, fake: FakeOpenAI, clock: ManualClock, told: str
):
    file_id = upload(client)
    fake.script(Fault(response_id=told), path="/batches")

    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")

    assert batch.object == "batch"
    assert fare.balance("alice").held == CEILING
    clock.advance(8 * DAY_S)
    assert fare.balance("alice").available == Credits(10)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\n" * 3,
        b"[]\n7\nnull\n",
        b'{"url": 7, "body": {}}\n{"url": "/v1/chat/completions", "body": []}\n',
        b'{"url": "/v1/chat/completions", "body": {"model": {}, "messages": 7, "max_tokens": -5, "n": "x"}}\n',
        b'{"url": "/v1/chat/completions", "body": {"model": "gpt-5-nano", "max_tokens": 1e400}}\n',
        b'{"url": "/v1/moderations", "body": {"model": "omni-moderation-latest", "input": "hi"}}\n',
        b"[" * 100_000,
    ],
    ids=["empty", "no text", "no objects", "no requests", "wrong types", "endless", "free", "deep"],
)
@pytest.mark.usefixtures("alice")
def test_a_file_that_nobody_can_read_holds_next_to_nothing(
    fare: Callfare, client: OpenAI, fake: FakeOpenAI, content: bytes
):
    fake.files["good"] = requests(BODY)
    file = client.files.create(file=("r.jsonl", content), purpose="batch")
    fake.files[file.id] = requests(BODY)

    make(client, file_id=file.id)

    assert fare.balance("alice").held == Credits("0.000000001")


@pytest.mark.parametrize("how", ["bytes", "file", "path", "text"])
@pytest.mark.usefixtures("alice")
def test_requests_are_known_however_they_are_uploaded(fare: Callfare, client: OpenAI, tmp_path: Path, how: str):
    path = tmp_path / "r.jsonl"
    path.write_bytes(requests(BODY, BODY))
    with path.open("rb") as opened:
        given = {
            "bytes": path.read_bytes(),
            "file": opened,
            "path": path,
            "text": ("r.jsonl", io.BytesIO(path.read_bytes()), "application/jsonl"),
        }
        file = client.files.create(file=given[how], purpose="batch")

    make(client, file_id=file.id)

    assert fare.balance("alice").held == CEILING


@pytest.mark.usefixtures("alice")
def test_a_file_for_another_purpose_is_not_read(fare: Callfare, client: OpenAI):
    file = client.files.create(file=("r.jsonl", requests(BODY)), purpose="user_data")

    make(client, file_id=file.id)

    assert fare.balance("alice").held == Credits("0.000000001")
