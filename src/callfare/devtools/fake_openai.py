"""A stand-in for the OpenAI API on the loopback address, for the demo and the tests: real SDKs, no key, no network.

    with FakeOpenAI() as fake:
        client = OpenAI(base_url=fake.base_url, api_key="none")

Speaks chat completions, Responses, speech, transcriptions, images, videos and embeddings, plain and streamed. The same
requests in the same order get the same replies. Faults are scripted with `fake.script(Fault(...))`, or carried by a
request, as in the header `x-fake-fault: status=429,retry_after=0` or the same text under `fake_fault` in its metadata.
`fake.count` tells how many requests arrived. Refuses other addresses than loopback, and bodies above 32 MiB. It keeps
what it was asked in memory, for tests to look at, until it ends. `python -m callfare.devtools.fake_openai --port 8081`.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self, cast
from urllib.parse import unquote

from typing_extensions import override

from callfare.devtools import openai_replies as replies
from callfare.devtools.forms import fields_of
from callfare.devtools.openai_replies import Json

BODY_BYTES_MAX = 32 * 1024 * 1024
_WAIT_S_MAX = 30
_REQUESTS_KEPT = 10_000
_POLL_AFTER_MS = 1

AS_COUNTED = object()
"""The usage of a fault that leaves the usage as it is."""


@dataclass(slots=True)
class Pause:
    """A place where the server waits for the test: before its answer, or after so many events of a stream."""

    after: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Say that the server is here, then go on when released, or after half a minute."""
        self.reached.set()
        self.released.wait(_WAIT_S_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request. Without any of these, the request is answered as usual.

    status: answer with this error, and `retry_after` seconds if given.
    message: the text of the error; code: its code.
    pause: wait for the test, before the answer or within a stream.
    drop_after: cut the connection after so many events of a stream; 0 cuts it instead of any answer.
    error_after: send an error event after so many events of a stream, and end it.
    usage: what the reply says it used instead of the truth; None for `usage: null`.
    response_id: the id of the reply instead of a fresh one.
    job: how a video or a background response made by this request will end: completed or failed.
    """

    status: int = 0
    retry_after: str | None = None
    message: str = "The stand-in was told to fail."
    code: str | None = None
    pause: Pause | None = None
    drop_after: int | None = None
    error_after: int | None = None
    usage: object = AS_COUNTED
    response_id: str | None = None
    job: str = "completed"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived: its fields are the JSON body, or the form's with `uploads` counted."""

    method: str
    path: str
    headers: Mapping[str, str]
    fields: Json


class FakeOpenAI:
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    def __init__(self, *, port: int = 0, polls_needed: int = 2) -> None:
        self.polls_needed = polls_needed
        self.counts: Counter[str] = Counter()
        self.requests: deque[Seen] = deque(maxlen=_REQUESTS_KEPT)
        self._faults: deque[tuple[str, Fault]] = deque()
        self._jobs: dict[str, tuple[Json, str]] = {}
        self._polls: Counter[str] = Counter()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._made = 0
        handler = type("_BoundHandler", (_Handler,), {"fake": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    @property
    def base_url(self) -> str:
        """Where an SDK client must point to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def count(self) -> int:
        """How many requests arrived; `counts` has them by "METHOD path"."""
        return sum(self.counts.values())

    def script(self, *faults: Fault, path: str = "") -> None:
        """Queue faults: each spoils the next request whose path contains `path`, once."""
        with self._lock:
            self._faults.extend((path, fault) for fault in faults)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and free the port. May be called again."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            _cut_off(connection)

    # Below is for the handler, which runs one thread for each connection.

    def connected(self, connection: socket.socket) -> None:
        """Remember a connection, to end it with the server."""
        with self._lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Forget a connection that ended."""
        with self._lock:
            self._connections.discard(connection)

    def arrived(self, seen: Seen) -> Fault:
        """Count a request, and return what goes wrong with it."""
        with self._lock:
            self.counts[f"{seen.method} {seen.path}"] += 1
            self.requests.append(seen)
            for queued in self._faults:
                if queued[0] in seen.path:
                    self._faults.remove(queued)
                    return queued[1]
        metadata = seen.fields.get("metadata")
        told = metadata.get("fake_fault", "") if isinstance(metadata, dict) else ""
        return fault_of(seen.headers.get("x-fake-fault") or told)

    def new_id(self, prefix: str, fault: Fault) -> str:
        """Return the next id, or the one that the fault repeats."""
        with self._lock:
            self._made += 1
            return fault.response_id or f"{prefix}_{self._made:06d}"

    def keep(self, job: Json, outcome: str) -> None:
        """Keep a reply that can be asked for again."""
        with self._lock:
            self._jobs[job["id"]] = (job, outcome)

    def job(self, job_id: str) -> Json | None:
        """Return a video or response as this poll sees it, or None if there is none."""
        with self._lock:
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


def fault_of(text: str) -> Fault:
    """Return the fault that a header or a metadata field tells, such as "status=500,drop_after=2,usage=none"."""
    fault = Fault()
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        told: object = int(value) if name in {"status", "drop_after", "error_after"} else value
        fault = replace(fault, **cast("dict[str, Any]", {name: None if name == "usage" else told}))
    return fault


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def _cut_off(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    """One connection. Reads a request, finds its route, and writes JSON, bytes or server-sent events."""

    fake: FakeOpenAI
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    _fault = Fault()

    routes: ClassVar[dict[str, str]] = {
        "POST /v1/chat/completions": "chat",
        "POST /v1/responses": "respond",
        "POST /v1/embeddings": "embed",
        "POST /v1/audio/speech": "speak",
        "POST /v1/audio/transcriptions": "transcribe",
        "POST /v1/images/generations": "draw",
        "POST /v1/images/edits": "edit",
        "POST /v1/videos": "film",
        "POST /v1/videos/extensions": "extend",
    }

    @override
    def setup(self) -> None:
        super().setup()
        self.fake.connected(self.connection)

    @override
    def finish(self) -> None:
        self.fake.disconnected(self.connection)
        try:
            super().finish()
        except OSError:
            return

    @override
    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test speaks for itself."""

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self._error(413, f"The body is above {BODY_BYTES_MAX} bytes.")
            self.close_connection = True
            return
        # Azure's clients put the deployment in front of the same paths.
        path = re.sub(r"^/openai(/deployments/[^/]+|/v1)?/", "/v1/", self.path.partition("?")[0].rstrip("/"))
        fields, upload = fields_of(str(self.headers.get("Content-Type", "")), body)
        seen = Seen(self.command, path, {name.lower(): value for name, value in self.headers.items()}, fields)
        self._fault = self.fake.arrived(seen)
        if self._fault.pause is not None and not self._fault.pause.after:
            self._fault.pause.wait()
        if self._fault.drop_after == 0:
            self._drop()
        elif self._fault.status:
            self._error(self._fault.status, self._fault.message)
        else:
            self._route(path, fields, upload)
        self.wfile.flush()

    def _route(self, path: str, fields: Json, upload: bytes) -> None:
        name = self.routes.get(f"{self.command} {path}")
        kept = re.fullmatch(r"/v1/(?:videos|responses)/([^/]+)(?:/(content|remix|cancel))?", path)
        if name is not None:
            getattr(self, f"_{name}")(fields, upload)
        elif kept is not None:
            self._tell_job(unquote(kept[1]), kept[2], fields)
        else:
            self._error(404, f"Unknown request URL: {self.command} {path}")

    # The routes

    def _chat(self, fields: Json, _upload: bytes) -> None:
        reply = self._spoiled(replies.chat_completion(fields, self.fake.new_id("chatcmpl", self._fault)))
        if not fields.get("stream"):
            self._json(reply)
            return
        with_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
        self._events(replies.chat_chunks(reply, with_usage=with_usage), named=False, done=True)

    def _respond(self, fields: Json, _upload: bytes) -> None:
        reply = self._spoiled(replies.response(fields, self.fake.new_id("resp", self._fault)))
        self.fake.keep(reply, self._fault.job)
        if fields.get("stream"):
            self._events(replies.response_events(reply))
        else:
            self._json(replies.unfinished(reply, "queued") if reply["background"] else reply)

    def _embed(self, fields: Json, _upload: bytes) -> None:
        self._json(self._spoiled(replies.embeddings(fields)))

    def _speak(self, fields: Json, _upload: bytes) -> None:
        if fields.get("stream_format") == "sse":
            self._events(replies.speech_events(fields))
        else:
            self._bytes(replies.speech_bytes(fields), "audio/mpeg")

    def _transcribe(self, fields: Json, upload: bytes) -> None:
        full = self._spoiled(replies.transcription(fields, upload))
        form = str(fields.get("response_format") or "json")
        told = replies.transcript_in(full, form)
        if fields.get("stream") in ("true", True) and "usage" in full and full["usage"]["type"] == "tokens":
            self._events(replies.transcription_events(full))
        elif isinstance(told, str):
            self._bytes(told.encode("utf-8"), "text/plain; charset=utf-8")
        else:
            self._json(told)

    def _draw(self, fields: Json, _upload: bytes) -> None:
        self._send_images(fields, "image_generation")

    def _edit(self, fields: Json, _upload: bytes) -> None:
        self._send_images(fields, "image_edit")

    def _send_images(self, fields: Json, kind: str) -> None:
        reply = self._spoiled(replies.images(fields))
        if fields.get("stream") in ("true", True):
            self._events(replies.image_events(reply, kind))
        else:
            self._json(reply)

    def _film(self, fields: Json, _upload: bytes) -> None:
        job = replies.video(fields, self.fake.new_id("video", self._fault))
        self.fake.keep(job, self._fault.job)
        self._json(job)

    def _extend(self, fields: Json, upload: bytes) -> None:
        # An extended video tells how long the whole film is: here, four seconds were there before.
        self._film(fields | {"seconds": int(fields["seconds"]) + 4}, upload)

    def _tell_job(self, job_id: str, wish: str | None, fields: Json) -> None:
        job = self.fake.job(job_id)
        if job is None:
            self._error(404, f"No job with id {job_id!r}.")
        elif wish == "content":
            self._bytes(replies.video_bytes(job), "video/mp4")
        elif wish == "remix":
            self._film(job | fields, b"")
        elif wish == "cancel":
            cancelled = replies.unfinished(job, "cancelled")
            self.fake.keep(cancelled, "cancelled")
            self._json(cancelled)
        elif self.path.partition("?")[2].find("stream=true") >= 0:
            self._events(replies.response_events(job))
        else:
            self._json(self._spoiled(job) if job["object"] == "response" else job)

    # Reading and writing

    def _spoiled(self, reply: Json) -> Json:
        if self._fault.usage is AS_COUNTED or "usage" not in reply:
            return reply
        return reply | {"usage": self._fault.usage}

    def _body(self) -> bytes | None:
        """Return the body of the request, or None when it is too large to be read."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self._chunked_body()
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length <= BODY_BYTES_MAX else None

    def _chunked_body(self) -> bytes | None:
        body = bytearray()
        while length := int(self.rfile.readline(32).partition(b";")[0], 16):
            if len(body) + length > BODY_BYTES_MAX:
                return None
            body += self.rfile.read(length)
            self.rfile.readline(8)
        self.rfile.readline(8)
        return bytes(body)

    def _json(self, reply: Json, status: int = 200) -> None:
        self._bytes(json.dumps(reply).encode("utf-8"), "application/json", status)

    def _bytes(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("openai-poll-after-ms", str(_POLL_AFTER_MS))
        if status >= 400 and self._fault.retry_after is not None:  # noqa: PLR2004 - where HTTP's errors begin
            self.send_header("retry-after", self._fault.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, message: str) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - where the server's begin
        error = {"message": message, "type": kind, "param": None, "code": self._fault.code}
        self._json({"error": error}, status)

    def _events(self, events: Iterable[Json], *, named: bool = True, done: bool = False) -> None:
        """Write server-sent events, each at once, as chunks: a stream that is cut is seen to be cut."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate((*self._until_fault(events), None)):
            if self._fault.pause is not None and number and number == self._fault.pause.after:
                self._fault.pause.wait()
            if number == self._fault.drop_after:
                self._drop()
                return
            if event is None:
                break
            name = f"event: {event['type']}\n" if named and "type" in event else ""
            self._chunk(f"{name}data: {json.dumps(event)}\n\n")
        if done:
            self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _until_fault(self, events: Iterable[Json]) -> Iterator[Json]:
        for number, event in enumerate(events):
            if number == self._fault.error_after:
                yield {"error": {"message": self._fault.message, "type": "server_error", "code": self._fault.code}}
                return
            yield event

    def _drop(self) -> None:
        """Break the connection here, as a failing network would."""
        self.close_connection = True
        _cut_off(self.connection)

    def _chunk(self, text: str) -> None:
        chunk = text.encode("utf-8")
        self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.flush()


def main(arguments: list[str] | None = None) -> None:
    """Serve on a port of the loopback address until interrupted or told to end, as a background job of a script too."""
    parser = argparse.ArgumentParser(prog="fake_openai", description="A stand-in for the OpenAI API on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8081)
    with FakeOpenAI(port=parser.parse_args(arguments).port) as fake:
        told_to_end = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell starts its background jobs with the first of them ignored, and so it would stay.
            signal.signal(number, lambda *_: told_to_end.set())
        print(f"The stand-in for OpenAI listens at {fake.base_url}; stop it with Ctrl-C.", flush=True)
        told_to_end.wait()
        print(f"It answered {fake.count} requests.")


if __name__ == "__main__":
    main()
