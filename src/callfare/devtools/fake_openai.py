"""A stand-in for the OpenAI API on the loopback address, for the demo and the tests: real SDKs, no key, no network.

    with FakeOpenAI() as fake:
        client = OpenAI(base_url=fake.base_url, api_key="none")

Speaks chat completions, Responses, decisions, speech, transcriptions, images, videos, embeddings and reranking, plain,
streamed and in batches with their files; realtime sessions and Responses over web sockets. How it is told to fail:
stand_in.py.
`python -m callfare.devtools.fake_openai --port 8081`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar
from urllib.parse import parse_qs, unquote

from typing_extensions import override

from callfare.devtools import openai_batches as batches
from callfare.devtools import openai_replies as replies
from callfare.devtools import openai_sessions as sessions
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import AS_COUNTED, Fault, Pause, Seen, StandIn, StandInHandler, serve
from callfare.devtools.web_sockets import WebSocket

__all__ = ["AS_COUNTED", "FakeOpenAI", "Fault", "Pause", "Seen"]

_POLL_AFTER_MS = 1


class FakeOpenAIHandler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeOpenAI

    @override
    def plain_path(self, path: str) -> str:
        # Azure's clients put the deployment in front of the same paths.
        return re.sub(r"^/openai(/deployments/[^/]+|/v1)?/", "/v1/", path)

    @override
    def headers_beside(self) -> Mapping[str, str]:
        return {"openai-poll-after-ms": str(_POLL_AFTER_MS)}

    @override
    def error_body(self, status: int, message: str) -> Json:
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - where the server's begin
        return {"error": {"message": message, "type": kind, "param": None, "code": self.fault.code}}

    routes: ClassVar[dict[str, str]] = {
        "POST /v1/chat/completions": "chat",
        "POST /v1/responses": "respond",
        "POST /v1/responses/compact": "compact",
        "POST /v1/embeddings": "embed",
        "POST /v1/contextualizedembeddings": "embed",
        "POST /v1/decisions": "decide",
        "POST /v1/rerank": "rank",
        "POST /v1/audio/speech": "speak",
        "POST /v1/audio/transcriptions": "transcribe",
        "POST /v1/images/generations": "draw",
        "POST /v1/images/edits": "edit",
        "POST /v1/videos": "film",
        "POST /v1/videos/extensions": "extend",
        "POST /v1/files": "upload",
        "POST /v1/batches": "batch",
    }

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        name = self.routes.get(f"{self.command} {path}")
        kept = re.fullmatch(r"/v1/(?:videos|responses)/([^/]+)(?:/(content|remix|cancel))?", path)
        filed = re.fullmatch(r"/v1/(?:batches/([^/]+?)(?:/cancel)?|files/([^/]+)/content)", path)
        if name is not None:
            getattr(self, f"_{name}")(fields, upload)
        elif kept is not None:
            self._tell_job(unquote(kept[1]), kept[2], fields)
        elif filed is not None and filed[1] in self.fake.batches:
            if path.endswith("/cancel"):
                self.fake.batches[filed[1]] = batches.unfinished(self.fake.batches[filed[1]], "cancelled")
            self.write_json(self.batch(self.fake.batch(filed[1])))
        elif filed is not None and filed[2] in self.fake.files:
            self.write_bytes(self.fake.files[filed[2]], "application/jsonl")
        else:
            self.write_error(404, f"Unknown request URL: {self.command} {path}")

    @override
    def converse(self, path: str, socket: WebSocket) -> None:
        query = parse_qs(self.path.partition("?")[2])
        model = (query.get("model") or query.get("deployment") or [""])[0]
        if path == "/v1/realtime":
            session = sessions.Realtime(model, lambda prefix: self.fake.new_id(prefix, self.fault))
            self.tell(socket, session.opening())
            for message in socket.messages():
                self.tell(socket, map(self._spoiled_event, session.answer(json.loads(message))))
        elif path == "/v1/responses":
            for message in socket.messages():
                self.tell(socket, self._responded(json.loads(message)))
        socket.close()

    def _responded(self, event: Json) -> Iterator[Json]:
        lane = {"stream_id": event["stream_id"]} if event.get("stream_id") else {}
        if event.get("type") != "response.create" or not event.get("model"):
            error = {"type": "invalid_request_error", "code": "missing_model", "message": "The stand-in wants a model."}
            yield {"type": "error", "status": 400, "error": error} | lane
            return
        reply = self.spoiled(replies.response(event, self.fake.new_id("resp", self.fault)))
        for told in replies.response_events(reply):
            yield told | lane

    def _spoiled_event(self, event: Json) -> Json:
        if event["type"] != "response.done":
            return event
        return event | {"response": self.spoiled(event["response"])}

    # The routes

    def _chat(self, fields: Json, _upload: bytes) -> None:
        reply = self.spoiled(replies.chat_completion(fields, self.fake.new_id("chatcmpl", self.fault)))
        if not fields.get("stream"):
            self.write_json(reply)
            return
        with_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
        self.write_events(replies.chat_chunks(reply, with_usage=with_usage), named=False, done=True)

    def _respond(self, fields: Json, _upload: bytes) -> None:
        reply = self.spoiled(replies.response(fields, self.fake.new_id("resp", self.fault)))
        self.fake.keep(reply, self.fault.job)
        if fields.get("stream"):
            self.write_events(replies.response_events(reply))
        else:
            self.write_json(replies.unfinished(reply, "queued") if reply["background"] else reply)

    def _compact(self, fields: Json, _upload: bytes) -> None:
        reply = replies.response(fields, self.fake.new_id("resp", self.fault))
        self.write_json(self.spoiled(reply | {"object": "response.compaction"}))

    def _embed(self, fields: Json, _upload: bytes) -> None:
        self.write_json(self.spoiled(replies.embeddings(fields)))

    def _decide(self, fields: Json, _upload: bytes) -> None:
        self.write_json(self.spoiled(replies.decision(fields)))

    def _rank(self, fields: Json, _upload: bytes) -> None:
        self.write_json(self.spoiled(replies.ranking(fields)))

    def _speak(self, fields: Json, _upload: bytes) -> None:
        if fields.get("stream_format") == "sse":
            self.write_events(replies.speech_events(fields))
        else:
            self.write_bytes(replies.speech_bytes(fields), "audio/mpeg")

    def _transcribe(self, fields: Json, upload: bytes) -> None:
        full = self.spoiled(replies.transcription(fields, upload))
        form = str(fields.get("response_format") or "json")
        told = replies.transcript_in(full, form)
        if fields.get("stream") in ("true", True) and "usage" in full and full["usage"]["type"] == "tokens":
            self.write_events(replies.transcription_events(full))
        elif isinstance(told, str):
            self.write_bytes(told.encode("utf-8"), "text/plain; charset=utf-8")
        else:
            self.write_json(told)

    def _draw(self, fields: Json, _upload: bytes) -> None:
        self._send_images(fields, "image_generation")

    def _edit(self, fields: Json, _upload: bytes) -> None:
        self._send_images(fields, "image_edit")

    def _send_images(self, fields: Json, kind: str) -> None:
        reply = self.spoiled(replies.images(fields))
        if fields.get("stream") in ("true", True):
            self.write_events(replies.image_events(reply, kind))
        else:
            self.write_json(reply)

    def _film(self, fields: Json, _upload: bytes) -> None:
        job = replies.video(fields, self.fake.new_id("video", self.fault))
        self.fake.keep(job, self.fault.job)
        self.write_json(job)

    def _extend(self, fields: Json, upload: bytes) -> None:
        # An extended video tells how long the whole film is: here, four seconds were there before.
        self._film(fields | {"seconds": int(fields["seconds"]) + 4}, upload)

    def _upload(self, fields: Json, upload: bytes) -> None:
        file_id = self.fake.new_id("file", self.fault)
        self.fake.files[file_id] = upload
        self.write_json(batches.file(file_id, upload, str(fields.get("purpose"))))

    def _batch(self, fields: Json, _upload: bytes) -> None:
        batch_id = self.fake.new_id("batch", self.fault)
        asked = self.fake.files.get(str(fields.get("input_file_id")), b"")
        results = batches.results_of(asked, batch_id, str(fields.get("endpoint")))
        self.fake.files[f"{batch_id}_output"] = results
        self.fake.batches[batch_id] = batches.batch(fields, batch_id, f"{batch_id}_output", results)
        self.write_json(self.new_batch(batches.unfinished(self.fake.batches[batch_id], "validating")))

    def batch(self, told: Json) -> Json:
        """Return what a batch is, as this provider words it."""
        return told

    def new_batch(self, told: Json) -> Json:
        """Return what a batch is that was made now, as this provider words it."""
        return self.batch(told)

    def _tell_job(self, job_id: str, wish: str | None, fields: Json) -> None:
        job = self.fake.job(job_id)
        if job is None:
            self.write_error(404, f"No job with id {job_id!r}.")
        elif wish == "content":
            self.write_bytes(replies.video_bytes(job), "video/mp4")
        elif wish == "remix":
            self._film(job | fields, b"")
        elif wish == "cancel":
            cancelled = replies.unfinished(job, "cancelled")
            self.fake.keep(cancelled, "cancelled")
            self.write_json(cancelled)
        elif self.path.partition("?")[2].find("stream=true") >= 0:
            self.write_events(replies.response_events(job))
        else:
            self.write_json(self.spoiled(job) if job["object"] == "response" else job)


class FakeOpenAI(StandIn):
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    handler = FakeOpenAIHandler
    path = "/v1"

    def __init__(self, *, port: int = 0, polls_needed: int = 2) -> None:
        super().__init__(port=port)
        self.polls_needed = polls_needed
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Json] = {}
        self._jobs: dict[str, tuple[Json, str]] = {}
        self._polls: Counter[str] = Counter()

    def keep(self, job: Json, outcome: str) -> None:
        """Keep a reply that can be asked for again."""
        with self.lock:
            self._jobs[job["id"]] = (job, outcome)

    def batch(self, batch_id: str) -> Json:
        """Return a batch as this poll sees it."""
        batch = self.batches[batch_id]
        is_done = self.is_polled_enough(batch_id) or batch["status"] == "cancelled"
        return batch if is_done else batches.unfinished(batch, "in_progress")

    def is_polled_enough(self, job_id: str) -> bool:
        """Count a poll; return whether what goes on under this id has ended by now."""
        with self.lock:
            self._polls[job_id] += 1
            return self._polls[job_id] >= self.polls_needed

    def job(self, job_id: str) -> Json | None:
        """Return a video or response as this poll sees it, or None if there is none."""
        with self.lock:
            kept = self._jobs.get(job_id)
            if kept is None:
                return None
            self._polls[job_id] += 1
            polls = self._polls[job_id]
        job, outcome = kept
        if job["object"] == "video":
            return replies.video_after(job, polls, polls_needed=self.polls_needed, outcome=outcome)
        if job["background"] and polls < self.polls_needed:
            return replies.unfinished(job, "in_progress")
        return replies.unfinished(job, "failed") if outcome == "failed" else job


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeOpenAI, "OpenAI", 8081, arguments)


if __name__ == "__main__":
    main()
