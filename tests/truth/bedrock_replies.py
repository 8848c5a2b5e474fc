"""Replies of Amazon Bedrock: as Converse's own parser gives them, and as models' own APIs word them."""

from __future__ import annotations

from callfare.usage.bedrock import read_chat, read_other
from tests.truth.cases import Case

M = 1_000_000
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
# As recorded, with the same prompt a second time.
WRITTEN = {
    "inputTokens": 18,
    "outputTokens": 386,
    "totalTokens": 7906,
    "cacheReadInputTokenCount": 0,
    "cacheReadInputTokens": 0,
    "cacheWriteInputTokenCount": 7502,
    "cacheWriteInputTokens": 7502,
    "cacheDetails": [{"inputTokens": 7502, "ttl": "1h"}],
}
READ = {
    "inputTokens": 18,
    "outputTokens": 503,
    "totalTokens": 8023,
    "cacheReadInputTokens": 7502,
    "cacheWriteInputTokens": 0,
}
CLAUDE = {
    "input_tokens": 18,
    "cache_read_input_tokens": 7502,
    "cache_creation_input_tokens": 0,
    "output_tokens": 503,
}


def case(name, model, usage, lines, totals, operation="chat"):
    return Case(
        name=name,
        provider="aws",
        operation=operation,
        model=model,
        reader=read_chat if operation == "chat" else read_other,
        replies=[{"id": "request-1", "usage": usage}],
        lines=lines,
        totals=totals,
    )


CASES = [
    case(
        "a prompt written to the cache for an hour",
        SONNET,
        WRITTEN,
        [
            ("input_tokens", 18, "3.30", M),
            ("cache_write_1h_input_tokens", 7502, "6.60", M),
            ("output_tokens", 386, "16.50", M),
        ],
        {"input_tokens": 7906 - 386, "output_tokens": 386},
    ),
    *(
        case(
            f"a prompt read from the cache, by {whose}",
            SONNET,
            usage,
            [
                ("input_tokens", 18, "3.30", M),
                ("cached_input_tokens", 7502, "0.33", M),
                ("output_tokens", 503, "16.50", M),
            ],
            {"input_tokens": 8023 - 503, "output_tokens": 503},
        )
        for whose, usage in {"Converse": READ, "Anthropic's body": CLAUDE}.items()
    ),
    case(
        "a prompt at the address that may be served anywhere",
        SONNET.replace("us.", "global."),
        READ,
        [
            ("input_tokens", 18, "3", M),
            ("cached_input_tokens", 7502, "0.30", M),
            ("output_tokens", 503, "15", M),
        ],
        {"input_tokens": 8023 - 503, "output_tokens": 503},
    ),
    *(
        case(
            f"Llama, by {whose}",
            "meta.llama3-3-70b-instruct-v1:0",
            usage,
            [("input_tokens", 1200, "0.72", M), ("output_tokens", 350, "0.72", M)],
            {"input_tokens": 1200, "output_tokens": 350},
        )
        for whose, usage in {
            "its own body": {"prompt_token_count": 1200, "generation_token_count": 350},
            "the last event of a stream": {"inputTokenCount": 1200, "outputTokenCount": 350},
            "headers": {"inputTokens": 1200, "outputTokens": 350},
        }.items()
    ),
    case(
        "an embedding of Titan's",
        "amazon.titan-embed-text-v2:0",
        {"inputTextTokenCount": 777},
        [("input_tokens", 777, "0.02", M)],
        {"input_tokens": 777},
        operation="embedding",
    ),
]
