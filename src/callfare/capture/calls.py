"""One metered client: admit, send, settle, for each request that passes its `post` and `get`.

The sync and the async half do the same in the same order. Before the request, a refusal is raised. From then on the
caller gets what the SDK gave, answer or exception, unchanged; what goes wrong with the metering is logged.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import READING, BatchTicket, Intent, Meter, Unharmed, is_metered, marked_as_metered
from callfare.capture.batch_calls import BatchNotes, Hearing, Making
from callfare.capture.batches import BatchReplies, Delivered
from callfare.capture.dialect import Dialect, Hear, JobAsked, Request
from callfare.capture.leftovers import settle_surely
from callfare.capture.raw import AsyncMeteredRaw, MeteredLegacyRaw, MeteredRaw, is_raw
from callfare.capture.settlements import Ending, Retold, Settlement, Ticketed
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Moment, Watch
from callfare.capture.tallies import event_in
from callfare.usage.extract import read
from callfare.usage.fields import field_of

CALLS = "_callfare_calls"
"""Where a metered client keeps them."""
_NO_ANSWER = object()
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_ANSWERED = range(200, 300)
_BAD_REQUEST = (400, 422)
_SETTLING = Unharmed("settle a call")


@dataclass(slots=True)
class _Parsed:
    """The reply that the SDK was about to parse into the caller's type. That may fail although the call was made."""

    reply: object = None

    def watching(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options whose parser shows us the reply first."""
        parser = options.get("post_parser")
        if not callable(parser):
            return options

        def watched(reply: object) -> object:
            self.reply = reply
            return parser(reply)

        return {**options, "post_parser": watched}


@dataclass(slots=True, kw_only=True)
class Calls:
    """What both kinds of client share: the SDK's functions below ours, and for whom calls are metered.

    dialect: what the SDK's provider says.
    below: what others had put on the client before us.
    refuses_usage: the provider knows no count for streams; it is not asked for one again.
    """

    client: Any
    dialect: Dialect
    their_post: Callable[..., Any]
    their_get: Callable[..., Any]
    meter: Meter
    user: str | None
    below: Mapping[str, Any]
    refuses_usage: bool = field(default=False, init=False)
    _known: tuple[object, str] = field(default=(None, ""), init=False)

    def _base_url(self) -> str:
        """Return where the client sends to, as text, which takes long to be made of the SDK's object."""
        url = self.client.base_url
        known = self._known
        if known[0] is not url:
            known = self._known = (url, str(url).rstrip("/"))
        return known[1]

    def _request(
        self, operation: str, path: str, body: object, options: Mapping[str, Any], rest: Mapping[str, Any]
    ) -> Request:
        base_url, is_stream = self._base_url(), bool(rest.get("stream"))
        with READING:
            request = self.dialect.request_of(
                path,
                operation=operation,
                base_url=base_url,
                body=body,
                options=options,
                files=rest.get("files"),
                is_stream=is_stream,
            )
            return request.plain if request.plain and self.refuses_usage else request
        return self.dialect.bare_request(operation, base_url=base_url, body=body, options=options, is_stream=is_stream)

    def _retold(self, asked: JobAsked, rest: Mapping[str, Any]) -> tuple[Request, Ending]:
        base_url, is_stream = self._base_url(), bool(rest.get("stream"))
        request = self.dialect.bare_request(
            asked.operation, base_url=base_url, body=None, options=_NO_OPTIONS, is_stream=is_stream
        )
        return request, Retold(self.meter, request.intent.provider, base_url, asked.job_id, self.user)

    def _told_by(self, path: str, rest: Mapping[str, Any]) -> tuple[Request, Ending] | None:
        """Return what a reply tells of earlier calls: the end of a job, results of a batch, or None for nothing."""
        asked = self.dialect.job_of(path)
        if asked is not None:
            return self._retold(asked, rest)
        batch = self.dialect.batch_of(path)
        if batch is None:
            return self._heard_at(path, None, rest)
        base_url, is_stream = self._base_url(), bool(rest.get("stream"))
        bare = self.dialect.bare_request(
            "batch", base_url=base_url, body=None, options=_NO_OPTIONS, is_stream=is_stream
        )
        request = replace(bare, dialect=BatchReplies(self.dialect, batch), is_evented=False)
        return request, Delivered(self.meter, self.user)

    def _heard_at(self, path: str, body: object, rest: Mapping[str, Any]) -> tuple[Request, Ending] | None:
        """Return what a reply tells of a batch, or None for nothing."""
        base_url = self._base_url()
        hear: Hear | None = None
        with READING:
            hear = self.dialect.heard_at(path, base_url=base_url, body=body, files=rest.get("files"))
        if hear is None:
            return None
        request = self._noted(BatchNotes(self.dialect, hear), None, _NO_OPTIONS)
        return request, Hearing(self.meter, request.intent.provider, base_url)

    def _made_by(self, path: str, body: object, options: Mapping[str, Any]) -> Sequence[Intent] | None:
        """Return the calls in the batch that a request makes, None when it makes none."""
        with READING:
            return self.dialect.batch_made_by(path, base_url=self._base_url(), body=body, options=options)
        return ()

    def _noted(self, replies: BatchNotes, body: object, options: Mapping[str, Any]) -> Request:
        bare = self.dialect.bare_request(
            "batch", base_url=self._base_url(), body=body, options=options, is_stream=False
        )
        return replace(bare, dialect=replies, is_evented=False)

    def _making(self, body: object, options: Mapping[str, Any]) -> Request:
        """Return the request that makes a batch."""
        return self._noted(BatchNotes(self.dialect, self.dialect.batch_told), body, options)

    def _made(self, request: Request, ticket: BatchTicket) -> Ending:
        return Making(ticket, request.intent.provider, request.intent.base_url)

    def _to_send_again(self, request: Request, error: BaseException) -> Request | None:
        """Return the request to send instead, where the provider refused only that we asked for a count."""
        is_bad_request = getattr(error, "status_code", 0) in _BAD_REQUEST
        if request.plain is None or not is_bad_request or "stream_options" not in str(error):
            return None
        self.refuses_usage = True
        return request.plain


@dataclass(slots=True, kw_only=True)
class SyncCalls(Calls):
    """The calls of a sync client."""

    def post(self, path: str, *, body: object = None, options: Mapping[str, Any] = _NO_OPTIONS, **rest: Any) -> Any:
        """Make a call as the SDK's client does, metered if it is one that costs."""
        operation = self.dialect.operation_of(path)
        asked = self.dialect.job_of(path) if operation is None else None
        if is_metered():
            return self.their_post(path, body=body, options=options, **rest)
        if operation is None and asked is None:
            return self._beside(path, body, options, rest)
        if asked is not None:
            reply = self.their_post(path, body=body, options=options, **rest)
            return received(*self._retold(asked, rest), reply, _Parsed())
        assert operation is not None
        request = self._request(operation, path, body, options, rest)
        ending = Ticketed(self.meter.admit(request.intent, user=self.user))
        return self._sent(request, ending, path, rest)

    def _beside(self, path: str, body: object, options: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
        """Make a request that is no call: it may make a batch, or tell of one."""
        body = _listed(body)
        intents = self._made_by(path, body, options)
        if intents is not None:
            request = self._making(body, options)
            ticket = self.meter.batches.admit(intents, provider=request.intent.provider, user=self.user)
            return self._sent(request, self._made(request, ticket), path, rest)
        heard = self._heard_at(path, body, rest)
        reply = self.their_post(path, body=body, options=options, **rest)
        return reply if heard is None else received(*heard, reply, _Parsed())

    def get(self, path: str, *, options: Mapping[str, Any] = _NO_OPTIONS, **rest: Any) -> Any:
        """Ask as the SDK's client does; the end of a job, a reply told again and results of a batch are noticed."""
        reply = self.their_get(path, options=options, **rest)
        told = self._told_by(path, rest)
        return reply if told is None else received(*told, reply, _Parsed())

    def _sent(self, request: Request, ending: Ending, path: str, rest: Mapping[str, Any]) -> Any:
        parsed = _Parsed()
        reply: Any = _NO_ANSWER
        try:
            with marked_as_metered():
                reply = self.their_post(path, body=request.body, options=parsed.watching(request.options), **rest)
        except BaseException as error:
            if reply is not _NO_ANSWER:
                # A signal came just after the answer.
                settle_surely(partial(_settle_unseen, request, ending, reply))
                raise
            plain = self._to_send_again(request, error)
            if plain is None:
                settle_surely(partial(_settle_failed, request, ending, parsed, error))
                raise
        else:
            return received(request, ending, reply, parsed)
        return self._sent(plain, ending, path, rest)


@dataclass(slots=True, kw_only=True)
class AsyncCalls(Calls):
    """The calls of an async client."""

    async def post(
        self,
        path: str,
        *,
        body: object = None,
        options: Mapping[str, Any] = _NO_OPTIONS,
        **rest: Any,
    ) -> Any:
        """Make a call as the SDK's client does, metered if it is one that costs."""
        operation = self.dialect.operation_of(path)
        asked = self.dialect.job_of(path) if operation is None else None
        if is_metered():
            return await self.their_post(path, body=body, options=options, **rest)
        if operation is None and asked is None:
            return await self._beside(path, body, options, rest)
        if asked is not None:
            reply = await self.their_post(path, body=body, options=options, **rest)
            return await received_async(*self._retold(asked, rest), reply, _Parsed())
        assert operation is not None
        request = self._request(operation, path, body, options, rest)
        ending = Ticketed(await self.meter.admit_async(request.intent, user=self.user))
        return await self._sent(request, ending, path, rest)

    async def _beside(self, path: str, body: object, options: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
        """Make a request that is no call: it may make a batch, or tell of one."""
        body = _listed(body)
        intents = self._made_by(path, body, options)
        if intents is not None:
            request = self._making(body, options)
            ticket = await self.meter.batches.admit_async(intents, provider=request.intent.provider, user=self.user)
            return await self._sent(request, self._made(request, ticket), path, rest)
        heard = self._heard_at(path, body, rest)
        reply = await self.their_post(path, body=body, options=options, **rest)
        return reply if heard is None else await received_async(*heard, reply, _Parsed())

    async def get(self, path: str, *, options: Mapping[str, Any] = _NO_OPTIONS, **rest: Any) -> Any:
        """Ask as the SDK's client does; the end of a job, a reply told again and results of a batch are noticed."""
        reply = await self.their_get(path, options=options, **rest)
        told = self._told_by(path, rest)
        return reply if told is None else await received_async(*told, reply, _Parsed())

    async def _sent(self, request: Request, ending: Ending, path: str, rest: Mapping[str, Any]) -> Any:
        parsed = _Parsed()
        try:
            with marked_as_metered():
                options = parsed.watching(request.options)
                reply = await self.their_post(path, body=request.body, options=options, **rest)
        except BaseException as error:
            plain = self._to_send_again(request, error)
            if plain is None:
                with _SETTLING:
                    # A release does not wait, so this is safe for a call that is being cancelled or dropped.
                    await ending.apply_async(_after_failure(request, parsed, error))
                raise
        else:
            return await received_async(request, ending, reply, parsed)
        return await self._sent(plain, ending, path, rest)


def _listed(body: object) -> object:
    """Return a body that can be read before it is sent: an iterator, which the SDK takes for a list, gives but once."""
    if type(body) is not dict or not any(isinstance(value, Iterator) for value in body.values()):
        return body
    return {name: list(value) if isinstance(value, Iterator) else value for name, value in body.items()}


def received(request: Request, ending: Ending, reply: Any, parsed: _Parsed) -> Any:
    """Return an answer of an SDK's sync client as the caller is to have it, settled now or as it is read."""
    try:
        return _received(request, ending, reply, parsed)
    except BaseException:
        # A signal came while we had the answer.
        settle_surely(partial(_settle_unseen, request, ending, reply))
        raise


def _settle_unseen(request: Request, ending: Ending, reply: Any) -> None:
    """Settle a call whose answer its caller will not see, as a signal raises something instead."""
    if request.is_stream or _is_unread(request, reply):
        Watch(request, ending).settle(Moment.CUT)
    else:
        ending.apply(_earned(request, _content_of(reply, _Parsed())))


def _received(request: Request, ending: Ending, reply: Any, parsed: _Parsed) -> Any:
    if not request.is_stream and not is_raw(reply):
        with _SETTLING:
            ending.apply(_earned(request, reply))
        return reply
    if _is_unread(request, reply):
        watch = Watch(request, ending)
        has_body = hasattr(reply, "read")
        return MeteredRaw(reply, watch, request) if has_body else MeteredLegacyRaw(reply, watch, request, MeteredStream)
    if request.is_stream and hasattr(reply, "__next__"):
        return MeteredStream(reply, Watch(request, ending))
    with _SETTLING:
        ending.apply(_earned(request, _content_of(reply, parsed)))
    return reply


async def received_async(request: Request, ending: Ending, reply: Any, parsed: _Parsed) -> Any:
    """Return an answer of an SDK's async client as the caller is to have it, settled now or as it is read."""
    if _is_unread(request, reply):
        watch = Watch(request, ending)
        if hasattr(reply, "read"):
            return AsyncMeteredRaw(reply, watch, request)
        return MeteredLegacyRaw(reply, watch, request, AsyncMeteredStream)
    if request.is_stream and hasattr(reply, "__anext__"):
        return AsyncMeteredStream(reply, Watch(request, ending))
    with _SETTLING:
        content = _content_of(reply, parsed)
        if isawaitable(content):
            content = await _content_awaited(content, parsed)
        await ending.apply_async(_earned(request, content))
    return reply


def _is_unread(request: Request, reply: Any) -> bool:
    """Whether a reply is a raw one whose body is still to be read, and will tell what was used: mere sound does not."""
    is_silent = request.intent.operation == "speech" and not request.is_evented
    return is_raw(reply) and not reply.is_closed and not is_silent


def _content_of(reply: Any, parsed: _Parsed) -> object:
    """Return what a reply says: its own content if it is a raw one, even where the caller's type does not fit it."""
    if not is_raw(reply) or not reply.is_closed:
        return reply
    try:
        return reply.parse()
    except Exception:  # noqa: BLE001 - the caller will meet it too, by parsing; the call is charged all the same
        return parsed.reply


async def _content_awaited(parsing: Awaitable[object], parsed: _Parsed) -> object:
    """Return what a raw reply says whose parsing must be awaited, although it was read before."""
    try:
        return await parsing
    except Exception:  # noqa: BLE001 - the caller will meet it too, by parsing; the call is charged all the same
        return parsed.reply


def _earned(request: Request, content: object) -> Settlement:
    """Return what an answer that is here as a whole has earned."""
    if not request.is_evented:
        return request.dialect.settlement_of(request, content)
    tally = request.dialect.tally_of(request)
    body = field_of(content, "content")
    for line in body.splitlines() if isinstance(body, bytes) else ():
        tally.take(event_in(line))
    return request.dialect.settlement_of(request, tally.reply)


def _settle_failed(request: Request, ending: Ending, parsed: _Parsed, error: BaseException) -> None:
    ending.apply(_after_failure(request, parsed, error))


def _after_failure(request: Request, parsed: _Parsed, error: BaseException) -> Settlement:
    """Return what a call has earned that raised: nothing, unless the provider had answered."""
    if parsed.reply is not None:
        return request.dialect.settlement_of(request, parsed.reply)
    status = getattr(error, "status_code", 0)
    was_answered = isinstance(error, json.JSONDecodeError) or status in _ANSWERED
    return request.dialect.settlement_of(request, None) if was_answered else _released(request)


def _released(request: Request) -> Settlement:
    """Return the settlement of a call that failed before it used anything."""
    return Settlement("release", read(request.intent.operation, None, model=request.intent.model))
