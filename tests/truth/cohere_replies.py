"""Replies of Cohere, from the types of its SDK: of both generations of its API."""

from __future__ import annotations

from cohere.core.unchecked_base_model import construct_type
from cohere.types import EmbedByTypeResponse, EmbedJob, NonStreamedChatResponse
from cohere.v2.types import V2ChatResponse, V2RerankResponse

from callfare.usage.cohere import read_chat, read_other
from tests.truth.cases import Case

M = 1_000_000
# As Cohere's own page has it: what is billed, beside what the model saw.
BILLED = {"input_tokens": 6772, "output_tokens": 248}
SEEN = {"input_tokens": 7596, "output_tokens": 645}


def told(kind, place, units, tokens=None):
    used = {"billed_units": units, "tokens": tokens, "cached_tokens": 16}
    return construct_type(type_=kind, object_={"id": "reply-1", "text": "Yes.", place: used})


CASES = [
    Case(
        name="a chat of either generation, billed for less than it saw",
        provider="cohere",
        operation="chat",
        model="command-a-03-2025",
        reader=read_chat,
        replies=[told(V2ChatResponse, "usage", BILLED, SEEN), told(NonStreamedChatResponse, "meta", BILLED, SEEN)],
        lines=[("input_tokens", 6772, "2.50", M), ("output_tokens", 248, "10", M)],
        totals={"input_tokens": 6772, "output_tokens": 248},
    ),
    Case(
        name="embeddings of texts and pictures",
        provider="cohere",
        operation="embedding",
        model="embed-v4.0",
        reader=read_other,
        replies=[told(EmbedByTypeResponse, "meta", {"input_tokens": 47, "image_tokens": 2716, "images": 2})],
        lines=[("input_tokens", 47, "0.12", M), ("input_image_tokens", 2716, "0.47", M)],
        totals={"input_tokens": 47 + 2716},
    ),
    Case(
        name="a search over three hundred documents",
        provider="cohere",
        operation="rerank",
        model="rerank-v4.0-pro",
        reader=read_other,
        replies=[told(V2RerankResponse, "meta", {"search_units": 3})],
        lines=[("search_units", 3, "2.50", 1000)],
        totals={},
    ),
    Case(
        name="a search by the faster model",
        provider="cohere",
        operation="rerank",
        model="rerank-v4.0-fast",
        reader=read_other,
        replies=[told(V2RerankResponse, "meta", {"search_units": 1})],
        lines=[("search_units", 1, "2.00", 1000)],
        totals={},
    ),
    Case(
        name="an embedding job",
        provider="cohere",
        operation="embedding",
        model="embed-v4.0",
        reader=read_other,
        replies=[told(EmbedJob, "meta", {"input_tokens": 1520})],
        lines=[("input_tokens", 1520, "0.12", M)],
        totals={"input_tokens": 1520},
    ),
]
