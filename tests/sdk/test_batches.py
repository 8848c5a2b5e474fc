"""Batches of Anthropic's, Google's and Groq's: admitted and bound when made, each line charged once when read."""

from __future__ import annotations

import json

import anthropic
import groq
import pytest
import together
from google import genai

from callfare import Callfare
from callfare.capture import leftovers
from callfare.capture.anthropic import wrap
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_siblings import FakeGroq, FakeTogether
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from tests.capture.conftest import Either

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
    assert meter.tickets[0].ended.wait(60)

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


def test_results_that_are_left_are_whoever_s_asked_for_them(claude, monkeypatch):
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)
    with anthropic.Anthropic(base_url=claude.base_url, api_key="none") as bare, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        # Made where nobody knows of it.
        batch = bare.messages.batches.create(requests=REQUESTS)

        with fare.run("story", user="alice", hold=5):
            for _ in client.messages.batches.results(batch.id):
                break
        list(client.messages.batches.results(batch.id))

        assert (fare.usage("alice").calls, fare.usage("unattributed").calls) == (2, 0)


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


# Making them


@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_a_message_batch_is_admitted_before_it_is_made_and_bound_once_it_is(either, claude, meter, kind):
    batch = await either.do(lambda client: client.messages.batches.create(requests=kind(REQUESTS)))

    assert len(claude.batches[batch.id]) == 2
    ticket = meter.batches.ticket
    assert [dict(intent.usage) for intent in ticket.intents] == [{"input_tokens": 2, "output_tokens": 400}] * 2
    assert {(intent.model, intent.attributes["processing"]) for intent in ticket.intents} == {
        ("claude-sonnet-5", "batch")
    }
    assert (ticket.bound, ticket.released) == ([(batch.id,)], 0)


async def test_a_batch_that_is_refused_is_not_made(either, claude, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await either.do(lambda client: client.messages.batches.create(requests=REQUESTS))

    assert claude.count == 0


async def test_a_batch_that_the_provider_refuses_is_released(either, claude, meter):
    claude.script(Fault(status=400))

    with pytest.raises(anthropic.BadRequestError):
        await either.do(lambda client: client.messages.batches.create(requests=REQUESTS))

    assert (meter.batches.ticket.bound, meter.batches.ticket.released) == ([], 1)


@pytest.mark.parametrize("kind", ["with_raw_response", "with_streaming_response"])
def test_a_batch_that_is_made_raw_is_bound(client, meter, kind):
    raw = getattr(client.messages.batches, kind).create(requests=REQUESTS)
    if kind == "with_raw_response":
        told = raw.parse()
    else:
        with raw as reply:
            told = reply.parse()

    assert meter.batches.ticket.bound == [(told.id,)]


async def test_a_cancelled_batch_is_told_when_it_has_ended(either, meter):
    batch = await either.do(lambda client: client.messages.batches.create(requests=REQUESTS))

    await either.do(lambda client: client.messages.batches.cancel(batch.id))
    assert meter.batches.told == []
    await either.do(lambda client: client.messages.batches.retrieve(batch.id))

    assert meter.batches.told == [((batch.id,), "cancelled")]


async def test_all_results_are_whole_and_those_that_are_left_are_not(either, meter):
    batch = await either.do(lambda client: client.messages.batches.create(requests=REQUESTS))

    stream = await either.do(lambda client: client.messages.batches.results(batch.id))
    if hasattr(stream, "__anext__"):
        await anext(stream)
        await stream.close()
    else:
        next(stream)
        stream.close()
    await results(either, batch.id)

    assert meter.batches.delivered == [((batch.id,), False), ((batch.id,), True)]


@pytest.mark.parametrize(
    "body",
    [
        {"requests": None},
        {"requests": "x"},
        {"requests": [None, 7, {"params": []}, {"params": {"model": 7, "max_tokens": -1, "messages": "x" * 9}}]},
        {"requests": [{"params": {"max_tokens": 10**40}}]},
        {},
    ],
)
def test_a_batch_that_nobody_can_read_is_sent_as_it_is(client, claude, meter, body):
    claude.script(Fault(status=400))

    with pytest.raises(anthropic.BadRequestError):
        client.post("/v1/messages/batches", body=body, cast_to=object)

    assert claude.counts["POST /v1/messages/batches"] == 1
    assert len(meter.batches.tickets) == 1


async def test_gemini_s_inlined_requests_are_admitted_and_its_batch_is_bound(gemini_either, meter):
    limited = {**CONTENT, "config": {"max_output_tokens": 50}}

    batch = await gemini_either.do(
        lambda client: client.batches.create(model="gemini-2.5-flash", src=[limited, CONTENT])
    )

    ticket = meter.batches.ticket
    assert [dict(intent.usage) for intent in ticket.intents] == [
        {"input_tokens": 2, "output_tokens": 50},
        {"input_tokens": 2},
    ]
    assert {(intent.model, intent.operation) for intent in ticket.intents} == {("gemini-2.5-flash", "chat")}
    assert ticket.bound == [(batch.name,)]


async def test_gemini_s_batch_that_is_refused_is_not_made(gemini_either, gemini, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await gemini_either.do(lambda client: client.batches.create(model="gemini-2.5-flash", src=[CONTENT]))
    assert gemini.count == 0


async def test_gemini_s_batch_that_the_provider_refuses_is_released(gemini_either, gemini, meter):
    gemini.script(Fault(status=400))

    with pytest.raises(genai.errors.ClientError):
        await gemini_either.do(lambda client: client.batches.create(model="gemini-2.5-flash", src=[CONTENT]))

    assert (meter.batches.ticket.bound, meter.batches.ticket.released) == ([], 1)


@pytest.mark.filterwarnings("ignore:batches.create_embeddings")
def test_embeddings_of_a_batch_are_admitted_under_its_model(gemini_client, meter):
    source = {"inlined_requests": {"contents": [{"parts": [{"text": "one two three"}]}]}}

    gemini_client.batches.create_embeddings(model="gemini-embedding-001", src=source)

    [intent] = meter.batches.ticket.intents
    assert (intent.operation, intent.model, dict(intent.usage)) == (
        "embedding",
        "gemini-embedding-001",
        {"input_tokens": 4},
    )


async def test_gemini_s_batch_is_told_to_be_cancelled(gemini_either, meter):
    batch = await gemini_either.do(lambda client: client.batches.create(model="gemini-2.5-flash", src=[CONTENT]))

    await gemini_either.do(lambda client: client.batches.cancel(name=batch.name))
    await gemini_either.do(lambda client: client.batches.get(name=batch.name))

    assert meter.batches.told == [((batch.name,), "cancelled")]
    assert meter.batches.delivered == []


def test_a_file_of_gemini_s_results_is_its_batch_s(gemini_client, gemini, meter):
    batch = gemini_client.batches.create(model="gemini-2.5-flash", src=[CONTENT])
    file = f"files/{batch.name.replace('/', '-')}-results"
    gemini.batches[batch.name]["metadata"]["output"] = {"responsesFile": file}

    gemini_client.batches.get(name=batch.name)
    gemini_client.files.download(file=file.removeprefix("files/"))

    assert meter.batches.told == [((batch.name, file), None)]
    assert meter.batches.delivered == [((batch.name, file), True)]


def test_groq_s_batches_are_admitted_by_the_file_that_was_uploaded(meter):
    body = {"model": "openai/gpt-oss-120b", "messages": HELLO, "max_completion_tokens": 40}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    with FakeGroq() as server, groq.Groq(base_url=server.base_url, api_key="none", max_retries=0) as bare:
        client = wrap_client(bare, meter, user=None)
        file = client.files.create(file=("r.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

    assert [dict(intent.usage) for intent in meter.batches.ticket.intents] == [{"input_tokens": 2, "output_tokens": 40}]
    assert meter.batches.ticket.intents[0].provider == "groq"
    assert meter.batches.ticket.bound == [(batch.id,)]


# Of SDKs made as OpenAI's is


SIBLINGS = {
    "groq": (FakeGroq, groq.Groq, groq.AsyncGroq),
    "together": (FakeTogether, together.Together, together.AsyncTogether),
}
BODY = {"model": "openai/gpt-oss-120b", "messages": HELLO, "max_tokens": 400}
SIBLING_USED = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}


class Sibling(Either):
    """A metered client of one of these SDKs, of either kind, with its stand-in."""

    def __init__(self, provider, server, client):
        super().__init__(client)
        self.provider, self.server = provider, server

    async def ended(self, tmp_path, *bodies, url="/v1/chat/completions"):
        """Make a batch as this SDK does, and return it as it is when it has ended."""
        told = [{"custom_id": f"line-{number}", "url": url, "body": body} for number, body in enumerate(bodies)]
        content = b"".join(json.dumps(one).encode() + b"\n" for one in told)
        if self.provider == "together":
            path = tmp_path / "r.jsonl"
            path.write_bytes(content)
            file = await self.do(lambda client: client.files.upload(path, purpose="batch-api", check=False))
            answer = await self.do(
                lambda client: client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
            )
            made = answer.job
        else:
            file = await self.do(lambda client: client.files.create(file=("r.jsonl", content), purpose="batch"))
            made = await self.do(
                lambda client: client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
            )
        await self.do(lambda client: client.batches.retrieve(made.id))
        batch = await self.do(lambda client: client.batches.retrieve(made.id))
        assert batch.status.lower() == "completed"
        return batch


@pytest.fixture(params=[f"{name}-{kind}" for name in SIBLINGS for kind in ("sync", "async")])
async def sibling(request, meter):
    name, kind = request.param.split("-")
    server_class, sync_class, async_class = SIBLINGS[name]
    with server_class() as server:
        made = (sync_class if kind == "sync" else async_class)(base_url=server.base_url, api_key="none", max_retries=0)
        yield Sibling(name, server, wrap_client(made, meter, user=None))
        if kind == "sync":
            made.close()
        else:
            await made.close()


async def test_a_sibling_s_batch_is_bound_and_each_line_of_it_is_a_call(sibling, meter, tmp_path):
    batch = await sibling.ended(tmp_path, BODY, BODY | {"fail": True}, BODY)
    assert (meter.batches.ticket.bound, meter.tickets) == ([(batch.id,)], [])

    await sibling.do(lambda client: client.files.content(batch.output_file_id))

    told = [ticket.settled[0][0] for ticket in meter.tickets]
    assert [dict(reading.usage) for reading in told] == [SIBLING_USED, SIBLING_USED]
    assert [reading.response_id for reading in told] == [f"{batch.output_file_id}/line-{n}" for n in (0, 2)]
    assert {(reading.model, reading.attributes["processing"]) for reading in told} == {("openai/gpt-oss-120b", "batch")}
    assert {ticket.intent.provider for ticket in meter.tickets} == {sibling.provider}
    assert meter.batches.told == [((batch.id, batch.output_file_id), None)]
    assert meter.batches.delivered == [((batch.id, batch.output_file_id), True)]


async def test_a_sibling_s_results_are_counted_as_they_stream(sibling, meter, tmp_path):
    batch = await sibling.ended(tmp_path, BODY)

    streaming = sibling.client.files.with_streaming_response.content(batch.output_file_id)
    if hasattr(streaming, "__aenter__"):
        async with streaming as response:
            content = b"".join([piece async for piece in response.iter_bytes()])
    else:
        with streaming as response:
            content = b"".join(response.iter_bytes())

    assert content == sibling.server.files[batch.output_file_id]
    assert meter.ticket.usage == SIBLING_USED


async def test_a_transcript_of_a_batch_is_never_passed_over_in_silence(sibling, meter, tmp_path):
    asked = {"model": "whisper-large-v3", "url": "https://example.com/a.wav"}
    batch = await sibling.ended(tmp_path, asked, url="/v1/audio/transcriptions")

    await sibling.do(lambda client: client.files.content(batch.output_file_id))

    assert (meter.ticket.intent.operation, meter.ticket.is_estimated) == ("transcription", True)


async def test_a_sibling_s_cancelled_batch_is_told(sibling, meter, tmp_path):
    batch = await sibling.ended(tmp_path, BODY)

    await sibling.do(lambda client: client.batches.cancel(batch.id))

    assert meter.batches.told[-1] == ((batch.id,), "cancelled")


@pytest.mark.parametrize(("name", "cost", "status"), [("groq", "0.000017475", "priced"), ("together", "0", "unpriced")])
async def test_a_line_costs_what_its_provider_lists_for_batches_or_is_unpriced(name, cost, status, tmp_path):
    server_class, sync_class, _ = SIBLINGS[name]
    with (
        server_class() as server,
        sync_class(base_url=server.base_url, api_key="none", max_retries=0) as bare,
        Callfare("memory://") as fare,
    ):
        fare.grant("alice", 2000, key="k")
        batch = await Sibling(name, server, fare.wrap(bare, user="alice")).ended(tmp_path, BODY)

        for reader in ("alice", "bob"):
            fare.wrap(bare, user=reader).files.content(batch.output_file_id)

        [run] = fare.history("alice").items
        [call] = fare.calls(run.run_id, user="alice").items
        # Groq's: 4 at $0.075, 1 cached at $0.075, which a batch does not halve, and 57 written at $0.30 a million.
        assert (str(call.cost), call.status, run.status, str(fare.balance("alice").held)) == (
            cost,
            status,
            "completed",
            "0",
        )
        assert fare.usage("bob").calls == 0
