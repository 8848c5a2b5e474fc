"""Streams of SDKs, metered: the same events in the same order, and one settlement whatever becomes of the stream.

A proxy stands before the SDK's own stream and hands everything else through. However a stream ends (read to its end,
broken by the network, closed, left by a `break`, cancelled, or merely forgotten) it is settled with what was received.
Refuses to hold a context variable across events, and to let a fault of ours into the caller's loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Self

from msgspec.structs import replace

from callfare.capture.base import Unharmed
from callfare.capture.dialect import Request
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.proxies import Proxy
from callfare.capture.settlements import Ending, Settlement


class Moment(Enum):
    """When a stream may have to be settled."""

    GOING_ON = "an event came"
    LEFT = "the caller left its loop, and may come back"
    ENDED = "the stream ended by itself"
    CUT = "the stream broke, was closed, cancelled or forgotten"


_SETTLING = Unharmed("settle a stream")
_COUNTING = Unharmed("count an event of a stream")
_OPEN, _ESTIMATED, _DONE = range(3)


class Watch:
    """What is known of one stream, and whether it has been settled.

    A count from the provider settles it for good. Without one it is settled by estimate: when the caller leaves, and
    again only if more has come when it ends. So there are at most two settlements, and the second corrects the first.
    """

    __slots__ = ("_ending", "_mutex", "_pid", "_request", "_settled_bytes", "_stage", "_tally")

    def __init__(self, request: Request, ending: Ending) -> None:
        self._request = request
        self._ending = ending
        self._tally = request.dialect.tally_of(request)
        self._stage = _OPEN
        self._settled_bytes = 0
        self._mutex = threading.RLock()
        self._pid = os.getpid()

    @property
    def awaits_count(self) -> bool:
        """Whether the text is complete, and the count is the next thing to come."""
        return self._tally.awaits_count and self._stage != _DONE

    def take(self, event: object) -> bool:
        """Count an event; return whether it must be hidden from the caller."""
        with _COUNTING:
            return self._tally.take(event)
        # An event nobody can count is still the caller's.
        return False

    @property
    def takes_lightly(self) -> Callable[[Any], bool]:
        """What counts an event that is mere text; it returns False, uncounted, for any other, which `take` must see.

        It may raise for what it cannot read, which is no mere text either.
        """
        return self._tally.takes_lightly

    @property
    def is_due(self) -> bool:
        """Whether the provider's count is in, and the stream is not settled by it yet."""
        return self._tally.is_final and self._stage != _DONE

    def settle(self, moment: Moment) -> None:
        """Settle the stream if this moment asks for it."""
        with _SETTLING, self._mutex:
            before = self._stage, self._settled_bytes
            try:
                settlement = self._due(moment)
                if settlement is not None:
                    self._ending.apply(settlement)
            except Exception:
                raise
            except BaseException:
                # A signal broke in: whoever drops the stream settles it. The ledger hears of it once.
                self._stage, self._settled_bytes = before
                raise

    async def settle_async(self, moment: Moment) -> None:
        """As `settle`, without blocking the event loop."""
        with _SETTLING:
            with self._mutex:
                settlement = self._due(moment)
            if settlement is not None:
                await self._ending.apply_async(settlement)

    async def settle_cancelled(self) -> None:
        """Settle the stream of a task that was cancelled; a further cancellation ends the wait, not the settlement."""
        settling = asyncio.ensure_future(self.settle_async(Moment.CUT))
        _KEPT.add(settling)
        settling.add_done_callback(_KEPT.discard)
        await asyncio.shield(settling)

    def leave(self, moment: Moment) -> None:
        """Settle the stream from wherever its end is noticed, even while memory is being collected."""
        # What a forked child drops is still its parent's to settle.
        if self._stage != _DONE and self._pid == os.getpid():
            LEFTOVERS.leave(lambda: self.settle(moment))

    def _due(self, moment: Moment) -> Settlement | None:
        tally = self._tally
        if self._stage == _DONE:
            return None
        if tally.is_final or (moment is Moment.ENDED and tally.is_counted):
            self._stage = _DONE
            return self._request.dialect.settlement_of(self._request, tally.reply, written_bytes=tally.written_bytes)
        if moment is Moment.GOING_ON or (moment is Moment.LEFT and self._stage == _ESTIMATED):
            return None
        is_news = self._stage == _OPEN or tally.written_bytes > self._settled_bytes
        self._stage = _ESTIMATED if moment is Moment.LEFT else _DONE
        self._settled_bytes = tally.written_bytes
        settlement = self._request.dialect.settlement_of(self._request, tally.reply, written_bytes=tally.written_bytes)
        if not is_news:
            return None
        # Speech is billed by the characters that were sent, all of them.
        is_estimate = settlement.kind == "settle" and self._request.intent.operation != "speech"
        return replace(settlement, estimated=True) if is_estimate else settlement


_KEPT: set[asyncio.Future[None]] = set()
"""Settlements under way in event loops, which hold their tasks only weakly."""


class Watched(Proxy):
    """Stands before an object through which a watched stream is read, or closed."""

    __slots__ = ("__weakref__", "_watch")

    def __init__(self, inner: Any, watch: Watch) -> None:
        super().__init__(inner)
        self._watch = watch


class WatchedSource(Watched):
    """What a stream is read from, its HTTP response or the body of one: some close it instead of the stream."""

    __slots__ = ()

    def close(self) -> None:
        """Close it; the stream is over."""
        try:
            self._inner.close()
        finally:
            self._watch.settle(Moment.CUT)

    async def aclose(self) -> None:
        """Close it; the stream is over."""
        try:
            await self._inner.aclose()
        finally:
            await self._watch.settle_async(Moment.CUT)


class _MeteredStream(Watched):
    __slots__ = ("_held", "_response")

    def __init__(self, inner: Any, watch: Watch) -> None:
        super().__init__(inner, watch)
        self._held: deque[object] = deque()
        self._response: WatchedSource | None = None
        LEFTOVERS.make_ready()
        weakref.finalize(self, watch.leave, Moment.CUT)

    @property
    def response(self) -> Any:
        """The HTTP response of the stream."""
        if self._response is None:
            self._response = WatchedSource(self._inner.response, self._watch)
        return self._response


class MeteredStream(_MeteredStream):
    """A stream of a sync client."""

    __slots__ = ()

    def __next__(self) -> object:
        """Return the next event, as the SDK's stream does."""
        if self._held:
            held = self._held.popleft()
            if isinstance(held, Exception):
                raise held
            return held
        event = self._pull()
        if self._watch.awaits_count:
            self._look_ahead()
        return event

    def _takes(self, event: object) -> bool:
        """Count an event, settle and look ahead where it asks for that; return whether it must be hidden."""
        watch = self._watch
        is_hidden = watch.take(event)
        if watch.is_due:
            watch.settle(Moment.GOING_ON)
        if not is_hidden and watch.awaits_count:
            self._look_ahead()
        return is_hidden

    def __iter__(self) -> Iterator[object]:
        """Yield what is left. Leaving the loop early settles what was received so far."""
        takes_lightly, pull, held = self._watch.takes_lightly, self._inner.__next__, self._held
        try:
            while True:
                if held:
                    event = held.popleft()
                    if isinstance(event, StopIteration):
                        return
                    if isinstance(event, Exception):
                        raise event
                    yield event
                    continue
                try:
                    event = pull()
                except StopIteration:
                    self._watch.settle(Moment.ENDED)
                    return
                except BaseException:
                    self._watch.settle(Moment.CUT)
                    raise
                try:
                    is_light = takes_lightly(event)
                except Exception:  # noqa: BLE001 - what cannot be read is no mere text
                    is_light = False
                if is_light or not self._takes(event):
                    yield event
        except GeneratorExit:
            self._watch.leave(Moment.LEFT)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stream, and settle it by what was received."""
        try:
            self._inner.close()
        finally:
            self._watch.settle(Moment.CUT)

    def _pull(self) -> object:
        """Return the next event that is not hidden, from the SDK's stream."""
        while True:
            try:
                event = next(self._inner)
            except StopIteration:
                self._watch.settle(Moment.ENDED)
                raise
            except BaseException:
                self._watch.settle(Moment.CUT)
                raise
            is_hidden = self._watch.take(event)
            if self._watch.is_due:
                self._watch.settle(Moment.GOING_ON)
            if not is_hidden:
                return event

    def _look_ahead(self) -> None:
        """Read on to the count before the last text is handed out: most callers leave at the end of the text."""
        try:
            self._held.append(self._pull())
        except Exception as error:  # noqa: BLE001 - it is raised when its turn comes
            # Without its trace, which would hold this stream and keep it from being forgotten.
            self._held.append(error.with_traceback(None))


class AsyncMeteredStream(_MeteredStream):
    """A stream of an async client."""

    __slots__ = ()

    async def __anext__(self) -> object:
        """Return the next event, as the SDK's stream does."""
        if self._held:
            held = self._held.popleft()
            if isinstance(held, Exception):
                raise held
            return held
        event = await self._pull()
        if self._watch.awaits_count:
            await self._look_ahead()
        return event

    async def _takes(self, event: object) -> bool:
        """Count an event, settle and look ahead where it asks for that; return whether it must be hidden."""
        watch = self._watch
        is_hidden = watch.take(event)
        if watch.is_due:
            await watch.settle_async(Moment.GOING_ON)
        if not is_hidden and watch.awaits_count:
            await self._look_ahead()
        return is_hidden

    async def _broken(self, error: BaseException) -> None:
        """Settle a stream that broke here."""
        if isinstance(error, asyncio.CancelledError):
            await self._watch.settle_cancelled()
        elif isinstance(error, GeneratorExit):
            # The task was dropped where it waited: there is no event loop left to wait in.
            self._watch.leave(Moment.CUT)
        else:
            await self._watch.settle_async(Moment.CUT)

    async def __aiter__(self) -> AsyncIterator[object]:
        """Yield what is left. Leaving the loop early settles what was received so far."""
        takes_lightly, pull, held = self._watch.takes_lightly, self._inner.__anext__, self._held
        try:
            while True:
                if held:
                    event = held.popleft()
                    if isinstance(event, StopAsyncIteration):
                        return
                    if isinstance(event, Exception):
                        raise event
                    yield event
                    continue
                try:
                    event = await pull()
                except StopAsyncIteration:
                    await self._watch.settle_async(Moment.ENDED)
                    return
                except BaseException as error:
                    await self._broken(error)
                    raise
                try:
                    is_light = takes_lightly(event)
                except Exception:  # noqa: BLE001 - what cannot be read is no mere text
                    is_light = False
                if is_light or not await self._takes(event):
                    yield event
        except GeneratorExit:
            await self._watch.settle_async(Moment.LEFT)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the stream, and settle it by what was received."""
        try:
            await self._inner.close()
        finally:
            await self._watch.settle_async(Moment.CUT)

    async def aclose(self) -> None:
        """Close the stream, and settle it by what was received."""
        await self.close()

    async def _pull(self) -> object:
        """Return the next event that is not hidden, from the SDK's stream."""
        while True:
            try:
                event = await anext(self._inner)
            except StopAsyncIteration:
                await self._watch.settle_async(Moment.ENDED)
                raise
            except BaseException as error:
                await self._broken(error)
                raise
            is_hidden = self._watch.take(event)
            if self._watch.is_due:
                await self._watch.settle_async(Moment.GOING_ON)
            if not is_hidden:
                return event

    async def _look_ahead(self) -> None:
        """Read on to the count before the last text is handed out: most callers leave at the end of the text."""
        try:
            self._held.append(await self._pull())
        except Exception as error:  # noqa: BLE001 - it is raised when its turn comes
            # Without its trace, which would hold this stream and keep it from being forgotten.
            self._held.append(error.with_traceback(None))
