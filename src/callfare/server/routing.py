"""How a route is declared: what it answers with, and the rule it stands under. One without a rule does not start."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, get_args

import msgspec
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.responses import Response

from callfare.errors import InvalidInput
from callfare.server.caller import Caller, Served, caller_of
from callfare.server.rules import RULES, Rule
from callfare.server.wire.base import Answer

Handler = Callable[..., Awaitable[Response]]
# Where a request carries who calls.
CALLER = "callfare.caller"
ANSWER_TYPE = "application/json"
_encode = msgspec.json.Encoder().encode


class Route(APIRoute):
    """A route that finds out who calls before anything else, and then refuses a parameter it does not know.

    One that is left out of account, or is there twice, would give a wrong answer.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        self._call: Callable[[Request], Awaitable[Caller]] = endpoint.__dict__["caller"]
        super().__init__(path, endpoint, **settings)
        self._parameters = frozenset(field.alias for field in self.dependant.query_params)
        self._plain: Handler | None = endpoint.__dict__["plain"]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer_it = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request.scope[CALLER] = await self._call(request)
            self._check(request)
            return await (answer_it(request) if self._plain is None else self._plain(request))

        return handle

    def _check(self, request: Request) -> None:
        """Return when all parameters are known and there once.

        Raises InvalidInput.
        """
        if not request.scope["query_string"]:
            return
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            shown = name.encode("ascii", "replace").decode()[:50]
            if name not in self._parameters:
                raise InvalidInput(f"there is no parameter {shown!r} here", param=shown)
            if given.count(name) > 1:
                raise InvalidInput(f"the parameter {shown} is there more than once", param=shown)


class MissingRule(Exception):
    """A route has no rule, or a rule no route: the server does not start."""


def rule_of(method: str, path: str) -> Rule:
    """Return the rule of a route.

    One without a rule is a MissingRule: the server does not start.
    """
    try:
        return RULES[method, path]
    except KeyError:
        raise MissingRule(f"{method} {path} has no rule in server/rules.py") from None


class Routes:
    """The routes of one server."""

    def __init__(self, served: Served, router: APIRouter) -> None:
        self.served = served
        self.router = router
        router.route_class = Route
        self.known: list[tuple[str, str]] = []
        self.bodies: dict[tuple[str, str], TypeAdapter[Any]] = {}

    def add(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        answers: type[Answer] | dict[str, Any],
        asks: TypeAdapter[Any] | None = None,
        has_account: bool = False,
        is_hot: bool = False,
        is_described: bool = True,
    ) -> None:
        """Add a route. Its handler is a function of (caller, …) with its query parameters after it.

        answers: the model of its answer, or what OpenAPI says of it. asks: the model of its body. has_account: the
        account of the user it names is looked up together with the credential. is_hot: asked so often that its
        parameters, which are text or not there, are taken from the query without the framework's help.
        is_described: OpenAPI tells of it; what follows a protocol of its own is described by that.

        One without a rule is a MissingRule: the server does not start.
        """
        rule = rule_of(method, path)
        self.known.append((method, path))
        if asks is not None:
            self.bodies[method, path] = asks
        operation = f"{method} {path}"
        served = self.served

        async def caller(request: Request) -> Caller:
            return await caller_of(request, served, rule, operation, has_account=has_account)

        self.router.add_api_route(
            path,
            _with_caller(handler, caller, is_hot=is_hot),
            methods=[method],
            name=handler.__name__,
            summary=(handler.__doc__ or "").partition("\n")[0],
            description=(handler.__doc__ or "").partition("\n")[2].strip() or None,
            operation_id=handler.__name__,
            response_model=None,
            include_in_schema=is_described,
            responses={200: answers if isinstance(answers, dict) else {"model": answers}},
        )


def _with_caller(handler: Handler, caller: Callable[[Request], Awaitable[Caller]], *, is_hot: bool) -> Handler:
    """Return a handler as FastAPI takes it: its first argument is the request, by which the caller is known."""
    signature = inspect.signature(handler, eval_str=True)
    _, *rest = signature.parameters.values()

    @functools.wraps(handler)
    async def handle(request: Request, **given: Any) -> Response:
        return await handler(request.scope[CALLER], **given)

    bound = [inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)]
    bound += [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in rest]
    handle.__signature__ = signature.replace(parameters=bound)  # type: ignore[attr-defined]  # where inspect looks first
    handle.__annotations__ = {parameter.name: parameter.annotation for parameter in bound}
    handle.__dict__["caller"] = caller
    handle.__dict__["plain"] = _plain(handler, rest) if is_hot else None
    return handle


def _plain(handler: Handler, parameters: list[inspect.Parameter]) -> Handler:
    """Return a handler that reads its parameters from the query by itself."""
    names = {}
    for parameter in parameters:
        kind, query = get_args(parameter.annotation)
        assert (kind, parameter.default) == (str | None, None), f"{parameter} is not text that may be left out"
        names[parameter.name] = query.alias

    async def handle(request: Request) -> Response:
        query = request.query_params
        return await handler(request.scope[CALLER], **{name: query.get(alias) for name, alias in names.items()})

    return handle


async def followed(first: bytes, parts: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Yield what was read to see whether an answer can begin, then the rest of it, which ends with whoever listens."""
    try:
        yield first
        async for part in parts:
            yield part
    finally:
        await parts.aclose()


def answer(body: Answer, *, headers: dict[str, str] | None = None) -> Response:
    """Return an answer as a response."""
    return Response(body.body(), media_type=ANSWER_TYPE, headers=headers)


def answer_facts(facts: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """Return the facts of an answer as a response, without the detour over its model."""
    return Response(_encode(facts), media_type=ANSWER_TYPE, headers=headers)
