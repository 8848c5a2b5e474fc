"""Clients of SDKs for other clouds: their calls are metered as the SDK's own are, at the prices of whoever answers."""

from __future__ import annotations

import re

import anthropic
import openai
import pytest

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.capture.providers import endpoint_at
from callfare.devtools.fake_anthropic import FakeAnthropic
from callfare.devtools.fake_bedrock import FakeBedrock
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.money import Usd
from tests.capture.conftest import Either

HELLO = [{"role": "user", "content": "hi there"}]
SONNET = "claude-sonnet-4-5@20250929"
PROFILE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
RAW_PREDICT = re.compile(r"/projects/p/locations/us-east5/publishers/anthropic/models/([^/:]+):(raw|streamRaw)Predict")


class VertexHandler(FakeAnthropic.handler):
    """Vertex AI has the model in its path, and leaves the rest to Anthropic."""

    def route(self, path, fields, upload):
        found = RAW_PREDICT.fullmatch(path)
        if found is None or not fields.get("anthropic_version"):
            self.write_error(404, f"Unknown request URL: {path}")
        else:
            super().route("/v1/messages", fields | {"model": found[1]}, upload)


class FakeVertex(FakeAnthropic):
    handler = VertexHandler


VERTEX = {"region": "us-east5", "project_id": "p", "access_token": "none", "max_retries": 0}


@pytest.fixture
def vertex_claude():
    with FakeVertex() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
async def vertex(request, vertex_claude, meter):
    kind = anthropic.AnthropicVertex if request.param == "sync" else anthropic.AsyncAnthropicVertex
    bare = kind(base_url=vertex_claude.base_url, **VERTEX)
    yield Either(wrap_client(bare, meter, user=None))
    closing = bare.close()
    if closing is not None:
        await closing


def ask(client, **options):
    return client.messages.create(**{"model": SONNET, "max_tokens": 400, "messages": HELLO} | options)


async def test_a_message_at_vertex_is_settled_by_its_count(vertex, meter):
    await vertex.do(ask)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, estimated) == ({"input_tokens": 5, "output_tokens": 57}, False)
    assert (meter.ticket.intent.provider, meter.ticket.intent.model) == ("google", SONNET)


async def test_a_streamed_message_at_vertex_is_charged_alike(vertex, meter):
    stream = await vertex.do(lambda client: ask(client, stream=True))
    if hasattr(stream, "__aiter__"):
        [event async for event in stream]
    else:
        list(stream)

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 57}, False)


async def test_beta_messages_and_copies_at_vertex_are_metered_once(vertex, meter):
    await vertex.do(
        lambda client: client.with_options(timeout=60).beta.messages.create(
            model=SONNET, max_tokens=400, messages=HELLO
        )
    )

    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 57}


def test_a_client_of_vertex_stays_as_it_is(vertex_claude, meter):
    with anthropic.AnthropicVertex(base_url=vertex_claude.base_url, **VERTEX) as bare:
        client = wrap_client(bare, meter, user=None)
        ask(bare)

    assert meter.tickets == []
    assert (client.region, client.project_id) == ("us-east5", "p")


def test_claude_at_vertex_costs_what_google_takes_for_it(vertex_claude):
    with Callfare("memory://") as fare, anthropic.AnthropicVertex(base_url=vertex_claude.base_url, **VERTEX) as bare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.run("story", user="alice") as run:
            ask(client)

        [call] = fare.calls(run).items
        # 5 at $3.30 and 57 at $16.50 a million: us-east5 is a tenth dearer than the global endpoint.
        assert (call.provider, call.status, call.cost) == ("google", "priced", Usd("0.000957"))
        assert call.attributes["endpoint"] == "regional"


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://aiplatform.googleapis.com/v1", "global"),
        ("https://global-aiplatform.googleapis.com", "global"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "regional"),
        ("https://EUROPE-WEST1-aiplatform.googleapis.com/", "regional"),
        ("https://aiplatform.eu.rep.googleapis.com/v1", "regional"),
        ("https://generativelanguage.googleapis.com/", ""),
        ("https://api.anthropic.com", ""),
        ("https://aiplatform.googleapis.com.example.org", ""),
        ("http://127.0.0.1:8080", ""),
        ("http://[::1", ""),
        ("", ""),
    ],
)
def test_an_address_of_google_cloud_tells_what_kind_of_endpoint_it_is(address, endpoint):
    assert endpoint_at(address) == endpoint


@pytest.mark.parametrize(("region", "endpoint"), [("global", "global"), ("eu", "regional"), ("us-east5", "regional")])
def test_a_client_of_vertex_says_its_endpoint_behind_a_proxy_too(region, endpoint, meter):
    options = VERTEX | {"region": region}
    with anthropic.AnthropicVertex(base_url="http://127.0.0.1:9", timeout=1, **options) as bare:
        client = wrap_client(bare, meter, user=None)
        with pytest.raises(anthropic.APIConnectionError):
            ask(client)

    assert meter.ticket.intent.attributes == {"endpoint": endpoint}


@pytest.fixture(params=["sync", "async"])
async def bedrock_claude(request, meter):
    kind = anthropic.AnthropicBedrock if request.param == "sync" else anthropic.AsyncAnthropicBedrock
    with FakeBedrock() as server:
        bare = kind(base_url=server.base_url, aws_region="us-east-1", aws_access_key="none", aws_secret_key="none")
        yield Either(wrap_client(bare, meter, user=None))
        closing = bare.close()
        if closing is not None:
            await closing


async def test_a_message_at_bedrock_is_counted_under_its_inference_profile(bedrock_claude, meter):
    reply = await bedrock_claude.do(lambda client: ask(client, model=PROFILE))
    stream = await bedrock_claude.do(lambda client: ask(client, model=PROFILE, stream=True))
    if hasattr(stream, "__aiter__"):
        [event async for event in stream]
    else:
        list(stream)

    assert reply.model == "claude-sonnet-4-5-20250929-v1:0"
    for ticket in meter.tickets:
        [(reading, estimated)] = ticket.settled
        assert (ticket.intent.provider, reading.model, estimated) == ("aws", PROFILE, False)
        assert reading.usage == {"input_tokens": 5, "output_tokens": 57}


def test_claude_at_bedrock_costs_what_its_inference_profile_does():
    with FakeBedrock() as server, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        bare = anthropic.AnthropicBedrock(
            base_url=server.base_url, aws_region="us-east-1", aws_access_key="none", aws_secret_key="none"
        )
        with bare, fare.run("story", user="alice") as run:
            ask(fare.wrap(bare), model=PROFILE)
            ask(fare.wrap(bare), model=PROFILE.replace("us.", "global."))

        # 5 at $3.30 and 57 at $16.50 a million; a tenth less where AWS may choose the place.
        assert [call.cost for call in fare.calls(run).items] == [Usd("0.000957"), Usd("0.00087")]


def test_a_deployment_at_azure_costs_what_the_model_of_the_reply_does():
    with FakeOpenAI() as server, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        endpoint = server.base_url.removesuffix("/v1")
        bare = openai.AzureOpenAI(azure_endpoint=endpoint, api_version="2026-01-01", api_key="none")
        with bare, fare.run("story", user="alice") as run:
            fare.wrap(bare).chat.completions.create(model="gpt-5-mini", messages=HELLO)

        [call] = fare.calls(run).items
        assert (call.provider, call.model, call.status) == ("openai", "gpt-5-mini-2025-08-07", "priced")
