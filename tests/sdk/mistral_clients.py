"""A client of Mistral's SDK between its stand-in and a meter that remembers, each kind of call in the same words."""

from __future__ import annotations

from operator import attrgetter


class Kind:
    """One kind of call of the client, in the same words for both."""

    def __init__(self, client, *, is_async):
        self.client, self.is_async = client, is_async

    async def do(self, part, method, **fields):
        found = getattr(attrgetter(part)(self.client), f"{method}_async" if self.is_async else method)
        reply = found(**fields)
        return await reply if self.is_async else reply

    async def events(self, stream):
        return [event async for event in stream] if self.is_async else list(stream)

    async def begun(self, stream, count):
        """Return the first events of a stream, and stay within it."""
        return [await anext(stream) for _ in range(count)] if self.is_async else [next(stream) for _ in range(count)]

    async def close(self, stream):
        closing = stream.close()
        if self.is_async:
            await closing


async def closed(client):
    """Close both kinds of connections, each in its own way."""
    client.sdk_configuration.client.close()
    await client.sdk_configuration.async_client.aclose()
