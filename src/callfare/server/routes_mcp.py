"""Assistants over HTTP: `/mcp`, in the same process and behind the same door as every other route.

Stateless, in both generations of the protocol: a request is answered by itself, and no session outlives it. Who asks is
known by the credential before the SDK sees a byte; whom a token is for the SDK checks a second time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import INVALID_REQUEST, PARSE_ERROR, jsonrpc_message_adapter
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.responses import JSONResponse, Response

from callfare.auth.principal import KEY, Principal
from callfare.auth.tokens import refusal
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
    """The part of one server that assistants talk to.

    authorization_servers: where a host may log its user in for a token, which the application runs; none otherwise.
    """

    def __init__(self, engine: Engine, *, audience: str, authorization_servers: Sequence[str] = ()) -> None:
        self._audience = audience
        self._authorization_servers = authorization_servers
        self._settings = AuthSettings.model_validate(
            {
                "issuer_url": next(iter(authorization_servers), audience),
                "resource_server_url": audience,
                "validate_token_resource": True,
            }
        )
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
        await self._check_audience(caller)
        body = await caller.body()
        try:
            message = jsonrpc_message_adapter.validate_json(body, by_name=False)
        except ValidationError:
            return _no_message(body)
        check_asked(message.model_dump(by_alias=True), caller.principal)
        return _Handed(self._manager, body)

    async def tell_metadata(self, caller: Caller) -> Response:
        """Say which resource tokens are for, how they are sent, and where they are had if a server for that is set."""
        del caller
        servers = {"authorization_servers": list(self._authorization_servers)} if self._authorization_servers else {}
        return JSONResponse(
            {
                "resource": self._audience,
                **servers,
                "resource_name": "callfare",
                "scopes_supported": list(_SCOPES),
                "bearer_methods_supported": ["header"],
            }
        )

    async def _check_audience(self, caller: Caller) -> None:
        """Return when the SDK takes a credential for one of this server's, as our own door has.

        Raises Unauthorized.
        """
        resource = self._settings.resource_server_url if self._settings.validate_token_resource else None
        backend = BearerAuthBackend(_Known(caller.principal, self._audience), resource_server_url=resource)
        if await backend.authenticate(caller.connection) is None:
            raise refusal()


class _Known:
    """Tells the SDK what our door has found out about a credential."""

    def __init__(self, principal: Principal, audience: str) -> None:
        self._principal = principal
        self._audience = audience

    async def verify_token(self, token: str) -> AccessToken:
        """Return what is known of the credential, and never the credential. A key is for its ledger, wherever."""
        del token
        who = self._principal
        resource = self._audience if who.kind == KEY else who.audience
        return AccessToken(token="", client_id=who.id, scopes=sorted(who.scopes), resource=resource)


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


def _no_message(body: bytes) -> Response:
    """Return the answer to what is no message of JSON-RPC, as that protocol has it."""
    try:
        from_json(body)
        code, said = INVALID_REQUEST, "the body is no message of JSON-RPC 2.0: it takes jsonrpc, method and id"
    except ValueError:
        code, said = PARSE_ERROR, "the body is no JSON"
    error = {"code": code, "message": said}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, HTTPStatus.BAD_REQUEST)
