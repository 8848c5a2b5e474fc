"""SDKs made as OpenAI's is, of providers that speak as OpenAI does: one row of data each, and all their habits."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from subprocess import run

import cerebras.cloud.sdk as cerebras
import groq
import perplexity
import pytest
import together

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_siblings import FakeCerebras, FakeGroq, FakePerplexity, FakeTogether
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits, Usd
from tests.capture.conftest import Either

HELLO = [{"role": "user", "content": "hi there"}]
USAGE = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}
# Of each SDK: its stand-in, its sync and its async client, a model, and what they need besides.
SDKS = {
    "groq": (FakeGroq, groq.Groq, groq.AsyncGroq, "openai/gpt-oss-120b", {}),
    "together": (FakeTogether, together.Together, together.AsyncTogether, "openai/gpt-oss-120b", {}),
    "cerebras": (
        FakeCerebras,
        cerebras.Cerebras,
        cerebras.AsyncCerebras,
        "gpt-oss-120b",
        {"warm_tcp_connection": False},
    ),
    "perplexity": (FakePerplexity, perplexity.Perplexity, perplexity.AsyncPerplexity, "sonar", {}),
}
# Perplexity counts no cache, and tells its charge.
USAGES = dict.fromkeys(SDKS, USAGE) | {
    "perplexity": {"input_tokens": 5, "output_tokens": 57, "billed_usd": Fraction(5062, 1_000_000)}
}


class Sdk(Either):
    """A metered client of one SDK, of either kind, with its stand-in and a model of its provider's."""

    def __init__(self, provider, server, client, model):
        super().__init__(client)
        self.provider, self.server, self.model = provider, server, model
        self.usage = USAGES[provider]

    def ask(self, client, **options):
        return client.chat.completions.create(**{"model": self.model, "messages": HELLO} | options)

    async def streamed(self, **options):
        """Return the chunks of a streamed reply."""
        stream = await self.do(lambda client: self.ask(client, stream=True, **options))
        return [chunk async for chunk in stream] if hasattr(stream, "__aiter__") else list(stream)


@pytest.fixture(params=[f"{name}-{kind}" for name in SDKS for kind in ("sync", "async")])
async def sdk(request, meter):
    name, kind = request.param.split("-")
    server_class, sync_class, async_class, model, options = SDKS[name]
    with server_class() as server:
        made = (sync_class if kind == "sync" else async_class)(
            base_url=server.base_url, api_key="none", max_retries=0, **options
        )
        yield Sdk(name, server, wrap_client(made, meter, user=None), model)
        if kind == "sync":
            made.close()
        else:
            await made.close()


@pytest.fixture
def groq_client(meter):
    with FakeGroq() as server, groq.Groq(base_url=server.base_url, api_key="none", max_retries=0) as bare:
        yield wrap_client(bare, meter, user=None)


# What is counted


async def test_a_chat_is_settled_by_its_count_under_its_provider(sdk, meter):
    reply = await sdk.do(sdk.ask)

    [(reading, estimated)] = meter.ticket.settled
    assert (meter.ticket.intent.provider, meter.ticket.intent.operation) == (sdk.provider, "chat")
    assert (reading.usage, reading.response_id, estimated) == (sdk.usage, reply.id, False)


async def test_a_stream_and_a_plain_reply_are_charged_alike(sdk, meter):
    await sdk.do(sdk.ask)
    chunks = await sdk.streamed()

    plain, streamed = meter.tickets
    assert streamed.usage == plain.usage == sdk.usage
    assert not streamed.is_estimated
    assert all(chunk.choices for chunk in chunks)


async def test_a_stream_left_after_its_last_words_is_charged_exactly(sdk, meter):
    stream = await sdk.do(lambda client: sdk.ask(client, stream=True))
    if hasattr(stream, "__aiter__"):
        async for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
    else:
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (sdk.usage, False)


async def test_a_stream_that_is_cut_is_an_estimate(sdk, meter):
    sdk.server.script(Fault(drop_after=4))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete|connection"):
        await sdk.streamed()

    assert meter.ticket.is_estimated
    assert 0 < meter.ticket.usage["output_tokens"] < 57


async def test_a_raw_reply_is_settled_at_once(sdk, meter):
    raw = await sdk.do(lambda client: client.chat.completions.with_raw_response.create(model=sdk.model, messages=HELLO))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (sdk.usage, False)
    assert raw.headers


async def test_a_refused_call_is_not_made(sdk, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    with pytest.raises(InsufficientCredit):
        await sdk.do(sdk.ask)

    assert sdk.server.count == 0


async def test_a_call_that_the_provider_refuses_is_released(sdk, meter):
    sdk.server.script(Fault(status=429))

    with pytest.raises(Exception, match="429"):
        await sdk.do(sdk.ask)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_copies_of_a_client_are_metered_once(sdk, meter):
    await sdk.do(lambda client: sdk.ask(client.with_options(timeout=60)))
    await sdk.do(lambda client: sdk.ask(wrap_client(client.with_options(timeout=60), meter, user=None)))

    assert [ticket.usage for ticket in meter.tickets] == [sdk.usage, sdk.usage]


# Habits


def test_groqs_own_count_is_read_where_it_knows_no_question_for_one(meter):
    with FakeGroq() as server, groq.Groq(base_url=server.base_url, api_key="none", max_retries=0) as bare:
        client = wrap_client(bare, meter, user=None)
        server.script(Fault(status=400, message="stream_options is not known here"))

        list(client.chat.completions.create(model="m", messages=HELLO, stream=True))

    assert "stream_options" not in server.requests[1].fields
    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)


def test_a_model_that_counts_only_where_it_is_asked_is_asked(meter):
    with FakeTogether() as server, together.Together(base_url=server.base_url, api_key="none") as bare:
        client = wrap_client(bare, meter, user=None)

        list(client.chat.completions.create(model="moonshotai/Kimi-K3", messages=HELLO, stream=True))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert server.requests[0].fields["stream_options"] == {"include_usage": True}


def test_speech_and_embeddings_are_metered_too(groq_client, meter):
    groq_client.embeddings.create(model="e", input="four words in here")
    groq_client.audio.speech.create(model="canopylabs/orpheus-v1-english", voice="troy", input="nine char").read()

    embedded, spoken = meter.tickets
    assert (embedded.intent.operation, embedded.usage) == ("embedding", {"input_tokens": 5})
    assert (spoken.intent.operation, spoken.usage["characters"]) == ("speech", 9)


def test_lines_of_a_batch_are_charged_at_its_rate():
    line = {
        "custom_id": "one",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "openai/gpt-oss-120b", "messages": HELLO},
    }
    with (
        FakeGroq() as server,
        Callfare("memory://") as fare,
        groq.Groq(base_url=server.base_url, api_key="none") as bare,
    ):
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.run("story", user="alice"):
            file = client.files.create(file=("lines.jsonl", json.dumps(line).encode()), purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            while batch.status != "completed":
                batch = client.batches.retrieve(batch.id)
            client.files.content(batch.output_file_id).read()

        # 4 at $0.075 and one cached at $0.075, which has no half, and 57 at $0.30 a million.
        used = fare.usage("alice")
        assert (used.calls, used.cost) == (1, Usd("0.000017475"))


def test_what_costs_nothing_is_not_metered(groq_client, meter):
    with pytest.raises(groq.NotFoundError):
        groq_client.models.list()

    assert meter.tickets == []


# Prices, and the client


# By hand, of five tokens in, one of them cached, and 57 out, in dollars per million: 4 × 0.15 + 0.075 + 57 × 0.60 at
# Groq; 5 × 0.15 + 57 × 0.60 at Together and 5 × 0.35 + 57 × 0.75 at Cerebras, which have no rate for the cache.
# Perplexity tells what it charged.
@pytest.mark.parametrize(
    ("name", "usd"),
    [("groq", "0.000034875"), ("together", "0.00003495"), ("cerebras", "0.0000445"), ("perplexity", "0.005062")],
)
def test_the_prices_of_the_provider_apply(name, usd):
    server_class, sync_class, _, model, options = SDKS[name]
    with server_class() as server, Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with sync_class(base_url=server.base_url, api_key="none", **options) as bare:
            client = fare.wrap(bare)
            with fare.run("story", user="alice") as run:
                client.chat.completions.create(model=model, messages=HELLO)

        [call] = fare.calls(run).items
        assert (call.provider, call.model, call.status) == (name, model, "priced")
        assert call.cost == Usd(usd)


def test_a_stream_of_perplexitys_that_is_cut_is_not_taken_for_free(meter):
    with FakePerplexity() as server, perplexity.Perplexity(base_url=server.base_url, api_key="none") as bare:
        client = wrap_client(bare, meter, user=None)
        server.script(Fault(drop_after=4))

        with pytest.raises(Exception, match="peer"):
            list(client.chat.completions.create(model="sonar", messages=HELLO, stream=True))

    assert (meter.ticket.is_estimated, "billed_usd" in meter.ticket.usage) == (True, False)


@pytest.mark.parametrize("what", [groq.Groq, together.Together, cerebras.Cerebras, perplexity.Perplexity])
def test_a_class_is_no_client(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_capture_imports_none_of_these_sdks():
    sdks = "{'groq', 'together', 'cerebras', 'perplexity'}"
    code = f"import callfare.capture.clients, sys; print({sdks} & set(sys.modules))"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
