"""Assistants on this machine: one process for one host, over its standard input and output, for one user or for all.

Who asks is said when it is started. Whoever can start it can open the ledger's file: its mode is the authentication.
"""

from __future__ import annotations

import asyncio
import signal

from mcp.server.stdio import stdio_server

from callfare.auth.principal import LOCAL_PRINCIPAL, USER, Principal
from callfare.checks import check_user
from callfare.mcp.reader import Reader
from callfare.mcp.serving import Assistants


def principal_of(user: str | None) -> Principal:
    """Return who asks: a user who may read what is theirs, or whoever may read everything.

    Raises InvalidUser.
    """
    if user is None:
        return LOCAL_PRINCIPAL
    return Principal(kind=USER, id=check_user(user), user=user, scopes=frozenset({"me:read"}))


def serve(reader: Reader, principal: Principal) -> None:
    """Answer what comes on standard input until it ends.

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
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
