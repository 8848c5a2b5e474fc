"""Who stands at the other end of a connection: anybody, or a proxy whose word on who is calling is taken.

Where a proxy does the TLS, a server that others can reach is not to be asked beside it: credentials would travel in the
clear, and a caller could say of itself that it is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from callfare.auth.attempts import plain_address
from callfare.errors import ProxyRequired

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope


class Peers:
    """The addresses that a server is asked from. proxies: those of its proxies. is_closed: nobody else may ask."""

    def __init__(self, proxies: Sequence[str] = (), *, is_closed: bool = False) -> None:
        self._proxies = list(proxies)
        self._networks = tuple(ip_network(proxy) for proxy in proxies)
        self._is_closed = is_closed

    def check(self, scope: Scope) -> None:
        """Return when whoever has connected may ask; one address is written in one way from then on.

        Raises ProxyRequired.
        """
        if not (self._networks or self._is_closed):
            return
        host, port = scope.get("client") or ("", 0)
        here = plain_address(host)
        if here is not None:
            # A socket of both families calls 10.0.0.7 ::ffff:10.0.0.7, which no list of proxies does.
            scope["client"] = (str(here), port)
        if self._is_closed and not any(here in network for network in self._networks if here is not None):
            raise ProxyRequired("this server is reached through its proxy only; use its public address")

    def behind(self, app: ASGIApp) -> ASGIApp:
        """Return an application that is told who is calling by its proxies, and by nobody else."""
        return ProxyHeadersMiddleware(app, self._proxies) if self._proxies else app  # type: ignore[arg-type, return-value]  # ASGI by two names
