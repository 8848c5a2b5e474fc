"""Metering of Mistral's own SDK, sync and async: chats, completions in the middle, agents and embeddings.

What the SDK's methods are called with and what they return is what Mistral's API speaks, which is nearly OpenAI's. The
metered client is another object of the same class with parts of its own, on which those methods are ours; helpers such
as `parse` pass them. Conversations, responses, sound and documents are not metered. Refuses to import the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace
from typing_extensions import override

from callfare.capture import openai_replies
from callfare.capture.base import READING, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.dialect import Request
from callfare.capture.leftovers import settle_surely
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.openai_tallies import ChatTally
from callfare.capture.settlements import Settlement, Ticketed
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.capture.tallies import Tally
from callfare.errors import InvalidInput
from callfare.usage.extract import read
from callfare.usage.fields import field_of, members_of

ClientT = TypeVar("ClientT")

_SETTLING = Unharmed("settle a call")
_CALLS = "_callfare_calls"
_ANSWERED = range(200, 300)
# The methods that cost, by the part of the client they are on: the path they send to in OpenAI's words.
_METHODS: Mapping[str, Mapping[str, str]] = {
    "chat": {"complete": "/chat/completions", "stream": "/chat/completions"},
    "fim": {"complete": "/completions", "stream": "/completions"},
    "agents": {"complete": "/chat/completions", "stream": "/chat/completions"},
    "embeddings": {"create": "/embeddings"},
}


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: a Mistral, which has both kinds of calls; it stays as it is, and open as long as the metered one lives.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, type) or not all(hasattr(client, part) for part in (*_METHODS, "sdk_configuration")):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as Mistral()", param="client")
    dialect = MistralDialect(provider, maker="mistral")
    former = vars(client).get(_CALLS)
    if isinstance(former, _Calls):
        if (former.meter, former.user, former.dialect) == (meter, user, dialect):
            return client
        client = former.given
    calls = _Calls(client, meter, user, dialect)
    twin: ClientT = _copy_of(client)
    for part, methods in _METHODS.items():
        below = getattr(client, part)
        own = _copy_of(below)
        for method, path in methods.items():
            is_stream = method == "stream"
            sync, other = getattr(below, method), getattr(below, f"{method}_async")
            vars(own)[method] = partial(calls.call, sync, path, is_stream)
            vars(own)[f"{method}_async"] = partial(calls.call_async, other, path, is_stream)
        vars(twin)[part] = own
    vars(twin)[_CALLS] = calls
    return twin


@dataclass(frozen=True, slots=True)
class MistralDialect(OpenAIDialect):
    """Mistral's API: OpenAI's, but for where the count stands and the tier is told."""

    @override
    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally: an event carries its chunk, and the last one with words the count."""
        return EventTally(request) if request.is_evented else OpenAIDialect.tally_of(self, request)

    @override
    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a whole reply, or all that came of one, has earned."""
        tier = field_of(field_of(reply, "usage"), "service_tier")
        told = {**members_of(reply), "service_tier": tier} if isinstance(tier, str) else reply
        return openai_replies.settlement_of(request, told, written_bytes=written_bytes)


class EventTally(ChatTally):
    """Events of a streamed chat, each with a chunk in it."""

    __slots__ = ()

    @override
    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a word of one choice and nothing else."""
        return ChatTally.takes_lightly(self, event.data)

    @override
    def take(self, event: object) -> bool:
        """Take in an event."""
        return ChatTally.take(self, field_of(event, "data"))


@dataclass(frozen=True, slots=True)
class _Calls:
    """The given client, and for whom calls are metered."""

    given: Any
    meter: Meter
    user: str | None
    dialect: MistralDialect

    def call(self, below: Callable[..., Any], path: str, is_stream: bool, /, *rest: Any, **fields: Any) -> Any:  # noqa: FBT001 - the SDK's own, bound by us
        """Make a call as the SDK does, metered."""
        if is_metered():
            return below(*rest, **fields)
        request = self._request(path, fields, is_stream=is_stream)
        ending = Ticketed(self.meter.admit(request.intent, user=self.user))
        reply: Any = None
        try:
            with marked_as_metered():
                reply = below(*rest, **fields)
            if is_stream:
                return MeteredStream(reply, Watch(request, ending))
        except BaseException as error:
            settle_surely(partial(_settle_failed, request, ending, reply, error))
            raise
        settle_surely(lambda: ending.apply(self.dialect.settlement_of(request, reply)))
        return reply

    async def call_async(
        self,
        below: Callable[..., Any],
        path: str,
        is_stream: bool,  # noqa: FBT001 - bound by us
        /,
        *rest: Any,
        **fields: Any,
    ) -> Any:
        """Make a call as the SDK does, metered."""
        if is_metered():
            return await below(*rest, **fields)
        request = self._request(path, fields, is_stream=is_stream)
        ending = Ticketed(await self.meter.admit_async(request.intent, user=self.user))
        try:
            with marked_as_metered():
                reply = await below(*rest, **fields)
        except BaseException as error:
            with _SETTLING:
                await ending.apply_async(_after_failure(request, None, error))
            raise
        if is_stream:
            return AsyncMeteredStream(reply, Watch(request, ending))
        with _SETTLING:
            await ending.apply_async(self.dialect.settlement_of(request, reply))
        return reply

    def _request(self, path: str, fields: Mapping[str, Any], *, is_stream: bool) -> Request:
        operation = self.dialect.operation_of(path) or "chat"
        base_url = str(self.given.sdk_configuration.get_server_details()[0])
        request: Request | None = None
        with READING:
            told = {name: _plain(value) for name, value in fields.items()}
            # Mistral has an agent's model; a rate under the agent's own name admits it in a run.
            body = {"model": told.get("agent_id"), "input": told.get("inputs")} | told
            request = self.dialect.request_of(path, operation=operation, base_url=base_url, body=body, options={})
        request = request or self.dialect.bare_request(
            operation, base_url=base_url, body=None, options={}, is_stream=is_stream
        )
        return replace(request, is_stream=is_stream, is_evented=is_stream)


def _copy_of(part: Any) -> Any:
    twin = object.__new__(type(part))
    vars(twin).update(vars(part))
    return twin


def _plain(value: Any) -> Any:
    """Return messages as dictionaries, whatever objects they were made as."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.model_dump() if hasattr(value, "model_dump") else value


def _settle_failed(request: Request, ending: Ticketed, reply: Any, error: BaseException) -> None:
    ending.apply(_after_failure(request, reply, error))


def _after_failure(request: Request, reply: Any, error: BaseException) -> Settlement:
    """Return what a call has earned that raised: nothing, unless Mistral had answered."""
    if getattr(error, "status_code", 0) in _ANSWERED:
        with suppress(ValueError, TypeError, RecursionError):
            reply = json.loads(getattr(error, "body", ""))
        return request.dialect.settlement_of(request, reply)
    if reply is not None:
        return request.dialect.settlement_of(request, None if request.is_stream else reply)
    return Settlement("release", read(request.intent.operation, None, model=request.intent.model))
