"""Stand-ins for providers whose APIs speak as OpenAI's does, each with the habits of its own: real SDKs, no key.

    with FakeGroq() as fake:
        client = Groq(base_url=fake.base_url, api_key="none")

What they answer is what the stand-in for OpenAI does. They differ in where a stream tells its count: Groq with its last
words, under a name of its own; Together there too, but for Kimi K3 only where it was asked to; Cerebras likewise, with
its times, and Mistral with the tier; Perplexity in every chunk, with what it charged.
`python -m callfare.devtools.fake_siblings groq --port 8085`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import parse_qs

from typing_extensions import override

from callfare.devtools import mistral_batches as jobs
from callfare.devtools import mistral_replies as mistral
from callfare.devtools import openai_batches as batches
from callfare.devtools import openai_replies as replies
from callfare.devtools.fake_openai import FakeOpenAI, FakeOpenAIHandler
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import serve
from callfare.ids import new_id

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
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request. A file is announced, put where it belongs, and then looked at."""
        placed = re.fullmatch("/v1/(?:places|files)/([^/]+)(/preprocess)?", path)
        if path == "/v1/files" and self.command == "POST":
            file_id = self.fake.new_id("file", self.fault)
            self.send_response(302)
            self.send_header("Location", f"{self.fake.base_url}/v1/places/{file_id}")
            self.send_header("X-Together-File-Id", file_id)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif placed is not None and self.command == "PUT":
            self.fake.files[placed[1]] = upload
            self.write_json({})
        elif placed is not None and placed[2]:
            content = self.fake.files[placed[1]]
            self.write_json(batches.file(placed[1], content, "batch-api") | {"FileType": "jsonl"})
        else:
            super().route(path, fields, upload)

    @override
    def batch(self, told: Json) -> Json:
        names = ("id", "endpoint", "input_file_id", "output_file_id")
        return {name: told.get(name) for name in names} | {"status": told["status"].upper()}

    @override
    def new_batch(self, told: Json) -> Json:
        return {"job": self.batch(told), "warning": ""}

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
    fake: FakeMistral

    routes: ClassVar[dict[str, str]] = FakeOpenAIHandler.routes | {
        "POST /v1/conversations": "begin",
        "POST /v1/batch/jobs": "make_job",
        "GET /v1/batch/jobs": "list_jobs",
        "POST /v1/ocr": "read_pages",
        "POST /v1/moderations": "moderate",
        "POST /v1/chat/moderations": "moderate",
        "POST /v1/classifications": "classify",
        "POST /v1/chat/classifications": "classify",
    }

    @override
    def plain_path(self, path: str) -> str:
        return re.sub("/(agents|fim)/completions", "/chat/completions", super().plain_path(path))

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        filed = re.fullmatch("/v1/(?:batch/jobs/([^/]+?)(/cancel)?|files/([^/]+)/content)", path)
        if filed is not None and filed[1] in self.fake.batches:
            self._tell_job_of_batch(filed[1], wants_end=bool(filed[2]))
            return
        if filed is not None and filed[3] in self.fake.files:
            self.write_bytes(self.fake.files[filed[3]], "application/octet-stream")
            return
        found = re.fullmatch("/v1/conversations/([^/]+)(/restart)?", path)
        model = self.fake.conversations.get(found[1]) if found else None
        if found is None:
            super().route(path, fields, upload)
        elif model is None:
            self.write_error(404, f"No conversation {found[1]!r}.")
        elif self.command == "GET":
            self.write_json(mistral.conversation_told(found[1], model))
        else:
            self._reply_in(self.fake.begun(model) if found[2] else found[1], model, fields)

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

    @override
    def _upload(self, fields: Json, upload: bytes) -> None:
        file_id = self.fake.new_id("file", self.fault)
        self.fake.files[file_id] = upload
        self.write_json(jobs.file(file_id, upload, str(fields.get("purpose"))))

    def _make_job(self, fields: Json, _upload: bytes) -> None:
        job_id = self.fake.new_id("job", self.fault)
        asked = jobs.requests_in(fields, [self.fake.files.get(name, b"") for name in fields.get("input_files") or ()])
        answered, failed = jobs.results_of(fields, asked, job_id, self.told)
        self.fake.files |= {f"{job_id}-output": jobs.file_of(answered), f"{job_id}-errors": jobs.file_of(failed)}
        self.fake.batches[job_id] = jobs.job(fields, job_id, answered, failed)
        self.write_json(jobs.unfinished(self.fake.batches[job_id], "QUEUED"))

    def _list_jobs(self, _fields: Json, _upload: bytes) -> None:
        told = list(self.fake.batches.values())
        self.write_json({"object": "list", "total": len(told), "data": told})

    def _tell_job_of_batch(self, job_id: str, *, wants_end: bool) -> None:
        if wants_end:
            self.fake.batches[job_id] = jobs.unfinished(self.fake.batches[job_id], "CANCELLED")
        told = self.fake.batch(job_id)
        wants_results = parse_qs(self.path.partition("?")[2]).get("inline") == ["true"]
        if wants_results and told["status"] == "SUCCESS":
            lines = self.fake.files[f"{job_id}-output"].splitlines()
            told = told | {"outputs": [json.loads(line) for line in lines]}
        self.write_json(told)

    def _begin(self, fields: Json, _upload: bytes) -> None:
        # Behind every agent here stands the same model.
        model = str(fields.get("model") or "mistral-medium-latest")
        self._reply_in(self.fake.begun(model), model, fields)

    def _reply_in(self, conversation_id: str, model: str, fields: Json) -> None:
        reply_id = self.fake.new_id("turn", self.fault)
        reply = self.spoiled(mistral.conversation(fields, conversation_id, model, reply_id))
        if fields.get("stream"):
            self.write_events(mistral.conversation_events(reply))
        else:
            self.write_json(reply)

    def _read_pages(self, fields: Json, _upload: bytes) -> None:
        self.write_json(self.spoiled(mistral.document(fields), "usage_info"))

    @override
    def _transcribe(self, fields: Json, upload: bytes) -> None:
        full = self.spoiled(mistral.transcript(fields, upload))
        if fields.get("stream") in ("true", True):
            self.write_events(mistral.transcript_events(full))
        else:
            self.write_json(full)

    @override
    def _speak(self, fields: Json, _upload: bytes) -> None:
        if fields.get("stream"):
            self.write_events(mistral.speech_events(fields))
        else:
            self.write_json(mistral.speech(fields))

    def _moderate(self, fields: Json, _upload: bytes) -> None:
        self.write_json(mistral.classes(fields, self.fake.new_id("mod", self.fault), is_moderation=True))

    def _classify(self, fields: Json, _upload: bytes) -> None:
        self.write_json(mistral.classes(fields, self.fake.new_id("cls", self.fault), is_moderation=False))


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
    """The stand-in for Mistral, with its conversations, documents, sound and batches."""

    handler = _MistralHandler

    def __init__(self, *, port: int = 0, polls_needed: int = 2) -> None:
        super().__init__(port=port, polls_needed=polls_needed)
        self.conversations: dict[str, str] = {}

    @override
    def batch(self, batch_id: str) -> Json:
        told = self.batches[batch_id]
        is_done = self.is_polled_enough(batch_id) or told["status"] == "CANCELLED"
        return told if is_done else jobs.unfinished(told, "RUNNING")

    def begun(self, model: str) -> str:
        """Return the id of a conversation that begins with this model."""
        conversation_id = new_id("conv")
        with self.lock:
            self.conversations[conversation_id] = model
        return conversation_id


class FakePerplexity(_FakeSibling):
    """The stand-in for Perplexity."""

    handler = _PerplexityHandler


_KINDS = {"groq": FakeGroq, "together": FakeTogether, "cerebras": FakeCerebras}
_KINDS |= {"mistral": FakeMistral, "perplexity": FakePerplexity}


def main(arguments: list[str] | None = None) -> None:
    """Serve the named one until interrupted or told to end."""
    parser = argparse.ArgumentParser(description="A stand-in for the API of a provider, on 127.0.0.1.")
    parser.add_argument("provider", choices=_KINDS, help="whose; each understands --port")
    named, others = parser.parse_known_args(arguments)
    serve(_KINDS[named.provider], named.provider.capitalize(), 8085, others)


if __name__ == "__main__":
    main()
