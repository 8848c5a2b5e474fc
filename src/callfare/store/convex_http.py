"""A thin client of Convex's HTTP function API. Knows how its values are written, deadlines and retries; no ledger.

Convex cannot recognise a mutation that it was sent before over HTTP. Whoever calls `write` sends something that may
arrive twice: the ledger's batches say what they have read, and the second finds that the first has changed it.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import threading
from typing import Any, NamedTuple, TypeAlias

import msgspec

from callfare.clock import elapsed_s
from callfare.errors import CallfareError, InvalidInput, LedgerUnavailable, Misconfigured
from callfare.ids import jitter

Wire: TypeAlias = Any
"""What goes over the wire: None, booleans, integers, text, and lists and dicts of them."""

DOOR = "callfare/door"
_FORMAT = "convex_encoded_json"
_INTEGER = "$integer"
_INTEGER_BYTES = 8
# A function that failed by itself is answered with this one, as one that did not is with 200.
_FUNCTION_FAILED = 560
# Too many conflicts, too much load, a restart: nothing is known to be done.
_PASSING = frozenset({429, 500, 502, 503, 504})
_TRIES = 8
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 100, 2000
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_PART_BYTES = 64 * 1024
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Deployment(NamedTuple):
    """Where a deployment is, and the secret of its door."""

    host: str
    port: int | None
    path: str
    is_secure: bool
    secret: str

    @property
    def shown(self) -> str:
        """The address without the secret."""
        port = f":{self.port}" if self.port else ""
        return f"convex://{self.host}{port}{self.path}"


class FunctionFailed(Exception):
    """A function has thrown. `code` is what our own functions say; empty for what Convex itself has to say."""

    def __init__(self, code: str, message: str, found: int | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.found = found


class ConvexClient:
    """Calls the two functions of the door. Safe to share between threads; after a fork a child starts afresh."""

    def __init__(self, deployment: Deployment, *, layout: str) -> None:
        self.deployment = deployment
        self._layout = layout
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._idle: list[http.client.HTTPConnection] = []
        self._asked = 0

    def read(self, name: str, args: dict[str, Wire], ends_at_s: float) -> Wire:
        """Return what a query of ours answers, all as of one instant."""
        self._asked += 1
        # What nobody has asked before cannot have been answered before.
        nonce = f"{os.getpid()}-{id(self)}-{self._asked}-{elapsed_s()}"
        return self._call("query", f"{DOOR}:read", {"asked": nonce, "name": name, "args": args}, ends_at_s)

    def write(self, name: str, args: dict[str, Wire], ends_at_s: float) -> Wire:
        """Return what a mutation of ours answers. It may have been done more than once.

        Raises LedgerUnavailable when no answer came; then it is not known whether it was done.
        """
        return self._call("mutation", f"{DOOR}:write", {"name": name, "args": args}, ends_at_s)

    def close(self) -> None:
        """Close all connections; they are opened again when needed."""
        self._check_process()
        while self._idle:
            self._idle.pop().close()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            # Kept, unused: they are the parent's.
            self._inherited = self._idle
            self._start_afresh()

    def _call(self, kind: str, path: str, args: dict[str, Wire], ends_at_s: float) -> Wire:
        self._check_process()
        sealed = {"secret": self.deployment.secret, "layout": self._layout, **args}
        body = _encode({"path": path, "format": _FORMAT, "args": [to_wire(sealed)]})
        reason = "there was no time left"
        for attempt in range(_TRIES):
            left_s = ends_at_s - elapsed_s()
            if left_s <= 0:
                break
            try:
                # Not all of the time, so that another connection may do better than one on which nothing comes.
                status, answer = self._post(f"/api/{kind}", body, left_s * 3 / 4)
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            else:
                if status in {http.client.OK, _FUNCTION_FAILED}:
                    return _value_of(answer)
                reason = _told(status, answer)
                if status not in _PASSING:
                    raise Misconfigured(f"{self.deployment.shown} is no Convex deployment, or not ours: {reason}")
            pause_s = jitter(min(_FIRST_PAUSE_MS * 2**attempt, _LONGEST_PAUSE_MS)) / 1000
            if elapsed_s() + pause_s > ends_at_s:
                break
            threading.Event().wait(pause_s)
        raise LedgerUnavailable(f"Convex did not answer: {reason}; retry with the same key")

    def _post(self, route: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        connection = self._connection(timeout_s)
        try:
            headers = {"Content-Type": "application/json", "Convex-Client": "callfare"}
            connection.request("POST", self.deployment.path + route, body, headers)
            response = connection.getresponse()
            answer = _content_of(response, elapsed_s() + timeout_s)
            # Read to its end in parts, it does not know that it is over; the connection stays open.
            response.close()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return response.status, answer

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            place = self.deployment
            if place.is_secure:
                context = ssl.create_default_context()
                return http.client.HTTPSConnection(place.host, place.port, timeout=timeout_s, context=context)
            return http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection


def _content_of(response: http.client.HTTPResponse, ends_at_s: float) -> bytes:
    """Return the body of an answer. Raises HTTPException when it is too long, or takes too long, however it comes."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_PART_BYTES):
        parts.append(part)
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            raise http.client.HTTPException(f"the answer has more than {_ANSWER_BYTES_MAX} bytes")
        if elapsed_s() > ends_at_s:
            raise http.client.HTTPException("the answer did not end in time")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def to_wire(value: Wire) -> Wire:
    """Return a value as Convex writes it in JSON: an integer is eight bytes, the lowest first, in base64."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return {_INTEGER: base64.b64encode(value.to_bytes(_INTEGER_BYTES, "little", signed=True)).decode()}
        case list() | tuple():
            return [to_wire(part) for part in value]
        case dict():
            return {name: to_wire(part) for name, part in value.items()}
        case _:
            raise AssertionError(type(value))


def from_wire(value: Wire) -> Wire:
    """Return a value that Convex has written. Only what is marked as an integer is one: 1500 and 1500.0 are not."""
    match value:
        case {"$integer": str(encoded)}:
            content = base64.b64decode(encoded, validate=True)
            if len(content) != _INTEGER_BYTES:
                raise ValueError("an integer has eight bytes")
            return int.from_bytes(content, "little", signed=True)
        case list():
            return [from_wire(part) for part in value]
        case dict():
            return {name: from_wire(part) for name, part in value.items()}
        case bool():
            return value
        case int():
            return float(value)
        case _:
            return value


def _value_of(answer: bytes) -> Wire:
    try:
        told = _decode(answer)
        if told["status"] == "success":
            return from_wire(told["value"])
        failure = from_wire(told.get("errorData")) or {}
    except (
        msgspec.DecodeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise LedgerUnavailable("Convex gave an answer that cannot be read; retry with the same key") from error
    message = str(told.get("errorMessage", ""))
    if isinstance(failure, dict) and isinstance(failure.get("code"), str):
        raise FunctionFailed(failure["code"], str(failure.get("message", message)), _number(failure.get("found")))
    raise FunctionFailed("", message, None)


def _number(text: Wire) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() else None


def _told(status: int, answer: bytes) -> str:
    try:
        told = _decode(answer)
        code = str(told.get("code") or told.get("message") or "")
    except (msgspec.DecodeError, AttributeError, RecursionError):
        code = ""
    return f"{status} {code}".strip()


def fault_of(failed: FunctionFailed) -> CallfareError:
    """Return what it means that Convex itself could not do something."""
    words = failed.message.lower()
    if "could not find" in words and "function" in words:
        return Misconfigured(
            "the deployment has no callfare functions; copy them with `callfare convex init`, "
            "then run `npx convex deploy`"
        )
    if "limit" in words or "too large" in words or "too many" in words or "too much" in words:
        return InvalidInput(f"Convex cannot hold this, or not at once: {failed.message}")
    return LedgerUnavailable(f"Convex could not do this: {failed.message}; retry with the same key")
