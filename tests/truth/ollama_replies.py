"""Replies of Ollama's server, from the types of its own SDK: what one's own machine runs costs nothing."""

from __future__ import annotations

from functools import partial

from ollama import ChatResponse, EmbedResponse, GenerateResponse

from callfare.capture.ollama import read_counts
from tests.truth.cases import Case

M = 1_000_000
# As in the documentation of its API.
TIMES = {"total_duration": 5_589_157_167, "load_duration": 3_013_701_500, "prompt_eval_duration": 342_546_000}
COUNTS = {"model": "llama3.2", "done": True, "done_reason": "stop", "prompt_eval_count": 46, "eval_count": 113} | TIMES


def case(name, operation, replies, lines, totals):
    return Case(
        name=name,
        provider="ollama",
        operation=operation,
        model="llama3.2",
        reader=partial(read_counts, operation=operation),
        replies=replies,
        lines=lines,
        totals=totals,
        asked={"region": "local"},
    )


CASES = [
    case(
        "a chat and a completion",
        "chat",
        [
            ChatResponse(message={"role": "assistant", "content": "Yes."}, **COUNTS),
            GenerateResponse(response="Yes.", context=[1, 2, 3], **COUNTS),
        ],
        [("input_tokens", 46, "0", M), ("output_tokens", 113, "0", M)],
        {"input_tokens": 46, "output_tokens": 113},
    ),
    case(
        "embeddings",
        "embedding",
        [EmbedResponse(model="llama3.2", embeddings=[[0.25]], prompt_eval_count=8)],
        [("input_tokens", 8, "0", M)],
        {"input_tokens": 8},
    ),
]
