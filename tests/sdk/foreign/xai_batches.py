"""xAI's batches by its SDK: admitted when they are added to, each line charged once when it is read."""

from __future__ import annotations

from fractions import Fraction

import grpc
import pytest
import xai_sdk
from xai_sdk.chat import user
from xai_sdk.proto import batch_pb2, image_pb2, video_pb2

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits, Usd
from tests.sdk.foreign.xai_kinds import MODEL, USAGE, Kind

COST = Usd("0.00000123")


def asked(kind, name, text="hi there", *, model=MODEL, **settings):
    return kind.client.chat.create(model=model, messages=[user(text)], batch_request_id=name, **settings)


async def begun(kind, *names, client=None, **settings):
    """Return the id of a batch of chats."""
    parts = (client or kind.client).batch
    batch = await kind.done(parts.create("night"))
    await kind.done(parts.add(batch.batch_id, [asked(kind, name, **settings) for name in names]))
    return batch.batch_id


async def done(kind, batch_id):
    await kind.done(kind.client.batch.get(batch_id))
    return await kind.done(kind.client.batch.get(batch_id))


async def results(kind, batch_id, **page):
    """Read a batch page after page; return the names of what was answered."""
    read = []
    while True:
        reply = await kind.done(kind.client.batch.list_batch_results(batch_id, **page))
        read += reply.succeeded
        if reply.pagination_token is None:
            return [result.batch_request_id for result in read]
        page["pagination_token"] = reply.pagination_token


async def test_what_is_added_is_admitted_and_bound(kind, meter):
    batch_id = await begun(kind, "a", "b", max_tokens=400)

    ticket = meter.batches.ticket
    assert [dict(intent.usage) for intent in ticket.intents] == [{"input_tokens": 2, "output_tokens": 400}] * 2
    assert {(intent.model, intent.attributes["processing"]) for intent in ticket.intents} == {(MODEL, "batch")}
    assert (ticket.bound, ticket.is_more, ticket.released) == ([(batch_id,)], True, 0)
    assert meter.tickets == []


async def test_an_empty_batch_costs_nothing(kind, meter):
    await kind.done(kind.client.batch.create("night"))

    assert meter.batches.tickets == []


async def test_a_batch_of_a_file_is_bound_when_it_is_made(kind, meter):
    batch = await kind.done(kind.client.batch.create("night", input_file_id="file_1"))

    ticket = meter.batches.ticket
    assert (ticket.intents, ticket.bound, ticket.is_more) == ([], [(batch.batch_id,)], False)


async def test_each_answer_is_a_call_at_what_xai_says_it_charged(kind, meter):
    batch_id = await begun(kind, "a", "b", "c")
    await done(kind, batch_id)

    assert await results(kind, batch_id) == ["a", "b", "c"]

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 3
    readings = [ticket.settled[0][0] for ticket in meter.tickets]
    assert [reading.response_id for reading in readings] == [f"{batch_id}/{name}" for name in "abc"]
    assert {(reading.model, reading.attributes["processing"]) for reading in readings} == {(MODEL, "batch")}
    assert [is_whole for _, is_whole in meter.batches.delivered] == [False, True]


async def test_pictures_and_videos_of_a_batch_are_read_as_such(kind, meter):
    batch = await kind.done(kind.client.batch.create("night"))
    requests = [
        batch_pb2.BatchRequest(
            batch_request_id="picture",
            image_request=image_pb2.GenerateImageRequest(prompt="a cat", model="grok-imagine-image", n=3),
        ),
        batch_pb2.BatchRequest(
            batch_request_id="film",
            video_request=video_pb2.GenerateVideoRequest(prompt="a cat", model="grok-imagine-video", duration=5),
        ),
    ]
    await kind.done(kind.client.batch.add(batch.batch_id, requests))
    await done(kind, batch.batch_id)

    await results(kind, batch.batch_id)

    assert [intent.usage for intent in meter.batches.ticket.intents] == [{"images": 3}, {"video_seconds": 5}]
    picture, film = meter.tickets
    assert (picture.intent.operation, film.intent.operation) == ("image", "video")
    assert picture.usage == {"images": 3, "billed_usd": Fraction(6, 100)}
    assert film.usage == {"billed_usd": Fraction(10, 100)}


async def test_what_failed_costs_nothing_and_the_others_do(kind, meter):
    batch = await kind.done(kind.client.batch.create("night"))
    await kind.done(kind.client.batch.add(batch.batch_id, [asked(kind, "a"), asked(kind, "b", model="")]))
    await done(kind, batch.batch_id)

    await results(kind, batch.batch_id)

    assert [ticket.settled[0][0].response_id for ticket in meter.tickets] == [f"{batch.batch_id}/a"]
    assert meter.batches.delivered == [((batch.batch_id,), True)]


async def test_a_result_asked_for_by_itself_is_that_line(kind, meter):
    batch_id = await begun(kind, "a", "b")
    await done(kind, batch_id)
    request = batch_pb2.GetBatchRequestResultRequest(batch_id=batch_id, batch_request_id="b")

    await kind.done(kind.client.batch._stub.GetBatchRequestResult(request))

    assert meter.ticket.settled[0][0].response_id == f"{batch_id}/b"
    assert meter.batches.delivered == [((batch_id,), False)]


async def test_results_read_before_the_batch_is_told_to_be_done_end_it_once_it_is(kind, meter):
    batch_id = await begun(kind, "a", "b")
    await results(kind, batch_id)
    await done(kind, batch_id)
    assert meter.batches.told == []

    await results(kind, batch_id)

    assert meter.batches.delivered == [((batch_id,), False), ((batch_id,), True)]


async def test_what_is_added_later_is_admitted_for_the_same_batch_and_still_to_be_read(kind, meter):
    batch_id = await begun(kind, "a")
    await done(kind, batch_id)
    await kind.done(kind.client.batch.add(batch_id, [asked(kind, "b")]))

    await results(kind, batch_id)

    assert [(ticket.bound, ticket.is_more) for ticket in meter.batches.tickets] == [([(batch_id,)], True)] * 2
    assert meter.batches.delivered == [((batch_id,), False)]


async def test_a_cancelled_batch_of_which_nothing_was_answered_is_told(kind, meter):
    batch_id = await begun(kind, "a", "b")

    await kind.done(kind.client.batch.cancel(batch_id))

    assert meter.batches.told == [((batch_id,), "cancelled")]


async def test_a_batch_that_failed_in_all_its_parts_is_told(kind, meter):
    batch_id = await begun(kind, "a", model="")

    await done(kind, batch_id)

    assert meter.batches.told == [((batch_id,), "failed")]


async def test_what_is_refused_is_not_added(kind, server, meter):
    batch = await kind.done(kind.client.batch.create("night"))
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await kind.done(kind.client.batch.add(batch.batch_id, [asked(kind, "a")]))

    assert server.counts["AddBatchRequests"] == 0


async def test_what_xai_refuses_is_released(kind, server, meter):
    server.script(Fault(), Fault(status=400))

    with pytest.raises(grpc.RpcError):
        await begun(kind, "a")

    assert (meter.batches.ticket.bound, meter.batches.ticket.released) == ([], 1)


async def test_a_batch_within_a_metered_call_is_not_admitted_again(kind, meter):
    with marked_as_metered():
        await begun(kind, "a")

    assert meter.batches.tickets == []


async def test_lists_of_batches_are_not_looked_through(kind, meter):
    await begun(kind, "a")
    await kind.done(kind.client.batch.list())
    await kind.done(kind.client.batch.list_batch_requests("batch_000001"))

    assert (meter.tickets, meter.batches.told) == ([], [])


# With a ledger


@pytest.fixture
def fare():
    with Callfare("memory://") as fare:
        fare.grant("alice", 10, key="k")
        yield fare
        assert fare.verify().is_clean


def test_results_are_charged_once_to_the_maker_whoever_reads_them(fare, bare):
    client = fare.wrap(bare)
    kind = Kind(client)
    with fare.user("alice"):
        batch = client.batch.create("night")
        client.batch.add(batch.batch_id, [asked(kind, "a"), asked(kind, "b", max_tokens=400)])
    client.batch.get(batch.batch_id)
    client.batch.get(batch.batch_id)

    for who in ("bob", "alice", "bob"):
        with fare.user(who):
            assert len(fare.wrap(bare).batch.list_batch_results(batch.batch_id).succeeded) == 2

    [run] = fare.history("alice").items
    calls = fare.calls(run.run_id, user="alice").items
    assert [(call.status, call.cost) for call in calls] == [("priced", COST)] * 2
    assert (run.status, fare.usage("bob").calls) == ("completed", 0)
    assert fare.balance("alice").held == Credits(0)


def test_a_line_without_a_charge_costs_the_batch_rate(fare, bare, server):
    server.script(Fault(), Fault(), Fault(), Fault(usage={"cost_in_usd_ticks": None}))
    client = fare.wrap(bare, user="alice")
    batch = client.batch.create("night")
    client.batch.add(batch.batch_id, [asked(Kind(client), "a")])
    client.batch.get(batch.batch_id)
    client.batch.get(batch.batch_id)

    client.batch.list_batch_results(batch.batch_id)

    # 2 at $1 and 121 at $2 a million.
    [run] = fare.history("alice").items
    assert [call.cost for call in fare.calls(run.run_id, user="alice").items] == [Usd("0.000244")]


def test_a_batch_holds_what_it_may_cost_with_all_that_was_added(fare, bare):
    client = fare.wrap(bare, user="alice")
    batch = client.batch.create("night")

    # 2 read at $1 and 400 written at $2 a million, of each.
    client.batch.add(batch.batch_id, [asked(Kind(client), "a", max_tokens=400)])
    assert fare.balance("alice").held == Credits("0.0802")
    client.batch.add(batch.batch_id, [asked(Kind(client), name, max_tokens=400) for name in "bc"])

    assert fare.balance("alice").held == Credits("0.2406")
    held = [(run.status, run.held) for run in fare.history("alice").items]
    assert sorted(held, key=str) == [("completed", Credits(0)), ("open", Credits("0.2406"))]


def test_what_cannot_be_paid_for_is_not_added(fare, bare, server):
    client = fare.wrap(bare, user="alice")
    batch = client.batch.create("night")

    with pytest.raises(InsufficientCredit):
        client.batch.add(batch.batch_id, [asked(Kind(client), "a", max_tokens=1_000_000)])

    assert server.counts["AddBatchRequests"] == 0
    assert fare.balance("alice").available == Credits(10)


def test_what_xai_does_not_add_gives_back_what_was_held(fare, bare, server):
    client = fare.wrap(bare, user="alice")
    batch_id = client.batch.create("night").batch_id
    client.batch.add(batch_id, [asked(Kind(client), "a", max_tokens=400)])
    server.script(Fault(status=400))

    with pytest.raises(grpc.RpcError):
        client.batch.add(batch_id, [asked(Kind(client), "b", max_tokens=400)])

    assert fare.balance("alice").held == Credits("0.0802")


async def test_an_async_client_holds_and_charges_alike(fare, server):
    bare = xai_sdk.AsyncClient(api_key="none", api_host=server.host, use_insecure_channel=True)
    kind = Kind(fare.wrap(bare, user="alice"))
    batch_id = await begun(kind, "a", max_tokens=400)
    await kind.done(kind.client.batch.add(batch_id, [asked(kind, "b", max_tokens=400)]))
    assert fare.balance("alice").held == Credits("0.1604")

    await done(kind, batch_id)
    await results(kind, batch_id)
    await bare.close()

    assert (fare.usage("alice").calls, fare.balance("alice").held) == (2, Credits(0))
