"""Amazon Bedrock through boto3: what is charged for each call, and that the caller gets what AWS gave."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from subprocess import run

import boto3
import pytest
from botocore.config import Config
from botocore.eventstream import EventStream
from botocore.exceptions import ClientError, EventStreamError

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.capture.bedrock_dialect import BedrockDialect
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_bedrock import FakeBedrock
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits, Usd

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = [{"role": "user", "content": [{"text": "hi there"}]}]
PLAIN = {"input_tokens": 5, "output_tokens": 57}
CLAUDE_BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "hi there"}],
}
BODIES = {
    SONNET: (CLAUDE_BODY, PLAIN),
    "amazon.nova-lite-v1:0": ({"messages": HELLO, "inferenceConfig": {"maxTokens": 400}}, PLAIN),
    "amazon.titan-text-lite-v1": ({"inputText": "hi there"}, {"input_tokens": 2, "output_tokens": 57}),
    "meta.llama3-3-70b-instruct-v1:0": ({"prompt": "hi there"}, {"input_tokens": 2, "output_tokens": 57}),
    "openai.gpt-oss-120b-1:0": ({"messages": CLAUDE_BODY["messages"]}, PLAIN),
}


def options(server, **config):
    return {
        "endpoint_url": server.base_url,
        "region_name": "us-east-1",
        "aws_access_key_id": "none",
        "aws_secret_access_key": "none",
        "config": Config(retries={"total_max_attempts": 1}, **config),
    }


class Bedrock:
    """A metered client, called in fewer words."""

    def __init__(self, client):
        self.client = client

    def converse(self, **params):
        return self.client.converse(**{"modelId": SONNET, "messages": HELLO} | params)

    def converse_stream(self, **params):
        return self.client.converse_stream(**{"modelId": SONNET, "messages": HELLO} | params)["stream"]

    def invoke(self, model, body):
        return json.loads(self.client.invoke_model(modelId=model, body=json.dumps(body))["body"].read())


@pytest.fixture
def server():
    with FakeBedrock() as fake:
        yield fake


@pytest.fixture
def bare(server):
    client = boto3.client("bedrock-runtime", **options(server))
    yield client
    client.close()


@pytest.fixture
def bedrock(bare, meter):
    return Bedrock(wrap_client(bare, meter, user=None))


# Converse


def test_a_reply_of_converse_is_settled_by_its_count(bedrock, meter):
    reply = bedrock.converse(inferenceConfig={"maxTokens": 400})

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, estimated) == (PLAIN, False)
    assert (reading.model, reading.response_id) == (SONNET, reply["ResponseMetadata"]["RequestId"])
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("aws", "chat", SONNET)
    assert intent.usage == {"input_tokens": 2, "output_tokens": 400}


def test_a_stream_of_converse_is_charged_alike(bedrock, meter):
    events = list(bedrock.converse_stream())

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (PLAIN, False)
    assert "messageStart" in events[0]
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 57


def test_the_cache_is_counted_beside_the_input_and_stands_within_it(bedrock, meter):
    system = [{"text": "x" * 400}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    expected = {
        "input_tokens": 105,
        "cached_input_tokens": 52,
        "cache_write_input_tokens": 26,
        "cache_write_1h_input_tokens": 26,
        "output_tokens": 19,
    }

    reply = bedrock.converse(system=system)
    list(bedrock.converse_stream(system=system))

    assert reply["usage"]["inputTokens"] == 27
    assert [ticket.usage for ticket in meter.tickets] == [expected, expected]


def test_a_stream_left_at_the_end_of_its_message_is_charged_exactly(bedrock, meter):
    stream = bedrock.converse_stream()
    for event in stream:
        if "messageStop" in event:
            break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (PLAIN, False)
    stream.close()


def test_a_stream_closed_early_is_an_estimate_of_what_came(bedrock, meter):
    stream = bedrock.converse_stream()
    next(iter(stream))
    stream.close()

    assert meter.ticket.settled[-1][1]
    assert meter.ticket.settled[-1][0].response_id.startswith("req_")


def test_a_stream_that_breaks_raises_what_the_sdk_raises(bedrock, server, meter):
    server.script(Fault(drop_after=6))

    with pytest.raises(Exception, match=r"(?i)broken|incomplete|payload|connection|prematurely"):
        list(bedrock.converse_stream())

    assert (meter.ticket.is_estimated, meter.ticket.usage["input_tokens"]) == (True, 2)
    assert 0 < meter.ticket.usage["output_tokens"] < 57


def test_an_error_within_a_stream_is_raised_and_the_rest_charged(bedrock, server, meter):
    server.script(Fault(error_after=4))

    with (
        closing(bedrock.converse_stream()) as stream,
        pytest.raises(EventStreamError, match="modelStreamErrorException"),
    ):
        list(stream)

    assert meter.ticket.is_estimated


@pytest.mark.parametrize(
    ("asked", "tier"),
    [
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"performanceConfig": {"latency": "optimized"}}, "optimized"),
        ({"performanceConfig": {"latency": "standard"}, "serviceTier": {"type": "flex"}}, "flex"),
    ],
)
def test_the_tier_and_the_latency_as_served_select_the_rate(bedrock, meter, asked, tier):
    bedrock.converse(**asked)
    list(bedrock.converse_stream(**asked))

    for ticket in meter.tickets:
        assert ticket.intent.attributes == {"service_tier": tier}
        assert ticket.settled[0][0].attributes == {"service_tier": tier}


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{SONNET}", SONNET),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2",
        ),
    ],
)
def test_a_shared_profile_is_known_by_its_name_and_ones_own_by_its_address(bedrock, meter, asked, model):
    bedrock.converse(modelId=asked)

    assert (meter.ticket.intent.model, meter.ticket.settled[0][0].model) == (model, model)


# InvokeModel


@pytest.mark.parametrize("model", BODIES)
def test_a_body_of_a_models_own_api_is_settled_by_its_count(bedrock, meter, model):
    body, expected = BODIES[model]

    reply = bedrock.invoke(model, body)

    [(reading, estimated)] = meter.ticket.settled
    assert ({name: reading.usage[name] for name in expected}, estimated) == (expected, False)
    assert (reading.model, meter.ticket.intent.operation) == (model, "chat")
    assert reply


@pytest.mark.parametrize("model", BODIES)
def test_a_stream_of_a_models_own_api_is_charged_alike(bedrock, meter, model):
    body, expected = BODIES[model]

    reply = bedrock.client.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))
    events = list(reply["body"])

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (expected, False)
    assert all("bytes" in event["chunk"] for event in events)


def test_what_only_the_headers_count_is_counted(bedrock, meter):
    bedrock.invoke("cohere.embed-english-v3", {"texts": ["hi there", "you"], "input_type": "search_document"})
    bedrock.invoke("mistral.mistral-large-2402-v1:0", {"prompt": "hi there"})

    embedded, written = meter.tickets
    assert (embedded.intent.operation, embedded.usage) == ("embedding", {"input_tokens": 3})
    assert (written.usage, written.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, False)


def test_embeddings_and_pictures_are_counted_as_such(bedrock, meter):
    bedrock.invoke("amazon.titan-embed-text-v2:0", {"inputText": "hi there"})
    bedrock.invoke("amazon.nova-canvas-v1:0", {"imageGenerationConfig": {"numberOfImages": 2}})

    embedded, drawn = meter.tickets
    assert (embedded.intent.operation, embedded.usage) == ("embedding", {"input_tokens": 2})
    assert (drawn.intent.operation, drawn.usage) == ("image", {"images": 2})


def test_a_body_can_be_read_in_pieces_as_before(bedrock, meter):
    reply = bedrock.client.invoke_model(modelId=SONNET, body=json.dumps(CLAUDE_BODY))

    pieces = list(reply["body"].iter_chunks(16))

    assert json.loads(b"".join(pieces))["usage"]["output_tokens"] == 57
    assert len(pieces) > 10
    assert meter.ticket.usage == PLAIN


def test_a_body_that_breaks_off_is_charged_by_its_headers(bedrock, server, meter):
    server.script(Fault(drop_after=1))

    with pytest.raises(Exception, match=r"(?i)incomplete|payload|read"):
        bedrock.client.invoke_model(modelId=SONNET, body=json.dumps(CLAUDE_BODY))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (PLAIN, False)


# What goes wrong


def test_a_refused_call_is_not_made(bedrock, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        bedrock.converse()

    assert server.count == 0


def test_a_call_that_bedrock_refuses_is_released(bedrock, server, meter):
    server.script(Fault(status=403))

    with pytest.raises(ClientError, match="AccessDenied"):
        bedrock.converse()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_what_costs_nothing_here_is_handed_through(bedrock, meter):
    with pytest.raises(ClientError):
        bedrock.client.list_async_invokes()

    assert meter.tickets == []


@pytest.mark.parametrize(
    ("usage", "expected", "estimated"),
    [
        ({"inputTokens": -5, "outputTokens": 3, "totalTokens": 1}, {"input_tokens": 2, "output_tokens": 3}, True),
        ({"inputTokens": 4, "outputTokens": 3, "totalTokens": 7}, {"input_tokens": 4, "output_tokens": 3}, False),
        (
            {"inputTokens": 4, "outputTokens": 3, "totalTokens": 7, "cacheReadInputTokens": -1},
            {"input_tokens": 2, "output_tokens": 3},
            True,
        ),
        ({}, {"input_tokens": 2, "output_tokens": 57}, True),
    ],
)
def test_counts_that_cannot_be_true_are_not_believed(bedrock, server, meter, usage, expected, estimated):
    server.script(Fault(usage=usage))

    bedrock.converse()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (expected, estimated)


@pytest.mark.parametrize("body", ["not json", "[1, 2]", '"hi there"'])
def test_a_request_that_cannot_be_read_is_sent_all_the_same(bedrock, server, meter, body):
    bedrock.client.invoke_model(modelId="amazon.titan-text-lite-v1", body=body)

    assert server.count == 1
    assert meter.ticket.settled


@pytest.mark.parametrize("content", [b"\xff", b"7", b"[" * 100_000, b'{"usage": [1]}', b'{"results": [7]}', b""])
def test_a_reply_that_cannot_be_read_is_an_estimate(content):
    dialect = BedrockDialect()
    params = {"modelId": SONNET, "body": json.dumps(CLAUDE_BODY)}
    request = dialect.request_of("InvokeModel", params, base_url="http://127.0.0.1", is_stream=False)

    settlement = request.dialect.settlement_of(request, content)

    assert (settlement.kind, settlement.estimated, settlement.reading.usage["input_tokens"]) == ("settle", True, 2)


def test_retries_within_the_sdk_are_one_call(server, meter):
    told = options(server) | {"config": Config(retries={"total_max_attempts": 3, "mode": "standard"})}
    client = wrap_client(boto3.client("bedrock-runtime", **told), meter, user=None)
    server.script(Fault(status=429), Fault(status=500))

    client.converse(modelId=SONNET, messages=HELLO)

    assert server.count == 3
    assert meter.ticket.usage == PLAIN
    client.close()


def test_a_stream_of_an_openai_model_that_counts_its_cache_twice_is_a_doubt(server, meter, bare):
    client = wrap_client(bare, meter, user=None)
    server.script(
        Fault(usage={"inputTokens": 4995, "outputTokens": 19, "totalTokens": 10_007, "cacheWriteInputTokens": 4993})
    )

    list(client.converse_stream(modelId="openai.gpt-5.6-sol", messages=HELLO)["stream"])

    assert meter.ticket.is_estimated
    assert meter.ticket.usage == {"input_tokens": 4995, "cache_write_input_tokens": 4993, "output_tokens": 19}


# The client


def test_the_given_client_stays_as_it_is(server, meter, bare):
    client = wrap_client(bare, meter, user=None)

    bare.converse(modelId=SONNET, messages=HELLO)

    assert meter.tickets == []
    assert isinstance(client, type(bare))
    assert client.meta is bare.meta


def test_a_client_wrapped_twice_meters_once(meter, bare):
    client = wrap_client(bare, meter, user=None)

    assert wrap_client(client, meter, user=None) is client
    wrap_client(client, meter, user="alice").converse(modelId=SONNET, messages=HELLO)

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", PLAIN)


def test_a_call_within_another_metered_one_is_not_metered_again(meter, bare):
    client = wrap_client(bare, meter, user=None)

    with marked_as_metered():
        client.converse(modelId=SONNET, messages=HELLO)

    assert meter.tickets == []


def test_a_metered_stream_is_taken_for_the_sdks_own(meter, bare):
    client = wrap_client(bare, meter, user=None)

    stream = client.converse_stream(modelId=SONNET, messages=HELLO)["stream"]

    assert isinstance(stream, EventStream)
    stream.close()


def test_events_are_handed_on_as_they_come(server, meter, bare):
    client, pause = wrap_client(bare, meter, user=None), Pause(after=3)
    server.script(Fault(pause=pause))
    stream = iter(client.converse_stream(modelId=SONNET, messages=HELLO)["stream"])

    first = next(stream)

    assert "messageStart" in first
    pause.released.set()
    assert len(list(stream)) > 3


def test_a_client_of_another_service_is_refused(meter):
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")

    with pytest.raises(InvalidInput, match=r"give boto3\.client"):
        wrap_client(client, meter, user=None)


# By hand, per million: at Sonnet 4.5's regional profile $3.30 in and $16.50 out, at its global one $3 and $15.
@pytest.mark.parametrize(
    ("model", "usd"),
    [
        (SONNET, "0.000957"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.00087"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{SONNET}", "0.000957"),
        ("amazon.nova-lite-v1:0", "0.00001398"),
    ],
)
def test_a_call_costs_what_its_profile_does(bare, model, usd):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.run("story", user="alice") as run:
            client.converse(modelId=model, messages=HELLO)
            client.invoke_model(modelId=model, body=json.dumps(CLAUDE_BODY))

        assert [(call.status, call.cost) for call in fare.calls(run).items] == [("priced", Usd(usd))] * 2


def test_a_tier_without_a_rate_is_unpriced_and_not_ordinary(bare):
    with Callfare("memory://") as fare, fare.user("alice"):
        client = fare.wrap(bare)
        fare.grant("alice", 2000, key="k")
        client.converse(modelId="amazon.nova-lite-v1:0", messages=HELLO, serviceTier={"type": "flex"})

        assert fare.usage("alice").unpriced_calls == 1


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.clients, sys; print({'boto3', 'botocore', 'aiobotocore'} & set(sys.modules))"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
