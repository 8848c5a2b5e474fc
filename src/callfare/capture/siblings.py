"""Metering of SDKs made by the generator of OpenAI's own, for APIs that speak as OpenAI's does: Groq, Together, others.

Which those are is data: providers.toml. What is metered is what is metered of OpenAI's. Refuses to import any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from callfare.capture.base import Meter
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.providers import Sibling
from callfare.capture.twins import metered

ClientT = TypeVar("ClientT")


def wrapper_of(sibling: Sibling) -> Callable[..., Any]:
    """Return what wraps the clients of such an SDK."""

    def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
        """Return a client like the given one, sharing its connections, whose calls are metered.

        Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
        """
        dialect = OpenAIDialect(provider, maker=sibling.provider, under=sibling.under)
        return metered(client, dialect, meter, user=user, like=sibling.client)

    return wrap
