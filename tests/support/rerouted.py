"""SDKs led to a stand-in, whichever host they mean to reach: over real sockets, by Hugging Face's own factories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import huggingface_hub


def transport_to(base_url: str) -> httpx2.HTTPTransport:
    """Return a transport that leads each request to this address. The host it meant stays in its header."""
    place = httpx2.URL(base_url)

    class Transport(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            request.url = request.url.copy_with(scheme=place.scheme, host=place.host, port=place.port)
            return super().handle_request(request)

    return Transport()


@contextmanager
def rerouted(base_url: str) -> Iterator[None]:
    """Lead each request that the SDK makes within to this address. The host it meant stays in its header."""
    place = httpx2.URL(base_url)

    def lead(request: httpx2.Request) -> None:
        request.url = request.url.copy_with(scheme=place.scheme, host=place.host, port=place.port)

    class AsyncTransport(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            lead(request)
            return await super().handle_async_request(request)

    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=transport_to(base_url)))
    huggingface_hub.set_async_client_factory(lambda: httpx2.AsyncClient(transport=AsyncTransport()))
    try:
        yield
    finally:
        huggingface_hub.set_client_factory(httpx2.Client)
        huggingface_hub.set_async_client_factory(httpx2.AsyncClient)
        huggingface_hub.close_session()
