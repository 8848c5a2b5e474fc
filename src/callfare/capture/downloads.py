"""Bodies of HTTP responses, watched as they pass: an SDK that downloads a file hands out the response itself, unread.

However that is read, whole, in bytes, text or lines, it reads its body from one place, and there we stand. Refuses to
read anything that the caller does not, and to know any HTTP library.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from callfare.capture.base import LOGGER, READING, Unharmed
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.streams import Moment, Watch, WatchedSource

_ENCODED_BYTES_MAX = 64 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_COUNTING = Unharmed("count the bytes of a file")


def watch_body(response: Any, watch: Watch) -> None:
    """Have the body of a response pass through a watch, and be settled however its reading ends.

    response: one whose body was not read, of a library made as httpx is; anything else stays as it is.
    """
    with READING:
        if hasattr(response, "stream") and not getattr(response, "is_stream_consumed", True):
            response.stream = _Body(response.stream, watch, _Encoded(response))


class _Encoded:
    """The encoding of a body. One that has any is kept, and decoded when it is read no further, as the library does."""

    __slots__ = ("_kept", "_kind", "_name")

    def __init__(self, response: Any) -> None:
        # Not the response: what holds the body would hold itself.
        self._kind = type(response)
        self._name = str(response.headers.get("content-encoding", "identity")).strip().lower()
        self._kept = bytearray()

    def feed(self, watch: Watch, chunk: bytes) -> None:
        """Show a watch the next bytes, or keep them."""
        if self._name == "identity":
            watch.take(chunk)
        elif len(self._kept) <= _ENCODED_BYTES_MAX:
            self._kept += chunk

    def end(self, watch: Watch) -> Moment:
        """Show a watch what was kept, and that there is no more; return what that is to it."""
        moment = Moment.CUT
        with _COUNTING:
            moment = Moment.ENDED if self._show(watch) else Moment.CUT
        watch.take(None)
        return moment

    def cut(self, watch: Watch) -> None:
        """Show a watch what was kept of a body that is read no further: its end may be missing."""
        with suppress(Exception):
            self._show(watch)

    def _show(self, watch: Watch) -> bool:
        """Show a watch what was kept, piece by piece; return whether that is all there was."""
        kept, self._kept = bytes(self._kept), bytearray()
        if kept:
            pieces = (kept[at : at + _PIECE_BYTES] for at in range(0, len(kept), _PIECE_BYTES))
            for piece in self._kind(200, headers={"content-encoding": self._name}, content=pieces).iter_bytes():
                watch.take(piece)
        if len(kept) <= _ENCODED_BYTES_MAX:
            return True
        LOGGER.warning("an encoded file is too long to be read to its end for what it cost")
        return False


class _Body(WatchedSource):
    """The body of a response, sync or async."""

    __slots__ = ("_encoded",)

    def __init__(self, inner: Any, watch: Watch, encoded: _Encoded) -> None:
        super().__init__(inner, watch)
        self._encoded = encoded
        LEFTOVERS.make_ready()
        weakref.finalize(self, watch.leave, Moment.CUT)

    def close(self) -> None:
        """Close the body, and settle it by what was received."""
        self._encoded.cut(self._watch)
        super().close()

    async def aclose(self) -> None:
        """As `close`, without blocking the event loop."""
        self._encoded.cut(self._watch)
        await super().aclose()

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._encoded.feed(self._watch, chunk)
                yield chunk
            moment = self._encoded.end(self._watch)
        except GeneratorExit:
            self._encoded.cut(self._watch)
            self._watch.leave(Moment.LEFT)
            raise
        except BaseException:
            self._encoded.cut(self._watch)
            self._watch.settle(Moment.CUT)
            raise
        self._watch.settle(moment)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._encoded.feed(self._watch, chunk)
                yield chunk
            moment = self._encoded.end(self._watch)
        except GeneratorExit:
            self._encoded.cut(self._watch)
            self._watch.leave(Moment.LEFT)
            raise
        except BaseException:
            self._encoded.cut(self._watch)
            await self._watch.settle_cancelled()
            raise
        await self._watch.settle_async(moment)
