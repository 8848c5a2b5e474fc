"""A decorator for calls that no SDK here makes: a model of one's own, an API behind plain HTTP.

    @fare.metered("my-model", provider="acme", usage=lambda reply: {"input_tokens": reply["in"]})
    def ask(prompt): ...

Admitted before, settled after, released when it raises; calls of wrapped clients within it are its own business and are
not counted again. Refuses generators: what they cost is known when they end, and who waits for that is not.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from callfare.capture.base import Intent, Meter, Ticket, Unharmed, is_metered, marked_as_metered
from callfare.capture.leftovers import settle_surely
from callfare.capture.recent import RECENT
from callfare.capture.told import reading_of
from callfare.errors import InvalidInput
from callfare.usage.extract import Reading
from callfare.usage.quantities import check_attributes, check_usage

Function = TypeVar("Function", bound=Callable[..., Any])
UsageOf = Callable[[Any], Mapping[str, object]]

_SETTLING = Unharmed("settle a call")


def metered(
    meter: Meter,
    model: str,
    *,
    usage: UsageOf,
    provider: str = "",
    operation: str = "chat",
    at_most: Mapping[str, object] | None = None,
    attributes: Mapping[str, str] | None = None,
    response_id: Callable[[Any], str] | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator of a function, sync or async, whose every call is metered.

    usage: what a reply used, meter → quantity. at_most: the most that a call can use, for the hold before it.

    Raises InvalidInput for what cannot be decorated or known.
    """
    intent = Intent(
        provider=provider,
        base_url="",
        operation=operation,
        model=model,
        usage={} if at_most is None else check_usage(at_most),
        attributes={} if attributes is None else check_attributes(attributes),
    )

    def reading_after(reply: object) -> Reading:
        told: Mapping[str, object] = {}
        with Unharmed("read what a call used"):
            told = usage(reply)
        reply_id = ""
        with Unharmed("read the id of a reply"):
            reply_id = "" if response_id is None else response_id(reply)
        return reading_of(told, model=model, response_id=reply_id, attributes=intent.attributes, needed=())

    def decorate(function: Function) -> Function:
        if isinstance(function, staticmethod | classmethod):
            raise InvalidInput("a method is metered below @staticmethod and @classmethod, not above", param="function")
        # An object may be called by a method that is async, which nothing of the object itself tells.
        forms = (function, inspect.getattr_static(type(function), "__call__", None))
        is_generator = any(inspect.isgeneratorfunction(form) or inspect.isasyncgenfunction(form) for form in forms)
        if is_generator or not callable(function):
            raise InvalidInput("only a function that returns its reply can be metered, no generator", param="function")
        one = _async_one if any(map(inspect.iscoroutinefunction, forms)) else _one
        return one(function, meter, intent, reading_after)  # type: ignore[return-value]  # of the same signature

    return decorate


def _one(
    function: Callable[..., Any], meter: Meter, intent: Intent, reading_after: Callable[[object], Reading]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if is_metered():
            return function(*arguments, **options)
        ticket = meter.admit(intent)
        try:
            with marked_as_metered():
                reply = function(*arguments, **options)
        except BaseException:
            ticket.release()
            raise
        if inspect.iscoroutine(reply):
            return _awaited(lambda: reply, ticket, reading_after)
        settle_surely(lambda: settle(ticket, reply))
        return reply

    def settle(ticket: Ticket, reply: object) -> None:
        reading = reading_after(reply)
        RECENT.claim(reading.response_id)
        ticket.settle(reading, estimated=_is_guess(reading))

    return call


def _async_one(
    function: Callable[..., Awaitable[Any]],
    meter: Meter,
    intent: Intent,
    reading_after: Callable[[object], Reading],
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*arguments: Any, **options: Any) -> Any:
        if is_metered():
            return await function(*arguments, **options)
        ticket = await meter.admit_async(intent)
        return await _awaited(lambda: function(*arguments, **options), ticket, reading_after)

    return call


async def _awaited(
    ask: Callable[[], Awaitable[Any]], ticket: Ticket, reading_after: Callable[[object], Reading]
) -> Any:
    """Return the reply of a call, settled."""
    try:
        with marked_as_metered():
            reply = await ask()
    except BaseException:
        ticket.release()
        raise
    with _SETTLING:
        reading = reading_after(reply)
        RECENT.claim(reading.response_id)
        await ticket.settle_async(reading, estimated=_is_guess(reading))
    return reply


def _is_guess(reading: Reading) -> bool:
    return reading.incomplete or reading.usage == {"calls": 1}
