"""A stand-in for Cohere's API on the loopback address: the real SDK, no key, no network.

    with FakeCohere() as fake:
        client = cohere.ClientV2(base_url=fake.base_url, api_key="none")

Speaks both generations: chats, plain and streamed, embeddings, reranking, classes, pages, transcripts, batches and
embedding jobs. Every count follows from the request: four characters are a token, rounded up; a chat sees 66 tokens
more than it bills; a picture is 1,000 tokens. A rerank is a search for each hundred documents. A job is done when it is
asked about for the second time, whatever its dataset; it has read 1,000 tokens, and a batch written 500, of which it
has done half when it was asked about and then cancelled. How it is told to fail: stand_in.py.
`python -m callfare.devtools.fake_cohere --port 8089`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from typing_extensions import override

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, text_in, tokens_of
from callfare.devtools.stand_in import StandIn, StandInHandler, serve

_ADDED_TOKENS = 66
_PICTURE_TOKENS = 1000
_DOCUMENTS_PER_SEARCH = 100
_ASKED_UNTIL_DONE = 2
_READ_TOKENS = 1000
_WRITTEN_TOKENS = 500
_BATCH_STATUSES = {
    "processing": "BATCH_STATUS_IN_PROGRESS",
    "completed": "BATCH_STATUS_COMPLETED",
    "failed": "BATCH_STATUS_FAILED",
    "cancelled": "BATCH_STATUS_CANCELED",
}
_VERSION = {"version": "2", "is_experimental": False}


class _Handler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeCohere

    @override
    def error_body(self, status: int, message: str) -> Json:
        return {"id": self.fake.new_id("error", self.fault), "message": message}

    @override
    def error_event(self) -> Json:
        return {"type": "debug", "prompt": self.fault.message}

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        routes = {
            "/v2/chat": self._chat,
            "/v1/chat": self._former_chat,
            "/v1/generate": self._generate,
            "/v2/embed": self._embed,
            "/v1/embed": self._embed,
            "/v2/rerank": self._rerank,
            "/v1/rerank": self._rerank,
            "/v1/classify": self._classify,
            "/v1/summarize": self._summarize,
            "/v2/parse": self._parse,
            "/v2/audio/transcriptions": self._transcribe,
            "/v1/tokenize": self._tokenize,
        }
        answer = routes.get(path)
        if path.startswith(("/v1/embed-jobs", "/v2/batches")):
            self._answer_of_jobs(path, fields)
        elif answer is None or self.command != "POST":
            self.write_error(404, f"Unknown request URL: {self.command} {path}")
        else:
            answer(fields)

    def _answer_of_jobs(self, path: str, fields: Json) -> None:
        """Make a job, or tell how it stands."""
        root, _, rest = path.removeprefix("/").partition("/")[2].partition("/")
        is_batch = root == "batches"
        if not rest and self.command == "POST":
            self.write_json(self._begun(fields, is_batch=is_batch))
            return
        told = [_told_of(job, is_batch=is_batch) for job in self.fake.jobs.values() if job.is_batch == is_batch]
        if not rest:
            self.write_json({root.replace("-", "_"): told})
            return
        job = self.fake.jobs.get(rest.replace(":", "/").partition("/")[0])
        if job is None:
            self.write_error(404, "There is no such job.")
        elif self.command == "POST":
            job.is_cancelled = True
            self.write_json({})
        else:
            job.asked += 1
            reply = self.spoiled(_told_of(job, is_batch=is_batch), "meta")
            self.write_json({"batch": reply} if is_batch else reply)

    def _begun(self, fields: Json, *, is_batch: bool) -> Json:
        job = _Job(self.fake.new_id("job", self.fault), str(fields.get("model")), is_batch, self.fault.job)
        self.fake.jobs[job.job_id] = job
        return {"batch": _told_of(job, is_batch=True)} if is_batch else {"job_id": job.job_id}

    def _replied(self, prefix: str, told: Json) -> Json:
        """Return a reply with an id, and what a fault says was used."""
        return self.spoiled(self.spoiled({"id": self.fake.new_id(prefix, self.fault)} | told), "meta")

    def _chat(self, fields: Json) -> None:
        text, used = _answer_to(text_in(fields.get("messages")), fields.get("max_tokens"))
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        if fields.get("tools"):
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": "look_up", "arguments": '{"what": "moon"}'},
            }
            message = {"role": "assistant", "tool_plan": text, "tool_calls": [call]}
        reply = self._replied("reply", {"finish_reason": "COMPLETE", "message": message, "usage": used})
        if fields.get("stream"):
            self.write_events(_events(reply))
        else:
            self.write_json(reply)

    def _former_chat(self, fields: Json) -> None:
        text, used = _answer_to(str(fields.get("message")), fields.get("max_tokens"))
        reply_id = self.fake.new_id("reply", self.fault)
        about = {"response_id": reply_id, "generation_id": f"{reply_id}_1", "finish_reason": "COMPLETE"}
        reply = self.spoiled(about | {"text": text, "meta": {"api_version": _VERSION} | used}, "meta")
        if fields.get("stream"):
            self._write_lines(_former_events(reply))
        else:
            self.write_json(reply)

    def _generate(self, fields: Json) -> None:
        text, used = _answer_to(str(fields.get("prompt")), fields.get("max_tokens"))
        reply = self._replied("reply", {"generations": [{"id": "1", "text": text}], "meta": used})
        if fields.get("stream"):
            del reply["meta"]
            words = ({"event_type": "text-generation", "text": word} for word in pieces_of(text))
            self._write_lines((*words, {"event_type": "stream-end", "response": reply}))
        else:
            self.write_json(reply)

    def _write_lines(self, events: Iterable[Json]) -> None:
        """Write events as lines of JSON, each at once, as chunks: a stream that is cut is seen to be cut."""
        self.send_response(200)
        self.send_header("Content-Type", "application/stream+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if number == self.fault.drop_after:
                self._drop()
                return
            self._chunk(f"{json.dumps(event)}\n")
        self.wfile.write(b"0\r\n\r\n")

    def _embed(self, fields: Json) -> None:
        texts, pictures = fields.get("texts") or [], len(fields.get("images") or [])
        billed: Json = {"input_tokens": sum(tokens_of(text) for text in texts)}
        if pictures:
            billed |= {"images": pictures, "image_tokens": pictures * _PICTURE_TOKENS}
        vectors = {"float": [[0.5, 0.25]] * (len(texts) + pictures)}
        told = {"response_type": "embeddings_by_type", "embeddings": vectors, "texts": texts}
        self.write_json(self._replied("embed", told | {"meta": {"api_version": _VERSION, "billed_units": billed}}))

    def _rerank(self, fields: Json) -> None:
        documents = fields.get("documents") or []
        results = [{"index": number, "relevance_score": 1 / (number + 1)} for number in range(len(documents))]
        units = -(-len(documents) // _DOCUMENTS_PER_SEARCH)
        self.write_json(
            self._replied("rerank", {"results": results, "meta": {"billed_units": {"search_units": units}}})
        )

    def _classify(self, fields: Json) -> None:
        texts = fields.get("inputs") or []
        classes = [
            {"id": str(number), "input": text, "predictions": ["calm"], "confidences": [0.9], "labels": {}}
            for number, text in enumerate(texts)
        ]
        meta = {"billed_units": {"classifications": len(texts)}}
        self.write_json(self._replied("classify", {"classifications": classes, "meta": meta}))

    def _summarize(self, fields: Json) -> None:
        text, used = _answer_to(str(fields.get("text")), None)
        self.write_json(self._replied("summary", {"summary": text, "meta": used}))

    def _parse(self, _fields: Json) -> None:
        page = {"type": "markdown", "index": 0, "markdown": "# Lighthouse"}
        self.write_json(self._replied("parse", {"pages": [page], "meta": {"billed_units": {"pages": 1}}}))

    def _transcribe(self, _fields: Json) -> None:
        self.write_json({"text": "hello lighthouse"})

    def _tokenize(self, fields: Json) -> None:
        count = tokens_of(str(fields.get("text")))
        self.write_json({"tokens": list(range(count)), "token_strings": ["…"] * count})


@dataclass
class _Job:
    """A batch or an embedding job. end: how it ends, "completed" or "failed"."""

    job_id: str
    model: str
    is_batch: bool
    end: str
    asked: int = 0
    is_cancelled: bool = False


def _told_of(job: _Job, *, is_batch: bool) -> Json:
    """Return a job as it stands: done when it was asked about twice, with what it used then."""
    state = "cancelled" if job.is_cancelled else "processing" if job.asked < _ASKED_UNTIL_DONE else job.end
    about: Json = {"model": job.model, "input_dataset_id": "dataset_1", "created_at": "2026-11-23T12:00:00Z"}
    if not is_batch:
        billed = {"billed_units": {"input_tokens": _READ_TOKENS}} if state == "completed" else {}
        status = "complete" if state == "completed" else state
        meta = {"api_version": _VERSION} | billed
        return about | {"job_id": job.job_id, "status": status, "truncate": "END", "meta": meta}
    about |= {"id": job.job_id, "name": "night", "status": _BATCH_STATUSES[state], "num_records": 2}
    parts = 2 if state == "completed" else int(state == "cancelled" and job.asked > 1)
    counts = {"input_tokens": str(_READ_TOKENS * parts // 2), "output_tokens": str(_WRITTEN_TOKENS * parts // 2)}
    return about | {"num_successful_records": parts} | counts if parts else about


def _answer_to(prompt: str, most: object) -> tuple[str, Json]:
    """Return the answer to a prompt, cut where the request limits it, and what was used."""
    text = reply_text(prompt)
    if isinstance(most, int):
        text = text[: most * 4]
    read, written = tokens_of(prompt), tokens_of(text)
    billed = {"input_tokens": read, "output_tokens": written}
    return text, {
        "billed_units": billed,
        "tokens": {"input_tokens": read + _ADDED_TOKENS, "output_tokens": written + 1},
        "cached_tokens": read,
    }


def _events(reply: Json) -> Iterator[Json]:
    """Yield the events of a chat of the second generation."""
    message = reply["message"]
    yield {"type": "message-start", "id": reply["id"], "delta": {"message": {"role": "assistant"}}}
    for word in pieces_of(message.get("tool_plan") or ""):
        yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": word}}}
    for number, part in enumerate(message.get("content") or []):
        start = {"content": {"type": "text", "text": ""}}
        yield {"type": "content-start", "index": number, "delta": {"message": start}}
        for word in pieces_of(part["text"]):
            yield {"type": "content-delta", "index": number, "delta": {"message": {"content": {"text": word}}}}
        yield {"type": "content-end", "index": number}
    for number, call in enumerate(message.get("tool_calls") or []):
        begun = call | {"function": call["function"] | {"arguments": ""}}
        yield {"type": "tool-call-start", "index": number, "delta": {"message": {"tool_calls": begun}}}
        rest = {"function": {"arguments": call["function"]["arguments"]}}
        yield {"type": "tool-call-delta", "index": number, "delta": {"message": {"tool_calls": rest}}}
        yield {"type": "tool-call-end", "index": number}
    yield {"type": "message-end", "delta": {"finish_reason": reply["finish_reason"], "usage": reply["usage"]}}


def _former_events(reply: Json) -> Iterator[Json]:
    """Yield the events of a chat of the first generation."""
    yield {"event_type": "stream-start", "is_finished": False, "generation_id": reply["generation_id"]}
    for word in pieces_of(reply["text"]):
        yield {"event_type": "text-generation", "is_finished": False, "text": word}
    yield {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": reply}


class FakeCohere(StandIn):
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    handler = _Handler

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port=port, tls=tls)
        self.jobs: dict[str, _Job] = {}


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeCohere, "Cohere", 8089, arguments)


if __name__ == "__main__":
    main()
