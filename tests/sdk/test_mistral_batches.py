"""Batches through Mistral's own SDK: admitted and bound when made, each line charged once, however it is read."""

from __future__ import annotations

import io
import json
import ssl

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, ResponseValidationError
from mistralai.client.models import BatchJob, BatchRequest, ChatCompletionResponse, UserMessage
from mistralai.extra.batch import BatchClient, BatchInput

from callfare import Callfare
from callfare.capture import batch_calls, batches
from callfare.capture.batch_calls import BatchFiles
from callfare.capture.clients import wrap_client
from callfare.capture.dialect import BatchTold
from callfare.capture.mistral_batches import inline_of, told_by
from callfare.devtools.fake_siblings import FakeMistral
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from tests.sdk.mistral_clients import Kind, closed

MODEL = "mistral-small-latest"
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hi there"}]}
LIMITED = HELLO | {"max_tokens": 100}
UNTRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
USED = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}


@pytest.fixture
def server():
    with FakeMistral() as fake:
        yield fake


@pytest.fixture
async def bare(server):
    # Connections of its own need no certificates, which take long to be loaded.
    client = Mistral(
        server_url=server.base_url,
        api_key="none",
        client=httpx2.Client(verify=UNTRUSTING),
        async_client=httpx2.AsyncClient(verify=UNTRUSTING),
    )
    yield client
    await closed(client)


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)


class Jobs(Kind):
    """Batches in the same words for both."""

    async def made(self, *bodies, endpoint=CHAT, model=MODEL):
        lines = [{"custom_id": f"line-{number}", "body": body} for number, body in enumerate(bodies)]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        file = await self.do("files", "upload", file={"file_name": "r.jsonl", "content": content}, purpose="batch")
        return await self.do("batch.jobs", "create", input_files=[file.id], endpoint=endpoint, model=model)

    async def ended(self, *bodies, **options):
        """Make a batch, and return it as it is when it has ended."""
        job = await self.made(*bodies, **options)
        await self.do("batch.jobs", "get", job_id=job.id)
        return await self.do("batch.jobs", "get", job_id=job.id)

    async def read(self, file_id):
        """Return what a file has in it."""
        response = await self.do("files", "download", file_id=file_id)
        return await response.aread() if self.is_async else response.read()


@pytest.fixture(params=["sync", "async"])
def kind(request, client):
    return Jobs(client, is_async=request.param == "async")


# Making them


async def test_a_batch_is_admitted_by_its_file_and_bound_to_its_maker(kind, server, meter):
    job = await kind.made(LIMITED, HELLO | {"model": "another"})

    ticket = meter.batches.ticket
    assert [dict(intent.usage) for intent in ticket.intents] == [
        {"input_tokens": 2, "output_tokens": 100},
        {"input_tokens": 2},
    ]
    assert {(one.provider, one.operation, one.model, one.attributes["processing"]) for one in ticket.intents} == {
        ("mistral", "chat", MODEL, "batch")
    }
    assert (ticket.bound, ticket.released, meter.tickets) == ([(job.id,)], 0, [])
    assert server.batches[job.id]["total_requests"] == 2


@pytest.mark.parametrize("form", [list, tuple, iter])
async def test_requests_of_a_job_s_own_are_admitted_whatever_they_were_made_as(kind, server, meter, form):
    asked = [
        BatchRequest(custom_id="a", body={"messages": [UserMessage(content="hi there")], "max_tokens": 7}),
        BatchRequest(body=LIMITED | {"model": MODEL}),
    ]

    job = await kind.do("batch.jobs", "create", requests=form(asked), endpoint=CHAT, model=MODEL)

    assert [intent.usage["output_tokens"] for intent in meter.batches.ticket.intents] == [7, 100]
    assert meter.batches.ticket.bound == [(job.id,)]
    assert server.batches[job.id]["total_requests"] == 2


@pytest.mark.parametrize(
    ("endpoint", "body", "operation", "usage"),
    [
        ("/v1/embeddings", {"input": ["one two three"]}, "embedding", {"input_tokens": 4}),
        ("/v1/ocr", {"document": {"type": "image_url", "image_url": "x"}}, "ocr", {"pages": 1}),
        ("/v1/ocr", {"document": {"type": "document_url", "document_url": "x"}, "id": "y"}, "ocr", {}),
        ("/v1/ocr", {"pages": [1], "max_tokens": 9}, "ocr", {}),
        ("/v1/audio/transcriptions", {"file_url": "https://example.com/a.mp3"}, "transcription", {}),
        ("/v1/moderations", {"input": "hi there"}, "classification", {"input_tokens": 2}),
        ("/v1/conversations", {"inputs": "hi there"}, "conversation", {"input_tokens": 2}),
        (
            "/v1/fim/completions",
            {"prompt": "hi there", "max_tokens": 9},
            "chat",
            {"input_tokens": 2, "output_tokens": 9},
        ),
    ],
)
async def test_what_a_batch_asks_for_is_what_its_endpoint_does(client, meter, endpoint, body, operation, usage):
    await Jobs(client, is_async=False).made(body, endpoint=endpoint, model="m")

    [intent] = meter.batches.ticket.intents
    assert (intent.operation, intent.model, dict(intent.usage)) == (operation, "m", usage)


async def test_an_agent_s_batch_is_asked_of_the_agent(client, meter):
    client.batch.jobs.create(requests=[{"custom_id": "a", "body": HELLO}], endpoint=CHAT, agent_id="ag_1")

    assert [intent.model for intent in meter.batches.ticket.intents] == ["ag_1"]


def test_an_open_file_is_left_where_it_stood_and_another_purpose_is_not_read(client, server, meter):
    lines = io.BytesIO(json.dumps({"custom_id": "a", "body": LIMITED}).encode())
    for purpose in ("batch", "fine-tune"):
        file = client.files.upload(file={"file_name": "r.jsonl", "content": lines}, purpose=purpose)
        client.batch.jobs.create(input_files=[file.id], endpoint=CHAT, model=MODEL)
        lines.seek(0)

    assert [len(ticket.intents) for ticket in meter.batches.tickets] == [1, 0]
    assert [job["total_requests"] for job in server.batches.values()] == [1, 1]


async def test_a_batch_that_is_refused_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await kind.do("batch.jobs", "create", requests=[{"body": HELLO}], endpoint=CHAT, model=MODEL)

    assert server.count == 0


async def test_a_batch_that_mistral_refuses_is_released(kind, server, meter):
    server.script(Fault(status=422))

    with pytest.raises(MistralError):
        await kind.do("batch.jobs", "create", requests=[{"body": HELLO}], endpoint=CHAT, model=MODEL)

    assert (meter.batches.ticket.bound, meter.batches.ticket.released) == ([], 1)


def test_a_batch_that_was_made_is_bound_although_the_sdk_cannot_read_the_answer(bare, server, meter):
    make = bare.batch.jobs.create

    def unreadable(**fields):
        made = make(**fields).model_dump(mode="json")
        response = type("Response", (), {"headers": {}, "status_code": 200, "text": json.dumps(made)})()
        raise ResponseValidationError("odd", response, ValueError("odd"), json.dumps(made))

    bare.batch.jobs.create = unreadable
    client = wrap_client(bare, meter, user=None)

    with pytest.raises(ResponseValidationError):
        client.batch.jobs.create(requests=[{"body": HELLO}], endpoint=CHAT, model=MODEL)

    assert meter.batches.ticket.bound == [(job_id,) for job_id in server.batches]


# Hearing of them


async def test_a_job_is_known_by_its_file_and_not_charged_for_being_asked_about(kind, meter):
    job = await kind.ended(HELLO, HELLO)

    assert (job.status, meter.tickets) == ("SUCCESS", [])
    assert meter.batches.told == [((job.id, job.output_file), None)]


async def test_a_cancelled_job_is_told_when_it_has_ended(kind, meter):
    job = await kind.made(HELLO)

    told = await kind.do("batch.jobs", "cancel", job_id=job.id)

    assert told.status == "CANCELLED"
    assert meter.batches.told == [((job.id,), "cancelled")]


async def test_a_job_whose_requests_all_failed_has_no_results_to_wait_for(kind, meter):
    job = await kind.ended(HELLO | {"fail": True})

    assert meter.batches.told == [((job.id,), "failed")]
    assert meter.batches.delivered == []


@pytest.mark.parametrize("count", [1, None, -1, "0 of 2"])
def test_a_job_that_may_have_answered_something_is_waited_for(count):
    ended = {"object": "batch", "id": "job", "status": "SUCCESS", "output_file": None, "succeeded_requests": count}

    assert told_by(ended) == BatchTold(("job",), None)
    assert told_by(ended | {"succeeded_requests": 0}) == BatchTold(("job",), "failed")


@pytest.mark.parametrize(
    "odd", [None, [], {}, {"object": "batch", "id": ["b"]}, {"object": "file", "id": "b"}], ids=str
)
def test_what_tells_no_job_is_none(odd):
    assert (told_by(odd), inline_of(odd)) == (None, None)


async def test_a_list_of_jobs_is_not_looked_through(kind, meter):
    await kind.made(HELLO)

    listed = await kind.do("batch.jobs", "list")

    assert (listed.total, meter.batches.told, meter.batches.delivered) == (1, [], [])


# Results


async def read_whole(response):
    return await response.aread()


async def read_stream(response):
    return b"".join([chunk async for chunk in response.stream])


async def read_bytes(response):
    return b"".join([chunk async for chunk in response.aiter_bytes(7)])


async def read_lines(response):
    return b"".join([f"{line}\n".encode() async for line in response.aiter_lines()])


@pytest.mark.parametrize(
    ("at_once", "in_a_loop"),
    [
        (lambda response: response.read(), read_whole),
        (lambda response: b"".join(response.stream), read_stream),
        (lambda response: b"".join(response.iter_bytes(7)), read_bytes),
        (lambda response: "".join(f"{line}\n" for line in response.iter_lines()).encode(), read_lines),
    ],
    ids=["read", "stream", "bytes", "lines"],
)
async def test_each_line_is_a_call_of_its_own_however_the_file_is_read(kind, server, meter, at_once, in_a_loop):
    job = await kind.ended(HELLO, HELLO | {"fail": True}, HELLO)

    response = await kind.do("files", "download", file_id=job.output_file)
    assert meter.tickets == []
    content = await in_a_loop(response) if kind.is_async else at_once(response)

    assert content == server.files[job.output_file]
    readings = [ticket.settled[0][0] for ticket in meter.tickets]
    assert [dict(reading.usage) for reading in readings] == [USED, USED]
    assert [reading.response_id for reading in readings] == [
        f"chatcmpl-{job.id}-{number}/line-{number}" for number in (0, 2)
    ]
    assert {(reading.model, reading.attributes["processing"]) for reading in readings} == {(MODEL, "batch")}
    assert meter.batches.delivered == [((job.id, job.output_file), True)]


async def test_results_that_a_job_carries_are_the_same_lines(kind, meter):
    job = await kind.ended(HELLO, HELLO)

    await kind.read(job.output_file)
    told = await kind.do("batch.jobs", "get", job_id=job.id, inline=True)

    assert len(told.outputs) == 2
    ids = [ticket.settled[0][0].response_id for ticket in meter.tickets]
    assert ids[2:] == ids[:2]
    assert meter.batches.delivered == [((job.id, job.output_file), True)] * 2


@pytest.mark.parametrize(
    ("endpoint", "body", "operation", "usage"),
    [
        ("/v1/embeddings", {"input": ["one two three"]}, "embedding", {"input_tokens": 4}),
        ("/v1/ocr", {"document": {"type": "image_url", "image_url": "x"}}, "ocr", {"pages": 1}),
        (
            "/v1/ocr",
            {"document": {"type": "image_url", "image_url": "x"}, "document_annotation_format": {"type": "json"}},
            "ocr",
            {"pages": 1, "annotated_pages": 1},
        ),
        ("/v1/audio/transcriptions", {"file_url": "https://example.com/a.mp3"}, "transcription", {"audio_seconds": 60}),
        ("/v1/conversations", {"inputs": "hi there"}, "conversation", {"input_tokens": 2, "output_tokens": 57}),
        ("/v1/fim/completions", HELLO, "chat", USED),
    ],
)
@pytest.mark.parametrize("inline", [False, True])
async def test_a_line_counts_what_a_call_of_its_kind_does(client, meter, endpoint, body, operation, usage, inline):
    jobs = Jobs(client, is_async=False)
    job = await jobs.ended(body, endpoint=endpoint)

    if inline:
        client.batch.jobs.get(job_id=job.id, inline=True)
    else:
        await jobs.read(job.output_file)

    assert (meter.ticket.intent.operation, meter.ticket.usage) == (operation, usage)
    assert meter.ticket.settled[0][0].response_id.endswith("/line-0")


async def test_a_classification_in_a_batch_is_an_estimate_as_it_is_by_itself(client, meter):
    jobs = Jobs(client, is_async=False)
    job = await jobs.ended({"input": "hi there"}, endpoint="/v1/moderations", model="mistral-moderation-2603")

    await jobs.read(job.output_file)

    assert (meter.ticket.intent.operation, meter.ticket.is_estimated) == ("classification", True)


def test_a_running_job_s_results_are_waited_for(client, server, bare, meter):
    job = client.batch.jobs.create(requests=[{"custom_id": "a", "body": HELLO}], endpoint=CHAT, model=MODEL)
    line = json.loads(server.files[f"{job.id}-output"])
    early = job.model_dump() | {"status": "RUNNING", "outputs": [line]}
    bare.batch.jobs.get = lambda **_: BatchJob(**early)
    again = wrap_client(bare, meter, user=None)

    again.batch.jobs.get(job_id=job.id, inline=True)

    assert (meter.tickets, meter.batches.delivered) == ([], [])


async def test_mistral_s_own_client_of_batches_is_metered_through_the_wrapped_one(client, meter):
    typed = BatchClient(client, endpoint=CHAT, response_body_type=ChatCompletionResponse)
    payload = BatchInput.from_jsonl_bytes(json.dumps({"custom_id": "a", "body": LIMITED}).encode())
    handle = await typed.create(await typed.upload(payload), model=MODEL)
    assert len(meter.batches.ticket.intents) == 1

    handle = await typed.wait(handle, poll_interval_seconds=0)
    streamed = [one async for one in typed.stream_results(handle)]
    output = await typed.output(handle)

    assert [name for name, _ in streamed] == list(output.responses) == ["a"]
    assert [ticket.usage for ticket in meter.tickets] == [USED, USED]
    assert [is_whole for _, is_whole in meter.batches.delivered] == [True, True]


# Odd files


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\xff not lines", b"%PDF\n{}\n" * 9, b'{"custom_id": "a", "body": {}}\n' * 3, b"[" * 100_000, b'{"a": 1}'],
    ids=["nothing", "bytes", "document", "requests", "brackets", "another"],
)
async def test_another_file_is_handed_on_as_it_is(kind, server, meter, content):
    server.files["another"] = content

    assert await kind.read("another") == content
    assert (meter.tickets, meter.batches.delivered) == ([], [])


def line(custom_id, body, **beside):
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None} | beside


BODY = {"object": "chat.completion", "model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 1}}


async def test_a_line_that_cannot_be_read_loses_no_other(kind, server, meter):
    odd = [
        line("a", BODY, error={"message": "no"}),
        line("b", BODY, response={"status_code": 500, "body": BODY}),
        line("c", None),
        line("d", {"object": ["list"]}),
        line(None, BODY),
        line({"e": 1}, BODY),
        line("f", BODY, response=[1]),
        line("g\ud800\0", BODY | {"id": "x" * 999}),
        line(None, BODY, id="its own"),
        line("h", BODY | {"usage": {"prompt_tokens": -7, "completion_tokens": "many"}}),
        line("i", BODY, response={"body": BODY}),
    ]
    told = [json.dumps(one).encode() for one in odd]
    server.files["f"] = b"\n".join([*told[:-1], b'{"cut', b"[]", b"", told[-1], b'{"cut'])

    await kind.read("f")

    told = {ticket.settled[0][0].response_id.partition("/")[2]: ticket for ticket in meter.tickets}
    assert set(told) >= {"its own", "h", "i"}
    assert (len(told), told["h"].is_estimated, told["i"].usage) == (4, True, {"input_tokens": 7, "output_tokens": 1})


# On a ledger


@pytest.fixture
def fare():
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        fare.grant("bob", 2000, key="k")
        yield fare


async def test_a_batch_costs_its_maker_half_once_whoever_reads_it_in_whatever_way(bare, fare):
    alice = Jobs(fare.wrap(bare, user="alice"), is_async=False)
    job = await alice.made(LIMITED, LIMITED)
    # Two times 2 tokens at $0.075 and 100 at $0.30 a million.
    assert str(fare.balance("alice").held) == "0.00603"

    for reader in (fare.wrap(bare, user="bob"), alice.client):
        reader.batch.jobs.get(job_id=job.id)
        reader.batch.jobs.get(job_id=job.id, inline=True)
        reader.files.download(file_id=f"{job.id}-output").read()

    [run] = fare.history("alice").items
    assert (run.workflow, run.status, run.calls, str(fare.balance("alice").held)) == ("batch", "completed", 2, "0")
    # 4 at $0.075, 1 cached at $0.0075 and 57 written at $0.30 a million: half of what they cost by themselves.
    assert [str(call.cost) for call in fare.calls(run.run_id, user="alice").items] == ["0.0000174075"] * 2
    assert fare.usage("bob").calls == 0
    assert fare.verify().is_clean


async def test_a_process_that_knows_the_file_alone_charges_the_maker_once(bare, tmp_path, monkeypatch):
    place = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Callfare(place) as here, Callfare(place) as there:
        here.grant("alice", 2000, key="k")
        job = await Jobs(here.wrap(bare, user="alice"), is_async=False).ended(LIMITED, LIMITED)
        for module in (batch_calls, batches):
            monkeypatch.setattr(module, "BATCH_FILES", BatchFiles())

        for fare, reader in ((there, "bob"), (here, "alice"), (there, "alice")):
            await Jobs(fare.wrap(bare, user=reader), is_async=False).read(job.output_file)

        [run] = there.history("alice").items
        assert (run.status, run.calls, there.usage("bob").calls) == ("completed", 2, 0)
        assert there.verify().is_clean


async def test_a_job_that_does_not_tell_its_file_carries_the_same_lines(bare, fare):
    alice = Jobs(fare.wrap(bare, user="alice"), is_async=False)
    job = await alice.ended(LIMITED, LIMITED)
    await alice.read(job.output_file)
    told = bare.batch.jobs.get(job_id=job.id, inline=True).model_dump() | {"output_file": None}
    bare.batch.jobs.get = lambda **_: BatchJob(**told)

    fare.wrap(bare, user="bob").batch.jobs.get(job_id=job.id, inline=True)

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)


async def test_pages_of_a_batch_cost_half(bare, fare):
    alice = Jobs(fare.wrap(bare, user="alice"), is_async=False)
    job = await alice.ended(
        {"document": {"type": "image_url", "image_url": "x"}}, endpoint="/v1/ocr", model="mistral-ocr-latest"
    )

    for _ in range(2):
        await alice.read(job.output_file)
        alice.client.batch.jobs.get(job_id=job.id, inline=True)

    [run] = fare.history("alice").items
    [call] = fare.calls(run.run_id, user="alice").items
    # $4 for a thousand pages by themselves.
    assert (str(call.cost), call.status) == ("0.002", "priced")


async def test_results_that_were_left_hold_on_until_all_are_read(bare, fare):
    alice = Jobs(fare.wrap(bare, user="alice"), is_async=False)
    job = await alice.ended(LIMITED, LIMITED)

    alice.client.files.download(file_id=job.output_file).close()
    held = fare.balance("alice").held
    await alice.read(job.output_file)

    assert (str(held), str(fare.balance("alice").held)) == ("0.00603", "0")
