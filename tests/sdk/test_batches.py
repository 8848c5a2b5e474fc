"""Batches of Anthropic's and Google's: results that are read are charged once, at the batch rate."""

from __future__ import annotations

import anthropic
import pytest

from callfare import Callfare
from callfare.capture.anthropic import wrap

HELLO = [{"role": "user", "content": "hi there"}]
PARAMS = {"model": "claude-sonnet-5", "max_tokens": 400, "messages": HELLO}
REQUESTS = [{"custom_id": "a", "params": PARAMS}, {"custom_id": "b", "params": PARAMS}]
REFUSED = {"custom_id": "c", "params": {"max_tokens": 1, "messages": HELLO, "model": ""}}
USED = {"input_tokens": 5, "output_tokens": 57}


async def results(either, batch_id):
    stream = await either.do(lambda client: client.messages.batches.results(batch_id))
    return [one async for one in stream] if hasattr(stream, "__anext__") else list(stream)


async def test_each_message_of_a_batch_is_a_call_of_its_own(either, meter):
    batch = await either.do(lambda client: client.messages.batches.create(requests=[*REQUESTS, REFUSED]))
    assert meter.tickets == []

    read = await results(either, batch.id)

    assert [one.custom_id for one in read] == ["a", "b", "c"]
    assert [dict(ticket.usage) for ticket in meter.tickets] == [USED, USED]
    [(first, _)] = meter.tickets[0].settled
    assert (first.response_id, first.model) == (f"{batch.id}/a", "claude-sonnet-5")
    assert first.attributes["processing"] == "batch"


def test_results_that_are_left_are_charged_as_far_as_they_were_read(client, meter):
    batch = client.messages.batches.create(requests=REQUESTS)

    for _ in client.messages.batches.results(batch.id):
        break
    assert meter.tickets[0].ended.wait(5)

    assert [ticket.settled[0][0].response_id for ticket in meter.tickets] == [f"{batch.id}/a"]
    assert meter.tickets[0].is_estimated is False


def test_messages_of_the_beta_are_read_alike(client, meter):
    batch = client.beta.messages.batches.create(requests=REQUESTS)

    list(client.beta.messages.batches.results(batch.id))

    assert [dict(ticket.usage) for ticket in meter.tickets] == [USED, USED]


@pytest.mark.parametrize("times", [1, 2])
def test_results_read_twice_are_charged_once_at_half_the_price(claude, times):
    with (
        anthropic.Anthropic(base_url=claude.base_url, api_key="none") as bare,
        Callfare("memory://") as fare,
    ):
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.user("alice"):
            batch = client.messages.batches.create(requests=REQUESTS)
        [run] = fare.history("alice").items

        for _ in range(times):
            list(client.messages.batches.results(batch.id))

        # 5 at $1 and 57 at $5 a million: half of $2 and $10.
        assert [str(call.cost) for call in fare.calls(run.run_id, user="alice").items] == ["0.00029", "0.00029"]
        assert fare.verify().is_clean


def test_a_raw_reply_of_a_batch_is_handed_on(claude, meter):
    with anthropic.Anthropic(base_url=claude.base_url, api_key="none") as bare:
        client = wrap(bare, meter)
        batch = client.messages.batches.create(requests=REQUESTS)

        assert client.messages.batches.with_raw_response.retrieve(batch.id).parse().results_url

    assert meter.tickets == []


# Google


CONTENT = {"contents": [{"role": "user", "parts": [{"text": "hi there"}]}]}
GEMINI_USED = {"input_tokens": 2, "output_tokens": 121, "reasoning_tokens": 64}


async def test_each_answer_that_a_batch_carries_is_a_call_of_its_own(gemini_either, meter):
    batch = await gemini_either.do(
        lambda client: client.batches.create(model="gemini-2.5-flash", src=[CONTENT, CONTENT])
    )
    assert meter.tickets == []

    told = await gemini_either.do(lambda client: client.batches.get(name=batch.name))

    assert len(told.dest.inlined_responses) == 2
    assert [dict(ticket.usage) for ticket in meter.tickets] == [GEMINI_USED, GEMINI_USED]
    readings = [ticket.settled[0][0] for ticket in meter.tickets]
    assert [reading.response_id for reading in readings] == [f"{batch.name}/0", f"{batch.name}/1"]
    assert [(reading.model, reading.attributes["processing"]) for reading in readings] == [
        ("gemini-2.5-flash", "batch")
    ] * 2


async def test_a_file_of_answers_is_counted_line_by_line(gemini_either, meter):
    batch = await gemini_either.do(lambda client: client.batches.create(model="gemini-2.5-flash", src=[CONTENT]))

    await gemini_either.do(lambda client: client.files.download(file=f"{batch.name.replace('/', '-')}-results"))

    assert meter.ticket.usage == GEMINI_USED
    assert meter.ticket.settled[0][0].response_id == "files/batches-b_000001-results/k0"


@pytest.mark.filterwarnings("ignore:batches.create_embeddings")
def test_embeddings_of_a_batch_are_counted_under_its_model(gemini_client, meter):
    source = {"inlined_requests": {"contents": [{"parts": [{"text": "one two three"}]}]}}
    batch = gemini_client.batches.create_embeddings(model="gemini-embedding-001", src=source)

    gemini_client.batches.get(name=batch.name)

    assert meter.ticket.usage == {"input_tokens": 4}
    assert (meter.ticket.intent.operation, meter.ticket.settled[0][0].model) == ("embedding", "gemini-embedding-001")


def test_a_picture_or_another_file_is_handed_on_as_it_is(gemini_client, gemini, meter):
    gemini.files["film"] = b"\0\xffnot lines"

    assert gemini_client.files.download(file="film") == b"\0\xffnot lines"
    assert meter.tickets == []
