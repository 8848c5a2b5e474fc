"""Metering of OpenAI's SDK, majors 2 and 3, sync and async, Azure's variants too, at any base address.

What is metered, and how each end of a call is settled: README.md. Refuses to import the SDK.
"""

from __future__ import annotations

from typing import TypeVar

from callfare.capture.base import Meter
from callfare.capture.openai_connections import prepare
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.providers import maker_of
from callfare.capture.twins import metered

ClientT = TypeVar("ClientT")

# Who answers the clients of the SDK that are for other clouds. At Azure it is OpenAI's models all the same.
_CLOUDS = {"openai.lib.bedrock": "aws"}


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: an OpenAI, AzureOpenAI or BedrockOpenAI, sync or async; it stays as it is.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for whose address it is.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    dialect = OpenAIDialect(provider, maker=maker_of(client, _CLOUDS, "openai"))
    return metered(client, dialect, meter, user=user, like="OpenAI()", prepare=prepare)
