"""Metering of xAI's SDK, sync and async: chats plain, streamed and deferred, pictures, videos and batches.

Every call of the SDK's is one of a stub that gRPC's generator made, which its parts keep. The metered client is another
object of the same class whose parts keep stubs with procedures of ours. Searches of collections and files are not
metered. Refuses to import the SDK, and to change the client it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from callfare.capture.base import READING, Intent, Meter, Unharmed, is_metered
from callfare.capture.batch_calls import Hearing, Making
from callfare.capture.batches import Delivered
from callfare.capture.dialect import Request
from callfare.capture.methods import MethodCalls, asked_at_once, copied
from callfare.capture.providers import package_of
from callfare.capture.proxies import Proxy
from callfare.capture.settlements import Retold
from callfare.capture.single import send, send_async, stream, stream_async
from callfare.capture.xai_batches import BRINGING, MAKING, TELLING, XAIBatches
from callfare.capture.xai_dialect import ASKING, OPERATIONS, STREAMED, XAIDialect
from callfare.errors import InvalidInput

ClientT = TypeVar("ClientT")

_CALLS = "_callfare_calls"
_CHANNEL = "_api_channel"
_PARTS = ("chat", "image", "video")
# Not every release of the SDK has it.
_BATCH = "batch"
_ASYNC = ("xai_sdk.aio",)
_STREAMS = ("stream", "stream_batch")
_SETTLING = Unharmed("settle a call")
_ADDRESS = "https://api.x.ai"
_LAYERS_MAX = 9


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connection, whose calls are metered.

    client: a Client or an AsyncClient; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, type) or not all(hasattr(client, name) for name in (*_PARTS, _CHANNEL)):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as xai_sdk.Client()", param="client")
    dialect = XAIDialect(provider)
    former = vars(client).get(_CALLS)
    if isinstance(former, _Calls):
        if (former.meter, former.user, former.dialect) == (meter, user, dialect):
            return client
        client = former.given
    calls = _Calls(client, meter, user, dialect, _address_of(getattr(client, _CHANNEL)))
    is_async = package_of(client, _ASYNC) is not None
    twin: ClientT = copied(client)
    names = (*_PARTS, _BATCH) if hasattr(client, _BATCH) else _PARTS
    parts = {name: _metered(getattr(client, name), calls, is_async=is_async) for name in names}
    make = parts["chat"]._make_chat
    vars(parts["chat"])["_make_chat"] = partial(_chat_by, make)
    vars(twin).update(parts | {_CALLS: calls})
    return twin


def _metered(part: Any, calls: _Calls, *, is_async: bool) -> Any:
    """Return a part of a client like the given one, whose stub has procedures of ours."""
    twin = copied(part)
    below = part._stub
    stub = copied(below)
    kinds: dict[str, Callable[..., Any]] = dict.fromkeys(OPERATIONS, calls.call_async if is_async else calls.call)
    kinds |= dict.fromkeys(ASKING, calls.ask_async if is_async else calls.ask)
    kinds[STREAMED] = calls.stream_async if is_async else calls.stream
    kinds |= dict.fromkeys(MAKING, calls.make_batch_async if is_async else calls.make_batch)
    kinds |= dict.fromkeys(TELLING, calls.hear_async if is_async else calls.hear)
    kinds |= dict.fromkeys(BRINGING, calls.read_async if is_async else calls.read)
    for name, ours in kinds.items():
        theirs = vars(below).get(name)
        if theirs is not None:
            vars(stub)[name] = _Procedure(theirs, partial(ours, theirs, name))
    vars(twin)["_stub"] = stub
    return twin


def _chat_by(make: Callable[..., Any], *rest: Any, **settings: Any) -> Any:
    """Return a chat of the SDK's whose streams are those of whoever asks for them."""
    chat = make(*rest, **settings)
    vars(chat).update({name: asked_at_once(getattr(chat, name)) for name in _STREAMS})
    return chat


class _Procedure(Proxy):
    """Stands before a procedure of a stub."""

    __slots__ = ("_ours",)

    def __init__(self, theirs: Any, ours: Callable[..., Any]) -> None:
        super().__init__(theirs)
        self._ours = ours

    def __call__(self, *rest: Any, **fields: Any) -> Any:
        return self._ours(*rest, **fields)


@dataclass(frozen=True, slots=True)
class _Calls(MethodCalls):
    """The calls of one client."""

    dialect: XAIDialect
    base_url: str

    def request_of(self, kind: str, rest: tuple[Any, ...], fields: Mapping[str, Any]) -> Request:
        """Return what a call of one procedure fixes."""
        with READING:
            return self.dialect.request_of(kind, _asked(rest, fields), base_url=self.base_url)
        return self.dialect.bare_request(kind, base_url=self.base_url)

    def stream(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Make a streamed call as the SDK does, metered."""
        if is_metered():
            return below(*rest, **fields)
        request = self.request_of(kind, rest, fields)
        return stream(request, self, self.admitted(request.intent), lambda: _Chunks(below(*rest, **fields)))

    async def stream_async(
        self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any
    ) -> AsyncIterator[Any]:
        """Make a streamed call as the SDK does, metered."""
        if is_metered():
            async for chunk in below(*rest, **fields):
                yield chunk
            return
        request = self.request_of(kind, rest, fields)
        ending = await self.admitted_async(request.intent)

        async def opened() -> _AsyncChunks:
            return _AsyncChunks(below(*rest, **fields))

        chunks = await stream_async(request, self, ending, opened)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.close()

    def ask(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Ask about an earlier call as the SDK does; its end, or its count told again, is noticed."""
        reply = below(*rest, **fields)
        with _SETTLING:
            request, ending = self._retold(kind, rest, fields)
            ending.apply(request.dialect.settlement_of(request, reply))
        return reply

    async def ask_async(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """As `ask`, without blocking the event loop."""
        reply = await below(*rest, **fields)
        with _SETTLING:
            request, ending = self._retold(kind, rest, fields)
            await ending.apply_async(request.dialect.settlement_of(request, reply))
        return reply

    def make_batch(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Make a batch, or add to one, as the SDK does, admitted before and bound after. Raises Refused."""
        making = None if is_metered() else self.batches.making(kind, _asked(rest, fields))
        if making is None:
            return below(*rest, **fields)
        request, is_more = making
        intent = request.intent
        ticket = self.meter.batches.admit(self._added(rest, fields), provider=intent.provider, user=self.user)
        ending = Making(ticket, intent.provider, intent.base_url, is_more)
        return send(request, self, ending, partial(below, *rest, **fields))

    async def make_batch_async(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """As `make_batch`, without blocking the event loop."""
        making = None if is_metered() else self.batches.making(kind, _asked(rest, fields))
        if making is None:
            return await below(*rest, **fields)
        request, is_more = making
        intent = request.intent
        admit = self.meter.batches.admit_async
        ticket = await admit(self._added(rest, fields), provider=intent.provider, user=self.user)
        ending = Making(ticket, intent.provider, intent.base_url, is_more)
        return await send_async(request, self, ending, partial(below, *rest, **fields))

    def _added(self, rest: tuple[Any, ...], fields: Mapping[str, Any]) -> list[Intent]:
        with READING:
            return self.batches.intents_of(_asked(rest, fields))
        return []

    def hear(self, below: Callable[..., Any], _kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Ask how a batch stands as the SDK does; that it ended is noticed."""
        reply = below(*rest, **fields)
        with _SETTLING:
            request = self.batches.telling()
            self._hearing(request).apply(request.dialect.settlement_of(request, reply))
        return reply

    async def hear_async(self, below: Callable[..., Any], _kind: str, /, *rest: Any, **fields: Any) -> Any:
        """As `hear`, without blocking the event loop."""
        reply = await below(*rest, **fields)
        with _SETTLING:
            request = self.batches.telling()
            await self._hearing(request).apply_async(request.dialect.settlement_of(request, reply))
        return reply

    def _hearing(self, request: Request) -> Hearing:
        return Hearing(self.meter, request.intent.provider, request.intent.base_url)

    def read(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Read results of a batch as the SDK does; each is charged once."""
        reply = below(*rest, **fields)
        with _SETTLING:
            Delivered(self.meter, self.user).apply(self.batches.brought(kind, _asked(rest, fields), reply))
        return reply

    async def read_async(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """As `read`, without blocking the event loop."""
        reply = await below(*rest, **fields)
        with _SETTLING:
            earned = self.batches.brought(kind, _asked(rest, fields), reply)
            await Delivered(self.meter, self.user).apply_async(earned)
        return reply

    @property
    def batches(self) -> XAIBatches:
        """How its batches are read."""
        return XAIBatches(self.dialect, self.base_url)

    def _retold(self, kind: str, rest: tuple[Any, ...], fields: Mapping[str, Any]) -> tuple[Request, Retold]:
        request = self.dialect.bare_request(kind, base_url=self.base_url)
        asked, intent = _asked(rest, fields), request.intent
        return request, Retold(self.meter, intent.provider, intent.base_url, getattr(asked, ASKING[kind][1]), self.user)


def _asked(rest: tuple[Any, ...], fields: Mapping[str, Any]) -> Any:
    """Return the message that a procedure is called with."""
    return rest[0] if rest else fields["request"]


class _Chunks(Proxy):
    """The chunks of a reply, as an iterator that can be closed."""

    __slots__ = ()

    def __next__(self) -> object:
        return next(self._inner)

    def close(self) -> None:
        """Have no more of them sent."""
        self._inner.cancel()


class _AsyncChunks(Proxy):
    """The same for the async client."""

    __slots__ = ("_chunks",)

    def __init__(self, call: Any) -> None:
        super().__init__(call)
        self._chunks: AsyncIterator[Any] = aiter(call)

    async def __anext__(self) -> object:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Have no more of them sent."""
        self._inner.cancel()


def _address_of(channel: Any) -> str:
    """Return where a channel leads to: the innermost of its layers knows."""
    for _ in range(_LAYERS_MAX):
        told = getattr(channel, "target", None)
        told = told() if callable(told) else told
        if told is not None:
            name = told.decode() if isinstance(told, bytes) else str(told)
            return "https://" + name.rpartition("/")[2]
        channel = getattr(channel, "_channel", None)
    return _ADDRESS
