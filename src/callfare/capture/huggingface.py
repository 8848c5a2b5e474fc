"""Metering of Hugging Face's own SDK, sync and async: whatever an InferenceClient asks of a model, whoever serves it.

Every method of its clients ends in one function, which is given where to send what. The metered client is another
object of the same class with a function of ours in that place; its methods are called on a copy that knows which model
was asked for, since that function is told the server's own name for it. Refuses to import the SDK, and to guess who
serves what Hugging Face's router routes by itself.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from callfare.capture.base import READING, Meter, is_metered, marked_as_metered
from callfare.capture.dialect import Request
from callfare.capture.huggingface_dialect import Asked, HuggingFaceDialect
from callfare.capture.leftovers import settle_surely
from callfare.capture.openai_requests import wav_seconds
from callfare.capture.settlements import Ending, Ticketed
from callfare.capture.single import NO_ANSWER, SETTLING, AsyncEvents, Events, send, send_async
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.errors import InvalidInput

ClientT = TypeVar("ClientT")

_POST = "_inner_post"
_CALLS = "_callfare_calls"
_HEARING = "automatic_speech_recognition"
_BAD_REQUEST = (400, 422)


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: an InferenceClient or an AsyncInferenceClient; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, type) or not all(hasattr(client, part) for part in (_POST, "chat_completion")):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as InferenceClient()", param="client")
    former = vars(client).get(_CALLS)
    if isinstance(former, _Calls) and (former.meter, former.user, former.dialect.provider) == (meter, user, provider):
        return client
    kind = type(client)
    twin: ClientT = object.__new__(kind)
    state = vars(twin)
    state.update({name: value for name, value in vars(client).items() if name not in _ours(former)})
    own = former.own if isinstance(former, _Calls) else vars(client).get(_POST)
    is_async = inspect.iscoroutinefunction(getattr(kind, _POST))
    dialect = HuggingFaceDialect(provider, str(getattr(client, "provider", None) or ""))
    methods = dict(_methods_of(kind))
    below = partial(getattr(kind, _POST), twin) if own is None else own
    calls = (_AsyncCalls if is_async else _Calls)(below, own, _quiet(kind), meter, user, dialect, frozenset(methods))
    state.update({name: partial(calls.call, twin, name, first) for name, first in methods.items()})
    state.update({_POST: partial(calls.post, Asked()), _CALLS: calls})
    return twin


def _ours(calls: object) -> frozenset[str]:
    """Return under which names a metered client has what it is metered by."""
    return calls.names if isinstance(calls, _Calls) else frozenset()


def _methods_of(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the methods that ask something of a model, each with the name of what it gives to it."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and "model" in (parameters := inspect.signature(method).parameters):
            # A class of the caller's own may have others, which are given nothing but a model.
            yield name, [*parameters, "model"][1]


@dataclass(slots=True)
class _Calls:
    """The SDK's function below ours, and for whom calls are metered.

    own: what somebody else had put into its place on the given client; None for nothing.
    kind: the class of the copies that calls are made on. methods: those of the client that were replaced.
    refuses_usage: a server has refused to be asked for its count.
    """

    below: Callable[..., Any]
    own: Callable[..., Any] | None
    kind: Any
    meter: Meter
    user: str | None
    dialect: HuggingFaceDialect
    methods: frozenset[str]
    refuses_usage: bool = field(default=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """What a metered client has beside what it was made from."""
        return self.methods | {_POST, _CALLS}

    def call(self, twin: Any, method: str, first: str, /, *rest: Any, **fields: Any) -> Any:
        """Call a method of the client on a copy that knows what it was called with."""
        given = rest[0] if rest else fields.get(first)
        asked = Asked(
            model=str(fields.get("model") or getattr(twin, "model", None) or ""),
            given=given,
            seconds=_seconds_of(given) if method == _HEARING else None,
        )
        one = object.__new__(self.kind)
        state = vars(one)
        state.update({name: value for name, value in vars(twin).items() if name not in self.names})
        state[_POST] = partial(self.post, asked)
        return getattr(one, method)(*rest, **fields)

    def request(self, asked: Asked, parameters: Any, *, is_stream: bool) -> Request:
        """Return what is to be sent, with what it fixes."""
        with READING:
            return self.dialect.asked_of(asked, parameters, is_stream=is_stream, asks_usage=not self.refuses_usage)
        return self.dialect.bare_asked(parameters, is_stream=is_stream)

    def post(self, asked: Asked, parameters: Any, *, stream: bool = False) -> Any:
        """Send a request as the SDK does, metered."""
        if is_metered():
            return self.below(parameters, stream=stream)
        request = self.request(asked, parameters, is_stream=stream)
        ending = Ticketed(self.meter.admit(request.intent, user=self.user))
        if stream:
            return self.streamed(request, ending, parameters)
        return send(request, self.dialect, ending, partial(self.below, parameters))

    def streamed(self, request: Request, ending: Ending, parameters: Any, *, is_plain: bool = False) -> MeteredStream:
        """Return the lines of a stream, settled whatever becomes of them.

        is_plain: it was refused with our question for its count, and is sent again without.
        """
        try:
            with marked_as_metered():
                lines = self.below(_with(parameters, request.body), stream=True)
            self.refuses_usage |= is_plain
            return MeteredStream(Events(lines), Watch(request, ending))
        except BaseException as error:
            plain = _plain_of(request, error) if "stream_options" in str(error) else None
            if plain is None:
                failure = error
                settle_surely(lambda: ending.apply(self.dialect.after_failure(request, NO_ANSWER, failure)))
                raise
        return self.streamed(plain, ending, parameters, is_plain=True)


@dataclass(slots=True)
class _AsyncCalls(_Calls):
    """The same for the async client."""

    async def post(self, asked: Asked, parameters: Any, *, stream: bool = False) -> Any:
        """Send a request as the SDK does, metered."""
        if is_metered():
            return await self.below(parameters, stream=stream)
        request = self.request(asked, parameters, is_stream=stream)
        ending = Ticketed(await self.meter.admit_async(request.intent, user=self.user))
        if stream:
            return await self.streamed_async(request, ending, parameters)
        return await send_async(request, self.dialect, ending, partial(self.below, parameters))

    async def streamed_async(
        self, request: Request, ending: Ending, parameters: Any, *, is_plain: bool = False
    ) -> AsyncMeteredStream:
        """Return the lines of a stream, settled whatever becomes of them."""
        try:
            with marked_as_metered():
                lines = await self.below(_with(parameters, request.body), stream=True)
        except BaseException as error:
            # What the server said is not known here: the async client does not read it.
            plain = _plain_of(request, error)
            if plain is None:
                with SETTLING:
                    await ending.apply_async(self.dialect.after_failure(request, NO_ANSWER, error))
                raise
        else:
            self.refuses_usage |= is_plain
            return AsyncMeteredStream(AsyncEvents(lines), Watch(request, ending))
        return await self.streamed_async(plain, ending, parameters, is_plain=True)


def _quiet(kind: Any) -> Any:
    """Return a class of clients that says nothing when one is dropped: older majors warn of connections left open."""
    if not hasattr(kind, "__del__"):
        return kind
    return type(kind.__name__, (kind,), {"__del__": lambda _self: None, "__module__": kind.__module__})


def _plain_of(request: Request, error: BaseException) -> Request | None:
    """Return the request to send instead, where the server may have refused only that we asked for a count."""
    told = error if hasattr(error, "response") else error.__context__
    status = getattr(getattr(told, "response", None), "status_code", 0)
    return request.plain if status in _BAD_REQUEST else None


def _with(parameters: Any, body: object) -> Any:
    """Return what the SDK is to send, with this body."""
    if parameters.json is body:
        return parameters
    changed = copy.copy(parameters)
    changed.json = body
    return changed


def _seconds_of(sound: object) -> Fraction | None:
    """Return how long sound lasts, before the SDK has read it: bytes, an open file or the name of one."""
    with READING:
        if isinstance(sound, str):
            return None if sound.startswith(("http://", "https://")) else wav_seconds([Path(sound)])
        return wav_seconds([bytes(sound) if isinstance(sound, memoryview) else sound])
    return None
