"""Ollama's own SDK: what is charged for each call, who answered it, and that the caller gets what the SDK gave."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from subprocess import run

import ollama
import pytest

from callfare.capture.base import is_metered, marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.ollama import text_in
from callfare.devtools.fake_ollama import ALIAS, FakeOllama
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits
from tests.sdk.reading import Reading

MODEL = "llama3.2"
HELLO = [{"role": "user", "content": "hi there"}]
# Eight characters are two tokens, and a message has three more; the reply's 226 characters are 57.
USAGE = {"input_tokens": 5, "output_tokens": 57}


@pytest.fixture
def server():
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def bare(server):
    with ollama.Client(host=server.base_url) as client:
        yield client


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)


class Kind(Reading):
    """One kind of client, called in the same words as the other."""

    def __init__(self, client, *, is_async):
        self.client, self.is_async = client, is_async

    async def do(self, method, **fields):
        reply = getattr(self.client, method)(**{"model": MODEL} | fields)
        return await reply if self.is_async else reply

    async def ask(self, **fields):
        return await self.do("chat", **{"messages": HELLO} | fields)


@pytest.fixture(params=["sync", "async"])
async def kind(request, server, meter):
    if request.param == "sync":
        with ollama.Client(host=server.base_url) as bare:
            yield Kind(wrap_client(bare, meter, user=None), is_async=False)
    else:
        async with ollama.AsyncClient(host=server.base_url) as bare:
            yield Kind(wrap_client(bare, meter, user=None), is_async=True)


# What is counted


async def test_a_chat_is_settled_by_its_count(kind, meter):
    reply = await kind.ask(options={"num_predict": 400})

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.model, estimated) == (USAGE, MODEL, False)
    assert reply.eval_count == 57
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("ollama", "chat", MODEL)
    assert (intent.usage, intent.attributes) == ({"input_tokens": 2, "output_tokens": 400}, {"region": "local"})


async def test_a_stream_is_charged_alike(kind, meter):
    events = await kind.read(await kind.ask(stream=True))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert (events[-1].done, events[-1].eval_count) == (True, 57)
    assert "".join(event.message.content for event in events).startswith(events[0].message.content)


async def test_what_a_model_thinks_is_in_its_output(kind, meter):
    await kind.ask(think=True)
    await kind.read(await kind.ask(think=True, stream=True))

    plain, streamed = meter.tickets
    assert plain.usage == streamed.usage == {"input_tokens": 5, "output_tokens": 61}


async def test_completions_and_embeddings_are_metered(kind, meter):
    await kind.do("generate", prompt="hi there")
    await kind.read(await kind.do("generate", prompt="hi there", stream=True))
    await kind.do("embed", input=["hi there", "four words in here"])

    plain, streamed, embedded = meter.tickets
    assert plain.usage == streamed.usage
    assert plain.usage["input_tokens"] == 2
    assert (embedded.intent.operation, embedded.usage, embedded.is_estimated) == (
        "embedding",
        {"input_tokens": 7},
        False,
    )


async def test_embeddings_of_the_older_kind_have_no_count_and_are_an_estimate(kind, meter):
    await kind.do("embeddings", prompt="four words in here")

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5}, True)


async def test_a_picture_is_counted(kind, meter):
    await kind.do("generate", prompt="a lighthouse", width=512, height=512)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"images": 1}, False)


async def test_a_request_that_only_loads_a_model_is_released(kind, meter):
    await kind.do("generate")
    await kind.do("chat", messages=[], stream=False)

    assert [(ticket.settled, ticket.released) for ticket in meter.tickets] == [([], 1), ([], 1)]


def test_answers_of_a_model_that_scores_are_metered(client, meter):
    client.systemone(MODEL, state="wet", questions={"rain": {"type": "noul", "instructions": "Does it rain?"}})

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 30, "output_tokens": 2}, False)


async def test_what_bounds_the_input_is_text_and_not_pictures(kind, meter):
    await kind.ask(messages=[{"role": "user", "content": "x" * 400, "images": [b"\x89PNG" * 1000]}])
    await kind.do("generate", prompt="x" * 40, context=[1, 2, 3])

    assert [ticket.intent.usage for ticket in meter.tickets] == [{"input_tokens": 100}, {"input_tokens": 13}]


async def test_what_handles_models_is_not_metered(kind, meter):
    listed = kind.client.list()
    assert (await listed if kind.is_async else listed).models == []

    assert meter.tickets == []


# Where it was answered


@pytest.mark.parametrize(
    ("model", "region"),
    [("llama3.2", "local"), ("gpt-oss:120b-cloud", "cloud"), ("glm-5:cloud", "cloud"), (ALIAS, "cloud")],
)
async def test_what_the_cloud_answered_says_so(kind, meter, model, region):
    await kind.ask(model=model)
    await kind.read(await kind.ask(model=model, stream=True))

    for ticket in meter.tickets:
        assert ticket.settled[0][0].attributes == {"region": region}


async def test_a_stream_of_the_clouds_that_is_left_says_so_too(kind, meter):
    await kind.read(await kind.ask(model=ALIAS, stream=True), most=2)
    gc.collect()

    assert await asyncio.to_thread(meter.ticket.ended.wait, 10)
    assert (meter.ticket.settled[0][0].attributes, meter.ticket.is_estimated) == ({"region": "cloud"}, True)


def test_a_client_of_the_clouds_own_address_is_the_clouds(meter):
    with ollama.Client(host="https://ollama.com") as bare:
        meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))
        asked = []
        meter.admit = lambda intent, *, user=None: asked.append(intent) or (_ for _ in ()).throw(meter.refusal)
        with pytest.raises(InsufficientCredit):
            wrap_client(bare, meter, user=None).chat(model="gpt-oss:120b", messages=HELLO)

    [intent] = asked
    assert (intent.provider, intent.attributes) == ("ollama", {"region": "cloud"})


async def test_the_tag_that_a_name_has_without_one_is_left_out(kind, meter):
    await kind.ask(model="llama3.2:latest")
    await kind.ask(model="llama3.2:1b")

    assert [ticket.intent.model for ticket in meter.tickets] == ["llama3.2", "llama3.2:1b"]
    assert [ticket.settled[0][0].model for ticket in meter.tickets] == ["llama3.2", "llama3.2:1b"]


# How calls end


async def test_a_stream_left_is_an_estimate_and_the_count_corrects_it(kind, meter):
    stream = await kind.ask(stream=True)
    await kind.read(stream, most=3)
    assert await asyncio.to_thread(meter.ticket.ended.wait, 10)
    await kind.read(stream)

    (left, first), (whole, second) = meter.ticket.settled
    assert (first, second) == (True, False)
    assert 0 < left.usage["output_tokens"] < 57
    assert whole.usage == USAGE


async def test_thoughts_and_calls_of_tools_are_in_an_estimate(kind, server, meter):
    server.script(Fault(usage=None))
    await kind.read(await kind.ask(stream=True, think=True), most=2)
    await asyncio.to_thread(meter.ticket.ended.wait, 10)

    # "Let me " is seven characters.
    assert (meter.ticket.is_estimated, meter.ticket.usage["output_tokens"]) == (True, 2)
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": {"place": "harbour"}}}]}
    assert text_in(ollama.ChatResponse(message=called)) == len("harbour")


async def test_a_stream_that_is_closed_is_an_estimate(kind, meter):
    stream = await kind.ask(stream=True)
    if kind.is_async:
        await anext(stream)
        await stream.aclose()
    else:
        next(stream)
        stream.close()

    assert meter.ticket.is_estimated
    assert meter.ticket.usage["input_tokens"] == 2


async def test_a_stream_that_is_dropped_unread_is_settled(kind, meter):
    stream = await kind.ask(stream=True)
    del stream
    gc.collect()

    assert await asyncio.to_thread(meter.ticket.ended.wait, 10)
    assert (meter.ticket.is_estimated, meter.ticket.usage["output_tokens"]) == (True, 0)


async def test_a_stream_that_breaks_is_charged_for_what_came(kind, server, meter):
    server.script(Fault(drop_after=5))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await kind.read(await kind.ask(stream=True))

    assert meter.ticket.is_estimated
    assert 0 < meter.ticket.usage["output_tokens"] < 57


async def test_an_error_within_a_stream_is_raised_and_what_came_is_charged(kind, server, meter):
    server.script(Fault(error_after=5))

    with pytest.raises(ollama.ResponseError, match="told to fail"):
        await kind.read(await kind.ask(stream=True))

    assert meter.ticket.is_estimated


async def test_an_error_in_place_of_a_streams_first_event_is_no_call(kind, server, meter):
    server.script(Fault(error_after=0))

    with pytest.raises(ollama.ResponseError):
        await kind.ask(stream=True)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_refused_call_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    for is_stream in (False, True):
        with pytest.raises(InsufficientCredit):
            await kind.ask(stream=is_stream)

    assert server.count == 0


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_ollama_refuses_is_released(kind, server, meter, is_stream):
    server.script(Fault(status=404, message="model 'llama3.2' not found"))

    with pytest.raises(ollama.ResponseError, match="not found"):
        await kind.ask(stream=is_stream)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_server_that_is_not_there_is_no_call(meter):
    with FakeOllama() as gone:
        address = gone.base_url

    with ollama.Client(host=address) as bare, pytest.raises(ConnectionError):
        wrap_client(bare, meter, user=None).chat(model=MODEL, messages=HELLO)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_is_cancelled_before_its_answer_is_released(server, meter, is_stream):
    pause = Pause()
    server.script(Fault(pause=pause))
    async with ollama.AsyncClient(host=server.base_url) as bare:
        client = wrap_client(bare, meter, user=None)
        asking = asyncio.create_task(client.chat(model=MODEL, messages=HELLO, stream=is_stream))
        assert await asyncio.to_thread(pause.reached.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        pause.released.set()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


# Hostile replies


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": -5, "eval_count": 57}, {"input_tokens": 2, "output_tokens": 57}),
        ({"prompt_eval_count": 5, "eval_count": 10**30}, {"input_tokens": 5, "output_tokens": 57}),
        ({}, {"input_tokens": 2, "output_tokens": 57}),
    ],
)
async def test_counts_that_cannot_be_true_are_an_estimate(kind, server, meter, counts, usage):
    server.script(Fault(usage=counts), Fault(usage=counts))

    await kind.ask()
    await kind.read(await kind.ask(stream=True))

    plain, streamed = meter.tickets
    assert (plain.usage, plain.is_estimated) == (usage, True)
    assert (streamed.usage["input_tokens"], streamed.is_estimated) == (usage["input_tokens"], True)


async def test_a_reply_that_does_not_fit_the_sdks_types_is_charged_all_the_same(kind, server, meter):
    wrong = {"prompt_eval_count": 5, "eval_count": [57]}
    server.script(Fault(usage=wrong), Fault(usage=wrong))

    with pytest.raises(ValueError, match="eval_count"):
        await kind.ask()
    with pytest.raises(ValueError, match="eval_count"):
        await kind.read(await kind.ask(stream=True))

    for ticket in meter.tickets:
        assert (ticket.is_estimated, ticket.usage["input_tokens"]) == (True, 5)


# The client


def test_the_given_client_stays_as_it_is(bare, client, meter):
    bare.chat(model=MODEL, messages=HELLO)

    assert meter.tickets == []
    assert isinstance(client, ollama.Client)


def test_a_client_wrapped_twice_meters_once(client, meter):
    assert wrap_client(client, meter, user=None) is client
    wrap_client(client, meter, user="alice").chat(model=MODEL, messages=HELLO)

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", USAGE)


async def test_what_lies_below_knows_that_its_calls_are_metered(server, meter):
    with ollama.Client(host=server.base_url) as bare:
        theirs, seen = bare._request, []
        bare._request = lambda *rest, **fields: seen.append(is_metered()) or theirs(*rest, **fields)
        client = wrap_client(bare, meter, user=None)
        client.chat(MODEL, HELLO)
        list(client.chat(MODEL, HELLO, stream=True))
        client.list()

    assert seen == [True, True, False]


async def test_a_call_within_another_metered_one_is_not_metered_again(kind, meter):
    with marked_as_metered():
        await kind.ask()
        await kind.read(await kind.ask(stream=True))

    assert meter.tickets == []


def test_a_metered_client_keeps_the_connections_of_the_given_one_open(server, meter):
    client = wrap_client(ollama.Client(host=server.base_url), meter, user=None)
    gc.collect()

    client.chat(model=MODEL, messages=HELLO)

    assert meter.ticket.usage == USAGE
    client.close()


def test_calls_of_several_threads_are_each_counted_once(client, server, meter):
    pause = Pause()
    server.script(Fault(pause=pause))
    threads = [threading.Thread(target=client.chat, args=(MODEL, HELLO)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert pause.reached.wait(60)
    pause.released.set()
    for thread in threads:
        thread.join(60)

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 4


@pytest.mark.parametrize("what", [ollama.Client, type("Part", (), {"__module__": "ollama._types"})()])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_a_broken_meter_does_not_reach_the_caller(client, meter):
    meter.breaks = True

    assert client.chat(model=MODEL, messages=HELLO).message.content
    assert list(client.chat(model=MODEL, messages=HELLO, stream=True))[-1].done


def test_nothing_that_was_said_is_kept(client, meter):
    client.chat(model=MODEL, messages=[{"role": "user", "content": "the moon is cheese"}])

    [(reading, _)] = meter.ticket.settled
    assert reading.raw["usage"] == {"prompt_eval_count": 8, "eval_count": reading.usage["output_tokens"]}
    assert "cheese" not in json.dumps(reading.raw)


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.clients, sys; print('ollama' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
