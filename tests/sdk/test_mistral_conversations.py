"""Conversations of Mistral's: what a turn has used, what its tools have put in, and which model has replied."""

from __future__ import annotations

import gc

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, ResponseValidationError
from mistralai.client.models import CompletionArgs, MessageInputEntry

from callfare import Callfare
from callfare.capture import leftovers
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.mistral_dialect import Models
from callfare.devtools.fake_siblings import FakeMistral
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, UnpricedModel
from callfare.money import Credits, Usd
from callfare.usage.extract import read
from callfare.usage.mistral import read_conversation
from tests.sdk.mistral_clients import Kind, closed

PART = "beta.conversations"
ASKED = {"model": "mistral-small-latest", "inputs": "hi there"}
SEARCHING = ASKED | {"tools": [{"type": "web_search"}, {"type": "code_interpreter"}]}
USAGE = {"input_tokens": 2, "output_tokens": 57}
SEARCHED = {
    "input_tokens": 202,
    "connector_tokens": 200,
    "output_tokens": 57,
    "calls": 2,
    "web_searches": 1,
    "code_executions": 1,
}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves a stream waits until it is settled, however busy the machine is."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


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


@pytest.fixture(params=["sync", "async"])
def kind(request, client):
    return Kind(client, is_async=request.param == "async")


async def test_a_turn_is_settled_by_its_count(kind, meter):
    reply = await kind.do(PART, "start", **ASKED, completion_args=CompletionArgs(max_tokens=400))

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.model, estimated) == (USAGE, "mistral-small-latest", False)
    assert reading.response_id == reply.outputs[-1].id
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("mistral", "conversation", "mistral-small-latest")
    assert intent.usage == {"input_tokens": 2, "output_tokens": 400}


async def test_what_connectors_put_in_and_how_often_they_were_called_is_counted(kind, meter):
    reply = await kind.do(PART, "start", **SEARCHING)
    streamed = await kind.events(await kind.do(PART, "start_stream", **SEARCHING))

    plain, other = meter.tickets
    assert (plain.usage, plain.is_estimated) == (SEARCHED, False)
    assert (other.usage, other.is_estimated) == (SEARCHED, False)
    # What the provider says it is in all: what went in, what came out, and what tools put in between.
    assert reply.usage.total_tokens == SEARCHED["input_tokens"] + SEARCHED["output_tokens"]
    assert streamed[-1].data.usage == reply.usage


async def test_a_connector_without_a_meter_of_its_own_is_a_call(kind, meter):
    await kind.do(PART, "start", **ASKED, tools=[{"type": "web_search_premium"}, {"type": "image_generation"}])

    assert meter.ticket.usage["calls"] == 2
    assert "web_searches" not in meter.ticket.usage


async def test_every_turn_of_a_conversation_is_a_call_of_the_model_that_replies_in_it(kind, meter):
    first = await kind.do(PART, "start", **ASKED)
    await kind.do(PART, "append", conversation_id=first.conversation_id, inputs="hi there")
    await kind.events(await kind.do(PART, "append_stream", conversation_id=first.conversation_id, inputs="hi there"))
    again = await kind.do(PART, "restart", conversation_id=first.conversation_id, from_entry_id="e", inputs="hi there")
    await kind.events(
        await kind.do(
            PART, "restart_stream", conversation_id=again.conversation_id, from_entry_id="e", inputs="hi there"
        )
    )

    assert [ticket.intent.model for ticket in meter.tickets] == ["mistral-small-latest"] * 5
    assert [(ticket.usage, ticket.is_estimated) for ticket in meter.tickets] == [(USAGE, False)] * 5
    assert len({reading.response_id for ticket in meter.tickets for reading, _ in ticket.settled}) == 5


async def test_an_agents_turn_is_its_models_from_the_second_on(kind, meter):
    events = await kind.events(await kind.do(PART, "start_stream", agent_id="ag_1", inputs="hi there"))
    await kind.do(PART, "append", conversation_id=events[0].data.conversation_id, inputs="hi there")

    first, second = meter.tickets
    assert (first.intent.model, second.intent.model) == ("ag_1", "mistral-medium-latest")
    assert [reading.model for reading, _ in first.settled] == ["mistral-medium-latest"]


async def test_a_conversation_that_was_begun_elsewhere_is_known_once_it_is_asked_for(kind, server, meter):
    conversation_id = server.begun("mistral-large-2512")
    await kind.do(PART, "append", conversation_id=conversation_id, inputs="hi there")
    elsewhere = server.begun("mistral-large-2512")
    await kind.do(PART, "get", conversation_id=elsewhere)
    await kind.do(PART, "append", conversation_id=elsewhere, inputs="hi there")

    unknown, known = meter.tickets
    assert (unknown.intent.model, known.intent.model) == (conversation_id, "mistral-large-2512")
    assert [reading.model for reading, _ in unknown.settled] == ["mistral-large-2512"]


def test_only_the_latest_conversations_are_remembered():
    models = Models(kept=2)
    for number in (1, 2, 3):
        models.learn(f"conv_{number}", "mistral-small-latest")

    assert [models.of(f"conv_{number}") for number in (1, 2, 3)] == ["conv_1", *["mistral-small-latest"] * 2]


async def test_a_turn_that_breaks_is_charged_for_what_came_of_it(kind, server, meter):
    server.script(Fault(drop_after=12))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await kind.events(await kind.do(PART, "start_stream", **SEARCHING))

    assert meter.ticket.is_estimated
    assert meter.ticket.usage | {"output_tokens": 0} == {
        "input_tokens": 2,
        "output_tokens": 0,
        "calls": 2,
        "web_searches": 1,
        "code_executions": 1,
    }
    assert 0 < meter.ticket.usage["output_tokens"] < 57


async def test_a_turn_that_is_closed_is_charged_for_what_came_of_it(kind, meter):
    stream = await kind.do(PART, "start_stream", **ASKED)
    await kind.begun(stream, 6)

    await kind.close(stream)

    assert meter.ticket.is_estimated
    assert 0 < meter.ticket.usage["output_tokens"] < 57


def test_a_turn_that_is_left_and_dropped_is_charged_for_what_came_of_it(client, meter):
    for number, _ in enumerate(client.beta.conversations.start_stream(**ASKED)):
        if number == 6:
            break
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert meter.ticket.is_estimated


async def test_a_refused_turn_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await kind.do(PART, "start", **ASKED)

    assert server.count == 0


@pytest.mark.parametrize("method", ["start", "start_stream"])
async def test_a_turn_that_mistral_refuses_is_released(kind, server, meter, method):
    server.script(Fault(status=429))

    with pytest.raises(MistralError):
        await kind.do(PART, method, **ASKED)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_turn_that_does_not_fit_the_sdks_types_is_charged_all_the_same(kind, server, meter):
    server.script(Fault(usage={"prompt_tokens": 2, "completion_tokens": [57]}))

    with pytest.raises(ResponseValidationError):
        await kind.do(PART, "start", **ASKED)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


@pytest.mark.parametrize(
    ("usage", "tokens", "is_estimated"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17, "connector_tokens": 4}, 9, False),
        ({"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 21, "connector_tokens": 4}, 13, False),
        ({"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 99, "connector_tokens": 4}, 13, True),
    ],
)
async def test_what_was_put_in_stands_where_the_total_says(kind, server, meter, usage, tokens, is_estimated):
    server.script(Fault(usage=usage))

    await kind.do(PART, "start", **ASKED)

    assert (meter.ticket.usage["input_tokens"], meter.ticket.is_estimated) == (tokens, is_estimated)
    assert meter.ticket.usage["connector_tokens"] == 4


def test_a_turn_of_several_models_is_counted_at_the_last_and_a_doubt():
    models = ("codestral-2508", "mistral-large-4")
    entries = [{"type": "message.output", "model": model, "id": model} for model in models]
    reply = {"outputs": entries, "usage": {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}}

    reading = read("conversation", reply, model="ag_1", reader=read_conversation)

    assert (reading.model, reading.incomplete) == ("mistral-large-4", True)
    assert reading.usage == {"input_tokens": 9, "output_tokens": 8}


async def test_entries_made_as_the_sdks_objects_bound_the_input_too(kind, meter):
    await kind.do(
        PART, "start", model="mistral-small-latest", inputs=[MessageInputEntry(role="user", content="x" * 400)]
    )

    assert meter.ticket.intent.usage == {"input_tokens": 100}


def test_runs_of_the_sdks_own_go_by_the_metered_methods(client):
    conversations = client.beta.conversations

    # What they need is no part of this environment; all they call is what they are bound to.
    assert conversations.run_async.__self__ is conversations.run_stream_async.__self__ is conversations


async def test_a_turn_within_another_metered_call_is_not_metered_again(kind, meter):
    with marked_as_metered():
        await kind.do(PART, "start", **ASKED)

    assert meter.tickets == []


def test_a_turn_costs_what_mistral_charges_and_with_tools_of_no_price_is_unpriced(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        conversations = fare.wrap(bare).beta.conversations
        with fare.run("story", user="alice") as run:
            conversations.start(**ASKED)
            conversations.start(**SEARCHING)
            with pytest.raises(UnpricedModel):
                conversations.append(conversation_id="conv_elsewhere", inputs="hi there")

        # 2 at $0.15 and 57 at $0.60 a million.
        plain, searched = fare.calls(run).items
        assert (plain.status, plain.cost) == ("priced", Usd("0.0000345"))
        assert (searched.status, dict(searched.usage)) == ("unpriced", SEARCHED)
