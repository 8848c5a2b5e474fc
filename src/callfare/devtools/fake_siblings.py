"""Stand-ins for providers whose APIs speak as OpenAI's does, each with the habits of its own: real SDKs, no key.

    with FakeGroq() as fake:
        client = Groq(base_url=fake.base_url, api_key="none")

What they answer is what the stand-in for OpenAI does. They differ in where a stream tells its count: Groq with its last
words, under a name of its own; Together there too, but for Kimi K3 only where it was asked to; Cerebras likewise, with
its times, and Mistral with the tier; Perplexity in every chunk, with what it charged.
`python -m callfare.devtools.fake_siblings groq --port 8085`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from typing_extensions import override

from callfare.devtools import openai_replies as replies
from callfare.devtools.fake_openai import FakeOpenAI, FakeOpenAIHandler
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import serve

_COUNTS_IF_ASKED = "moonshotai/Kimi-K3"


class _Handler(FakeOpenAIHandler):
    """One connection to a stand-in."""

    def told(self, reply: Json) -> Json:
        """Return a whole reply as this provider words it."""
        return reply

    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        """Yield a reply in the chunks that this provider sends."""
        raise NotImplementedError

    @override
    def plain_path(self, path: str) -> str:
        path = super().plain_path(path)
        if path.startswith("/v2/"):
            path = "/v1/" + path.removeprefix("/v2/")
        return path if path.startswith("/v1/") else f"/v1{path}"

    @override
    def _chat(self, fields: Json, _upload: bytes) -> None:
        reply = self.spoiled(self.told(replies.chat_completion(fields, self.fake.new_id("chatcmpl", self.fault))))
        if not fields.get("stream"):
            self.write_json(reply)
            return
        is_asked = bool((fields.get("stream_options") or {}).get("include_usage"))
        self.write_events(self.chunks(reply, is_asked=is_asked), named=False, done=True)


class _GroqHandler(_Handler):
    @override
    def told(self, reply: Json) -> Json:
        times = {"queue_time": 0.037, "prompt_time": 0.004, "completion_time": 0.11, "total_time": 0.114}
        counts = reply["usage"] | times
        return reply | {"usage": counts, "service_tier": "on_demand", "x_groq": {"id": f"req_{reply['id']}"}}

    @override
    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        own = reply["x_groq"]
        for number, chunk in enumerate(replies.chat_chunks(reply, with_usage=is_asked)):
            if _is_last(chunk):
                yield chunk | {"x_groq": own | {"usage": reply["usage"]}}
            else:
                yield chunk if number else chunk | {"x_groq": own}


class _TogetherHandler(_Handler):
    @override
    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        if reply["model"] == _COUNTS_IF_ASKED:
            yield from replies.chat_chunks(reply, with_usage=is_asked)
        else:
            yield from _counting_last(reply, {})


class _CerebrasHandler(_Handler):
    @override
    def told(self, reply: Json) -> Json:
        return reply | {"time_info": {"queue_time": 0.0, "prompt_time": 0.001, "completion_time": 0.02}}

    @override
    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        yield from _counting_last(reply, {"time_info": reply["time_info"]})


class _MistralHandler(_Handler):
    @override
    def plain_path(self, path: str) -> str:
        return re.sub("/(agents|fim)/completions", "/chat/completions", super().plain_path(path))

    @override
    def told(self, reply: Json) -> Json:
        return reply | {
            "usage": reply["usage"] | {"service_tier": reply["service_tier"].replace("default", "standard")}
        }

    @override
    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        yield from _counting_last(reply, {})

    @override
    def _embed(self, fields: Json, _upload: bytes) -> None:
        reply = replies.embeddings({"input": fields.get("inputs") or fields.get("input"), "model": fields.get("model")})
        self.write_json(self.spoiled(reply | {"id": self.fake.new_id("embd", self.fault)}))


class _PerplexityHandler(_Handler):
    @override
    def told(self, reply: Json) -> Json:
        counts = {name: reply["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        cost = {"input_tokens_cost": 0.0, "output_tokens_cost": 0.0, "request_cost": 0.005, "total_cost": 0.005062}
        return reply | {"usage": counts | {"search_context_size": "low", "cost": cost}}

    @override
    def chunks(self, reply: Json, *, is_asked: bool) -> Iterator[Json]:
        unknown = {"input_tokens_cost": 0.0, "output_tokens_cost": 0.0, "total_cost": 0.0}
        for chunk in replies.chat_chunks(reply, with_usage=False):
            counts = reply["usage"] if _is_last(chunk) else reply["usage"] | {"completion_tokens": 1, "cost": unknown}
            yield chunk | {"usage": counts}


def _counting_last(reply: Json, beside: Json) -> Iterator[Json]:
    """Yield the chunks of a reply whose count comes with its last words."""
    for chunk in replies.chat_chunks(reply, with_usage=False):
        yield chunk | {"usage": reply["usage"]} | beside if _is_last(chunk) else chunk


def _is_last(chunk: Json) -> bool:
    """Whether a chunk has the last words of a reply."""
    return any(choice["finish_reason"] for choice in chunk["choices"])


class _FakeSibling(FakeOpenAI):
    """A stand-in whose SDK brings the whole path."""

    path = ""


class FakeGroq(_FakeSibling):
    """The stand-in for Groq."""

    handler = _GroqHandler


class FakeTogether(_FakeSibling):
    """The stand-in for Together."""

    handler = _TogetherHandler


class FakeCerebras(_FakeSibling):
    """The stand-in for Cerebras."""

    handler = _CerebrasHandler


class FakeMistral(_FakeSibling):
    """The stand-in for Mistral."""

    handler = _MistralHandler


class FakePerplexity(_FakeSibling):
    """The stand-in for Perplexity."""

    handler = _PerplexityHandler


_KINDS = {"groq": FakeGroq, "together": FakeTogether, "cerebras": FakeCerebras}
_KINDS |= {"mistral": FakeMistral, "perplexity": FakePerplexity}


def main(arguments: list[str] | None = None) -> None:
    """Serve the named one until interrupted or told to end."""
    name, *others = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in _KINDS:
        sys.exit(f"say whose stand-in to start, first of all: {', '.join(_KINDS)}")
    serve(_KINDS[name], name.capitalize(), 8085, others)


if __name__ == "__main__":
    main()
