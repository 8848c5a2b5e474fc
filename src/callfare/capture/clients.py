"""Which capture fits which client. A new SDK is a row in providers.toml, and a file beside it where it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from callfare.capture import langchain, litellm, otel, pydantic_ai, realtime, siblings
from callfare.capture.base import Meter
from callfare.capture.providers import CLIENTS, ELSEWHERE, SIBLINGS, WHOLE, WRAPPED, package_of
from callfare.checks import check_text
from callfare.errors import InvalidInput

Client = TypeVar("Client")

_LISTENERS: Mapping[str, Callable[..., Any]] = {
    "langchain": langchain.listener,
    "litellm": litellm.listener,
    "openai_realtime": realtime.listener,
    "otel": otel.listener,
    "pydantic_ai": pydantic_ai.listener,
}
_PACKAGES = (*WRAPPED, *SIBLINGS)


def wrap_client(client: Client, meter: Meter, *, user: str | None, provider: str | None = None) -> Client:
    """Return a metered client of the same kind.

    client: a client, or a module whose functions make calls with a client of its own.
    user: who pays for its calls; None for the run or the user in whose context each call is made.
    provider: whose calls they are; None for whoever's address they go to.

    Raises InvalidInput for a client of an SDK that callfare does not know, and for what is no name of a provider.
    """
    maker = None if provider is None else check_text(provider, "provider")
    if isinstance(client, type):
        name = client.__name__
        raise InvalidInput(f"{name} is a class; make a client of it, and wrap that: {name}(…)", param="client")
    package = package_of(client, _PACKAGES)
    if isinstance(client, ModuleType) and client.__name__ in WHOLE:
        package = client.__name__
    if package is None:
        raise InvalidInput(_refusal_of(client), param="client")
    wrapped: Client = _wrapper_of(package)(client, meter, user=user, provider=maker)
    return wrapped


def _wrapper_of(package: str) -> Callable[..., Any]:
    """Return what wraps the clients of a package. Its file is read when the first of them is wrapped."""
    if package in SIBLINGS:
        return siblings.wrapper_of(SIBLINGS[package])
    wrapper: Callable[..., Any] = import_module(f"callfare.capture.{WRAPPED[package]}").wrap
    return wrapper


def _refusal_of(client: object) -> str:
    """Return why a client is not wrapped, and what meters its calls instead."""
    if isinstance(client, ModuleType):
        return _refusal_of_module(client.__name__)
    kind = type(client).__name__
    elsewhere = package_of(client, ELSEWHERE)
    instead = "OpenAI's at an address that speaks as OpenAI's" if elsewhere is None else ELSEWHERE[elsewhere]
    return (
        f"{kind} is no client that callfare can wrap; it knows those of {', '.join(_PACKAGES)}; "
        f"wrap {instead}, or put `fare.metered` before what makes the calls"
    )


def _refusal_of_module(name: str) -> str:
    """Return what to give in place of a module."""
    said = f"{name} is a module; "
    if name in CLIENTS:
        return f"{said}make a client of it, and wrap that: fare.wrap({CLIENTS[name]})"
    if name in _LISTENERS:
        return f'{said}it is not wrapped but listened to: fare.listener("{name}")'
    return f"{said}wrap a client of {', '.join(_PACKAGES)}, or put `fare.metered` before what makes the calls"


def listener_for(library: str, meter: Meter, *, user: str | None) -> Any:
    """Return what a library takes to tell of its calls.

    Raises InvalidInput for a library that callfare does not know.
    """
    make = _LISTENERS.get(library)
    if make is None:
        known = ", ".join(_LISTENERS)
        raise InvalidInput(f"there is no listener for {library!r}; there are {known}", param="library")
    return make(meter, user=user)
