"""Videos and background responses: held when the provider accepts them, settled by whoever sees their end."""

from __future__ import annotations

import openai
import pytest

from callfare.capture.openai import wrap
from callfare.devtools.stand_in import Fault
from tests.capture.conftest import Either
from tests.capture.fake_meter import FakeMeter

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


async def test_a_video_is_pending_until_its_end_is_seen(either, meter):
    video = await either.do(
        lambda client: client.videos.create(model="sora-2", prompt="a cat", seconds="8", size="1280x720")
    )

    assert meter.ticket.intent.usage == {"video_seconds": 8}
    assert meter.ticket.intent.attributes == {"size": "1280x720"}
    [(job_id, reading)] = meter.ticket.pended
    assert (job_id, reading.usage, reading.attributes) == (video.id, {"video_seconds": 8}, {"size": "1280x720"})
    assert (meter.ticket.settled, meter.jobs) == ([], [])


async def test_what_a_video_request_leaves_out_is_what_the_sdk_says_it_is(either, meter):
    await either.do(lambda client: client.videos.create(prompt="a cat"))

    intent = meter.ticket.intent
    assert (intent.model, intent.usage, intent.attributes) == ("sora-2", {"video_seconds": 4}, {"size": "720x1280"})


async def test_polling_settles_a_video_once_it_is_completed(either, meter):
    video = await either.do(lambda client: client.videos.create(prompt="a cat"))

    first = await either.do(lambda client: client.videos.retrieve(video.id))
    assert (first.status, meter.jobs) == ("in_progress", [])
    second = await either.do(lambda client: client.videos.retrieve(video.id))

    assert second.status == "completed"
    assert meter.jobs == [(video.id, "completed", None)]
    assert len(meter.tickets) == 1


async def test_creating_and_polling_is_one_call(either, meter, fake):
    video = await either.do(lambda client: client.videos.create_and_poll(prompt="a cat", seconds="12"))

    assert video.status == "completed"
    assert [job_id for job_id, _ in meter.ticket.pended] == [video.id]
    assert meter.jobs == [(video.id, "completed", None)]
    assert fake.counts == {"POST /v1/videos": 1, f"GET /v1/videos/{video.id}": 2}


async def test_a_video_that_fails_is_given_back(either, meter, fake):
    fake.script(Fault(job="failed"))

    video = await either.do(lambda client: client.videos.create_and_poll(prompt="a cat"))

    assert video.status == "failed"
    assert meter.jobs == [(video.id, "failed", None)]


def test_another_client_may_see_the_end_of_a_video(bare, client, meter):
    video = client.videos.create(prompt="a cat")
    other = FakeMeter()

    wrap(bare, other).videos.poll(video.id)

    assert other.jobs == [(video.id, "completed", None)]
    assert (other.tickets, meter.jobs) == ([], [])


async def test_the_end_of_a_job_is_told_under_the_id_that_the_provider_gave_it(either, meter, fake):
    fake.script(Fault(response_id="film 1+ü%2F"))
    video = await either.do(lambda client: client.videos.create(prompt="a cat"))

    for _ in range(2):
        await either.do(lambda client: client.videos.retrieve(video.id))

    assert [job_id for job_id, _ in meter.ticket.pended] == ["film 1+ü%2F"]
    assert meter.jobs == [("film 1+ü%2F", "completed", None)]


def test_an_extended_video_is_charged_for_what_is_added(client, meter, fake):
    fake.script(Fault(response_id="video_long"))

    job = client.videos.extend(prompt="on", seconds="8", video=("first.mp4", b"film"))

    [(job_id, reading)] = meter.ticket.pended
    assert job.seconds == "12"
    assert (job_id, reading.usage) == ("video_long", {"video_seconds": 8})
    client.videos.poll(job.id)
    assert meter.jobs == [("video_long", "completed", None)]


def test_a_remixed_video_is_charged_for_what_the_job_says(client, meter):
    first = client.videos.create(prompt="a cat", seconds="8")

    remixed = client.videos.remix(first.id, prompt="a dog")

    assert meter.tickets[-1].intent.usage == {}
    assert [(job_id, reading.usage) for job_id, reading in meter.tickets[-1].pended] == [
        (remixed.id, {"video_seconds": 8})
    ]


def test_listing_and_downloading_videos_is_free(client, meter):
    video = client.videos.create_and_poll(prompt="a cat")
    admitted = len(meter.tickets)

    content = client.videos.download_content(video.id)

    assert len(content.content) == 4096
    assert (len(meter.tickets), len(meter.jobs)) == (admitted, 1)


def test_a_video_that_is_not_accepted_is_let_go(client, meter, fake):
    fake.script(Fault(status=400))

    with pytest.raises(Exception, match="told to fail"):
        client.videos.create(prompt="a cat")

    assert (meter.ticket.pended, meter.ticket.released) == ([], 1)


def test_a_video_accepted_by_a_raw_call_is_pending(client, meter):
    client.videos.with_raw_response.create(prompt="a cat")
    with client.videos.with_streaming_response.create(prompt="a cat") as raw:
        raw.parse()

    assert [len(ticket.pended) for ticket in meter.tickets] == [1, 1]


# Responses told again


async def test_a_response_told_again_is_observed_and_not_charged(either, meter):
    reply = await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    await either.do(lambda client: client.responses.retrieve(reply.id))

    [reading] = meter.observed
    assert (reading.response_id, reading.usage["output_tokens"]) == (reply.id, 111)
    assert (len(meter.tickets), meter.jobs) == (1, [])


async def test_a_response_told_again_is_looked_for_among_the_calls_of_the_clients_own_user(fake, meter, bare):
    async with openai.AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare_async:
        for client in (Either(wrap(bare, meter, user="bob")), Either(wrap(bare_async, meter, user="ann"))):
            reply = await client.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))
            await client.do(lambda client, reply=reply: client.responses.retrieve(reply.id))

    assert meter.observed_for == ["bob", "ann"]


async def test_a_response_told_again_in_events_is_observed(either, meter):
    reply = await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    events = await either.events(lambda client: client.responses.retrieve(reply.id, stream=True))

    assert events[-1].type == "response.completed"
    assert [reading.response_id for reading in meter.observed] == [reply.id]


async def test_a_background_response_is_pending_until_its_end_is_seen(either, meter):
    queued = await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey", background=True))

    [(job_id, reading)] = meter.ticket.pended
    assert (job_id, reading.usage) == (queued.id, {"input_tokens": 1, "output_tokens": 0})
    await either.do(lambda client: client.responses.retrieve(queued.id))
    assert meter.jobs == []
    done = await either.do(lambda client: client.responses.retrieve(queued.id))

    assert done.status == "completed"
    [(job_id, outcome, reading)] = meter.jobs
    assert (job_id, outcome, reading.usage["output_tokens"]) == (queued.id, "completed", 111)
    assert meter.observed == []


async def test_a_background_response_that_fails_is_given_back(either, meter, fake):
    fake.script(Fault(job="failed"))
    queued = await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey", background=True))

    for _ in range(2):
        await either.do(lambda client: client.responses.retrieve(queued.id))

    assert meter.jobs == [(queued.id, "failed", None)]


def test_a_background_stream_that_is_left_goes_on_as_a_job(client, meter):
    stream = client.responses.create(model="gpt-5-mini", input="hey", background=True, stream=True)
    for number, _ in enumerate(stream):
        if number == 6:
            break

    [(_, reading)] = meter.ticket.pended
    assert meter.ticket.settled == []
    assert reading.usage == {"input_tokens": 1, "output_tokens": 3}


def test_a_cancelled_background_response_ends_its_job(client, meter):
    queued = client.responses.create(model="gpt-5-mini", input="hey", background=True)

    client.responses.cancel(queued.id)

    assert meter.jobs == [(queued.id, "failed", None)]
