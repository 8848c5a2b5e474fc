"""Mistral's batches through its own SDK: admitted when they are made, charged by their results when these are read.

Results are a file that `files.download` hands out unread, or stand in the job (`batch.jobs.get(…, inline=True)`).
Refuses to look through lists of jobs, and to fetch what nobody asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import READING, Intent, is_metered
from callfare.capture.batch_calls import BatchNotes, Hearing, Making, noted
from callfare.capture.batches import BatchReplies, Delivered
from callfare.capture.dialect import Hear, Request
from callfare.capture.downloads import watch_body
from callfare.capture.leftovers import settle_surely
from callfare.capture.methods import MethodCalls
from callfare.capture.mistral_batches import file_asked, inline_of, made_by, told_by, upload_heard
from callfare.capture.mistral_dialect import MistralDialect
from callfare.capture.mistral_objects import answer_in, base_url_of
from callfare.capture.settlements import Ending, Settlement
from callfare.capture.single import SETTLING, send, send_async
from callfare.capture.streams import Watch

_LISTS = ("requests", "input_files")
METHODS: Mapping[str, Mapping[str, str]] = {
    "batch.jobs": {"create": "create", "get": "told", "cancel": "told"},
    "files": {"upload": "upload", "download": "download"},
}
"""The methods that are ours, by the part of the client they are on: which of those below."""


@dataclass(frozen=True, slots=True)
class JobCalls(MethodCalls):
    """The calls of one client that have to do with batches."""

    dialect: MistralDialect

    def content_in(self, error: BaseException) -> object:
        """Return the reply that the SDK could not bring into its types."""
        return answer_in(error)

    def create(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Make a batch as the SDK does, admitted before and bound after. Raises Refused."""
        if is_metered():
            return below(*rest, **fields)
        fields, intents, request = self._asked(fields)
        ticket = self.meter.batches.admit(intents, provider=request.intent.provider, user=self.user)
        making = Making(ticket, request.intent.provider, request.intent.base_url)
        return send(request, self, making, partial(below, *rest, **fields))

    async def create_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `create`, without blocking the event loop."""
        if is_metered():
            return await below(*rest, **fields)
        fields, intents, request = self._asked(fields)
        ticket = await self.meter.batches.admit_async(intents, provider=request.intent.provider, user=self.user)
        making = Making(ticket, request.intent.provider, request.intent.base_url)
        return await send_async(request, self, making, partial(below, *rest, **fields))

    def told(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Ask about a batch, or cancel it, as the SDK does; its end and the results in it are noticed."""
        job = below(*rest, **fields)
        settle_surely(partial(self._hear, job))
        return job

    async def told_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `told`, without blocking the event loop."""
        job = await below(*rest, **fields)
        with SETTLING:
            for ending, settlement in self._news_in(job):
                await ending.apply_async(settlement)
        return job

    def upload(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Upload a file as the SDK does; what requests for a batch ask for is remembered."""
        hear = self._upload_heard(fields)
        file = below(*rest, **fields)
        return _heard(hear, file)

    async def upload_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `upload`, in an event loop."""
        hear = self._upload_heard(fields)
        file = await below(*rest, **fields)
        return _heard(hear, file)

    def download(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Download a file as the SDK does; results of a batch are charged as they are read, in whatever way."""
        return self._watched(fields.get("file_id"), below(*rest, **fields))

    async def download_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `download`, in an event loop."""
        return self._watched(fields.get("file_id"), await below(*rest, **fields))

    # What these share

    def _hear(self, job: object) -> None:
        for ending, settlement in self._news_in(job):
            ending.apply(settlement)

    @property
    def _base_url(self) -> str:
        return base_url_of(self.given).rstrip("/")

    def _bare(self) -> Request:
        """Return a request that has to do with a batch."""
        return self.dialect.bare_request("batch", base_url=self._base_url, body=None, options={}, is_stream=False)

    def _asked(self, fields: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Intent], Request]:
        """Return the fields that make a batch, with what may be an iterator read; its calls; and the request."""
        fields = {name: _listed(value) if name in _LISTS else value for name, value in fields.items()}
        intents: Sequence[Intent] = ()
        with READING:
            intents = made_by(self.dialect, fields, base_url=self._base_url)
        return fields, intents, replace(self._bare(), dialect=BatchNotes(self.dialect, told_by))

    def _news_in(self, job: object) -> Iterator[tuple[Ending, Settlement]]:
        """Yield what a job tells: that it is known by a file, that it ended without results, and those it carries."""
        told, request = told_by(job), self._bare()
        if told is not None:
            hearing = Hearing(self.meter, request.intent.provider, request.intent.base_url)
            yield hearing, noted(told)
        inline = inline_of(job)
        if inline is not None:
            asked, results = inline
            earned = BatchReplies(self.dialect, asked).settlement_of(request, results)
            yield Delivered(self.meter, self.user), earned

    def _upload_heard(self, fields: Mapping[str, Any]) -> Hear | None:
        with READING:
            return upload_heard(self.dialect, fields, base_url=self._base_url)
        return None

    def _watched(self, file_id: object, response: Any) -> Any:
        with READING:
            replies = BatchReplies(self.dialect, file_asked(file_id))
            watch_body(response, Watch(replace(self._bare(), dialect=replies), Delivered(self.meter, self.user)))
        return response


def _heard(hear: Hear | None, file: Any) -> Any:
    """Return what an upload gave, heard."""
    with READING:
        if hear is not None:
            hear(file)
    return file


def _listed(value: Any) -> Any:
    """Return a list of what can be read but once, as the SDK itself would; anything else as it is."""
    return list(value) if isinstance(value, tuple | Iterator) else value
