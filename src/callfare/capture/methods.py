"""Calls that an SDK makes by methods of its own: admit, send, settle; sync and async, at once or with a first event.

An SDK's file says which methods those are, how its requests are read, and what an error of its tells. Refuses to know
any SDK, and to hold a context variable across an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, closing, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from functools import partial, wraps
from types import CellType, FunctionType, MethodType
from typing import Any

from callfare.capture.base import Intent, Meter, is_metered
from callfare.capture.dialect import Request
from callfare.capture.settlements import Settlement, Ticketed
from callfare.capture.single import NO_ANSWER, released, send, send_async
from callfare.capture.tallies import Tally

_ASKED: ContextVar[Context | None] = ContextVar("callfare_asked_in", default=None)


@dataclass(frozen=True, slots=True)
class MethodCalls:
    """A client's calls, for whom they are metered, and how what its methods give is read."""

    given: Any
    meter: Meter
    user: str | None

    def request_of(self, kind: str, rest: tuple[Any, ...], fields: dict[str, Any]) -> Request:
        """Return what a call of one kind fixes. Never raises."""
        raise NotImplementedError

    def content_of(self, reply: Any) -> object:
        """Return what a reply says, out of what the SDK's method gave."""
        return reply

    def content_in(self, error: BaseException) -> object:
        """Return what the provider answered where the SDK could make nothing of it; NO_ANSWER where it did not."""
        return NO_ANSWER

    def call(self, below: Callable[..., Any], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Make a call as the SDK does, metered."""
        if is_metered():
            return below(*rest, **fields)
        request = self.request_of(kind, rest, fields)
        return send(request, self, self.admitted(request.intent), partial(below, *rest, **fields))

    async def call_async(self, below: Callable[..., Awaitable[Any]], kind: str, /, *rest: Any, **fields: Any) -> Any:
        """Make a call as the SDK does, metered."""
        if is_metered():
            return await below(*rest, **fields)
        request = self.request_of(kind, rest, fields)
        ending = await self.admitted_async(request.intent)
        return await send_async(request, self, ending, partial(below, *rest, **fields))

    def admitted(self, intent: Intent) -> Ticketed:
        """Have a call admitted for whoever asked for it. Raises Refused."""
        asked = _ASKED.get()
        admit = partial(self.meter.admit, intent, user=self.user)
        return Ticketed(admit()) if asked is None else asked.run(lambda: Ticketed(admit()))

    async def admitted_async(self, intent: Intent) -> Ticketed:
        """As `admitted`, without blocking the event loop."""
        asked = _ASKED.get()
        return await (
            self._ticketed(intent)
            if asked is None
            else asyncio.create_task(self._ticketed(intent), name="callfare-admit", context=asked)
        )

    async def _ticketed(self, intent: Intent) -> Ticketed:
        return Ticketed(await self.meter.admit_async(intent, user=self.user))

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for the kind of reply a request will get."""
        return request.dialect.tally_of(request)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what the SDK's reply has earned."""
        return request.dialect.settlement_of(request, self.content_of(reply), written_bytes=written_bytes)

    def after_failure(self, request: Request, reply: object, error: BaseException) -> Settlement:
        """Return what a call has earned that raised: nothing, unless the provider had answered."""
        content = self.content_in(error) if reply is NO_ANSWER else self.content_of(reply)
        return released(request) if content is NO_ANSWER else request.dialect.settlement_of(request, content)


def asked_at_once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method whose calls are those of whoever asked for its events, however late their request is sent.

    ask: one of the SDK's that gives a generator, sync or async, and sends requests while that is read.
    """

    @wraps(ask)
    def asked(*rest: Any, **fields: Any) -> Any:
        events = ask(*rest, **fields)
        return (_told_async if hasattr(events, "__anext__") else _told)(copy_context(), events)

    return asked


def _told(asked: Context, events: Generator[Any, None, None]) -> Iterator[Any]:
    with closing(events):
        while True:
            _ASKED.set(asked)
            try:
                event = next(events)
            except StopIteration:
                return
            finally:
                # Not by its token: what is dropped within is collected in another context.
                _ASKED.set(None)
            yield event


async def _told_async(asked: Context, events: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    async with aclosing(events):
        while True:
            _ASKED.set(asked)
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            finally:
                _ASKED.set(None)
            yield event


def copied(part: Any) -> Any:
    """Return another object of the same class with the same state: a client, or a part of one."""
    twin = object.__new__(type(part))
    vars(twin).update(vars(part))
    return twin


def rebound(function: Any, given: object, twin: object, made: dict[int, Any] | None = None) -> Any:
    """Return a function that the SDK made around methods of such a client as the given, made around those of its twin.

    made: what was made so far, by what it was made of: functions may hold themselves.
    """
    if isinstance(function, MethodType):
        return MethodType(function.__func__, twin) if type(function.__self__) is type(given) else function
    if not isinstance(function, FunctionType) or not function.__closure__:
        return function
    made = {} if made is None else made
    if id(function) in made:
        return made[id(function)]
    cells = tuple(CellType() for _ in function.__closure__)
    ours = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made[id(function)] = ours
    ours.__kwdefaults__, ours.__doc__ = function.__kwdefaults__, function.__doc__
    for cell, theirs in zip(cells, function.__closure__, strict=True):
        # One that nothing was put into yet stays empty.
        with suppress(ValueError):
            cell.cell_contents = rebound(theirs.cell_contents, given, twin, made)
    return ours
