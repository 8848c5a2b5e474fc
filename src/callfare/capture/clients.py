"""Which capture fits which client. A new SDK is a file beside this one and a row here, or a row in providers.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from callfare.capture import (
    anthropic,
    bedrock,
    google,
    langchain,
    litellm,
    mistral,
    openai,
    otel,
    pydantic_ai,
    realtime,
    siblings,
)
from callfare.capture.base import Meter
from callfare.capture.providers import ELSEWHERE, SIBLINGS, package_of
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
_WRAPPERS: Mapping[str, Callable[..., Any]] = {
    "openai": openai.wrap,
    "anthropic": anthropic.wrap,
    "google.genai": google.wrap,
    "botocore": bedrock.wrap,
    "aiobotocore": bedrock.wrap,
    "mistralai": mistral.wrap,
    **{sibling.package: siblings.wrapper_of(sibling) for sibling in SIBLINGS},
}


def wrap_client(client: Client, meter: Meter, *, user: str | None, provider: str | None = None) -> Client:
    """Return a metered client of the same kind.

    user: who pays for its calls; None for the run or the user in whose context each call is made.
    provider: whose calls they are; None for whoever's address they go to.

    Raises InvalidInput for a client of an SDK that callfare does not know, and for what is no name of a provider.
    """
    maker = None if provider is None else check_text(provider, "provider")
    package = package_of(client, _WRAPPERS)
    if package is None:
        raise InvalidInput(_refusal_of(client), param="client")
    wrapped: Client = _WRAPPERS[package](client, meter, user=user, provider=maker)
    return wrapped


def _refusal_of(client: object) -> str:
    """Return why a client is not wrapped, and what meters its calls instead."""
    kind = type(client).__name__
    elsewhere = package_of(client, ELSEWHERE)
    instead = "OpenAI's at an address that speaks as OpenAI's" if elsewhere is None else ELSEWHERE[elsewhere]
    return (
        f"{kind} is no client that callfare can wrap; it knows those of {', '.join(_WRAPPERS)}; "
        f"wrap {instead}, or put `fare.metered` before what makes the calls"
    )


def listener_for(library: str, meter: Meter, *, user: str | None) -> Any:  # noqa: ANN401 - what that library takes
    """Return what a library takes to tell of its calls.

    Raises InvalidInput for a library that callfare does not know.
    """
    make = _LISTENERS.get(library)
    if make is None:
        known = ", ".join(_LISTENERS)
        raise InvalidInput(f"there is no listener for {library!r}; there are {known}", param="library")
    return make(meter, user=user)
