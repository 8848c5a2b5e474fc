"""Cohere's SDK: what is charged for each call, and that the caller gets what the SDK gave."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import sys
import threading
import wave
from subprocess import run

import cohere
import pytest
from cohere.core import ApiError
from cohere.errors import TooManyRequestsError

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.cohere import wrap
from callfare.devtools.fake_cohere import FakeCohere
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput, Refused
from callfare.money import Credits, Usd

MODEL = "command-a-03-2025"
HELLO = [{"role": "user", "content": "hi there"}]
USAGE = {"input_tokens": 2, "output_tokens": 57}
PICTURE = "data:image/png;base64,aQ=="
# The SDK puts several replies together with what pydantic would rather have asked of the class.
MERGING = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def server():
    with FakeCohere() as fake:
        yield fake


def made(kind, server):
    return kind(base_url=server.base_url, api_key="none", max_retries=0)


class Kind:
    """A client of either kind, called in the same words."""

    def __init__(self, client):
        self.client = client
        self.is_async = "Async" in type(client).__name__

    async def do(self, method, client=None, **fields):
        reply = getattr(client or self.client, method)(**fields)
        return await reply if self.is_async else reply

    async def ask(self, **options):
        return await self.do("chat", **{"model": MODEL, "messages": HELLO} | options)

    async def events(self, method="chat_stream", **fields):
        stream = getattr(self.client, method)(**fields or {"model": MODEL, "messages": HELLO})
        return [event async for event in stream] if self.is_async else list(stream)


def seconds_of_silence(count):
    sound = io.BytesIO()
    with wave.open(sound, "wb") as header:
        header.setnchannels(1)
        header.setsampwidth(2)
        header.setframerate(8000)
        header.writeframes(bytes(2 * 8000 * count))
    return sound.getvalue()


async def closed(client):
    inner = client._client_wrapper.httpx_client.httpx_client
    if isinstance(client, cohere.AsyncClient):
        await inner.aclose()
    else:
        inner.close()


@pytest.fixture(params=[cohere.ClientV2, cohere.AsyncClientV2], ids=["sync", "async"])
async def kind(request, server, meter):
    bare = made(request.param, server)
    yield Kind(wrap_client(bare, meter, user=None))
    await closed(bare)


@pytest.fixture(params=[cohere.Client, cohere.AsyncClient], ids=["sync", "async"])
async def former(request, server, meter):
    """A client of the first generation of the API."""
    bare = made(request.param, server)
    yield Kind(wrap_client(bare, meter, user=None))
    await closed(bare)


@pytest.fixture
def bare(server):
    with made(cohere.ClientV2, server) as client:
        yield client


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)


async def test_a_chat_is_settled_by_what_is_billed_and_not_by_what_the_model_saw(kind, meter):
    reply = await kind.ask(max_tokens=400)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.response_id, estimated) == (USAGE, reply.id, False)
    assert reply.usage.tokens.input_tokens == 68
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("cohere", "chat", MODEL)
    assert intent.usage == {"input_tokens": 2, "output_tokens": 400}


async def test_a_stream_is_charged_alike(kind, meter):
    events = await kind.events()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert events[-1].delta.usage.billed_units.output_tokens == 57


async def test_a_streamed_call_of_a_tool_is_charged_as_the_plain_one(kind, meter):
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]

    await kind.ask(tools=tools)
    await kind.events(model=MODEL, messages=HELLO, tools=tools)

    assert [ticket.usage for ticket in meter.tickets] == [USAGE, USAGE]


async def test_messages_made_as_the_sdks_objects_bound_the_input_too(kind, meter):
    await kind.ask(messages=[cohere.UserChatMessageV2(content="x" * 400)])

    assert meter.ticket.intent.usage == {"input_tokens": 100}


async def test_embeddings_of_texts_are_charged_by_their_tokens(kind, meter):
    await kind.do("embed", model="embed-v4.0", texts=["hi there", "you"], input_type="search_document")

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("embedding", {"input_tokens": 3})


async def test_tokens_of_pictures_stand_within_the_input_beside_those_of_text(kind, meter):
    await kind.do("embed", model="embed-v4.0", images=[PICTURE], texts=["hi there"], input_type="search_document")

    assert meter.ticket.usage == {"input_tokens": 1002, "input_image_tokens": 1000, "input_images": 1}


@pytest.mark.parametrize(("documents", "searches"), [(["a"], 1), (["a"] * 100, 1), (["a"] * 101, 2)])
async def test_a_rerank_is_charged_by_its_searches(kind, meter, documents, searches):
    await kind.do("rerank", model="rerank-v4.0-pro", query="moon", documents=documents)

    assert meter.ticket.usage == meter.ticket.intent.usage == {"search_units": searches}


async def test_long_documents_of_a_rerank_are_bounded_by_their_pieces(kind, meter):
    # With the query, 2001 characters and 500 tokens more than one piece holds, so two of each.
    await kind.do("rerank", model="rerank-v4.0-pro", query="m", documents=["x" * 2000] * 60)

    assert meter.ticket.intent.usage == {"search_units": 2}


async def test_classes_pages_and_summaries_are_charged_by_their_own_units(kind, meter):
    document = {"type": "image_url", "image_url": {"url": PICTURE}}

    await kind.do("classify", model="embed-v4.0", inputs=["calm sea", "storm"])
    await kind.do("parse", model="parse-1", document=document)
    await kind.do("summarize", model="command", text="hi there")

    assert [ticket.usage for ticket in meter.tickets] == [{"classifications": 2}, {"pages": 1}, USAGE]


async def test_a_transcript_is_charged_by_the_length_of_what_was_sent(kind, meter):
    sound = ("a.wav", seconds_of_silence(3))

    await kind.do("create", kind.client.audio.transcriptions, model="transcribe", language="en", file=sound)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"audio_seconds": 3}, True)


async def test_the_first_generation_of_the_api_is_metered(former, meter):
    reply = await former.do("chat", model=MODEL, message="hi there")
    events = await former.events(model=MODEL, message="hi there")

    plain, streamed = meter.tickets
    assert (plain.usage, streamed.usage) == (USAGE, USAGE)
    assert plain.settled[0][0].response_id == reply.response_id
    assert streamed.settled[0][0].response_id == events[-1].response.response_id


async def test_texts_without_a_count_in_their_stream_are_an_estimate(former, meter):
    await former.do("generate", model="command", prompt="hi there", max_tokens=20, num_generations=2)
    await former.events("generate_stream", model="command", prompt="hi there")

    plain, streamed = meter.tickets
    assert (plain.intent.usage, plain.usage) == (
        {"input_tokens": 2, "output_tokens": 40},
        USAGE | {"output_tokens": 20},
    )
    assert (streamed.usage, streamed.is_estimated) == (USAGE, True)


async def test_the_second_generation_within_a_client_of_the_first_is_metered(former, meter):
    await former.do("chat", former.client.v2, model=MODEL, messages=HELLO)

    assert meter.ticket.usage == USAGE


async def test_a_raw_reply_is_settled_as_any(kind, meter):
    reply = await kind.do("chat", kind.client.with_raw_response, model=MODEL, messages=HELLO)

    assert (reply.status_code, meter.ticket.usage) == (200, USAGE)


async def test_what_costs_nothing_is_not_metered(former, meter, server):
    await former.do("tokenize", model=MODEL, text="hi there", offline=False)

    assert (server.count, meter.tickets) == (1, [])


# Embeddings in many requests


@MERGING
async def test_embeddings_that_the_sdk_cuts_up_are_as_many_calls(former, meter):
    reply = await former.do("embed", model="embed-v4.0", texts=["hi"] * 200, input_type="search_document")

    assert sorted(ticket.usage["input_tokens"] for ticket in meter.tickets) == [8, 96, 96]
    assert reply.meta.billed_units.input_tokens == 200


@MERGING
def test_embeddings_sent_by_the_sdks_threads_are_those_of_who_asked(server):
    with made(cohere.Client, server) as bare, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run_handle:
            fare.wrap(bare).embed(model="embed-v4.0", texts=["hi"] * 200, input_type="search_document")

        # 96, 96 and 8 tokens at $0.12 a million.
        costs = sorted(str(call.cost) for call in fare.calls(run_handle).items)
        assert costs == sorted(map(str, (Usd("0.00001152"), Usd("0.00001152"), Usd("0.00000096"))))


def test_requests_that_were_answered_are_charged_although_another_failed(server, meter):
    server.script(Fault(status=500))
    with made(cohere.Client, server) as bare:
        with pytest.raises(ApiError):
            wrap(bare, meter).embed(model="embed-v4.0", texts=["hi"] * 200, input_type="search_document")
        assert all(ticket.ended.wait(60) for ticket in meter.tickets)

    assert sum(ticket.released for ticket in meter.tickets) == 1
    assert all(ticket.settled or ticket.released for ticket in meter.tickets)


def test_embeddings_read_one_by_one_are_metered_as_they_are_sent(server, meter):
    with made(cohere.Client, server) as bare:
        found = list(wrap(bare, meter).embed_stream(model="embed-v4.0", texts=["hi"] * 100))

    assert len(found) == 100
    assert [ticket.usage["input_tokens"] for ticket in meter.tickets] == [96, 4]


# What goes wrong


async def test_a_count_that_cannot_be_true_is_estimated(kind, server, meter):
    server.script(Fault(usage={"billed_units": {"input_tokens": -4, "output_tokens": 57.5}}))

    await kind.ask()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, True)


async def test_a_reply_without_billed_units_is_charged_by_its_tokens_as_a_doubt(kind, server, meter):
    server.script(Fault(usage={"tokens": {"input_tokens": 68, "output_tokens": 58}}))

    await kind.ask()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 68, "output_tokens": 58}, True)


async def test_a_reply_without_any_count_is_charged_by_its_text(kind, server, meter):
    server.script(Fault(usage=None))

    await kind.ask()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, True)


@pytest.mark.parametrize("text_tokens", [40, 7])
async def test_a_count_in_two_ways_is_taken_so_that_nothing_counts_twice(kind, server, meter, text_tokens):
    billed = {"input_tokens": 47, "text_tokens": text_tokens, "image_tokens": 40}
    server.script(Fault(usage={"billed_units": billed}))

    await kind.do("embed", model="embed-v4.0", texts=["hi"], input_type="search_document")

    assert meter.ticket.usage == {"input_tokens": text_tokens + 40, "input_image_tokens": 40}
    assert meter.ticket.is_estimated == (text_tokens == 40)


async def test_a_reply_that_is_no_json_is_charged_all_the_same(kind, server, meter):
    server.script(Fault(usage=float("nan")))

    reply = await kind.ask()

    assert reply.message.content[0].text
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, True)


async def test_a_refused_call_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    for call in (kind.ask, kind.events):
        with pytest.raises(InsufficientCredit):
            await call()

    assert server.count == 0


async def test_a_call_that_cohere_refuses_is_released(kind, server, meter):
    server.script(Fault(status=429), Fault(status=429))

    for call in (kind.ask, kind.events):
        with pytest.raises(TooManyRequestsError):
            await call()

    assert [(ticket.settled, ticket.released) for ticket in meter.tickets] == [([], 1), ([], 1)]


async def test_retries_within_the_sdk_are_one_call(kind, server, meter):
    server.script(Fault(status=429, retry_after="0"))

    await kind.ask(request_options={"max_retries": 1})

    assert (server.count, meter.ticket.usage) == (2, USAGE)


async def test_what_a_request_adds_to_its_body_is_read_too(kind, meter):
    await kind.ask(request_options={"additional_body_parameters": {"max_tokens": 10}})

    assert meter.ticket.intent.usage["output_tokens"] == 10


async def test_a_request_that_cannot_be_read_is_made_all_the_same(kind, meter, caplog):
    class Odd(dict):
        def items(self):
            raise RuntimeError

    with caplog.at_level(logging.CRITICAL):
        await kind.ask(request_options=Odd())

    assert meter.ticket.usage == USAGE


# The client


def test_the_given_client_stays_as_it_is(bare, client, meter):
    bare.chat(model=MODEL, messages=HELLO)
    bare.v2.chat(model=MODEL, messages=HELLO)

    assert meter.tickets == []
    assert isinstance(client, cohere.ClientV2)
    assert client.models is not None


def test_the_sdks_own_checks_of_a_call_stay(client, meter, caplog):
    with pytest.raises(ValueError, match="chat_stream"):
        client.chat(model=MODEL, messages=HELLO, stream=True)
    client.chat(model=MODEL, messages=HELLO, response_format={"type": "json_object", "schema": {}})

    assert len(meter.tickets) == 1
    assert "experimental" in caplog.text


def test_a_copy_of_a_client_is_metered_too(bare, meter):
    wrap(copy.copy(bare), meter).chat(model=MODEL, messages=HELLO)

    assert meter.ticket.usage == USAGE


def test_a_client_wrapped_twice_meters_once(client, meter):
    assert wrap_client(client, meter, user=None) is client
    wrap_client(client, meter, user="alice").chat(model=MODEL, messages=HELLO)

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", USAGE)


async def test_a_call_within_another_metered_one_is_not_metered_again(kind, meter):
    with marked_as_metered():
        await kind.ask()
        await kind.events()

    assert meter.tickets == []


def test_threads_share_a_client(client, meter):
    threads = [threading.Thread(target=client.chat, kwargs={"model": MODEL, "messages": HELLO}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 8


async def test_tasks_share_a_client(server, meter):
    bare = made(cohere.AsyncClientV2, server)
    client = wrap(bare, meter)

    await asyncio.gather(*(client.chat(model=MODEL, messages=HELLO) for _ in range(8)))

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 8
    await closed(bare)


@pytest.mark.parametrize("what", [cohere.ClientV2, type("Part", (), {"__module__": "cohere.client"})()])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_a_client_for_a_cloud_is_that_clouds(server, meter):
    class ForAWS(cohere.ClientV2):
        __module__ = "cohere.bedrock_client"

    with made(ForAWS, server) as bare:
        wrap(bare, meter).chat(model="cohere.command-r-plus-v1:0", messages=HELLO)

    assert meter.ticket.intent.provider == "aws"


def test_nothing_that_was_said_is_kept(client, meter):
    client.chat(model=MODEL, messages=[{"role": "user", "content": "the moon is cheese"}])

    [(reading, _)] = meter.ticket.settled
    assert "cheese" not in json.dumps(reading.raw)


def test_a_call_costs_what_cohere_charges(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run_handle:
            metered = fare.wrap(bare)
            metered.chat(model=MODEL, messages=HELLO)
            metered.rerank(model="rerank-v4.0-pro", query="moon", documents=["a"] * 101)

        # 2 at $2.50 and 57 at $10 a million; 2 searches at $2.50 a thousand.
        chat, search = fare.calls(run_handle).items
        assert (chat.provider, chat.status, chat.cost) == ("cohere", "priced", Usd("0.000575"))
        assert (search.status, search.cost) == ("priced", Usd("0.005"))


def test_what_has_no_rate_is_refused_within_a_run_and_kept_unpriced_outside_one(bare, server):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        metered = fare.wrap(bare)
        with fare.run("story", user="alice"), pytest.raises(Refused):
            metered.rerank(model="rerank-v3.5", query="moon", documents=["a"])
        assert server.count == 0
        with fare.user("alice"):
            metered.rerank(model="rerank-v3.5", query="moon", documents=["a"])

        assert (fare.usage("alice").calls, fare.usage("alice").unpriced_calls) == (1, 1)


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.cohere, sys; print('cohere' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
