"""Metering of OpenAI's SDK, majors 2 and 3, sync and async, Azure's variants too, at any base address.

What is metered, and how each end of a call is settled: README.md. Refuses to import the SDK.
"""

from __future__ import annotations

from typing import TypeVar

from callfare.capture.base import Meter
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.twins import metered

ClientT = TypeVar("ClientT")


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: an OpenAI, AsyncOpenAI, AzureOpenAI or AsyncAzureOpenAI; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    return metered(client, OpenAIDialect(provider), meter, user=user, like="OpenAI()")
