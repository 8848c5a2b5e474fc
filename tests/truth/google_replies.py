"""Replies of Google's API for Gemini, from the types of its SDK."""

from __future__ import annotations

from google.genai.types import GenerateContentResponse

from callfare.usage.google import read_content
from tests.truth.cases import Case

M = 1_000_000


def content(model, **usage):
    return GenerateContentResponse.model_validate(
        {"response_id": "r1", "model_version": model, "candidates": [], "usage_metadata": usage}
    )


CASES = [
    Case(
        name="content with thoughts and a cache, above 200,000",
        provider="google",
        operation="content",
        model="gemini-2.5-pro",
        reader=read_content,
        replies=[
            content(
                "gemini-2.5-pro",
                prompt_token_count=250_000,
                cached_content_token_count=50_000,
                candidates_token_count=2000,
                thoughts_token_count=1000,
                total_token_count=253_000,
            )
        ],
        lines=[
            ("input_tokens", 200_000, "2.50", M),
            ("cached_input_tokens", 50_000, "0.25", M),
            ("output_tokens", 2000, "15", M),
            ("reasoning_tokens", 1000, "15", M),
        ],
        totals={"input_tokens": 250_000, "output_tokens": 3000},
    ),
    Case(
        name="content of exactly 200,000",
        provider="google",
        operation="content",
        model="gemini-2.5-pro",
        reader=read_content,
        replies=[
            content(
                "gemini-2.5-pro", prompt_token_count=200_000, candidates_token_count=1000, total_token_count=201_000
            )
        ],
        lines=[("input_tokens", 200_000, "1.25", M), ("output_tokens", 1000, "10", M)],
        totals={"input_tokens": 200_000, "output_tokens": 1000},
    ),
    Case(
        name="an answer of a batch, half the price",
        provider="google",
        operation="content",
        model="gemini-2.5-flash",
        reader=read_content,
        replies=[
            content(
                "gemini-2.5-flash",
                prompt_token_count=1000,
                candidates_token_count=200,
                thoughts_token_count=100,
                total_token_count=1300,
            )
        ],
        asked={"processing": "batch"},
        lines=[
            ("input_tokens", 1000, "0.15", M),
            ("output_tokens", 200, "1.25", M),
            ("reasoning_tokens", 100, "1.25", M),
        ],
        totals={"input_tokens": 1000, "output_tokens": 300},
    ),
]
