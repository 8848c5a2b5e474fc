"""Metering of Mistral's own SDK, sync and async: chats, conversations, embeddings, sound, documents, classes.

The metered client is another object of the same class with parts of its own, on which the methods that cost are ours;
helpers such as `parse`, and runs of conversations, pass them. Batches are those of `mistral_jobs.py`. Realtime
sessions, voice agents, libraries and fine-tuning are not metered. Refuses to import the SDK, or a part of it that
nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from callfare.capture.base import READING, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.dialect import Request
from callfare.capture.later import Later
from callfare.capture.leftovers import settle_surely
from callfare.capture.methods import copied
from callfare.capture.mistral_dialect import CONVERSATION, MistralDialect
from callfare.capture.mistral_jobs import METHODS as JOB_METHODS
from callfare.capture.mistral_jobs import JobCalls
from callfare.capture.mistral_objects import answer_in, base_url_of, plain_fields
from callfare.capture.settlements import Settlement, Ticketed
from callfare.capture.single import NO_ANSWER, released
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Watch
from callfare.errors import InvalidInput
from callfare.usage.fields import field_of

ClientT = TypeVar("ClientT")

_SETTLING = Unharmed("settle a call")
_CALLS = "_callfare_calls"
_CONVERSING = ("start", "append", "restart")
# The methods that cost, by the part of the client they are on: which kind of call each makes.
_METHODS: Mapping[str, Mapping[str, str]] = {
    "chat": {"complete": "chat", "stream": "chat"},
    "fim": {"complete": "chat", "stream": "chat"},
    "agents": {"complete": "chat", "stream": "chat"},
    "embeddings": {"create": "embedding"},
    "responses": {"create": "responses"},
    "ocr": {"process": "ocr"},
    "classifiers": dict.fromkeys(("moderate", "moderate_chat", "classify", "classify_chat"), "classification"),
    "audio.speech": {"complete": "speech"},
    "audio.transcriptions": {"complete": "transcription", "stream": "transcription"},
    "beta.conversations": dict.fromkeys([*_CONVERSING, *(f"{name}_stream" for name in _CONVERSING)], CONVERSATION),
}
_NEEDED = ("chat", "fim", "agents", "embeddings", "sdk_configuration")
_PARTS = (*_METHODS, *JOB_METHODS)


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: a Mistral, which has both kinds of calls; it stays as it is, and open as long as the metered one lives.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, type) or not all(hasattr(client, part) for part in _NEEDED):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as Mistral()", param="client")
    dialect = MistralDialect(provider, maker="mistral")
    former = vars(client).get(_CALLS)
    if isinstance(former, _Calls):
        if (former.meter, former.user, former.dialect) == (meter, user, dialect):
            return client
        client = former.given
    calls = _Calls(client, meter, user, dialect)
    twin: ClientT = copied(client)
    for name in dict.fromkeys(path.partition(".")[0] for path in _PARTS):
        if name in vars(client):
            vars(twin)[name] = _part(client, name, calls)
        else:
            vars(twin)[name] = Later(partial(_made, twin, name, calls))
    vars(twin)[_CALLS] = calls
    return twin


def _made(twin: Any, name: str, calls: _Calls) -> Any:
    """Return a part as the SDK makes it, in its own place, with its calls metered."""
    part = vars(twin)[name]
    if type(part) is Later:
        part = vars(twin)[name] = _part(calls.given, name, calls)
    return part


def _part(owner: Any, name: str, calls: _Calls, path: str = "") -> Any:
    """Return a part like the given one's, with methods of ours, and parts of its own where those have some."""
    path = f"{path}.{name}" if path else name
    below = getattr(owner, name)
    own = copied(below)
    for method, kind in _METHODS.get(path, {}).items():
        if not hasattr(below, method):
            continue
        streams = method.endswith("stream")
        vars(own)[method] = partial(calls.call, getattr(below, method), kind, streams)
        vars(own)[f"{method}_async"] = partial(calls.call_async, getattr(below, f"{method}_async"), kind, streams)
    if path == "beta.conversations":
        vars(own)["get"] = partial(calls.heard, below.get)
        vars(own)["get_async"] = partial(calls.heard_async, below.get_async)
    for method, ours in JOB_METHODS.get(path, {}).items():
        for suffix in ("", "_async"):
            vars(own)[method + suffix] = partial(getattr(calls.jobs, ours + suffix), getattr(below, method + suffix))
    for inner in [inner for inner in _PARTS if inner.startswith(f"{path}.")]:
        within = inner.removeprefix(f"{path}.")
        if hasattr(below, within):
            vars(own)[within] = _part(below, within, calls, path)
    return own


@dataclass(frozen=True, slots=True)
class _Calls:
    """The given client, and for whom calls are metered."""

    given: Any
    meter: Meter
    user: str | None
    dialect: MistralDialect

    @property
    def jobs(self) -> JobCalls:
        """Those that make batches, and read their results."""
        return JobCalls(self.given, self.meter, self.user, self.dialect)

    def call(self, below: Callable[..., Any], kind: str, streams: bool, /, *rest: Any, **fields: Any) -> Any:  # noqa: FBT001 - the SDK's own, bound by us
        """Make a call as the SDK does, metered."""
        if is_metered():
            return below(*rest, **fields)
        request = self._request(kind, fields, is_stream=streams or fields.get("stream") is True)
        ending = Ticketed(self.meter.admit(request.intent, user=self.user))
        reply: Any = None
        try:
            with marked_as_metered():
                reply = below(*rest, **fields)
            if request.is_stream:
                return MeteredStream(reply, Watch(request, ending))
        except BaseException as error:
            settle_surely(partial(_settle_failed, request, ending, reply, error))
            raise
        settle_surely(lambda: ending.apply(self.dialect.settlement_of(request, reply)))
        return reply

    async def call_async(
        self,
        below: Callable[..., Any],
        kind: str,
        streams: bool,  # noqa: FBT001 - bound by us
        /,
        *rest: Any,
        **fields: Any,
    ) -> Any:
        """Make a call as the SDK does, metered."""
        if is_metered():
            return await below(*rest, **fields)
        request = self._request(kind, fields, is_stream=streams or fields.get("stream") is True)
        ending = Ticketed(await self.meter.admit_async(request.intent, user=self.user))
        try:
            with marked_as_metered():
                reply = await below(*rest, **fields)
        except BaseException as error:
            with _SETTLING:
                await ending.apply_async(_after_failure(request, None, error))
            raise
        if request.is_stream:
            return AsyncMeteredStream(reply, Watch(request, ending))
        with _SETTLING:
            await ending.apply_async(self.dialect.settlement_of(request, reply))
        return reply

    def heard(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Ask what a conversation is, as the SDK does, and hear which model replies in it."""
        return self._learnt(below(*rest, **fields))

    async def heard_async(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """As `heard`, in an event loop."""
        return self._learnt(await below(*rest, **fields))

    def _learnt(self, told: Any) -> Any:
        with READING:
            self.dialect.models.learn(field_of(told, "id"), field_of(told, "model") or field_of(told, "agent_id"))
        return told

    def _request(self, kind: str, fields: Mapping[str, Any], *, is_stream: bool) -> Request:
        base_url = base_url_of(self.given)
        with READING:
            return self.dialect.request_for(kind, plain_fields(fields), base_url=base_url, is_stream=is_stream)
        request = self.dialect.bare_request(kind, base_url=base_url, body=None, options={}, is_stream=is_stream)
        return replace(request, is_evented=is_stream)


def _settle_failed(request: Request, ending: Ticketed, reply: Any, error: BaseException) -> None:
    ending.apply(_after_failure(request, reply, error))


def _after_failure(request: Request, reply: Any, error: BaseException) -> Settlement:
    """Return what a call has earned that raised: nothing, unless Mistral had answered."""
    answer = answer_in(error)
    if answer is not NO_ANSWER:
        return request.dialect.settlement_of(request, answer)
    if reply is not None:
        return request.dialect.settlement_of(request, None if request.is_stream else reply)
    return released(request)
