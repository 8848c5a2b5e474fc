"""Cohere's batches and embedding jobs: admitted when they are made, charged once when they are told to have ended."""

from __future__ import annotations

import cohere
import pytest
from cohere.core import ApiError

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.cohere_jobs import told_by
from callfare.devtools.fake_cohere import FakeCohere
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, UnpricedModel
from callfare.money import Credits, Usd
from tests.sdk.test_cohere import Kind, closed, made

MODEL = "embed-v4.0"
BATCH = cohere.Batch(name="night", input_dataset_id="dataset_1", model="command-a-03-2025")
TOLD = {"id": "b", "model": "command-a-03-2025", "status": "BATCH_STATUS_COMPLETED"}


@pytest.fixture
def server():
    with FakeCohere() as fake:
        yield fake


@pytest.fixture(params=[cohere.ClientV2, cohere.AsyncClientV2], ids=["sync", "async"])
async def kind(request, server, meter):
    bare = made(request.param, server)
    yield Kind(wrap_client(bare, meter, user=None))
    await closed(bare)


@pytest.fixture
def bare(server):
    with made(cohere.ClientV2, server) as client:
        yield client


@pytest.fixture
def fare():
    with Callfare("memory://") as fare:
        fare.grant("alice", 1000, key="k")
        yield fare
        assert fare.verify().is_clean


async def job(kind, model=MODEL):
    jobs = kind.client.embed_jobs
    made_job = await kind.do("create", jobs, model=model, dataset_id="dataset_1", input_type="search_document")
    return made_job.job_id


async def told(kind, job_id, times=2):
    return [await kind.do("get", kind.client.embed_jobs, id=job_id) for _ in range(times)][-1]


async def batch(kind, **options):
    return (await kind.do("create", kind.client.batches, request=BATCH, **options)).batch.id


# Embedding jobs


async def test_a_job_is_admitted_by_its_model_and_bound(kind, meter):
    job_id = await job(kind)

    [intent] = meter.batches.ticket.intents
    assert (intent.model, intent.operation, dict(intent.usage)) == (MODEL, "embedding", {})
    assert (dict(intent.attributes), meter.batches.ticket.bound) == ({}, [(job_id,)])


async def test_a_job_is_charged_by_its_billed_units_when_it_is_told_to_be_done(kind, meter):
    job_id = await job(kind)
    await told(kind, job_id, times=1)
    assert (meter.tickets, meter.batches.told) == ([], [])

    reply = await told(kind, job_id, times=1)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.model, estimated) == ({"input_tokens": 1000}, MODEL, False)
    assert (reading.response_id, dict(reading.attributes)) == (f"{job_id}/all", {})
    assert meter.batches.delivered == [((job_id,), True)]
    assert reply.meta.billed_units.input_tokens == 1000


def test_waiting_for_a_job_charges_it(bare, meter):
    client = wrap_client(bare, meter, user=None)
    begun = client.embed_jobs.create(model=MODEL, dataset_id="dataset_1", input_type="search_document")

    client.wait(begun, interval=0)

    assert meter.ticket.usage == {"input_tokens": 1000}


def test_a_client_of_the_first_generation_meters_jobs_too(server, meter):
    with made(cohere.Client, server) as bare:
        client = wrap_client(bare, meter, user=None)
        begun = client.embed_jobs.create(model=MODEL, dataset_id="dataset_1", input_type="search_document")
        client.wait(begun, interval=0)

    assert meter.ticket.usage == {"input_tokens": 1000}


def test_a_raw_reply_of_a_job_is_read_too(bare, meter):
    client = wrap_client(bare, meter, user=None)
    raw = client.embed_jobs.with_raw_response
    job_id = raw.create(model=MODEL, dataset_id="dataset_1", input_type="search_document").data.job_id

    raw.get(job_id)
    assert raw.get(job_id).data.status == "complete"

    assert meter.ticket.usage == {"input_tokens": 1000}


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
async def test_a_job_that_came_to_nothing_is_given_back(kind, server, meter, outcome):
    server.script(Fault(job="failed"))
    job_id = await job(kind)
    if outcome == "cancelled":
        await kind.do("cancel", kind.client.embed_jobs, id=job_id)

    await told(kind, job_id)

    assert meter.tickets == []
    assert set(meter.batches.told) == {((job_id,), outcome)}


async def test_a_job_that_tells_no_units_is_no_exact_count(kind, server, meter):
    job_id = await job(kind)
    server.script(Fault(), Fault(usage=None))

    await told(kind, job_id)

    assert meter.ticket.is_estimated


async def test_lists_of_jobs_are_not_looked_through(kind, meter):
    job_id = await job(kind)
    await kind.do("list", kind.client.embed_jobs)
    await kind.do("list", kind.client.batches)

    assert (meter.tickets, meter.batches.told) == ([], [])
    assert job_id


# Batches


async def test_a_batch_is_admitted_at_the_batch_rate_and_bound(kind, meter):
    batch_id = await batch(kind)

    [intent] = meter.batches.ticket.intents
    assert (intent.model, intent.operation) == ("command-a-03-2025", "chat")
    assert (dict(intent.attributes), meter.batches.ticket.bound) == ({"processing": "batch"}, [(batch_id,)])


async def test_a_batch_is_one_call_by_the_tokens_it_tells(kind, meter):
    batch_id = await batch(kind)
    for _ in range(2):
        await kind.do("retrieve", kind.client.batches, id=batch_id)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, estimated) == ({"input_tokens": 1000, "output_tokens": 500}, False)
    assert dict(reading.attributes) == {"processing": "batch"}


async def test_a_cancelled_batch_is_given_back(kind, meter):
    batch_id = await batch(kind)
    await kind.do("cancel", kind.client.batches, id=batch_id)

    await kind.do("retrieve", kind.client.batches, id=batch_id)

    assert (meter.tickets, meter.batches.told) == ([], [((batch_id,), "cancelled")])


async def test_a_batch_cancelled_midway_is_charged_by_what_it_tells_as_an_estimate(kind, meter):
    batch_id = await batch(kind)
    await kind.do("retrieve", kind.client.batches, id=batch_id)
    await kind.do("cancel", kind.client.batches, id=batch_id)

    await kind.do("retrieve", kind.client.batches, id=batch_id)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 500, "output_tokens": 250}, True)


async def test_what_is_refused_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    for make in (job, batch):
        with pytest.raises(InsufficientCredit):
            await make(kind)

    assert server.count == 0


async def test_what_cohere_refuses_is_released(kind, server, meter):
    server.script(Fault(status=400), Fault(status=400))

    for make in (job, batch):
        with pytest.raises(ApiError):
            await make(kind)

    assert [(ticket.bound, ticket.released) for ticket in meter.batches.tickets] == [([], 1)] * 2


async def test_a_job_within_a_metered_call_is_not_admitted_again(kind, meter):
    with marked_as_metered():
        await job(kind)

    assert meter.batches.tickets == []


@pytest.mark.parametrize("status", ["BATCH_STATUS_FAILED", "BATCH_STATUS_CANCELED"])
def test_a_batch_that_ended_before_its_end_is_what_it_tells(status):
    reply = {"batch": TOLD | {"status": status, "input_tokens": "70", "output_tokens": "9"}}

    counted = told_by("batches", reply)
    nothing = told_by("batches", {"batch": TOLD | {"status": status, "input_tokens": "0"}})

    assert counted.used == {"usage": {"billed_units": {"input_tokens": 70, "output_tokens": 9}}}
    assert nothing.used is None


@pytest.mark.parametrize("count", ["-5", "1.5", "9" * 19, "ten", "١٢", 7, None, "", [], "1e400"], ids=repr)
def test_what_is_no_count_of_tokens_is_none(count):
    told_there = told_by("batches", {"batch": TOLD | {"input_tokens": count, "output_tokens": "9"}})

    assert told_there.used == {"usage": {"billed_units": {"input_tokens": None, "output_tokens": 9}}}


@pytest.mark.parametrize("reply", [None, {}, [], "job", {"batch": None}, {"batch": {"id": 7}}, {"batch": {"id": ""}}])
@pytest.mark.parametrize("part", ["batches", "embed_jobs"])
def test_what_tells_of_no_job_is_none(part, reply):
    assert told_by(part, reply) is None


# With a ledger


def test_a_job_is_charged_once_to_its_maker_whoever_asks_about_it(fare, bare, server):
    with fare.user("alice"):
        begun = fare.wrap(bare).embed_jobs.create(model=MODEL, dataset_id="d", input_type="search_document")

    for who in ("bob", "alice", "bob", "bob"):
        # As another process would: with a client that has not seen the job made.
        with made(cohere.ClientV2, server) as other, fare.user(who):
            fare.wrap(other).embed_jobs.get(begun.job_id)

    # 1,000 at $0.12 a million.
    [run] = fare.history("alice").items
    [call] = fare.calls(run.run_id, user="alice").items
    assert (call.status, call.cost, run.status) == ("priced", Usd("0.00012"), "completed")
    assert (fare.usage("bob").calls, fare.balance("alice").held) == (0, Credits(0))


def test_a_job_of_a_model_without_a_price_is_refused_within_a_run(fare, bare, server):
    client = fare.wrap(bare)

    with fare.run("story", user="alice"), pytest.raises(UnpricedModel):
        client.embed_jobs.create(model="embed-nobody-knows", dataset_id="d", input_type="search_document")

    assert server.count == 0


def test_a_batch_is_unpriced_until_somebody_gives_the_batch_rate(fare, bare):
    client = fare.wrap(bare, user="alice")
    begun = client.batches.create(request=BATCH)

    for _ in range(3):
        client.batches.retrieve(begun.batch.id)

    assert (fare.usage("alice").calls, fare.usage("alice").unpriced_calls) == (1, 1)
