"""Metering of AWS's SDK for Amazon Bedrock, sync and async: Converse and InvokeModel, plain and streamed.

Every method of boto3's clients ends in one function of its client. The metered client is another object of the same
class with the same connections and a function of ours in that place; nothing of the SDK is patched or imported. The
body of a plain reply to InvokeModel is read at once, and handed on to be read again.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from callfare.capture.base import READING, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.bedrock_dialect import BedrockDialect, reply_of
from callfare.capture.dialect import Request
from callfare.capture.leftovers import settle_surely
from callfare.capture.proxies import Proxy
from callfare.capture.settlements import Settlement, Ticketed
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.errors import InvalidInput
from callfare.usage.extract import read

ClientT = TypeVar("ClientT")

_SETTLING = Unharmed("settle a call")
_CALL = "_make_api_call"
_CALLS = "_callfare_calls"
_SERVICE = "bedrock-runtime"
# Where a reply keeps what is still to be read.
_STREAMS = {"ConverseStream": "stream", "InvokeModelWithResponseStream": "body"}


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: boto3's or aiobotocore's for bedrock-runtime; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for AWS.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    meta: Any = getattr(client, "meta", None)
    service = getattr(getattr(meta, "service_model", None), "service_name", "")
    if isinstance(client, type) or service != _SERVICE:
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} has no calls to meter; give boto3.client({_SERVICE!r})", param="client")
    former = vars(client).get(_CALLS)
    dialect = BedrockDialect(provider)
    if isinstance(former, _Calls):
        if (former.meter, former.user, former.dialect) == (meter, user, dialect):
            return client
        below = former.below
    else:
        below = getattr(client, _CALL)
    is_async = any(kind.__module__.startswith("aiobotocore.") for kind in type(client).__mro__)
    calls = (_AsyncCalls if is_async else _Calls)(below, str(meta.endpoint_url), meter, user, dialect)
    twin: ClientT = object.__new__(type(client))
    vars(twin).update(vars(client) | {_CALL: calls.call, _CALLS: calls})
    return twin


@dataclass(frozen=True, slots=True)
class _Calls:
    """The SDK's function below ours, and for whom calls are metered."""

    below: Callable[..., Any]
    base_url: str
    meter: Meter
    user: str | None
    dialect: BedrockDialect

    def call(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        request = self.request(operation, params)
        if request is None:
            return self.below(operation, params)
        ending = Ticketed(self.meter.admit(request.intent, user=self.user))
        reply: Any = None
        try:
            with marked_as_metered():
                reply = self.below(operation, params)
            request = replace(request, dialect=reply_of(operation, reply))
            content = reply["body"].read() if operation == "InvokeModel" else reply
            if request.is_stream:
                place = _STREAMS[operation]
                reply[place] = MeteredStream(_Events(reply[place]), Watch(request, ending))
                return reply
        except BaseException:
            # A body that breaks off is one that was made, as is an answer after which a signal raises.
            settle_surely(partial(_settle_unseen, request, ending, reply))
            raise
        settle_surely(lambda: ending.apply(request.dialect.settlement_of(request, content)))
        if content is not reply:
            reply["body"] = type(reply["body"])(io.BytesIO(content), len(content))
        return reply

    def request(self, operation: str, params: Mapping[str, Any]) -> Request | None:
        """Return a request that is to be metered, or None."""
        is_stream = self.dialect.is_streamed(operation)
        if is_stream is None or is_metered():
            return None
        with READING:
            return self.dialect.request_of(operation, params, base_url=self.base_url, is_stream=is_stream)
        return self.dialect.bare_request(params, base_url=self.base_url, is_stream=is_stream)


@dataclass(frozen=True, slots=True)
class _AsyncCalls(_Calls):
    """The same for aiobotocore."""

    async def call(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        request = self.request(operation, params)
        if request is None:
            return await self.below(operation, params)
        ending = Ticketed(await self.meter.admit_async(request.intent, user=self.user))
        reply: Any = None
        try:
            with marked_as_metered():
                reply = await self.below(operation, params)
            request = replace(request, dialect=reply_of(operation, reply))
            content = await reply["body"].read() if operation == "InvokeModel" else reply
        except BaseException:
            with _SETTLING:
                await ending.apply_async(_unseen(request, reply))
            raise
        if request.is_stream:
            place = _STREAMS[operation]
            reply[place] = AsyncMeteredStream(_AsyncEvents(reply[place]), Watch(request, ending))
            return reply
        with _SETTLING:
            await ending.apply_async(request.dialect.settlement_of(request, content))
        if content is not reply:
            reply["body"] = type(reply["body"])(_Replayed(content), len(content))
        return reply


class _Events(Proxy):
    """The events of a reply, as an iterator that can be closed."""

    __slots__ = ("_events",)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._events: Iterator[Any] = iter(stream)

    def __next__(self) -> object:
        return next(self._events)


class _AsyncEvents(Proxy):
    """The same for aiobotocore."""

    __slots__ = ("_events",)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._events: AsyncIterator[Any] = aiter(stream)

    async def __anext__(self) -> object:
        return await anext(self._events)

    async def close(self) -> None:
        """Close the stream, which does not wait."""
        self._inner.close()


class _Replayed:
    """A body that was read, as what aiobotocore reads one from."""

    def __init__(self, body: bytes) -> None:
        self.content = self
        self._body = io.BytesIO(body)

    async def read(self, amount: int = -1) -> bytes:
        """Return so many bytes, or all that are left."""
        return self._body.read(amount)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """Yield what is left, for the clients that have httpx below."""
        yield self._body.read()

    def close(self) -> None:
        """Do nothing: the connection was let go when the body was read."""


def _settle_unseen(request: Request, ending: Ticketed, reply: Mapping[str, Any] | None) -> None:
    """Settle a call whose answer its caller will not see."""
    ending.apply(_unseen(request, reply))


def _unseen(request: Request, reply: Mapping[str, Any] | None) -> Settlement:
    """Return what such a call has earned: nothing where it was not answered, or what its headers or its reply tell."""
    if reply is None:
        return Settlement("release", read(request.intent.operation, None, model=request.intent.model))
    return request.dialect.settlement_of(request, reply)
