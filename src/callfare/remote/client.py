"""Requests to a server: each under one key however often it is tried, within one deadline.

What is sent again has the same Idempotency-Key or stands under keys of its own, so no try counts twice. Refuses to wait
past the deadline, and to take for an answer what is none of callfare's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from callfare.checks import check_text
from callfare.clock import elapsed_s
from callfare.errors import CallfareError, LedgerUnavailable, Misconfigured
from callfare.ids import jitter, new_id
from callfare.remote.address import Address
from callfare.remote.connections import Answer, Connections, Flow, Parts, Request, Unreachable
from callfare.remote.faults import error_of

API = "/api/billing"
TRIES = 3
_FIRST_WAIT_MS = 100
# What goes on for long may be silent for as long as a server reads rows of which it has none to tell.
_SILENCE_S = 120
_REFUSAL_PARTS_MAX = 64
_LINE_BYTES_MAX = 16 << 20
_OK = 200
_NOT_MODIFIED = 304
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})

Query = Mapping[str, str | int | None]
A = TypeVar("A")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Client:
    """One server, asked with one key. Safe to share between threads; a forked child has connections of its own.

    deadline_s: how long an answer may take, all tries together.
    """

    def __init__(self, address: Address, *, deadline_s: float) -> None:
        self.address = address
        self.deadline_s = deadline_s
        self._connections = Connections(address)

    def get(self, path: str, query: Query | None = None) -> Any:  # noqa: ANN401 - JSON is what it is
        """Return what a server tells. Raises its refusal, LedgerUnavailable, Misconfigured."""
        return self._read(self._asked("GET", _target(path, query), {}, None, self.deadline_s))

    def get_unless(self, path: str, etag: str | None) -> tuple[Any, str | None] | None:
        """Return what a server tells with its ETag, None when that is still the one that is known."""
        headers = {} if etag is None else {"If-None-Match": etag}
        answer = self._asked("GET", _target(path, None), headers, None, self.deadline_s)
        return None if answer.status == _NOT_MODIFIED else (self._read(answer), answer.headers.get("etag"))

    def post(self, path: str, body: object, *, key: str | None = None, within_s: float | None = None) -> Any:  # noqa: ANN401
        """Return what a server answers to a body.

        key: names the request; made when None. within_s: a shorter time than the deadline.
        """
        return self.post_text(path, _encode(body), key=key, within_s=within_s)

    def post_text(self, path: str, body: bytes, *, key: str | None = None, within_s: float | None = None) -> Any:  # noqa: ANN401
        """Return what a server answers to a body that is JSON already."""
        named = new_id("req") if key is None else header_of(key)
        headers = {"Content-Type": "application/json", "Idempotency-Key": named}
        deadline_s = self.deadline_s if within_s is None else min(within_s, self.deadline_s)
        return self._read(self._asked("POST", _target(path, None), headers, body, deadline_s))

    def flow(self, method: str, path: str, query: Query | None = None, body: object = None) -> Parts:
        """Return what a server answers bit by bit, once it has begun: what comes, as soon as it is there. To be closed.

        Raises what `get` does; the parts raise LedgerUnavailable when they end before their end.
        """
        headers = {"Accept": "*/*"} if body is None else {"Content-Type": "application/json"}
        request = self._request(method, _target(path, query), headers, None if body is None else _encode(body))
        return _whole(self._until(request, self.deadline_s, self._begun).parts)

    def _asked(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline_s: float
    ) -> Answer:
        """Return an answer that is a success, trying again while there is time."""
        return self._until(self._request(method, target, headers, body), deadline_s, self._tried)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Request:
        sent = {"Authorization": f"Bearer {self.address.key}", "Accept": "application/json", **headers}
        return Request(method, f"{self.address.prefix}{API}{target}", sent, body)

    def _until(self, request: Request, deadline_s: float, attempt: Callable[[Request, float], A | _Failed]) -> A:
        """Return what an attempt gets in the end, making further ones while there is time."""
        until_s = elapsed_s() + deadline_s
        for wait in _waits():
            tried = attempt(request, until_s)
            if not isinstance(tried, _Failed):
                return tried
            if not tried.is_worth_another or wait.is_last:
                raise tried.error
            wait_s = max(jitter(wait.most_ms) / 1000, tried.retry_after_s)
            if elapsed_s() + wait_s >= until_s:
                raise tried.error
            threading.Event().wait(wait_s)
        raise AssertionError(request.path)

    def _tried(self, request: Request, until_s: float) -> Answer | _Failed:
        try:
            answer = self._connections.send(request, until_s)
        except Unreachable as failure:
            return _Failed(LedgerUnavailable(f"{failure}; repeat with the same key"), is_worth_another=True)
        return answer if answer.status in {_OK, _NOT_MODIFIED} else self._failed(answer)

    def _begun(self, request: Request, until_s: float) -> Flow | _Failed:
        try:
            flow = self._connections.flow(request, until_s, silence_s=_SILENCE_S)
            if flow.status == _OK:
                return flow
            with closing(flow.parts) as parts:
                return self._failed(Answer(flow.status, flow.headers, b"".join(islice(parts, _REFUSAL_PARTS_MAX))))
        except Unreachable as failure:
            return _Failed(LedgerUnavailable(str(failure)), is_worth_another=True)

    def _failed(self, answer: Answer) -> _Failed:
        return _Failed(
            self._error(answer),
            is_worth_another=answer.status in _AGAIN,
            retry_after_s=_retry_after_s(answer.headers),
        )

    def _read(self, answer: Answer) -> Any:  # noqa: ANN401 - JSON is what it is
        try:
            return _decode(answer.body)
        except msgspec.MsgspecError:
            raise LedgerUnavailable(f"{self.address.shown} answers what is no JSON; is it a callfare server?") from None

    def _error(self, answer: Answer) -> CallfareError:
        try:
            facts = _decode(answer.body)["error"]
            return error_of(facts, answer.status)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            pass
        if answer.status in _AGAIN:
            return LedgerUnavailable(f"what stands before {self.address.shown} answers {answer.status}; try again")
        moved = answer.headers.get("location")
        hint = f"; it points to {moved[:200]!r}" if moved else ""
        return Misconfigured(
            f"{self.address.shown} does not answer as a callfare server does (status {answer.status}){hint}",
            param="url",
        )

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()


def _whole(parts: Parts) -> Parts:
    try:
        yield from parts
    except Unreachable as failure:
        raise LedgerUnavailable(f"{failure}; ask again") from None


class _Failed(NamedTuple):
    """A try without success, whether another is worth it, and how long the server asks to wait before."""

    error: CallfareError
    is_worth_another: bool
    retry_after_s: float = 0


class _Wait(NamedTuple):
    most_ms: int
    is_last: bool


def _waits() -> Iterator[_Wait]:
    for number in range(TRIES):
        yield _Wait(most_ms=_FIRST_WAIT_MS << (2 * number), is_last=number == TRIES - 1)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long Retry-After asks to wait: so many seconds, or until a time by the clock that sent it.

    Nothing for what is neither.
    """
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdecimal() and len(text) <= 6:  # noqa: PLR2004
        return int(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0


def _target(path: str, query: Query | None) -> str:
    given = {name: str(value) for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote, safe='')}" if given else path


def lines_in(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that come in parts, each with its end; what comes after the last end is yielded as it is.

    Raises LedgerUnavailable for a line without an end in sight.
    """
    begun: list[bytes] = []
    size = 0
    for part in parts:
        *whole, rest = part.split(b"\n")
        for line in whole:
            yield b"".join([*begun, line, b"\n"])
            begun, size = [], 0
        begun.append(rest)
        size += len(rest)
        if size > _LINE_BYTES_MAX:
            raise LedgerUnavailable("the server answers a line that is too long")
    if size:
        yield b"".join(begun)


def header_of(key: str) -> str:
    """Return a key as a header may carry it: what is not plain ASCII by its digest, the same each time.

    Raises InvalidInput.
    """
    check_text(key, "key")
    is_plain = key.isascii() and key.isprintable() and key == key.strip()
    return key if is_plain else f"utf8:{blake2b(key.encode(), digest_size=16).hexdigest()}"


def part(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")
