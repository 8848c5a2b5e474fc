"""Metering of Cohere's SDK, sync and async, both generations of its API: chats, embeddings, searches and the rest.

Every method of a client ends in one of the same name of a raw client that its parts keep. The metered client is another
object of the same class whose parts keep raw clients with functions of ours there, which `with_raw_response` gives too.
Embeddings that the SDK cuts into requests of its own are as many calls. Fine-tuning is not metered. Refuses to import
the SDK, and to change the client it was given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from inspect import isfunction
from typing import Any, TypeVar

from callfare.capture.base import READING, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.cohere_dialect import OPERATIONS, CohereDialect
from callfare.capture.cohere_jobs import JOBS, JobCalls
from callfare.capture.dialect import Request
from callfare.capture.leftovers import settle_surely
from callfare.capture.methods import MethodCalls, asked_at_once, copied, rebound
from callfare.capture.providers import package_of
from callfare.capture.proxies import Proxy
from callfare.capture.single import NO_ANSWER
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Moment, Watch
from callfare.context import carry
from callfare.errors import InvalidInput
from callfare.usage.fields import field_of

ClientT = TypeVar("ClientT")

_CALLS = "_callfare_calls"
_RAW = "_raw_client"
_ANSWERED = range(200, 300)
_SETTLING = Unharmed("settle a call")
# Clients that send to another's address than their own says.
_CLOUDS = {
    "cohere.aws_client": "aws",
    "cohere.bedrock_client": "aws",
    "cohere.sagemaker_client": "aws",
    "cohere.oci_client": "oracle",
}
# Methods that send while their events are read.
_GENERATORS = ("chat_stream", "generate_stream", "embed_stream")


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: any of Cohere's, of either generation; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is, or for the cloud whose client it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, type) or not all(hasattr(client, name) for name in (_RAW, "_client_wrapper", "v2")):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as ClientV2()", param="client")
    cloud = package_of(client, _CLOUDS)
    dialect = CohereDialect(provider, None if cloud is None else _CLOUDS[cloud])
    former = vars(client).get(_CALLS)
    if isinstance(former, _Calls):
        if (former.meter, former.user, former.dialect) == (meter, user, dialect):
            return client
        client = former.given
    calls = _Calls(client, meter, user, dialect)
    twin: ClientT = _metered(client, calls)
    given: Any = client
    sound = _metered(given.audio, calls)
    vars(sound)["_transcriptions"] = _metered(given.audio.transcriptions, calls)
    vars(twin).update({"_v2": _metered(given.v2, calls), "_audio": sound, _CALLS: calls})
    vars(twin)["_executor"] = _Pool(given._executor)
    # Not every release of the SDK has both.
    jobs = {f"_{name}": _making_jobs(getattr(given, name), calls, name) for name in JOBS if hasattr(given, name)}
    vars(twin).update(jobs)
    return twin


def _metered(part: Any, calls: _Calls) -> Any:
    """Return a part like the given one whose raw client's methods are ours."""
    twin = copied(part)
    # The SDK puts checks around some methods of each client.
    made = {name: rebound(value, part, twin) for name, value in vars(part).items() if isfunction(value)}
    vars(twin).update(made)
    vars(twin).update({name: asked_at_once(getattr(twin, name)) for name in _GENERATORS if hasattr(twin, name)})
    below = getattr(part, _RAW)
    raw = copied(below)
    is_async = any("Async" in kind.__name__ for kind in type(part).__mro__)
    for name in OPERATIONS:
        theirs = getattr(below, name, None)
        if theirs is None:
            continue
        if name.endswith("_stream"):
            ours: Callable[..., Any] = calls.stream_async if is_async else calls.stream
        else:
            ours = calls.call_async if is_async else calls.call
        vars(raw)[name] = partial(ours, theirs, name)
    vars(twin)[_RAW] = raw
    return twin


def _making_jobs(part: Any, calls: _Calls, name: str) -> Any:
    """Return a part like the given one whose jobs are metered."""
    twin = copied(part)
    below = getattr(part, _RAW)
    raw = copied(below)
    jobs = JobCalls(calls, calls.dialect, name)
    is_async = "Async" in type(part).__name__
    make, ask = JOBS[name]
    vars(raw)[make] = partial(jobs.make_async if is_async else jobs.make, getattr(below, make))
    vars(raw)[ask] = partial(jobs.ask_async if is_async else jobs.ask, getattr(below, ask))
    vars(twin)[_RAW] = raw
    return twin


class _Pool(Proxy):
    """The pool in which a client sends its embeddings: for whoever asks for them."""

    __slots__ = ()

    def map(self, function: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        """Call a function in the pool, for the present user and run."""
        return self._inner.map(carry(function), *rest, **options)


@dataclass(frozen=True, slots=True)
class _Calls(MethodCalls):
    """The calls of one client."""

    dialect: CohereDialect

    def request_of(self, kind: str, rest: tuple[Any, ...], fields: Mapping[str, Any]) -> Request:
        """Return what a call of one of the SDK's methods fixes."""
        base_url = str(self.given._client_wrapper.get_base_url())
        with READING:
            options = fields.get("request_options")
            told = {name: _plain(value) for name, value in fields.items() if value is not ...}
            beside = field_of(options, "additional_body_parameters")
            return self.dialect.request_of(kind, told | (beside or {}), base_url=base_url)
        return self.dialect.bare_request(kind, base_url=base_url)

    def content_of(self, reply: Any) -> object:
        """Return the reply within what holds its headers too."""
        return reply.data

    def content_in(self, error: BaseException) -> object:
        """Return the reply that the SDK could not read, or could not bring into its types."""
        if getattr(error, "status_code", 0) not in _ANSWERED:
            return NO_ANSWER
        body = getattr(error, "body", None)
        with suppress(ValueError, TypeError, RecursionError):
            return json.loads(body) if isinstance(body, str) else body
        return None

    @contextmanager
    def stream(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Iterator[Any]:
        """Make a streamed call as the SDK does, metered."""
        with ExitStack() as opened:
            if is_metered():
                yield opened.enter_context(below(*rest, **fields))
                return
            request = self.request_of(kind, rest, fields)
            ending = self.admitted(request.intent)
            try:
                with marked_as_metered():
                    reply = opened.enter_context(below(*rest, **fields))
            except BaseException as error:
                failure = error
                settle_surely(lambda: ending.apply(self.after_failure(request, NO_ANSWER, failure)))
                raise
            watch = Watch(request, ending)
            opened.push(partial(_left, watch))
            vars(reply)["_data"] = MeteredStream(reply.data, watch)
            yield reply

    @asynccontextmanager
    async def stream_async(
        self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any
    ) -> AsyncIterator[Any]:
        """Make a streamed call as the SDK does, metered."""
        async with AsyncExitStack() as opened:
            if is_metered():
                yield await opened.enter_async_context(below(*rest, **fields))
                return
            request = self.request_of(kind, rest, fields)
            ending = await self.admitted_async(request.intent)
            try:
                with marked_as_metered():
                    reply = await opened.enter_async_context(below(*rest, **fields))
            except BaseException as error:
                with _SETTLING:
                    # A release does not wait, so this is safe for a call that is being cancelled or dropped.
                    await ending.apply_async(self.after_failure(request, NO_ANSWER, error))
                raise
            watch = Watch(request, ending)
            opened.push_async_exit(partial(_left_async, watch))
            vars(reply)["_data"] = AsyncMeteredStream(reply.data, watch)
            yield reply


def _left(watch: Watch, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
    """Settle a stream that is closed here: it may be collected where nothing can be waited for."""
    if kind is GeneratorExit:
        watch.leave(Moment.CUT)
    else:
        watch.settle(Moment.CUT)


async def _left_async(watch: Watch, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
    """As `_left`, without blocking the event loop."""
    if kind is GeneratorExit:
        watch.leave(Moment.CUT)
    elif kind is not None and issubclass(kind, asyncio.CancelledError):
        await watch.settle_cancelled()
    else:
        await watch.settle_async(Moment.CUT)


def _plain(value: Any) -> Any:
    """Return what is sent as dictionaries and lists, whatever objects it was made of."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.model_dump() if hasattr(value, "model_dump") else value
