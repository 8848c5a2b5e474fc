"""Assistants on this machine: one process for one host, over its standard input and output, for one user or for all.

Who asks is said when it is started. Whoever can start it can open the ledger's file: its mode is the authentication.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from callfare.auth.principal import LOCAL_PRINCIPAL, USER, Principal
from callfare.checks import check_user
from callfare.mcp.reader import Reader
from callfare.mcp.serving import Assistants

# How long an answer is waited for after the input has ended, in seconds; a ledger that is away is refused before.
PATIENCE_S = 60


def principal_of(user: str | None) -> Principal:
    """Return who asks: a user who may read what is theirs, or whoever may read everything.

    Raises InvalidUser.
    """
    if user is None:
        return LOCAL_PRINCIPAL
    return Principal(kind=USER, id=check_user(user), user=user, scopes=frozenset({"me:read"}))


def serve(reader: Reader, principal: Principal) -> None:
    """Answer what comes on standard input until it ends, all of it.

    Raises BrokenPipeError when nobody reads the answers any more.
    """
    # A thread waits for input and hears of no exception. There is nothing to put in order: nothing here writes.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        asyncio.run(_serve(reader, principal))
    except BaseExceptionGroup as raised:
        _, others = raised.split(BrokenPipeError)
        if others is not None:
            raise
        raise BrokenPipeError from None


async def _serve(reader: Reader, principal: Principal) -> None:
    server = Assistants(reader, who=lambda _: principal, told=lambda error: error.message).server()
    unanswered = Unanswered()
    async with stdio_server() as (incoming, outgoing), outgoing, anyio.create_task_group() as tasks:
        heard, asked = anyio.create_memory_object_stream[SessionMessage | Exception]()
        said, answers = anyio.create_memory_object_stream[SessionMessage]()
        tasks.start_soon(unanswered.hear, incoming, heard)
        tasks.start_soon(unanswered.say, answers, outgoing.send)
        await server.run(asked, said, server.create_initialization_options())


class Unanswered:
    """The requests without an answer yet, dropped by the SDK when its input ends; that of a pipe ends with its last."""

    def __init__(self) -> None:
        self._ids: set[types.RequestId] = set()
        self._changed = anyio.Event()

    async def hear(
        self,
        incoming: AsyncIterable[SessionMessage | Exception],
        heard: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        """Pass on what comes, and its end once all of it is answered, or PATIENCE_S have passed."""
        async with heard:
            async for message in incoming:
                if isinstance(message, SessionMessage):
                    self._note(message.message)
                await heard.send(message)
            with anyio.move_on_after(PATIENCE_S):
                while self._ids:
                    await self._changed.wait()

    async def say(
        self, answers: MemoryObjectReceiveStream[SessionMessage], send: Callable[[SessionMessage], Awaitable[None]]
    ) -> None:
        """Pass on what is answered."""
        async with answers:
            async for answer in answers:
                # Nobody reads any more: what broke the writing is raised where it broke.
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await send(answer)
                self._note(answer.message)

    def _note(self, message: types.JSONRPCMessage) -> None:
        match message:
            case types.JSONRPCRequest(id=number):
                self._ids.add(number)
            case types.JSONRPCNotification(
                method="notifications/cancelled", params={"requestId": int() | str() as number}
            ):
                self._ids.discard(number)
            case types.JSONRPCResponse(id=number) | types.JSONRPCError(id=int() | str() as number):
                self._ids.discard(number)
            case _:
                pass
        self._changed.set()
        self._changed = anyio.Event()
