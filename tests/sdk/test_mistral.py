"""Mistral's own SDK: what is charged for each call, and that the caller gets what the SDK gave."""

from __future__ import annotations

import asyncio
import json
import sys
from subprocess import run

import pydantic
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, ResponseValidationError
from mistralai.client.models import UserMessage
from mistralai.client.utils import BackoffStrategy, RetryConfig

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_siblings import FakeMistral
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits, Usd
from tests.sdk.mistral_clients import Kind, closed

MODEL = "mistral-small-latest"
HELLO = [{"role": "user", "content": "hi there"}]
USAGE = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}


@pytest.fixture
def server():
    with FakeMistral() as fake:
        yield fake


@pytest.fixture
async def bare(server):
    client = Mistral(server_url=server.base_url, api_key="none")
    yield client
    await closed(client)


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)


class Chats(Kind):
    """Chats in the same words for both."""

    async def ask(self, **options):
        return await self.do("chat", "complete", **{"model": MODEL, "messages": HELLO} | options)

    async def stream(self, **options):
        return await self.do("chat", "stream", **{"model": MODEL, "messages": HELLO} | options)


@pytest.fixture(params=["sync", "async"])
def kind(request, client):
    return Chats(client, is_async=request.param == "async")


async def test_a_chat_is_settled_by_its_count(kind, meter):
    reply = await kind.ask(max_tokens=400)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.response_id, estimated) == (USAGE, reply.id, False)
    assert reading.attributes["service_tier"] == "standard"
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("mistral", "chat", MODEL)
    assert intent.usage == {"input_tokens": 2, "output_tokens": 400}


async def test_a_stream_is_charged_alike(kind, meter):
    events = await kind.events(await kind.stream())

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert events[-1].data.usage.completion_tokens == 57


async def test_a_stream_left_within_its_with_is_an_estimate(kind, meter):
    stream = await kind.stream()
    if kind.is_async:
        async with stream as events:
            await anext(events)
    else:
        with stream as events:
            next(events)

    assert meter.ticket.settled[-1][1]


async def test_a_stream_that_breaks_is_charged_for_what_came(kind, server, meter):
    server.script(Fault(drop_after=5))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await kind.events(await kind.stream())

    assert meter.ticket.is_estimated
    assert 0 < meter.ticket.usage["output_tokens"] < 57


async def test_messages_made_as_the_sdks_objects_bound_the_input_too(kind, meter):
    await kind.ask(messages=[UserMessage(content="x" * 400)])

    assert meter.ticket.intent.usage == {"input_tokens": 100}


async def test_completions_agents_and_embeddings_are_metered(kind, meter):
    await kind.do("agents", "complete", agent_id="ag:lighthouse", messages=HELLO)
    await kind.do("fim", "complete", model="codestral-latest", prompt="def add(", suffix="return")
    await kind.do("embeddings", "create", model="mistral-embed", inputs=["hi there"])

    agent, middle, embedded = meter.tickets
    assert (agent.intent.model, agent.usage) == ("ag:lighthouse", USAGE)
    assert (middle.intent.operation, middle.is_estimated) == ("chat", False)
    assert (embedded.intent.operation, embedded.usage) == ("embedding", {"input_tokens": 2})


class Answer(pydantic.BaseModel):
    text: str


def test_a_helper_over_the_methods_is_metered_once(client, meter):
    reply = client.chat.parse(Answer, model=MODEL, messages=HELLO)

    assert isinstance(reply.choices[0].message.parsed, Answer)
    assert (meter.ticket.usage["output_tokens"], meter.ticket.is_estimated) == (reply.usage.completion_tokens, False)


async def test_a_reply_that_does_not_fit_the_sdks_types_is_charged_all_the_same(kind, server, meter):
    server.script(Fault(usage={"prompt_tokens": 5, "completion_tokens": [57]}))

    with pytest.raises(ResponseValidationError):
        await kind.ask()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 57}, True)


async def test_a_refused_call_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await kind.ask()

    assert server.count == 0


@pytest.mark.parametrize("method", ["complete", "stream"])
async def test_a_call_that_mistral_refuses_is_released(kind, server, meter, method):
    server.script(Fault(status=429))

    with pytest.raises(MistralError):
        await kind.do("chat", method, model=MODEL, messages=HELLO)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_retries_within_the_sdk_are_one_call(kind, server, meter):
    server.script(Fault(status=500), Fault(status=500))

    await kind.ask(retries=RetryConfig("backoff", BackoffStrategy(1, 2, 1, 9000), retry_connection_errors=False))

    assert (server.count, meter.ticket.usage) == (3, USAGE)


def test_the_given_client_stays_as_it_is(bare, client, meter):
    bare.chat.complete(model=MODEL, messages=HELLO)

    assert meter.tickets == []
    assert isinstance(client, Mistral)
    assert client.models is not None


def test_a_client_wrapped_twice_meters_once(client, meter):
    assert wrap_client(client, meter, user=None) is client
    wrap_client(client, meter, user="alice").chat.complete(model=MODEL, messages=HELLO)

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", USAGE)


async def test_a_call_within_another_metered_one_is_not_metered_again(kind, meter):
    with marked_as_metered():
        await kind.ask()

    assert meter.tickets == []


def test_a_metered_client_keeps_the_connections_of_the_given_one_open(server, meter):
    client = wrap_client(Mistral(server_url=server.base_url, api_key="none"), meter, user=None)

    client.chat.complete(model=MODEL, messages=HELLO)

    assert meter.ticket.usage == USAGE
    client.sdk_configuration.client.close()
    asyncio.run(client.sdk_configuration.async_client.aclose())


@pytest.mark.parametrize("what", [Mistral, type("Part", (), {"__module__": "mistralai.client.chat"})()])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_nothing_that_was_said_is_kept(client, meter):
    client.chat.complete(model=MODEL, messages=[{"role": "user", "content": "the moon is cheese"}])

    [(reading, _)] = meter.ticket.settled
    assert "cheese" not in json.dumps(reading.raw)


def test_a_call_costs_what_mistral_charges(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run_handle:
            fare.wrap(bare).chat.complete(model=MODEL, messages=HELLO)

        # 4 at $0.15, one cached at $0.015, and 57 at $0.60 a million.
        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status, call.cost) == ("mistral", "priced", Usd("0.000034815"))


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.clients, sys; print('mistralai' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
