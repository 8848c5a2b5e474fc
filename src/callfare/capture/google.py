"""Metering of Google's SDK for Gemini, sync and async, Vertex AI too: content, embeddings, pictures and videos.

The metered client is a copy of the given one whose parts all send through a layer of ours; the SDK's own layer below it
is the same object, and nothing of the SDK is patched or imported. Chats and automatic function calls pass it too, each
request by itself. Live sessions do not pass it: `google_live.py` stands before those.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import replace

from callfare.capture.base import READING, Intent, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.batch_calls import BatchNotes, Hearing, Making, noted
from callfare.capture.batches import BatchReplies, Delivered
from callfare.capture.dialect import BatchAsked, Request
from callfare.capture.google_dialect import GoogleDialect, content_of, results_in
from callfare.capture.google_interactions import meter_interactions
from callfare.capture.google_live import metered_connect
from callfare.capture.later import Later
from callfare.capture.leftovers import settle_surely
from callfare.capture.proxies import Proxy
from callfare.capture.settlements import Ending, Retold, Settlement, Ticketed
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.errors import InvalidInput
from callfare.usage.extract import read

ClientT = TypeVar("ClientT")

_SETTLING = Unharmed("settle a call")
_NO_ANSWER = object()
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_LAYER = "_api_client"
_INTERACTIONS = "_interactions"
_GIVEN = "_callfare_given"


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: a google.genai Client; it stays as it is, and stays open as long as the metered one lives.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    below = getattr(client, _LAYER, None)
    if isinstance(client, type) or not hasattr(client, "models") or not hasattr(below, "async_request_streamed"):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as google.genai.Client()", param="client")
    if isinstance(vars(client)[_LAYER], _Layer):
        layer = vars(client)[_LAYER]
        if (layer.calls.meter, layer.calls.user, layer.calls.dialect.provider) == (meter, user, provider):
            return client
        below = layer.calls.below
    twin: ClientT = _over(client, _Layer(_Calls(below, meter, user, GoogleDialect(provider))))
    vars(twin)[_GIVEN] = client
    return twin


def _over(part: Any, layer: _Layer) -> Any:
    """Return a copy of a client or of a part of it, in which everything sends through our layer."""
    twin = copy.copy(part)
    kind = type(part)
    # What closes itself when it is collected would close the connections of the client it was copied from.
    if hasattr(kind, "__del__"):
        twin.__class__ = type(kind.__name__, (kind,), {"__del__": _leave_open, "__module__": kind.__module__})
    state = vars(twin)
    for name, value in state.items():
        if name == _LAYER:
            state[name] = layer
        elif hasattr(value, "__dict__") and _LAYER in vars(value):
            state[name] = _over(value, layer)
    calls = layer.calls
    base_url = calls.base_url().rstrip("/")
    whose: dict[str, Any] = {"user": calls.user, "provider": calls.dialect.provider_of(base_url)}
    if kind.__name__ == "AsyncLive":
        state.pop("connect", None)
        state["connect"] = metered_connect(twin.connect, calls.meter, base_url=base_url, **whose)
    if _INTERACTIONS in state:
        state[_INTERACTIONS] = Later(partial(_interactions, twin, calls.meter, base_url=base_url, **whose))
    return twin


def _interactions(client: Any, meter: Meter, **whose: Any) -> Any:
    """Return a client's resource for interactions as the SDK makes it, in its own place, metered."""
    resource = vars(client)[_INTERACTIONS]
    if type(resource) is Later:
        vars(client)[_INTERACTIONS] = None
        resource = client.interactions
        meter_interactions(resource, meter, **whose)
    return resource


def _leave_open(_self: object) -> None:
    """Do nothing: the given client closes what is its own."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """The SDK's layer below ours, and for whom calls are metered."""

    below: Any
    meter: Meter
    user: str | None
    dialect: GoogleDialect

    def base_url(self) -> str:
        """Return where the SDK sends to."""
        return str(getattr(getattr(self.below, "_http_options", None), "base_url", "") or "")

    def request(self, method: str, path: str, body: object, *, is_stream: bool) -> Request | None:
        """Return a request that is to be metered, or None."""
        operation = self.dialect.operation_of(path) if method.lower() == "post" and not is_metered() else None
        if operation is None:
            return None
        base_url = self.base_url()
        with READING:
            return self.dialect.request_of(
                path, operation=operation, base_url=base_url, body=body, options=_NO_OPTIONS, is_stream=is_stream
            )
        return self.dialect.bare_request(
            operation, base_url=base_url, body=body, options=_NO_OPTIONS, is_stream=is_stream
        )

    def told_by(self, path: str, body: object, reply: object) -> Iterator[tuple[Ending, Settlement]]:
        """Yield what a reply tells of earlier calls: the end of a job, and the results that a batch carries itself."""
        retold = self._retold(path, body)
        if retold is not None:
            yield retold[1], self.dialect.settlement_of(retold[0], reply)
        batch = self.dialect.batch_of(path, reply)
        told = None if batch is None else self.dialect.batch_told(reply)
        if told is not None:
            yield self._hearing(), noted(told)
        results = results_in(reply)
        if batch is not None and results:
            yield self.delivered(batch, results)

    def delivered(self, batch: BatchAsked, results: object) -> tuple[Ending, Settlement]:
        """Return what the results of a batch have earned, and where that goes."""
        base_url = self.base_url()
        bare = self.dialect.bare_request("batch", base_url=base_url, body=None, options=_NO_OPTIONS, is_stream=False)
        return Delivered(self.meter, self.user), BatchReplies(self.dialect, batch).settlement_of(bare, results)

    def batch_made_by(self, method: str, path: str, body: object) -> Sequence[Intent] | None:
        """Return the calls in the batch that a request makes, None when it makes none."""
        if method.lower() != "post" or is_metered():
            return None
        with READING:
            return self.dialect.batch_made_by(path, base_url=self.base_url(), body=body)
        return ()

    def making(self) -> Request:
        """Return the request that makes a batch."""
        bare = self.dialect.bare_request(
            "batch", base_url=self.base_url(), body=None, options=_NO_OPTIONS, is_stream=False
        )
        return replace(bare, dialect=BatchNotes(self.dialect, self.dialect.batch_told))

    def _hearing(self) -> Ending:
        intent = self.making().intent
        return Hearing(self.meter, intent.provider, intent.base_url)

    def _retold(self, path: str, body: object) -> tuple[Request, Ending] | None:
        asked = self.dialect.job_of(path)
        if asked is None and path.endswith(":fetchPredictOperation") and isinstance(body, Mapping):
            asked = self.dialect.job_of(str(body.get("operationName")))
        if asked is None:
            return None
        base_url = self.base_url()
        request = self.dialect.bare_request(
            asked.operation, base_url=base_url, body=None, options=_NO_OPTIONS, is_stream=False
        )
        ending = Retold(self.meter, request.intent.provider, base_url.rstrip("/"), asked.job_id, self.user)
        return request, ending


class _Layer(Proxy):
    """Stands before the SDK's HTTP layer: sends what costs through the meter, and hands everything else through."""

    __slots__ = ("calls",)

    def __init__(self, calls: _Calls) -> None:
        super().__init__(calls.below)
        self.calls = calls

    def request(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        calls, below = self.calls, self.calls.below.request
        request = calls.request(method, path, body, is_stream=False)
        ending: Ending
        if request is not None:
            ending = Ticketed(calls.meter.admit(request.intent, user=calls.user))
        elif (intents := calls.batch_made_by(method, path, body)) is not None:
            request = calls.making()
            intent = request.intent
            ticket = calls.meter.batches.admit(intents, provider=intent.provider, user=calls.user)
            ending = Making(ticket, intent.provider, intent.base_url)
        else:
            return self._told(path, body, below(method, path, body, *rest, **options))
        reply: Any = _NO_ANSWER
        try:
            with marked_as_metered():
                reply = below(method, path, body, *rest, **options)
        except BaseException:
            # What came just after the answer was raised by a signal.
            settle_surely(lambda: ending.apply(self._earned(request, reply)))
            raise
        settle_surely(lambda: ending.apply(self._earned(request, reply)))
        return reply

    def _told(self, path: str, body: object, reply: Any) -> Any:
        """Return a reply, and notice what it tells of earlier calls."""
        with _SETTLING:
            for ending, settlement in self.calls.told_by(path, body, reply):
                ending.apply(settlement)
        return reply

    @staticmethod
    def _earned(request: Request, reply: object) -> Settlement:
        """Return what a reply has earned; nothing where there was none."""
        return _released(request) if reply is _NO_ANSWER else request.dialect.settlement_of(request, reply)

    async def async_request(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        calls, below = self.calls, self.calls.below.async_request
        request = calls.request(method, path, body, is_stream=False)
        ending: Ending
        if request is not None:
            ending = Ticketed(await calls.meter.admit_async(request.intent, user=calls.user))
        elif (intents := calls.batch_made_by(method, path, body)) is not None:
            request = calls.making()
            intent = request.intent
            ticket = await calls.meter.batches.admit_async(intents, provider=intent.provider, user=calls.user)
            ending = Making(ticket, intent.provider, intent.base_url)
        else:
            reply = await below(method, path, body, *rest, **options)
            with _SETTLING:
                for ending, settlement in calls.told_by(path, body, reply):
                    await ending.apply_async(settlement)
            return reply
        try:
            with marked_as_metered():
                reply = await below(method, path, body, *rest, **options)
        except BaseException:
            with _SETTLING:
                await ending.apply_async(_released(request))
            raise
        with _SETTLING:
            await ending.apply_async(request.dialect.settlement_of(request, reply))
        return reply

    def download_file(self, path: str, **options: Any) -> Any:
        """Download a file as the SDK does; results of a batch are noticed."""
        content = self.calls.below.download_file(path, **options)
        batch = self.calls.dialect.batch_of(path)
        if batch is not None:
            with _SETTLING:
                ending, settlement = self.calls.delivered(batch, content)
                ending.apply(settlement)
        return content

    async def async_download_file(self, path: str, **options: Any) -> Any:
        """Download a file as the SDK does; results of a batch are noticed."""
        content = await self.calls.below.async_download_file(path, **options)
        batch = self.calls.dialect.batch_of(path)
        if batch is not None:
            with _SETTLING:
                ending, settlement = self.calls.delivered(batch, content)
                await ending.apply_async(settlement)
        return content

    def request_streamed(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        """Make a streamed call as the SDK does. What fails before its first chunk has used nothing."""
        below = self.calls.below.request_streamed
        request = self.calls.request(method, path, body, is_stream=True)
        if request is None:
            return below(method, path, body, *rest, **options)
        ending = Ticketed(self.calls.meter.admit(request.intent, user=self.calls.user))
        stream = _Begun(below(method, path, body, *rest, **options))
        try:
            with marked_as_metered():
                stream.begin()
        except BaseException:
            with _SETTLING:
                ending.apply(_released(request))
            raise
        return MeteredStream(stream, Watch(request, ending))

    async def async_request_streamed(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        """Make a streamed call as the SDK does."""
        below = self.calls.below.async_request_streamed
        request = self.calls.request(method, path, body, is_stream=True)
        if request is None:
            return await below(method, path, body, *rest, **options)
        ending = Ticketed(await self.calls.meter.admit_async(request.intent, user=self.calls.user))
        try:
            with marked_as_metered():
                stream = await below(method, path, body, *rest, **options)
        except BaseException:
            with _SETTLING:
                await ending.apply_async(_released(request))
            raise
        return AsyncMeteredStream(_AsyncBegun(stream), Watch(request, ending))


class _Begun:
    """A stream of the SDK's that sends its request with its first chunk, begun ahead of its reader."""

    __slots__ = ("_first", "_stream")

    def __init__(self, stream: Iterator[Any]) -> None:
        self._stream = stream
        self._first: list[Any] = []

    def begin(self) -> None:
        """Send the request, and take the first chunk."""
        self._first.extend(chunk for chunk in [next(self._stream, None)] if chunk is not None)

    def __next__(self) -> object:
        if self._first:
            return self._first.pop()
        return next(self._stream)

    def close(self) -> None:
        """Close the stream."""
        close: Callable[[], None] | None = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _AsyncBegun:
    """A stream of the SDK's as one that can be closed."""

    __slots__ = ("_stream",)

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self._stream = stream

    async def __anext__(self) -> object:
        return await anext(self._stream)

    async def close(self) -> None:
        """Close the stream."""
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


def _released(request: Request) -> Settlement:
    """Return the settlement of a call that failed before it used anything."""
    return Settlement("release", read(request.intent.operation, content_of(None), model=request.intent.model))
