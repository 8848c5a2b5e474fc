"""What reads requests from a connection: uvicorn's, with a bound on a request's head and on how long it may take.

Left to itself, that keeps whatever a head holds in memory, and a connection that never says what it wants for ever.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from callfare.errors import InvalidInput
from callfare.ids import new_id
from callfare.server.outer import IS_TOO_MUCH
from callfare.server.refusals import facts_of

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES_MAX = 64 * 1024
# How long a connection may take to send a request's head.
HEAD_S = 10
# How many connections there may be, and how many requests that are being answered.
CONNECTIONS_MAX = 2000


class HeadTooLarge(Exception):
    """The head of a request is above its bound; whoever sent it gets a 400."""


class Heads(HttpToolsProtocol):
    """Reads one connection."""

    # What has come and is part of no body yet, and how much of it the head of one request makes.
    _loose_bytes = 0
    _head_bytes = 0
    _late_task: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a request, and not for ever."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, part: bytes) -> None:
        """Read what has come; refuse a head that only grows."""
        self._loose_bytes += len(part)
        super().data_received(part)
        if self.transport.is_closing():
            return
        if self._loose_bytes > HEAD_BYTES_MAX:
            self.send_400_response("")
        elif self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # None until the first
            self._wait()

    def on_message_begin(self) -> None:
        """Begin to count what a head has."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Have the request answered, whose body may follow; refused where there are too many already."""
        self._wait_no_longer()
        self.scope["state"][IS_TOO_MUCH] = max(len(self.connections), len(self.tasks)) > CONNECTIONS_MAX
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, whose bound is the application's."""
        self._loose_bytes = max(0, self._loose_bytes - len(body))
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Count anew: what stands between the parts of a body is no head."""
        self._loose_bytes = 0

    def on_message_complete(self) -> None:
        """Count anew."""
        self._loose_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in the one shape of errors, and hang up."""
        del msg
        request_id = new_id("req")
        refusal = InvalidInput(f"this is no request of HTTP/1.1, or its head is above {HEAD_BYTES_MAX} bytes")
        body = json.dumps({"error": facts_of(refusal, request_id)}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
            f"x-request-id: {request_id}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _count(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX:
            # The parser makes a refusal of it.
            raise HeadTooLarge

    def _wait(self) -> None:
        if self._late_task is None:
            self._late_task = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _wait_no_longer(self) -> None:
        if self._late_task is not None:
            self._late_task.cancel()
            self._late_task = None
