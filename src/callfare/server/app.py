"""The application: its routes, its one table of statuses, and what every error becomes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from callfare import errors
from callfare.auth.door import Door
from callfare.engine.engine import Engine
from callfare.engine.on_behalf import OnBehalf
from callfare.payments.till import Till
from callfare.server.caller import Caller, Served
from callfare.server.metrics import Metrics
from callfare.server.openapi import described
from callfare.server.outer import REQUEST_ID, Hosts, Outer
from callfare.server.peers import Peers
from callfare.server.refusals import InternalError, Refusals
from callfare.server.routes_access import add_access
from callfare.server.routes_checking import add_checking
from callfare.server.routes_commands import add_commands
from callfare.server.routes_events import add_events
from callfare.server.routes_mcp import Assistance
from callfare.server.routes_payments import add_payments
from callfare.server.routes_reading import add_reading
from callfare.server.routes_upkeep import add_upkeep
from callfare.server.routes_writing import add_writing
from callfare.server.routing import MissingRule, Routes
from callfare.server.rules import RULES

_log = logging.getLogger("callfare.http")

# The first class that fits decides, so a class stands above those it derives from.
STATUSES: tuple[tuple[type[errors.CallfareError], int], ...] = (
    (errors.BodyTooLarge, 413),
    (errors.UnsupportedMedia, 415),
    (errors.InvalidInput, 400),
    (errors.Unauthorized, 401),
    (errors.InsufficientCredit, 402),
    (errors.TooManyAttempts, 429),
    (errors.HostRefused, 421),
    (errors.Denied, 403),
    (errors.LedgerNotFound, 503),
    (errors.MethodNotAllowed, 405),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.LedgerUnavailable, 503),
    (errors.PaymentsUnavailable, 503),
    (errors.UserRequired, 400),
    (errors.Refused, 422),
    (errors.PaymentsNotConfigured, 503),
    (errors.CallfareError, 500),
)


def make_app(
    engine: Engine,
    *,
    audience: str,
    public_url: str | None = None,
    is_local: bool = True,
    till: Till | None = None,
    authorization_servers: Sequence[str] = (),
    peers: Peers | None = None,
) -> Outer:
    """Return the application of one ledger.

    audience: the address that users' tokens have to be for. public_url: the address people reach it under, None when
    only this machine does. is_local: it listens on the loopback alone, so that what describes it needs no key.
    till: buying credits, None where that is not set up. authorization_servers: where users log in for a token.
    peers: who may ask, None for anybody.

    One without a rule is a MissingRule: the server does not start.
    """
    metrics, refusals = Metrics(), Refusals(STATUSES, resource=audience)
    served = Served(
        engine=engine,
        behalf=OnBehalf(engine),
        authentication=Door(engine, audience=audience),
        metrics=metrics,
        audience=audience,
        is_local=is_local,
        till=till,
    )
    assistance = Assistance(engine, audience=audience, authorization_servers=authorization_servers)
    app = FastAPI(
        title="callfare",
        version="0.1.0",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(engine, assistance, till),
    )
    routes = Routes(served, app.router)
    # They are looked at in this order, so what is asked for most comes first.
    for add in (
        add_reading,
        add_events,
        add_writing,
        add_commands,
        add_payments,
        add_upkeep,
        add_checking,
        add_access,
        assistance.add,
    ):
        add(routes)
    _add_description(app, routes)
    _handle_errors(app, refusals)
    missing = RULES.keys() - set(routes.known)
    if missing:
        raise MissingRule(f"no route for the rules of {sorted(missing)}")
    hosts = Hosts([public_url] if public_url else ())
    return Outer(app, hosts=hosts, peers=peers or Peers(), refusals=refusals, metrics=metrics)


def _lifespan(
    engine: Engine, assistance: Assistance, till: Till | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await engine.create_async()
        async with assistance.running():
            if till is not None:
                await till.desk.open()
                till.start()
            yield
            if till is not None:
                await till.stop()
        # Everything accepted has been answered; what still waits in the lane is written before the end.
        await engine.read_async(engine.close)

    return lifespan


def _add_description(app: FastAPI, routes: Routes) -> None:
    found: dict[str, object] = {}

    async def describe_api(caller: Caller) -> Response:
        """Describe all routes, as OpenAPI 3.1."""
        del caller
        if not found:
            found.update(described(app, STATUSES, routes.bodies))
        return JSONResponse(found)

    schema = {"description": "This description.", "content": {"application/json": {"schema": {"type": "object"}}}}
    routes.add("GET", "/openapi.json", describe_api, answers=schema)


def _handle_errors(app: FastAPI, refusals: Refusals) -> None:
    """Have every error answered in the one shape."""

    def answer(request: Request, error: errors.CallfareError) -> Response:
        return refusals.answer(error, request.scope[REQUEST_ID])

    @app.exception_handler(errors.CallfareError)
    async def of_ours(request: Request, error: errors.CallfareError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def of_parameters(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = str(first["loc"][-1])[:100]
        return answer(request, errors.InvalidInput(f"{name}: {first['msg']}", param=name))

    @app.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response = answer(request, errors.MethodNotAllowed("this address is not there for that method"))
            response.headers["Allow"] = (error.headers or {}).get("Allow", "")
            return response
        if error.status_code == HTTPStatus.NOT_FOUND:
            return answer(request, errors.RouteNotFound("there is nothing at this address"))
        return answer(request, errors.InvalidInput("the request cannot be understood"))

    @app.exception_handler(Exception)
    async def of_nobody(request: Request, fault: Exception) -> Response:
        _log.error("a request failed", exc_info=fault, extra={"request_id": request.scope[REQUEST_ID]})
        return answer(request, InternalError("a fault of the server; its log has it under the request's id"))
