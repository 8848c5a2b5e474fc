"""Assistants over HTTP: `/mcp`, in the same process and behind the same door as every other route.

Stateless, in both generations of the protocol: a request is answered by itself, and no session outlives it. Who asks is
known by the credential before the SDK sees a byte, so it gets no authentication of its own to do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import JSONResponse, Response

from callfare.auth.principal import Principal
from callfare.engine.engine import Engine
from callfare.mcp.reader import EngineReader
from callfare.mcp.serving import Assistants, Context, check_asked
from callfare.server.caller import Caller
from callfare.server.limits import BODY_BYTES_MAX
from callfare.server.refusals import METADATA_PATH, message_of
from callfare.server.routing import CALLER, Routes

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

PATH = "/mcp"
# What a credential may have that leads somewhere here: a key's scopes, and a user's token's.
_SCOPES = ("all:read", "credits:read", "me:read")


class Assistance:
    """The part of one server that assistants talk to."""

    def __init__(self, engine: Engine, *, audience: str) -> None:
        self._audience = audience
        server = Assistants(EngineReader(engine), who=_who, told=message_of).server()
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=BODY_BYTES_MAX
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take requests for as long as the block lasts."""
        async with self._manager.run():
            yield

    def add(self, routes: Routes) -> None:
        """Add the routes for assistants."""
        routes.add("POST", PATH, self.answer, answers={}, is_described=False)
        routes.add("GET", METADATA_PATH, self.tell_metadata, answers={}, is_described=False)

    async def answer(self, caller: Caller) -> Response:
        """Answer an assistant, by the Model Context Protocol."""
        body = await caller.body()
        check_asked(_json(body), caller.principal)
        return _Handed(self._manager, body)

    async def tell_metadata(self, caller: Caller) -> Response:
        """Say which resource tokens are for, and how they are sent. There is no authorization server to name."""
        del caller
        return JSONResponse(
            {
                "resource": self._audience,
                "resource_name": "callfare",
                "scopes_supported": list(_SCOPES),
                "bearer_methods_supported": ["header"],
            }
        )


class _Handed(Response):
    """A request that the SDK answers, with the body that was read and checked here."""

    def __init__(self, manager: StreamableHTTPSessionManager, body: bytes) -> None:
        super().__init__()
        self._manager = manager
        self._asked = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        unread = [self._asked]

        async def again() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self._manager.handle_request(scope, again, send)


def _who(context: Context) -> Principal:
    """Return who asks: whoever the route has found out to call it."""
    caller: Caller = context.request.scope[CALLER]  # type: ignore[union-attr]  # over HTTP there always is a request
    return caller.principal


def _json(body: bytes) -> Any:  # noqa: ANN401 - JSON is what it is
    """Return what a body says, None for what is no JSON: the SDK finds the words for that."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
