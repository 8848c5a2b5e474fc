"""Bodies of HTTP responses, watched as they pass: an SDK that downloads a file hands out the response itself, unread.

However that is read, whole, in bytes, text or lines, it reads its body from one place, and there we stand. Refuses to
read anything that the caller does not, and to know any HTTP library.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

from callfare.capture.base import READING, Unharmed
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.streams import Moment, Watch, WatchedSource

_ENCODED_BYTES_MAX = 64 * 1024 * 1024
_COUNTING = Unharmed("count the bytes of a file")


def watch_body(response: Any, watch: Watch) -> None:
    """Have the body of a response pass through a watch, and be settled however its reading ends.

    response: one whose body was not read, of a library made as httpx is; anything else stays as it is.
    """
    with READING:
        if hasattr(response, "stream") and not getattr(response, "is_stream_consumed", True):
            response.stream = _Body(response.stream, watch, _Encoded(response))


class _Encoded:
    """The encoding of a body. One that has any is kept, and decoded at its end, as the library itself does it."""

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
        kept, self._kept = bytes(self._kept), bytearray()
        moment = Moment.CUT if kept else Moment.ENDED
        if 0 < len(kept) <= _ENCODED_BYTES_MAX:
            with _COUNTING:
                watch.take(self._kind(200, headers={"content-encoding": self._name}, content=kept).content)
                moment = Moment.ENDED
        watch.take(None)
        return moment


class _Body(WatchedSource):
    """The body of a response, sync or async."""

    __slots__ = ("_encoded",)

    def __init__(self, inner: Any, watch: Watch, encoded: _Encoded) -> None:
        super().__init__(inner, watch)
        self._encoded = encoded
        LEFTOVERS.make_ready()
        weakref.finalize(self, watch.leave, Moment.CUT)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._encoded.feed(self._watch, chunk)
                yield chunk
            moment = self._encoded.end(self._watch)
        except GeneratorExit:
            self._watch.leave(Moment.LEFT)
            raise
        except BaseException:
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
            self._watch.leave(Moment.LEFT)
            raise
        except BaseException:
            await self._watch.settle_cancelled()
            raise
        await self._watch.settle_async(moment)
