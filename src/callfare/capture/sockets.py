"""Web sockets of SDKs, metered: the same messages in the same order, each shown to the session before it is handed on.

A proxy stands before the SDK's own socket; however its caller reads, sends and leaves, it passes here. A message that
came is never lost: one that arrives while its reader is cancelled is the next one's. Refuses to import a web-socket
library.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Any

from callfare.capture.base import Unharmed
from callfare.capture.leftovers import LEFTOVERS
from callfare.capture.proxies import Proxy
from callfare.capture.sessions import Message, Session, Whose, carry_out, carry_out_async, keep

_ENDING = Unharmed("settle a session")
_REFUSED = 1000
"""The code that a session is closed with when it may not go on: a normal end."""


def _is_over(error: BaseException) -> bool:
    """Whether an error says that the connection is gone, whichever library says it."""
    return any(kind.__name__ == "ConnectionClosed" for kind in type(error).__mro__)


def _left(session: Session, whose: Whose) -> None:
    if session.is_ours:
        LEFTOVERS.leave(lambda: carry_out(session.ending(), whose))


class _Socket(Proxy):
    __slots__ = ("__weakref__", "_held", "_session", "_whose")

    def __init__(self, inner: Any, session: Session, whose: Whose) -> None:
        super().__init__(inner)
        self._session = session
        self._whose = whose
        self._held: deque[Message] = deque()
        LEFTOVERS.make_ready()
        weakref.finalize(self, _left, session, whose)


class MeteredSocket(_Socket):
    """A socket of a sync client."""

    __slots__ = ()

    def recv(self, *how: Any, **options: Any) -> Message:
        """Return the next message. Raises the refusal that ended the session."""
        if self._held:
            return self._held.popleft()
        self._go_on()
        try:
            message: Message = self._inner.recv(*how, **options)
        except BaseException as error:
            if _is_over(error):
                self.end()
            raise
        carry_out(self._session.hearing(message), self._whose)
        return message

    def send(self, message: Message, *how: Any, **options: Any) -> None:
        """Send a message. Raises Refused for one that asks for a response that may not be made."""
        self._go_on()
        asks = carry_out(self._session.sending(message), self._whose)
        try:
            self._inner.send(message, *how, **options)
        except BaseException:
            if asks:
                self._session.unsent(message)
            raise

    def close(self, *how: Any, **options: Any) -> None:
        """Close the socket, and settle the session: with what came until then, read or not."""
        self._session.leave()
        try:
            # A socket whose messages nobody reads cannot be closed before its library gives up waiting.
            self._read_on()
            self._inner.close(*how, **options)
            self._read_on()
        finally:
            self.end()

    def end(self) -> None:
        """Settle the session, which is over."""
        with _ENDING:
            carry_out(self._session.ending(), self._whose)

    def _go_on(self) -> None:
        refusal = self._session.refusal
        if refusal is not None:
            with Unharmed("close a session that may not go on"):
                self.close(_REFUSED)
            raise refusal

    def _read_on(self) -> None:
        """Take in the messages that had arrived and were not read."""
        while True:
            try:
                message = self._inner.recv(timeout=0, decode=False)
            except Exception:  # noqa: BLE001 - there are no more, or somebody else is reading them
                return
            carry_out(self._session.hearing(message), self._whose)


class AsyncMeteredSocket(_Socket):
    """A socket of an async client."""

    __slots__ = ()

    async def recv(self, *how: Any, **options: Any) -> Message:
        """Return the next message. Raises the refusal that ended the session."""
        if self._held:
            return self._held.popleft()
        await self._go_on()
        try:
            message: Message = await self._inner.recv(*how, **options)
        except BaseException as error:
            if _is_over(error):
                await self.end()
            raise
        try:
            await carry_out_async(self._session.hearing(message), self._whose)
        except BaseException:
            self._held.append(message)
            raise
        return message

    async def send(self, message: Message, *how: Any, **options: Any) -> None:
        """Send a message. Raises Refused for one that asks for a response that may not be made."""
        await self._go_on()
        asks = await carry_out_async(self._session.sending(message), self._whose)
        try:
            await self._inner.send(message, *how, **options)
        except BaseException:
            if asks:
                self._session.unsent(message)
            raise

    async def close(self, *how: Any, **options: Any) -> None:
        """Close the socket, and settle the session: with what came until then, read or not."""
        self._session.leave()
        try:
            closing = keep(self._inner.close(*how, **options))
            # A socket whose messages nobody reads cannot be closed before its library gives up waiting.
            await self._read_on()
            await closing
        finally:
            await self.end()

    async def end(self) -> None:
        """Settle the session, which is over. A further cancellation ends the wait, not the settlement."""
        await asyncio.shield(keep(self._settled()))

    async def _settled(self) -> None:
        with _ENDING:
            await carry_out_async(self._session.ending(), self._whose)

    async def _go_on(self) -> None:
        refusal = self._session.refusal
        if refusal is not None:
            with Unharmed("close a session that may not go on"):
                await self.close(_REFUSED)
            raise refusal

    async def _read_on(self) -> None:
        """Take in the messages that had arrived and were not read, until the socket is closed."""
        while True:
            try:
                message = await self._inner.recv(decode=False)
            except Exception:  # noqa: BLE001 - there are no more, or somebody else is reading them
                return
            await carry_out_async(self._session.hearing(message), self._whose)
