"""What every request passes before anything else, and every answer after: its id, host, origin, size and deadline.

Nothing here knows what is asked. Whatever goes wrong further in becomes an answer of the one error shape here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from http import HTTPMethod
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from callfare.clock import elapsed_s
from callfare.errors import (
    CallfareError,
    DeadlineExceeded,
    HostRefused,
    InvalidInput,
    OriginRefused,
    Overloaded,
    UnsupportedMedia,
)
from callfare.ids import new_id
from callfare.server.limits import DEADLINE_S, LONG_DEADLINE_S, check_size
from callfare.server.metrics import Metrics
from callfare.server.peers import Peers
from callfare.server.refusals import InternalError, Refusals

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("callfare.http")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Few enough that none is a list of something else, and sent once only: what two of them mean is anybody's guess.
_ONCE = frozenset({b"host", b"origin", b"authorization", b"content-length", b"content-type", b"idempotency-key"})

_DRAIN_S = 2
_DRAIN_BYTES_MAX = 8 * 1024 * 1024

REQUEST_ID = "callfare.request_id"
# In the state of a request that comes on top of more than the server takes.
IS_TOO_MUCH = "callfare.is_too_much"
WHO = "callfare.who"


class Hosts:
    """The names a server answers to: those of the loopback, and its public address's."""

    def __init__(self, public_urls: Iterable[str] = ()) -> None:
        parts = [urlsplit(url) for url in public_urls]
        self._hosts = frozenset(part.netloc.lower() for part in parts)
        self._origins = frozenset(f"{part.scheme}://{part.netloc}".lower() for part in parts)

    def check(self, host: str, origin: str | None) -> None:
        """Return when a request is for this server, and from no page of another origin.

        Raises HostRefused, OriginRefused.
        """
        host = host.lower()
        is_local = _without_port(host) in _LOOPBACK
        if not is_local and host not in self._hosts:
            raise HostRefused("this server does not answer for that host; set CALLFARE_PUBLIC_URL to its address")
        if origin is not None and origin not in self._origins and not (is_local and origin == f"http://{host}"):
            raise OriginRefused("pages of other origins may not call this server")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


class Outer:
    """The outermost layer of the server."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, peers: Peers, refusals: Refusals, metrics: Metrics) -> None:
        self._app = peers.behind(app)
        self._hosts = hosts
        self._peers = peers
        self._refusals = refusals
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = elapsed_s()
        exchange = _Exchange(scope, receive, send)
        self._metrics.in_flight.inc()
        try:
            await self._answer(exchange)
        finally:
            self._metrics.in_flight.dec()
            self._tell(exchange, elapsed_s() - begin)

    async def _answer(self, exchange: _Exchange) -> None:
        refusal: CallfareError
        try:
            self._peers.check(exchange.scope)
            exchange.check(self._hosts)
            async with asyncio.timeout(exchange.deadline_s):
                await self._app(exchange.scope, exchange.receive, exchange.send)
        except CallfareError as error:
            refusal = error
        except TimeoutError:
            refusal = DeadlineExceeded("there was no answer in time; repeat with the same key")
        except Exception:  # noqa: BLE001 - whatever it is, whoever asked gets an answer
            if not exchange.status:
                _log.exception("a request failed", extra={"request_id": exchange.request_id})
            refusal = InternalError("a fault of the server; its log has it under the request's id")
        else:
            return
        if not exchange.status:
            await self._refuse(exchange, refusal)

    async def _refuse(self, exchange: _Exchange, refusal: CallfareError) -> None:
        response = self._refusals.answer(refusal, exchange.request_id)
        # Whoever is still sending does not listen yet; what is far too much is cut off all the same.
        if isinstance(refusal, Overloaded) or not await exchange.drain():
            response.headers["Connection"] = "close"
        await response(exchange.scope, exchange.receive, exchange.send)

    def _tell(self, exchange: _Exchange, seconds: float) -> None:
        scope = exchange.scope
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.answered(exchange.method, route, exchange.status, seconds)
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "answered",
                extra={
                    "request_id": exchange.request_id,
                    "method": exchange.method,
                    "route": route,
                    "status": exchange.status,
                    "ms": round(seconds * 1000, 2),
                    "who": scope.get(WHO),
                },
            )


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self._is_read = False
        self.status = 0
        names = [name for name, _ in scope["headers"]]
        self._repeated = next((name for name in names if name in _ONCE and names.count(name) > 1), None)
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self._header(b"x-request-id") or ""
        self.request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        scope[REQUEST_ID] = self.request_id
        # Routes are matched as they were sent, so that a slash within an id is not taken for one between two names.
        scope["path"] = scope.get("raw_path", b"").decode("ascii", "replace") or scope["path"]

    @property
    def method(self) -> str:
        """The method, where it is one that exists: whoever sends others must not make names in the metrics."""
        method: str = self.scope["method"]
        return method if method in HTTPMethod.__members__ else "other"

    @property
    def deadline_s(self) -> int:
        """How long the answer may take; an export and a verification are as long as the ledger."""
        path = self.scope["path"]
        return LONG_DEADLINE_S if "/export/" in path or path.endswith("/verify") else DEADLINE_S

    def check(self, hosts: Hosts) -> None:
        """Return when the request's head is acceptable.

        Raises Overloaded, HostRefused, OriginRefused, InvalidInput, BodyTooLarge, UnsupportedMedia.
        """
        if self.scope.get("state", {}).get(IS_TOO_MUCH):
            raise Overloaded("the server is asked by more than it takes at once; repeat with the same key")
        if self._repeated is not None:
            raise InvalidInput(f"the header {self._repeated.decode('latin-1')} is there more than once")
        hosts.check(self._header(b"host") or "", self._header(b"origin"))
        encoding = self._header(b"content-encoding")
        if encoding not in {None, "identity"}:
            raise UnsupportedMedia("bodies are taken as they are, not compressed; leave Content-Encoding out")
        length = self._header(b"content-length")
        if length is not None and length.isdecimal():
            check_size(int(length[:20]))

    def _header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def receive(self) -> Message:
        """Return the next part of the request, as long as it is not too much.

        Raises BodyTooLarge.
        """
        message = await self._next()
        check_size(self._received)
        return message

    async def drain(self) -> bool:
        """Read the rest of the body and drop it, and return whether it came to its end within bounds."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                while not self._is_read and self._received <= _DRAIN_BYTES_MAX:
                    await self._next()
        except TimeoutError:
            return False
        return self._is_read

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._is_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer, the first with the request's id and what keeps browsers from making use of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[Any] = list(message.get("headers", ()))
            headers += [(b"x-request-id", self.request_id.encode()), *_GUARDS]
            message = {**message, "headers": headers}
        await self._send(message)


_GUARDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
