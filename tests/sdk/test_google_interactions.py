"""Interactions of Google's: created, streamed, in the background and asked for again, by the real SDK."""

from __future__ import annotations

import gc

import pytest
from google import genai

from callfare.capture import google
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits
from callfare.usage.quantities import leaves
from tests.capture.realtime import counted, said

MODEL = "gemini-2.5-flash"
ASK = {"model": MODEL, "input": "hi there"}
REFUSAL = InsufficientCredit("alice", needed=Credits(1), available=Credits(0))
# "hi there" is two tokens; 57 come back, after 64 of thought.
ANSWER = {"input_tokens": 2, "output_tokens": 121, "reasoning_tokens": 64}


@pytest.fixture(params=["sync", "async"])
async def interactions(request, gemini, meter):
    """The resource of either kind of client."""
    with genai.Client(api_key="none", http_options={"base_url": gemini.base_url}) as bare:
        client = google.wrap(bare, meter)
        yield client.interactions if request.param == "sync" else client.aio.interactions
        await bare.aio.aclose()


def settled(meter):
    """What was settled, in order."""
    return [(counted(reading.usage), estimated) for one in meter.tickets for reading, estimated in one.settled]


async def events_of(stream):
    """Return all events of a stream of either kind."""
    return [event async for event in stream] if hasattr(stream, "__anext__") else list(stream)


async def test_an_interaction_is_settled_by_its_count_with_its_thoughts(interactions, meter):
    reply = await said(interactions.create(**ASK))

    assert reply.status == "completed"
    assert settled(meter) == [(ANSWER, False)]
    assert sum(leaves(ANSWER).values()) == reply.usage.total_tokens == 123
    [(reading, _)] = meter.ticket.settled
    assert (reading.model, reading.response_id) == (MODEL, reply.id)
    assert (meter.ticket.intent.provider, reading.attributes) == ("google", {"service_tier": "default"})


async def test_what_tools_pictures_and_the_cache_bring_stands_apart(interactions, meter):
    picture = {"type": "image", "mime_type": "image/png", "data": "cG5n"}
    reply = await said(
        interactions.create(
            model=MODEL,
            input=[{"type": "text", "text": "hi there"}, picture],
            tools=[{"type": "google_search"}],
            previous_interaction_id="interaction_0",
            service_tier="flex",
        )
    )

    [(usage, is_estimated)] = settled(meter)
    assert usage == {
        "input_tokens": 460,
        "cached_input_tokens": 100,
        "input_image_tokens": 258,
        "output_tokens": 121,
        "reasoning_tokens": 64,
        "web_searches": 2,
    }
    assert (usage["input_tokens"] + usage["output_tokens"], is_estimated) == (reply.usage.total_tokens, False)
    assert meter.ticket.settled[0][0].attributes == {"service_tier": "flex"}


async def test_a_streamed_interaction_is_settled_by_its_last_event(interactions, meter):
    events = await events_of(await said(interactions.create(**ASK, stream=True)))

    assert events[-1].event_type == "interaction.completed"
    assert settled(meter) == [(ANSWER, False)]


async def test_a_stream_that_is_closed_early_is_settled_by_what_was_received(interactions, meter):
    stream = await said(interactions.create(**ASK, stream=True))
    if hasattr(stream, "__anext__"):
        for _ in range(4):
            await anext(stream)
    else:
        for _ in range(4):
            next(stream)

    await said(stream.close())

    [(usage, is_estimated)] = settled(meter)
    assert (usage["input_tokens"], usage["output_tokens"] in range(1, 58), is_estimated) == (2, True, True)


async def test_a_stream_that_breaks_is_settled_by_what_was_received(interactions, meter, gemini):
    gemini.script(Fault(drop_after=4))
    stream = await said(interactions.create(**ASK, stream=True, automatic_continuation=False))

    with pytest.raises(Exception, match="peer|closed|incomplete|disconnect"):  # noqa: RUF043 - either library's words
        await events_of(stream)

    # Two pieces of text came, with nine bytes.
    assert settled(meter) == [({"input_tokens": 2, "output_tokens": 3}, True)]


async def test_a_stream_that_is_dropped_is_settled(interactions, meter):
    stream = await said(interactions.create(**ASK, stream=True, automatic_continuation=False))

    del stream
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert len(settled(meter)) == 1


async def test_an_interaction_in_the_background_is_pended_and_settled_when_its_end_is_seen(interactions, meter):
    made = await said(interactions.create(**ASK, background=True))
    [(job_id, _)] = meter.ticket.pended
    first = await said(interactions.get(made.id))
    assert meter.jobs == []

    last = await said(interactions.get(made.id))

    assert (first.status, last.status, job_id) == ("in_progress", "completed", made.id)
    [(told_id, outcome, reading)] = meter.jobs
    assert (told_id, outcome, counted(reading.usage)) == (made.id, "completed", ANSWER)
    assert settled(meter) == []


async def test_one_in_the_background_that_is_cancelled_gives_its_hold_back(interactions, meter):
    made = await said(interactions.create(**ASK, background=True))

    await said(interactions.cancel(made.id))

    assert [(job_id, outcome) for job_id, outcome, _ in meter.jobs] == [(made.id, "failed")]


async def test_asking_for_an_interaction_again_charges_nothing(interactions, meter):
    made = await said(interactions.create(**ASK))
    await said(interactions.get(made.id))
    await said(interactions.get(made.id))

    assert settled(meter) == [(ANSWER, False)]
    assert [counted(reading.usage) for reading in meter.observed] == [ANSWER]


async def test_an_interaction_is_refused_before_it_is_sent(interactions, meter, gemini):
    meter.refusal = REFUSAL

    with pytest.raises(InsufficientCredit):
        await said(interactions.create(**ASK))

    assert gemini.count == 0


async def test_one_that_the_provider_refuses_is_let_go(interactions, meter, gemini):
    gemini.script(Fault(status=400))

    with pytest.raises(Exception, match="told to fail"):
        await said(interactions.create(**ASK))

    assert (settled(meter), meter.ticket.released) == ([], 1)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"total_input_tokens": -2, "total_output_tokens": 57},
        {"total_input_tokens": 10**30, "total_output_tokens": 57},
        {"total_input_tokens": "many", "total_output_tokens": 57},
    ],
)
async def test_counts_that_cannot_be_true_are_replaced_by_what_was_seen(interactions, meter, gemini, usage):
    gemini.script(Fault(usage=usage))

    await said(interactions.create(**ASK))

    assert settled(meter) == [({"input_tokens": 2, "output_tokens": 57}, True)]


async def test_a_raw_reply_is_settled_as_well(interactions, meter):
    raw = await said(interactions.with_raw_response.create(**ASK))

    assert (await said(raw.parse())).status == "completed"
    assert settled(meter) == [(ANSWER, False)]


def test_a_client_that_is_wrapped_twice_counts_an_interaction_once(gemini_client, meter):
    other = google.wrap(gemini_client, meter, user="ann")

    other.interactions.create(**ASK)

    assert (settled(meter), meter.ticket.user) == ([(ANSWER, False)], "ann")


def test_the_given_client_stays_as_it_is(gemini, meter):
    with genai.Client(api_key="none", http_options={"base_url": gemini.base_url}) as bare:
        former = bare.interactions
        wrapped = google.wrap(bare, meter)

        bare.interactions.create(**ASK)
        assert meter.tickets == []
        wrapped.interactions.create(**ASK)

    assert bare.interactions is former
    assert isinstance(wrapped.interactions, type(former))
    assert settled(meter) == [(ANSWER, False)]
