"""Decisions, embeddings in context and reranking of SDKs made as OpenAI's is: their replies tell tokens too."""

from __future__ import annotations

import openai
import perplexity
import pytest
import together

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.fake_siblings import FakePerplexity, FakeTogether
from callfare.errors import UnpricedModel
from callfare.money import Usd
from tests.capture.conftest import Either

STATE = "x" * 400
QUESTIONS = [{"type": "predicate", "question": "Does it rain?"}] * 3
SDKS = {
    "openai": (FakeOpenAI, openai.OpenAI, openai.AsyncOpenAI),
    "perplexity": (FakePerplexity, perplexity.Perplexity, perplexity.AsyncPerplexity),
    "together": (FakeTogether, together.Together, together.AsyncTogether),
}


@pytest.fixture(params=["sync", "async"])
async def clients(request, meter):
    """Return what makes a metered client of one of the SDKs."""
    begun = []

    def made(package):
        fake, sync, other = SDKS[package]
        server = fake().__enter__()
        bare = (sync if request.param == "sync" else other)(base_url=server.base_url, api_key="none", max_retries=0)
        begun.append((server, bare))
        return Either(wrap_client(bare, meter, user=None))

    yield made
    for server, bare in begun:
        closing = bare.close()
        if closing is not None:
            await closing
        server.__exit__(None, None, None)


async def test_a_decision_is_a_call_by_its_tokens(clients, meter):
    either = clients("openai")

    await either.do(lambda client: client.decisions.create(model="gpt-6-luna", input=STATE, questions=QUESTIONS))

    assert meter.ticket.usage == {"input_tokens": 100, "cached_input_tokens": 25, "output_tokens": 3}
    assert (meter.ticket.intent.operation, meter.ticket.intent.usage["input_tokens"]) == ("chat", 110)


async def test_a_decision_of_perplexitys_is_too(clients, meter):
    either = clients("perplexity")
    asked = {"rain": {"type": "noul", "instructions": "Does it rain?"}}

    await either.do(lambda client: client.decisions.create(model="pplx-decider-v1.2", state=STATE, questions=asked))

    assert (meter.ticket.usage["input_tokens"], meter.ticket.usage["output_tokens"]) == (100, 1)


async def test_embeddings_in_context_are_charged_as_others(clients, meter):
    either = clients("perplexity")

    await either.do(
        lambda client: client.contextualized_embeddings.create(
            model="pplx-embed-context-v1-4b", input=[["hi there", "you"], [STATE]]
        )
    )

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("embedding", {"input_tokens": 103})
    assert meter.ticket.intent.usage == {"input_tokens": 103}


async def test_reranking_of_togethers_is_charged_by_what_it_read(clients, meter):
    either = clients("together")

    await either.do(
        lambda client: client.rerank.create(model="Salesforce/Llama-Rank-V1", query="hi there", documents=[STATE])
    )

    assert meter.ticket.usage == {"input_tokens": 102}
    assert (meter.ticket.intent.operation, meter.ticket.is_estimated) == ("rerank", False)
    assert meter.ticket.intent.usage == {"input_tokens": 102}


def test_a_decision_costs_what_its_model_does_and_one_without_a_price_is_refused_within_a_run():
    with FakePerplexity() as server, Callfare("memory://") as fare:
        fare.grant("alice", 1000, key="k")
        with perplexity.Perplexity(base_url=server.base_url, api_key="none") as bare:
            client = fare.wrap(bare)
            with fare.run("story", user="alice") as run:
                client.decisions.create(model="pplx-decider-v1.2", state=STATE, questions={})
                with pytest.raises(UnpricedModel):
                    client.decisions.create(model="nobody-knows", state=STATE, questions={})

        # 100 at $0.02 a million.
        assert [(call.status, call.cost) for call in fare.calls(run).items] == [("priced", Usd("0.000002"))]
