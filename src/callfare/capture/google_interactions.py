"""Interactions of Gemini's, metered: created, streamed, in the background, asked for again.

The SDK sends them by another way than all else: its `interactions` resource has one function that makes every request,
and ours stands before it. A body of JSON is read and settled at once, a stream as it is read. What the SDK goes on with
by itself is several requests, each a call. Refuses to import the SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import READING, Intent, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.dialect import (
    Request,
    bytes_for_model,
    plausible_attributes,
    plausible_usage,
    text_bytes,
    tokens_of_bytes,
    whole,
)
from callfare.capture.leftovers import settle_surely
from callfare.capture.raw import AsyncMeteredRaw, MeteredRaw
from callfare.capture.settlements import Ending, Retold, Settlement, Ticketed
from callfare.capture.streams import Moment, Watch
from callfare.capture.tallies import Counting, Tally
from callfare.usage.extract import read, with_estimates
from callfare.usage.fields import field_of, label_of, list_of, members_of
from callfare.usage.google import read_interaction

_OPERATION = "responses"
_CREATE = re.compile(r"(?:.*/)?interactions/?")
_TOLD = re.compile(r"(?:.*/)?interactions/([^/]+)(?:/cancel)?")
_UNFINISHED = ("queued", "in_progress")
_UNDONE = ("failed", "cancelled")
_SETTLING = Unharmed("settle an interaction")
_SENDS, _SENDS_ASYNC = "do_request", "do_request_async"


class InteractionTally(Counting):
    """Events of an interaction. The last one carries the count."""

    __slots__ = ()

    def take(self, event: object) -> bool:
        """Take in an event."""
        kind = field_of(event, "event_type")
        if kind == "interaction.completed":
            self.end(field_of(event, "interaction"))
        elif kind == "interaction.created":
            self.reply = field_of(event, "interaction")
        elif kind == "step.delta":
            delta = field_of(event, "delta")
            for name in ("text", "arguments"):
                self.written_bytes += text_bytes(field_of(delta, name))
        return False


class InteractionReplies:
    """How interactions are read."""

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally."""
        return InteractionTally()

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what an interaction has earned, or all that came of one."""
        intent = request.intent
        reading = request.read(reply, read_interaction)
        is_job = bool(field_of(request.body, "background"))
        if not reading.incomplete:
            return Settlement("settle", reading, is_job=is_job)
        written = _written_in(reply) if written_bytes is None else written_bytes
        fixed = dict(intent.usage) | {"output_tokens": tokens_of_bytes(written)}
        status = field_of(reply, "status")
        if is_job and status in _UNFINISHED and reading.response_id:
            bounded = with_estimates(reading.usage, dict(intent.usage))
            return Settlement("pend", replace(reading, usage=bounded), is_job=True)
        if status in _UNDONE and not written and not reading.usage:
            return Settlement("release", reading, is_job=is_job)
        estimate = replace(reading, usage=with_estimates(reading.usage, fixed))
        return Settlement("settle", estimate, estimated=True, is_job=is_job)


_REPLIES = InteractionReplies()


@dataclass(frozen=True, slots=True)
class _Told:
    """The ending of an interaction that was made earlier: a job, or a reply told again. It does not say which."""

    retold: Retold

    def apply(self, settlement: Settlement) -> None:
        """Settle the job if there is one, and correct an estimate if there is one."""
        for is_job in (True, False):
            self.retold.apply(replace(settlement, is_job=is_job))

    async def apply_async(self, settlement: Settlement) -> None:
        """As `apply`, without blocking the event loop."""
        for is_job in (True, False):
            await self.retold.apply_async(replace(settlement, is_job=is_job))


@dataclass(frozen=True, slots=True)
class _Interactions:
    """For whom interactions are metered, and who answers them."""

    meter: Meter
    user: str | None
    provider: str
    base_url: str

    def request_of(self, asked: Any) -> Request | None:
        """Return a request that creates an interaction, with what it fixes, or None for another one."""
        if asked.method.upper() != "POST" or _CREATE.fullmatch(asked.url.path) is None or is_metered():
            return None
        fields: Mapping[str, object] = {}
        with READING:
            fields = members_of(json.loads(asked.content))
        return self._request(fields, bool(fields.get("stream")))

    def told_by(self, asked: Any) -> tuple[Request, Ending] | None:
        """Return which earlier interaction a request asks about, or None."""
        found = _TOLD.fullmatch(asked.url.path)
        if found is None or asked.method.upper() not in ("GET", "POST"):
            return None
        retold = Retold(self.meter, self.provider, self.base_url, found[1], self.user)
        # Whether it was one in the background is not told; one that is unfinished is told nothing of.
        return self._request({"background": True}, "stream=true" in str(asked.url).lower()), _Told(retold)

    def _request(self, fields: Mapping[str, object], is_stream: bool) -> Request:  # noqa: FBT001 - what the body says
        bounds = self._bounds(fields)
        tier = label_of(fields.get("service_tier"))
        intent = Intent(
            provider=self.provider,
            base_url=self.base_url,
            operation=_OPERATION,
            model=label_of(fields.get("model") or fields.get("agent")),
            usage=plausible_usage(bounds),
            attributes=plausible_attributes({"service_tier": "default" if tier == "standard" else tier}),
        )
        return Request(intent=intent, dialect=_REPLIES, body=fields, is_stream=is_stream, is_evented=is_stream)

    @staticmethod
    def _bounds(fields: Mapping[str, object]) -> dict[str, object]:
        if not fields.get("model"):
            return {}
        count = sum(bytes_for_model(fields.get(name)) for name in ("input", "system_instruction", "tools"))
        most = whole(field_of(fields.get("generation_config"), "max_output_tokens"))
        bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(count)}
        return bounds if most is None else bounds | {"output_tokens": most}


def meter_interactions(resource: Any, meter: Meter, *, user: str | None, provider: str, base_url: str) -> None:
    """Have everything metered that a resource of the SDK's for interactions sends."""
    calls = _Interactions(meter, user, provider, base_url)
    state = vars(resource)
    for name, made in ((_SENDS, _sending), (_SENDS_ASYNC, _sending_async)):
        if hasattr(resource, name):
            state.pop(name, None)
            state[name] = made(getattr(resource, name), calls)


def _sending(theirs: Callable[..., Any], calls: _Interactions) -> Callable[..., Any]:
    def do_request(hook_ctx: Any, request: Any, *rest: Any, **options: Any) -> Any:
        """Make a request as the SDK does, metered if it is one that costs."""
        wanted = calls.request_of(request)
        if wanted is None:
            told = calls.told_by(request)
            reply = theirs(hook_ctx, request, *rest, **options)
            return reply if told is None else _received(*told, reply)
        ending = Ticketed(calls.meter.admit(wanted.intent, user=calls.user))
        try:
            with marked_as_metered():
                reply = theirs(hook_ctx, request, *rest, **options)
        except BaseException:
            with _SETTLING:
                ending.apply(_released(wanted))
            raise
        return _received(wanted, ending, reply)

    return do_request


def _sending_async(theirs: Callable[..., Any], calls: _Interactions) -> Callable[..., Any]:
    async def do_request_async(hook_ctx: Any, request: Any, *rest: Any, **options: Any) -> Any:
        """Make a request as the SDK does, metered if it is one that costs."""
        wanted = calls.request_of(request)
        if wanted is None:
            told = calls.told_by(request)
            reply = await theirs(hook_ctx, request, *rest, **options)
            return reply if told is None else await _received_async(*told, reply)
        ending = Ticketed(await calls.meter.admit_async(wanted.intent, user=calls.user))
        try:
            with marked_as_metered():
                reply = await theirs(hook_ctx, request, *rest, **options)
        except BaseException:
            with _SETTLING:
                await ending.apply_async(_released(wanted))
            raise
        return await _received_async(wanted, ending, reply)

    return do_request_async


def _received(request: Request, ending: Ending, reply: Any) -> Any:
    """Return a response as the caller is to have it, settled now or as it is read."""
    if _is_evented(reply):
        return _Events(reply, Watch(request, ending), request)
    try:
        reply.read()
    finally:
        settle_surely(lambda: ending.apply(_earned(request, reply)))
    return reply


async def _received_async(request: Request, ending: Ending, reply: Any) -> Any:
    """Return a response as the caller is to have it, settled now or as it is read."""
    if _is_evented(reply):
        return _AsyncEvents(reply, Watch(request, ending), request)
    try:
        await reply.aread()
    finally:
        with _SETTLING:
            await ending.apply_async(_earned(request, reply))
    return reply


def _is_evented(reply: Any) -> bool:
    return reply.status_code < 300 and "text/event-stream" in str(reply.headers.get("content-type"))  # noqa: PLR2004 - answered


def _earned(request: Request, reply: Any) -> Settlement:
    """Return what a response with a whole body has earned; one that refuses, or never came, has earned nothing."""
    if reply.status_code >= 300:  # noqa: PLR2004 - refused
        return _released(request)
    try:
        content = json.loads(reply.content)
    except ValueError:
        content = None
    except Exception:  # noqa: BLE001 - the body broke off
        return _released(request)
    return _REPLIES.settlement_of(request, content)


def _released(request: Request) -> Settlement:
    return Settlement("release", read(_OPERATION, None, model=request.intent.model, reader=read_interaction))


def _written_in(reply: object) -> int:
    """Return the length of the text that the steps of an interaction brought."""
    steps = (one for one in list_of(field_of(reply, "steps")) if field_of(one, "type") == "model_output")
    return sum(bytes_for_model(field_of(step, "content")) for step in steps)


class _Events(MeteredRaw):
    """The HTTP response of a stream of a sync client."""

    __slots__ = ()

    @property
    def text(self) -> Any:
        """The body, once it is read."""
        return self._inner.text


class _AsyncEvents(AsyncMeteredRaw):
    """The HTTP response of a stream of an async client."""

    __slots__ = ()

    @property
    def text(self) -> Any:
        """The body, once it is read."""
        return self._inner.text

    async def aread(self) -> bytes:
        """Return the whole body, settled."""
        shown = self._shown(await self._inner.aread())
        await self._watch.settle_async(Moment.ENDED)
        return shown

    async def aiter_bytes(self, *arguments: Any, **options: Any) -> AsyncIterator[bytes]:
        """Yield the body in bytes."""
        async for piece in self._passing(self._inner.aiter_bytes(*arguments, **options)):
            yield piece

    async def aiter_text(self, *arguments: Any, **options: Any) -> AsyncIterator[str]:
        """Yield the body in text."""
        pieces = (piece.encode("utf-8") async for piece in self._inner.aiter_text(*arguments, **options))
        async for piece in self._passing(pieces):
            yield piece.decode("utf-8")

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Yield the body in lines."""
        pieces = (f"{line}\n".encode() async for line in self._inner.aiter_lines())
        async for line in self._passing(pieces):
            yield line.decode("utf-8").removesuffix("\n")

    async def aclose(self) -> None:
        """Close the response, and settle it by what was received."""
        try:
            await self._inner.aclose()
        finally:
            await self._watch.settle_async(Moment.CUT)
