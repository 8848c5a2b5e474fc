"""Replies of providers that speak as OpenAI does, from the types of their own SDKs."""

from __future__ import annotations

from fractions import Fraction

from cerebras.cloud.sdk.types.chat.chat_completion import ChatCompletionResponse
from groq.types.chat import ChatCompletion as GroqCompletion
from mistralai.client.models import ChatCompletionResponse as MistralCompletion
from openai.types.decision import Decision
from perplexity.generated.api import ContextualizedEmbeddingsResponseOutput
from perplexity.types import StreamChunk
from together.types.chat import ChatCompletion as TogetherCompletion
from together.types.chat import ChatCompletionChunk as TogetherChunk

from tests.truth.cases import Case

M = 1_000_000
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
LAST = {"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": ""}}
USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 350,
    "total_tokens": 1550,
    "prompt_tokens_details": {"cached_tokens": 800},
    "completion_tokens_details": {"reasoning_tokens": 128},
}
PLAIN_USAGE = {"prompt_tokens": 1200, "completion_tokens": 350, "total_tokens": 1550}
GROQ_USAGE = USAGE | {"queue_time": 0.03, "prompt_time": 0.01, "completion_time": 0.2, "total_time": 0.21}
MISTRAL_USAGE = PLAIN_USAGE | {"prompt_tokens_details": {"cached_tokens": 800}, "service_tier": "standard"}
TOTALS = {"input_tokens": 1200, "output_tokens": 350}
COST = {"input_tokens_cost": 0.0012, "output_tokens_cost": 0.00035, "request_cost": 0.005, "total_cost": 0.00655}


def told(model, kind, usage, choice=CHOICE):
    return {"id": "chatcmpl-1", "created": 1, "model": model, "object": kind, "choices": [choice], "usage": usage}


def case(provider, name, model, replies, lines, totals=TOTALS):
    return Case(
        name=name, provider=provider, operation="chat", model=model, replies=replies, lines=lines, totals=totals
    )


CASES = [
    case(
        "groq",
        "a chat, cached and thought",
        "openai/gpt-oss-120b",
        [GroqCompletion.model_validate(told("openai/gpt-oss-120b", "chat.completion", GROQ_USAGE))],
        [
            ("input_tokens", 400, "0.15", M),
            ("cached_input_tokens", 800, "0.075", M),
            ("output_tokens", 222, "0.60", M),
            ("reasoning_tokens", 128, "0.60", M),
        ],
    ),
    case(
        "together",
        "a chat, plain and streamed",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        [
            TogetherCompletion.model_validate(
                told("meta-llama/Llama-3.3-70B-Instruct-Turbo", "chat.completion", PLAIN_USAGE) | {"prompt": []}
            ),
            TogetherChunk.model_validate(
                told("meta-llama/Llama-3.3-70B-Instruct-Turbo", "chat.completion.chunk", PLAIN_USAGE, LAST)
            ),
        ],
        [("input_tokens", 1200, "0.88", M), ("output_tokens", 350, "0.88", M)],
    ),
    case(
        "cerebras",
        "a chat, cached and thought at one rate",
        "gpt-oss-120b",
        [
            ChatCompletionResponse.model_validate(
                told("gpt-oss-120b", "chat.completion", USAGE) | {"system_fingerprint": "fp", "time_info": {}}
            )
        ],
        [
            ("input_tokens", 400, "0.35", M),
            ("cached_input_tokens", 800, "0.35", M),
            ("output_tokens", 222, "0.75", M),
            ("reasoning_tokens", 128, "0.75", M),
        ],
    ),
    case(
        "mistral",
        "a chat by Mistral's own SDK",
        "mistral-small-latest",
        [MistralCompletion.model_validate(told("mistral-small-latest", "chat.completion", MISTRAL_USAGE))],
        [
            ("input_tokens", 400, "0.15", M),
            ("cached_input_tokens", 800, "0.015", M),
            ("output_tokens", 350, "0.60", M),
        ],
    ),
    case(
        "perplexity",
        "a chat that tells its charge",
        "sonar",
        [StreamChunk.model_validate(told("sonar", "chat.completion", PLAIN_USAGE | {"cost": COST}, CHOICE | LAST))],
        [("billed_usd", Fraction(655, 100_000), "1", 1)],
    ),
    case(
        "openai",
        "a decision, cached",
        "gpt-6-luna",
        [
            Decision.model_validate(
                {
                    "answers": [{"type": "refusal"}],
                    "model": "gpt-6-luna",
                    "usage": {
                        "input_tokens": 1200,
                        "input_tokens_details": {"cached_tokens": 800, "cache_write_tokens": 0},
                        "output_tokens": 350,
                        "output_tokens_details": {"reasoning_tokens": 0},
                        "total_tokens": 1550,
                    },
                }
            )
        ],
        [
            ("input_tokens", 400, "0.10", M),
            ("cached_input_tokens", 800, "0.01", M),
            ("output_tokens", 350, "0.50", M),
        ],
    ),
    Case(
        name="embeddings in context",
        provider="perplexity",
        operation="embedding",
        model="pplx-embed-context-v1-4b",
        replies=[
            ContextualizedEmbeddingsResponseOutput.model_validate(
                {"model": "pplx-embed-context-v1-4b", "usage": {"prompt_tokens": 777, "total_tokens": 777}}
            )
        ],
        lines=[("input_tokens", 777, "0.05", M)],
        totals={"input_tokens": 777},
    ),
]
