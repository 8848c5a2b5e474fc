"""One call of an SDK that sends it by a function of its own: sent and settled, plain or streamed, sync and async.

Where a stream sends its request with its first event, that event is taken at once, so that what is refused before it is
no used call. Refuses to ask for admission: whoever knows the request has done that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

from callfare.capture.base import Unharmed, marked_as_metered
from callfare.capture.dialect import Replies, Request
from callfare.capture.leftovers import settle_surely
from callfare.capture.proxies import Proxy
from callfare.capture.settlements import Ending, Settlement
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.usage.extract import read

SETTLING = Unharmed("settle a call")
"""Around what is done about a call once it was made."""
NO_ANSWER = object()
"""In place of an answer that did not come."""


class Answers(Replies, Protocol):
    """How the replies to one request are read, and what an error says of them."""

    def after_failure(self, request: Request, reply: object, error: BaseException) -> Settlement:
        """Return what a call has earned that raised. reply: `NO_ANSWER`, or what a signal kept from the caller."""
        ...


def released(request: Request) -> Settlement:
    """Return the settlement of a call that failed before it used anything."""
    return Settlement("release", read(request.intent.operation, None, model=request.intent.model))


def send(request: Request, answers: Answers, ending: Ending, below: Callable[[], Any]) -> Any:
    """Return what the SDK returns, settled."""
    reply: Any = NO_ANSWER
    try:
        with marked_as_metered():
            reply = below()
    except BaseException as error:
        failure = error
        settle_surely(lambda: ending.apply(answers.after_failure(request, reply, failure)))
        raise
    settle_surely(lambda: ending.apply(answers.settlement_of(request, reply)))
    return reply


async def send_async(request: Request, answers: Answers, ending: Ending, below: Callable[[], Awaitable[Any]]) -> Any:
    """Return what the SDK returns, settled."""
    try:
        with marked_as_metered():
            reply = await below()
    except BaseException as error:
        with SETTLING:
            await ending.apply_async(answers.after_failure(request, NO_ANSWER, error))
        raise
    with SETTLING:
        await ending.apply_async(answers.settlement_of(request, reply))
    return reply


def stream(request: Request, answers: Answers, ending: Ending, below: Callable[[], Iterator[Any]]) -> MeteredStream:
    """Return the SDK's stream, begun, and settled whatever becomes of it."""
    try:
        with marked_as_metered():
            events = Events(below())
            events.begin()
        return MeteredStream(events, Watch(request, ending))
    except BaseException as error:
        failure = error
        settle_surely(lambda: ending.apply(answers.after_failure(request, NO_ANSWER, failure)))
        raise


async def stream_async(
    request: Request, answers: Answers, ending: Ending, below: Callable[[], Awaitable[AsyncIterator[Any]]]
) -> AsyncMeteredStream:
    """Return the SDK's stream, begun, and settled whatever becomes of it."""
    try:
        with marked_as_metered():
            events = AsyncEvents(await below())
            await events.begin()
    except BaseException as error:
        with SETTLING:
            await ending.apply_async(answers.after_failure(request, NO_ANSWER, error))
        raise
    return AsyncMeteredStream(events, Watch(request, ending))


class Events(Proxy):
    """An iterator of the SDK's, whose first event may be taken ahead of its reader."""

    __slots__ = ("_first",)

    def __init__(self, events: Iterator[Any]) -> None:
        super().__init__(events)
        self._first: list[Any] = []

    def begin(self) -> None:
        """Take the first event, with which the request is sent."""
        self._first = [event for event in [next(self._inner, NO_ANSWER)] if event is not NO_ANSWER]

    def __next__(self) -> object:
        return self._first.pop() if self._first else next(self._inner)


class AsyncEvents(Proxy):
    """The same of an async client."""

    __slots__ = ("_first",)

    def __init__(self, events: AsyncIterator[Any]) -> None:
        super().__init__(events)
        self._first: list[Any] = []

    async def begin(self) -> None:
        """Take the first event, with which the request is sent."""
        self._first = [event for event in [await anext(self._inner, NO_ANSWER)] if event is not NO_ANSWER]

    async def __anext__(self) -> object:
        return self._first.pop() if self._first else await anext(self._inner)

    async def close(self) -> None:
        """Close the stream."""
        await self._inner.aclose()
