"""Connections to one server: kept while they are used, one request at a time on each. Safe to share between threads.

Stands on the standard library, so that whoever only calls a server installs nothing for it. Follows no redirect: a key
goes to the address it was given for, and nowhere else.
"""

from __future__ import annotations

import math
import os
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BufferedReader, RawIOBase
from socket import socket
from typing import Any, NamedTuple

from callfare.clock import elapsed_s
from callfare.remote.address import Address

_CONNECT_S = 2.0
# Servers hang up after some seconds of silence; what they may be about to hang up is not used again.
_IDLE_S_MAX = 4.0
_KEPT_MAX = 32
_PART = 1 << 16
_ANSWER_BYTES_MAX = 64 << 20

Parts = Generator[bytes, None, None]


class Unreachable(Exception):
    """There is no answer. has_begun: the server may have read the request."""

    def __init__(self, reason: str, *, has_begun: bool) -> None:
        super().__init__(reason)
        self.has_begun = has_begun


class Request(NamedTuple):
    """What is sent to a server."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Flow(NamedTuple):
    """What a server answers bit by bit. parts: what has come, each as soon as it is there; they raise Unreachable."""

    status: int
    headers: Mapping[str, str]
    parts: Parts


class _Timed(HTTPConnection):
    """A connection whose answers are read no longer than until an instant, however little comes at a time."""

    until_s = math.inf

    def response_class(self, sock: socket, *given: Any, **named: Any) -> HTTPResponse:  # type: ignore[override]  # http.client calls it
        """Return an answer that is read from this connection."""
        return HTTPResponse(_Reading(sock, self), *given, **named)  # type: ignore[arg-type]  # of a socket it wants this

    def limit(self, *, is_new: bool = False) -> None:
        """Let the next step take no longer than what is left. A TimeoutError when nothing is."""
        left_s = self.until_s - elapsed_s()
        if left_s <= 0:
            raise TimeoutError("not in time")
        self.timeout = min(left_s, _CONNECT_S) if is_new else left_s
        if self.sock is not None:
            self.sock.settimeout(left_s)


class _TimedTLS(_Timed, HTTPSConnection):
    """The same under TLS."""


class _Reading(RawIOBase):
    """A socket as an answer reads it: whatever is asked of it, each read is limited anew."""

    def __init__(self, sock: socket, connection: _Timed) -> None:
        self._bytes = sock.makefile("rb", buffering=0)
        self._connection = connection

    def makefile(self, _mode: str) -> BufferedReader:
        """Return what the answer reads from."""
        return BufferedReader(self)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # no type of buffers before 3.12
        """Read what has come, waiting no longer than is left."""
        if self._connection.until_s < math.inf:
            self._connection.limit()
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._bytes.close()
        super().close()


class _Kept(NamedTuple):
    connection: _Timed
    since_s: float


class Connections:
    """The connections of one process to one server. A forked child begins with none."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._gate = threading.RLock()
        self._free: list[_Kept] = []
        self._is_closed = False

    def send(self, request: Request, until_s: float) -> Answer:
        """Return the answer to a request, there before an instant of `elapsed_s`.

        Raises Unreachable.
        """
        if os.getpid() != self._pid:
            self._start_afresh()
        kept = self._taken()
        if kept is not None:
            try:
                return self._sent(kept, request, until_s)
            except Unreachable as failure:
                # The server has hung up meanwhile, which says nothing about the request.
                if until_s - elapsed_s() <= 0 or isinstance(failure.__cause__, TimeoutError):
                    raise
        return self._sent(self._new(), request, until_s)

    def flow(self, request: Request, until_s: float, *, silence_s: float) -> Flow:
        """Return an answer that may go on for long, to a request that is sent before an instant of `elapsed_s`.

        It has a connection of its own, which ends with its parts. silence_s: how long nothing may come.

        Raises Unreachable.
        """
        with ExitStack() as on_failure:
            connection = on_failure.enter_context(closing(self._new()))
            try:
                connection.until_s = until_s
                connection.limit(is_new=True)
                connection.connect()
                connection.limit()
                connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
                connection.until_s = math.inf
                connection.sock.settimeout(silence_s)
                response = on_failure.enter_context(closing(connection.getresponse()))
                _check_bounds(response)
            except (OSError, HTTPException) as failure:
                raise self._unreachable(failure) from failure
            on_failure.pop_all()
        return Flow(response.status, _Headers(response), self._parts(connection, response))

    def _parts(self, connection: HTTPConnection, response: HTTPResponse) -> Parts:
        try:
            while part := response.read1(_PART):
                yield part
            _check_whole(response)
        except (OSError, HTTPException) as failure:
            raise self._unreachable(failure, has_begun=True) from failure
        finally:
            response.close()
            connection.close()

    def _unreachable(self, failure: Exception, *, has_begun: bool = False) -> Unreachable:
        reason = str(failure) or type(failure).__name__
        return Unreachable(f"{self._address.shown} does not answer: {reason}", has_begun=has_begun)

    def _sent(self, connection: _Timed, request: Request, until_s: float) -> Answer:
        has_begun = False
        connection.until_s = until_s
        try:
            connection.limit(is_new=connection.sock is None)
            if connection.sock is None:
                connection.connect()
            has_begun = True
            connection.limit()
            connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
            response = connection.getresponse()
            answer = Answer(response.status, _Headers(response), _read(response))
        except (OSError, HTTPException) as failure:
            connection.close()
            raise self._unreachable(failure, has_begun=has_begun) from failure
        except BaseException:
            # Left in the middle of an answer, it could be taken for the next one's.
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._give_back(connection)
        return answer

    def _new(self) -> _Timed:
        address = self._address
        if self._tls is not None:
            return _TimedTLS(address.host, address.port, context=self._tls)
        return _Timed(address.host, address.port)

    def _taken(self) -> _Timed | None:
        with self._gate, suppress(IndexError):
            while True:
                kept = self._free.pop()
                if elapsed_s() - kept.since_s < _IDLE_S_MAX:
                    return kept.connection
                kept.connection.close()
        return None

    def _give_back(self, connection: _Timed) -> None:
        with self._gate:
            if len(self._free) < _KEPT_MAX and not self._is_closed:
                self._free.append(_Kept(connection, elapsed_s()))
                return
        connection.close()

    def close(self) -> None:
        """Give all connections up. One that is made afterwards is used once."""
        if os.getpid() != self._pid:
            self._start_afresh()
        with self._gate:
            self._is_closed = True
            with suppress(IndexError):
                while True:
                    self._free.pop().connection.close()


class _Headers(dict[str, str]):
    """The headers of an answer, by their names in lower case."""

    def __init__(self, response: HTTPResponse) -> None:
        super().__init__((name.lower(), value) for name, value in response.getheaders())


def _read(response: HTTPResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_PART):
        parts.append(part)
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            raise HTTPException("the answer is too large")
    _check_whole(response)
    response.close()
    return b"".join(parts)


def _check_bounds(response: HTTPResponse) -> None:
    if not response.chunked and response.length is None:
        raise HTTPException("the answer does not say where it ends")


def _check_whole(response: HTTPResponse) -> None:
    if response.length:
        raise HTTPException("the answer was cut off")
