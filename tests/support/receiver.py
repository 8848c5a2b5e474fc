"""A webhook endpoint of a test's own: keeps what it was sent, and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

_POLL_S = 0.005


@dataclass
class Receiver:
    """What arrived, as (signature, body), and the statuses that the next requests are answered with: 200 after them."""

    url: str = ""
    arrived: list[tuple[str, bytes]] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)
    gate: threading.Event | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        """What arrived, read."""
        return [json.loads(body) for _, body in self.arrived]

    @property
    def types(self) -> list[str]:
        """The types of what arrived."""
        return [event["type"] for event in self.events]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield an endpoint on a free port of the loopback address."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.arrived.append((self.headers["Stripe-Signature"], body))
            if receiver.gate is not None:
                receiver.gate.wait(120)
            status = receiver.answers.popleft() if receiver.answers else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{receiver.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            """Show a page, where a browser comes back to."""
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a test speaks for itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/webhook"
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.gate is not None:
            receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
