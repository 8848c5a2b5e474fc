"""The stand-in as a web application: the API under /v1, the hosted pages, and the control routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPMethod

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from callfare.devtools.fake_stripe import control
from callfare.devtools.fake_stripe.api import CutOff
from callfare.devtools.fake_stripe.pages import checkout_page, portal_page
from callfare.devtools.fake_stripe.standin import Standin


def application(standin: Standin) -> Starlette:
    """Return the web application of a stand-in."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await standin.start()
        yield
        await standin.stop()

    async def api(request: Request) -> Response:
        try:
            return await standin.api.answer(request)
        except CutOff:
            return _Cut()

    methods = [HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE]
    return Starlette(
        routes=[
            Route("/v1/{path:path}", api, methods=methods),
            *checkout_page.routes(standin),
            *portal_page.routes(standin),
            *control.routes(standin),
        ],
        lifespan=lifespan,
    )


class _Cut(Response):
    """No answer at all: the connection is dropped before its first byte."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin an answer of a length that never comes, so that the server closes the connection."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})
