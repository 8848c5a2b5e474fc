"""The ledger goes away around a batch: it is its maker's all the same, and each line is charged once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from openai import AsyncOpenAI, OpenAI

from callfare import Callfare, Credits, LedgerUnavailable
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import Fault, Pause
from tests.spool.away import Away

BODY = {
    "model": "gpt-5-nano",
    "messages": [{"role": "user", "content": "hi there"}],
    "max_completion_tokens": 400,
}
LINES = [{"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": BODY} for name in ("a", "b")]
REQUESTS = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
WINDOW = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
CEILING = Credits("0.01601")
# What is left of 100 after 4 tokens at $0.025, 1 of the cache at $0.0025 and 121 at $0.20 a million, twice.
LEFT = Credits("99.9951395")


@pytest.fixture
def file_id(client: OpenAI) -> str:
    return client.files.create(file=("r.jsonl", REQUESTS), purpose="batch").id


def made(fare: Callfare, client: OpenAI, file_id: str) -> str:
    with fare.user("alice"):
        return client.batches.create(input_file_id=file_id, **WINDOW).id


def output_of(client: OpenAI, batch_id: str) -> str:
    client.batches.retrieve(batch_id)
    return client.batches.retrieve(batch_id).output_file_id


def test_no_batch_is_made_while_the_ledger_is_away(
    fare: Callfare, away: Away, client: OpenAI, fake: FakeOpenAI, file_id: str
):
    away.begin()

    with pytest.raises(LedgerUnavailable):
        made(fare, client, file_id)

    assert fake.counts["POST /v1/batches"] == 0


def test_a_batch_is_its_makers_though_the_ledger_went_away_before_it_was_bound(
    fare: Callfare, away: Away, client: OpenAI, fake: FakeOpenAI, file_id: str, back: Callable[[], None]
):
    pause = Pause()
    fake.script(Fault(pause=pause), path="/batches")
    answers: list[str] = []
    maker = threading.Thread(target=lambda: answers.append(made(fare, client, file_id)))
    maker.start()
    assert pause.reached.wait(60)
    away.begin()
    pause.released.set()
    maker.join(60)

    back()
    [batch_id] = answers
    with fare.user("bob"):
        client.files.content(output_of(client, batch_id))

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)
    assert (fare.balance("alice").available, fare.balance("alice").held) == (LEFT, Credits(0))


@pytest.mark.parametrize("times", [1, 2])
def test_results_that_are_read_during_an_outage_are_charged_to_the_maker(
    fare: Callfare, away: Away, client: OpenAI, file_id: str, back: Callable[[], None], times: int
):
    output = output_of(client, made(fare, client, file_id))

    away.begin()
    with fare.user("bob"):
        for _ in range(times):
            assert len(client.files.content(output).content.splitlines()) == 2
    back()

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)
    assert (fare.balance("alice").available, fare.balance("alice").held) == (LEFT, Credits(0))


async def test_results_that_an_async_client_reads_during_an_outage_are_charged_to_the_maker(
    fare: Callfare, away: Away, client: OpenAI, fake: FakeOpenAI, file_id: str, back: Callable[[], None]
):
    output = output_of(client, made(fare, client, file_id))

    async with AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        away.begin()
        await fare.wrap(bare, user="bob").files.content(output)
    back()

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)


def test_a_batch_made_elsewhere_and_read_during_an_outage_is_the_readers(
    fare: Callfare, away: Away, client_of: Callable[[Callfare], OpenAI], fake: FakeOpenAI, back: Callable[[], None]
):
    fake.files["elsewhere"] = REQUESTS
    with OpenAI(base_url=fake.base_url, api_key="none") as bare:
        output = output_of(bare, bare.batches.create(input_file_id="elsewhere", **WINDOW).id)
    client = client_of(fare)

    away.begin()
    with fare.user("alice"):
        client.files.content(output)
    with fare.user("bob"):
        client.files.content(output)
    back()

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)
