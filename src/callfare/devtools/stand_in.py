"""What every stand-in for a provider shares: a server on the loopback address, scripted faults, and how it answers.

A stand-in is a subclass with its own handler; the handler has one method for each route. The same requests in the same
order get the same replies. Faults are scripted with `fake.script(Fault(...))`, or carried by a request, as in the
header `x-fake-fault: status=429,retry_after=0` or the same text under `fake_fault` in its metadata. `fake.count` tells
how many requests arrived. Refuses other addresses than loopback, and bodies above 32 MiB. It keeps what it was asked in
memory, for tests to look at, until it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self, cast

from typing_extensions import override

from callfare.devtools.forms import Json, fields_of
from callfare.devtools.web_sockets import WebSocket, accept_key

BODY_BYTES_MAX = 32 * 1024 * 1024
_WAIT_S_MAX = 120
_REQUESTS_KEPT = 10_000

AS_COUNTED = object()
"""The usage of a fault that leaves the usage as it is."""


@dataclass(slots=True)
class Pause:
    """A place where the server waits for the test: before its answer, or after so many events of a stream."""

    after: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Say that the server is here, then go on when released, or after two minutes."""
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


class StandIn:
    """A provider on the loopback address: starts when entered, and is gone, connections and all, when left."""

    handler: ClassVar[type[StandInHandler]]
    path: ClassVar[str] = ""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.requests: deque[Seen] = deque(maxlen=_REQUESTS_KEPT)
        self.lock = threading.Lock()
        self._faults: deque[tuple[str, Fault]] = deque()
        self._connections: set[socket.socket] = set()
        self._made = 0
        handler = type("_BoundHandler", (self.handler,), {"fake": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self._scheme = "http"
        if tls is not None:
            # Each connection shakes hands in its own thread.
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    @property
    def base_url(self) -> str:
        """Where an SDK client must point to."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}{self.path}"

    @property
    def count(self) -> int:
        """How many requests arrived; `counts` has them by "METHOD path"."""
        return sum(self.counts.values())

    def script(self, *faults: Fault, path: str = "") -> None:
        """Queue faults: each spoils the next request whose path contains `path`, once."""
        with self.lock:
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
        with self.lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            _cut_off(connection)

    # Below is for the handler, which runs one thread for each connection.

    def connected(self, connection: socket.socket) -> None:
        """Remember a connection, to end it with the server."""
        with self.lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Forget a connection that ended."""
        with self.lock:
            self._connections.discard(connection)

    def arrived(self, seen: Seen) -> Fault:
        """Count a request, and return what goes wrong with it."""
        with self.lock:
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
        with self.lock:
            self._made += 1
            return fault.response_id or f"{prefix}_{self._made:06d}"


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


class StandInHandler(BaseHTTPRequestHandler):
    """One connection. Reads a request, finds its route, and writes JSON, bytes or server-sent events."""

    fake: Any
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    fault = Fault()
    _told = 0

    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        raise NotImplementedError

    def error_body(self, status: int, message: str) -> Json:
        """Return the body of an error, as the provider would have it."""
        raise NotImplementedError

    def error_event(self) -> Json:
        """Return the event that tells an error within a stream."""
        return self.error_body(500, self.fault.message)

    def converse(self, path: str, socket: WebSocket) -> None:  # noqa: ARG002 - few providers have sessions
        """Speak with a client over a web socket, until either ends it."""
        socket.close()

    def plain_path(self, path: str) -> str:
        """Return the path of a request as routes have it."""
        return path

    def headers_beside(self) -> Mapping[str, str]:
        """Return the headers that every answer carries."""
        return {}

    # Below, nothing differs from provider to provider.

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

    def do_PUT(self) -> None:
        """Answer a request that brings a file."""
        self._answer()

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self.write_error(413, f"The body is above {BODY_BYTES_MAX} bytes.")
            self.close_connection = True
            return
        path = self.plain_path(self.path.partition("?")[0].rstrip("/"))
        # A file comes by PUT, and is one without a type; AWS's SDK sends its JSON without one.
        otherwise = "" if self.command == "PUT" else "application/json"
        fields, upload = fields_of(str(self.headers.get("Content-Type", otherwise)), body)
        seen = Seen(self.command, path, {name.lower(): value for name, value in self.headers.items()}, fields)
        self.fault = self.fake.arrived(seen)
        if self.fault.pause is not None and not self.fault.pause.after:
            self.fault.pause.wait()
        if self.fault.drop_after == 0:
            self._drop()
        elif self.fault.status:
            self.write_error(self.fault.status, self.fault.message)
        elif str(self.headers.get("Upgrade", "")).lower() == "websocket":
            self._upgrade(path)
        else:
            self.route(path, fields, upload)
        self.wfile.flush()

    def spoiled(self, reply: Json, name: str = "usage") -> Json:
        """Return a reply with the usage that a fault tells instead of the truth."""
        if self.fault.usage is AS_COUNTED or name not in reply:
            return reply
        return reply | {name: self.fault.usage}

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

    def write_json(self, reply: Json, status: int = 200) -> None:
        """Write JSON."""
        self.write_bytes(json.dumps(reply).encode("utf-8"), "application/json", status)

    def write_bytes(self, body: bytes, kind: str, status: int = 200) -> None:
        """Write a body of this content type."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.headers_beside().items():
            self.send_header(name, value)
        if status >= 400 and self.fault.retry_after is not None:  # noqa: PLR2004 - where HTTP's errors begin
            self.send_header("retry-after", self.fault.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def write_error(self, status: int, message: str) -> None:
        """Write an error."""
        self.write_json(self.error_body(status, message), status)

    def write_events(self, events: Iterable[Json], *, named: bool = True, done: bool = False) -> None:
        """Write server-sent events, each at once, as chunks: a stream that is cut is seen to be cut."""

        def frame_of(event: Json) -> str:
            name = f"event: {event['type']}\n" if named and "type" in event else ""
            return f"{name}data: {json.dumps(event)}\n\n"

        self.write_stream("text/event-stream", events, frame_of, end="data: [DONE]\n\n" if done else "")

    def write_lines(self, events: Iterable[Json]) -> None:
        """Write events as lines of JSON, each at once, as chunks."""
        self.write_stream("application/x-ndjson", events, lambda event: json.dumps(event) + "\n")

    def write_stream(
        self, kind: str, events: Iterable[Json], frame_of: Callable[[Json], str], *, end: str = ""
    ) -> None:
        """Write events as this content type has them, each at once, as chunks."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate((*self._until_fault(events), None)):
            if self.fault.pause is not None and number and number == self.fault.pause.after:
                self.fault.pause.wait()
            if number == self.fault.drop_after:
                self._drop()
                return
            if event is None:
                break
            self._chunk(frame_of(event))
        if end:
            self._chunk(end)
        self.wfile.write(b"0\r\n\r\n")

    def _upgrade(self, path: str) -> None:
        """Answer a handshake, and speak over a web socket from here on."""
        self.close_connection = True
        self._told = 0
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(str(self.headers.get("Sec-WebSocket-Key", ""))))
        self.end_headers()
        self.wfile.flush()
        self.converse(path, WebSocket(self.rfile.read, self._write_now))

    def tell(self, socket: WebSocket, events: Iterable[Json]) -> None:
        """Say something over a web socket. A fault counts all that was said in the session."""
        for event in events:
            if self.fault.pause is not None and self._told and self._told == self.fault.pause.after:
                self.fault.pause.wait()
            if self._told == self.fault.drop_after:
                self._drop()
                raise ConnectionError
            self._told += 1
            socket.send(event)

    def _write_now(self, sent: bytes) -> None:
        self.wfile.write(sent)
        self.wfile.flush()

    def _until_fault(self, events: Iterable[Json]) -> Iterator[Json]:
        for number, event in enumerate(events):
            if number == self.fault.error_after:
                yield self.error_event()
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


def no_port(port: int, error: OSError | OverflowError) -> str:
    """Return why a port cannot be listened at, for people."""
    reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "there is no such port"
    return f"port {port} of 127.0.0.1 cannot be had: {reason}; name another with --port, or 0 for a free one"


def serve(kind: type[StandIn], provider: str, port: int, arguments: list[str] | None = None) -> None:
    """Serve on a port of the loopback address until interrupted or told to end, as a background job of a script too."""
    parser = argparse.ArgumentParser(description=f"A stand-in for the API of {provider} on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=port, help=f"{port} if not given; 0 takes a free one")
    wanted = parser.parse_args(arguments).port
    try:
        made = kind(port=wanted)
    except (OSError, OverflowError) as error:
        parser.error(no_port(wanted, error))
    with made as fake:
        with suppress(KeyboardInterrupt):
            for number in (signal.SIGINT, signal.SIGTERM):
                # A shell starts its background jobs with the first of them ignored, and so it would stay.
                signal.signal(number, signal.default_int_handler)
            print(f"The stand-in for {provider} listens at {fake.base_url}; stop it with Ctrl-C.", flush=True)
            threading.Event().wait()
        print(f"It answered {fake.count} requests.")
