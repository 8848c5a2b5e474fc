"""Raw replies of SDKs, metered: `with_raw_response` and `with_streaming_response`, however they are read.

A raw reply that was read before it was handed out is settled at once and handed out as it is. One still to be read is
handed out behind a proxy that counts what passes: parsed, whole, in bytes, text or lines. Refuses to touch the HTTP
response behind it: who reads that instead is settled by estimate.
"""

from __future__ import annotations

import asyncio
import json
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from callfare.capture.base import Unharmed
from callfare.capture.dialect import Request
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.streams import AsyncMeteredStream, MeteredStream, Moment, Watch, Watched
from callfare.capture.tallies import event_in

_BODY_BYTES_MAX = 64 * 1024 * 1024


def is_raw(reply: object) -> bool:
    """Whether a reply is one of the SDK's raw ones: legacy or streaming, sync or async."""
    return "http_response" in getattr(reply, "__dict__", ()) and hasattr(reply, "parse")


class Tee:
    """Counts the bytes of a body as they pass, and takes out the event that only we asked for.

    takes_bytes: they are counted as they come, and not kept until the body ends.
    """

    __slots__ = ("_body", "_hides", "_is_evented", "_is_skipping", "_watch", "takes_bytes")

    def __init__(self, request: Request, watch: Watch) -> None:
        self._watch = watch
        self._is_evented = request.is_evented
        self.takes_bytes = bool(getattr(request.dialect, "takes_bytes", False))
        self._hides = request.hides_usage
        self._is_skipping = False
        self._body = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Take in bytes; return those to hand on. Where an event may have to be hidden, these are whole lines."""
        with Unharmed("count the bytes of a reply"):
            if self.takes_bytes:
                self._watch.take(chunk)
                return chunk
            if not self._is_evented:
                self._body += chunk if len(self._body) < _BODY_BYTES_MAX else b""
                return chunk
            self._body += chunk
            lines = self._body.split(b"\n")
            self._body = lines.pop()
            shown = [line for line in lines if not self._is_hidden(bytes(line))]
            return b"".join(bytes(line) + b"\n" for line in shown) if self._hides else chunk
        return chunk

    def end(self) -> bytes:
        """Take in the end of the body; return what was held back of it."""
        rest = bytes(self._body)
        self._body.clear()
        with Unharmed("count a whole reply"):
            if self.takes_bytes:
                self._watch.take(None)
            elif not self._is_evented:
                self._watch.take(_reply_in(rest))
        return rest if self._is_evented and self._hides else b""

    def _is_hidden(self, line: bytes) -> bool:
        """Whether a line belongs to the hidden event: its data, or the empty line after it."""
        if self._is_skipping and not line.strip():
            self._is_skipping = False
            return True
        event = event_in(line)
        self._is_skipping = event is not None and self._watch.take(event)
        return self._is_skipping


def _reply_in(body: bytes) -> object:
    """Return a body as the SDK would: JSON where it is JSON, text otherwise."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


class _MeteredRaw(Watched):
    """What sync and async raw replies share: one watch, one tee, and an end that is noticed when all is forgotten."""

    __slots__ = ("_forgotten", "_is_read", "_parsed", "_request", "_tee")

    def __init__(self, inner: Any, watch: Watch, request: Request) -> None:
        super().__init__(inner, watch)
        self._request = request
        self._tee = Tee(request, watch)
        self._is_read = False
        self._parsed: Any = None
        LEFTOVERS.make_ready()
        self._forgotten = weakref.finalize(self, watch.leave, Moment.CUT)

    def _streamed(self, parsed: Any, kind: type[MeteredStream | AsyncMeteredStream]) -> Any:
        """Return a parsed stream behind its proxy, the same at each call. From here on, the stream is watched."""
        if self._parsed is None:
            self._parsed = kind(parsed, self._watch)
            self._forgotten.detach()
        return self._parsed

    def _shown(self, content: bytes) -> bytes:
        """Return a whole body as the caller is to see it, counting it the first time."""
        shown = self._tee.feed(content) + self._tee.end() if not self._is_read else content
        self._is_read = True
        return shown


class MeteredLegacyRaw(_MeteredRaw):
    """`with_raw_response` of a streamed call: it can only be parsed, without waiting in either kind of client."""

    __slots__ = ("_kind",)

    def __init__(
        self,
        inner: Any,
        watch: Watch,
        request: Request,
        kind: type[MeteredStream | AsyncMeteredStream],
    ) -> None:
        super().__init__(inner, watch, request)
        self._kind = kind

    def parse(self, **options: Any) -> Any:
        """Return the stream, metered."""
        return self._streamed(self._inner.parse(**options), self._kind)


class MeteredRaw(_MeteredRaw):
    """`with_streaming_response` of a sync client."""

    __slots__ = ()

    def parse(self, **options: Any) -> Any:
        """Return the parsed reply, settled, or its stream, metered."""
        parsed = self._inner.parse(**options)
        if self._request.is_stream:
            return self._streamed(parsed, MeteredStream)
        if not self._is_read:
            self._is_read = True
            self._watch.take(parsed)
            self._watch.settle(Moment.ENDED)
        return parsed

    def read(self) -> bytes:
        """Return the whole body, settled."""
        shown = self._shown(self._inner.read())
        self._watch.settle(Moment.ENDED)
        return shown

    def text(self) -> str:
        """Return the whole body as text, settled."""
        shown = self._shown(self._inner.read())
        self._watch.settle(Moment.ENDED)
        return shown.decode("utf-8", "replace") if self._request.hides_usage else str(self._inner.text())

    def json(self) -> object:
        """Return the whole body as JSON, settled."""
        self.read()
        return self._inner.json()

    def iter_bytes(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        """Yield the body in bytes."""
        yield from self._passing(self._inner.iter_bytes(*arguments, **options))

    def iter_text(self, *arguments: Any, **options: Any) -> Iterator[str]:
        """Yield the body in text."""
        pieces = (piece.encode("utf-8") for piece in self._inner.iter_text(*arguments, **options))
        for piece in self._passing(pieces):
            yield piece.decode("utf-8")

    def iter_lines(self) -> Iterator[str]:
        """Yield the body in lines."""
        for line in self._passing(f"{line}\n".encode() for line in self._inner.iter_lines()):
            yield line.decode("utf-8").removesuffix("\n")

    def stream_to_file(self, file: str | os.PathLike[str], **options: Any) -> None:
        """Write the body to a file."""
        if self._tee.takes_bytes:
            with Path(file).open("wb") as written:
                written.writelines(self.iter_bytes(**options))
            return
        self._inner.stream_to_file(file, **options)
        self._watch.settle(Moment.ENDED)

    def close(self) -> None:
        """Close the reply, and settle it by what was received."""
        try:
            self._inner.close()
        finally:
            self._watch.settle(Moment.CUT)

    def _passing(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                shown = self._tee.feed(piece)
                if shown:
                    yield shown
            rest = self._tee.end()
            if rest:
                yield rest
        except GeneratorExit:
            self._watch.leave(Moment.LEFT)
            raise
        except BaseException:
            self._watch.settle(Moment.CUT)
            raise
        self._watch.settle(Moment.ENDED)


class AsyncMeteredRaw(_MeteredRaw):
    """`with_streaming_response` of an async client."""

    __slots__ = ()

    async def parse(self, **options: Any) -> Any:
        """Return the parsed reply, settled, or its stream, metered."""
        parsed = await self._inner.parse(**options)
        if self._request.is_stream:
            return self._streamed(parsed, AsyncMeteredStream)
        if not self._is_read:
            self._is_read = True
            self._watch.take(parsed)
            await self._watch.settle_async(Moment.ENDED)
        return parsed

    async def read(self) -> bytes:
        """Return the whole body, settled."""
        shown = self._shown(await self._inner.read())
        await self._watch.settle_async(Moment.ENDED)
        return shown

    async def text(self) -> str:
        """Return the whole body as text, settled."""
        shown = self._shown(await self._inner.read())
        await self._watch.settle_async(Moment.ENDED)
        return shown.decode("utf-8", "replace") if self._request.hides_usage else str(await self._inner.text())

    async def json(self) -> object:
        """Return the whole body as JSON, settled."""
        await self.read()
        return await self._inner.json()

    async def iter_bytes(self, *arguments: Any, **options: Any) -> AsyncIterator[bytes]:
        """Yield the body in bytes."""
        async for piece in self._passing(self._inner.iter_bytes(*arguments, **options)):
            yield piece

    async def iter_text(self, *arguments: Any, **options: Any) -> AsyncIterator[str]:
        """Yield the body in text."""
        pieces = (piece.encode("utf-8") async for piece in self._inner.iter_text(*arguments, **options))
        async for piece in self._passing(pieces):
            yield piece.decode("utf-8")

    async def iter_lines(self) -> AsyncIterator[str]:
        """Yield the body in lines."""
        pieces = (f"{line}\n".encode() async for line in self._inner.iter_lines())
        async for line in self._passing(pieces):
            yield line.decode("utf-8").removesuffix("\n")

    async def stream_to_file(self, file: str | os.PathLike[str], **options: Any) -> None:
        """Write the body to a file."""
        if self._tee.takes_bytes:
            with await asyncio.to_thread(Path(file).open, "wb") as written:
                async for piece in self.iter_bytes(**options):
                    await asyncio.to_thread(written.write, piece)
            return
        await self._inner.stream_to_file(file, **options)
        await self._watch.settle_async(Moment.ENDED)

    async def close(self) -> None:
        """Close the reply, and settle it by what was received."""
        try:
            await self._inner.close()
        finally:
            await self._watch.settle_async(Moment.CUT)

    async def _passing(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for piece in pieces:
                shown = self._tee.feed(piece)
                if shown:
                    yield shown
            rest = self._tee.end()
            if rest:
                yield rest
        except GeneratorExit:
            await self._watch.settle_async(Moment.LEFT)
            raise
        except BaseException:
            await self._watch.settle_cancelled()
            raise
        await self._watch.settle_async(Moment.ENDED)
