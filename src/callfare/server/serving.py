"""One process that listens on one port until it is told to stop, and then answers what it has accepted."""

from __future__ import annotations

import gc
import ipaddress
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from callfare.errors import Misconfigured
from callfare.server.heads import Heads
from callfare.server.peers import Peers

_log = logging.getLogger("callfare.http")

# How long what was accepted may take once the server has been told to stop.
_GRACE_S = 15
# How long a thread that computes keeps others waiting that have little to do, such as reads beside a full intake.
_SWITCH_INTERVAL_S = 0.001
# How many objects come before young ones are looked through, and how often older ones are: a batch makes thousands.
_YOUNG_MAX, _ROUNDS_TO_MIDDLE, _ROUNDS_TO_OLD = 20_000, 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a server listens, and what stands before it.

    public_url: the address people reach it under. certificate, certificate_key: files for TLS. is_behind_proxy: a proxy
    does the TLS. trusted_proxies: its addresses, whose word on who is calling is taken. authorization_servers: where
    users log in for a token of this server, which the application runs; empty when there is none.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    public_url: str | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    is_behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = field(default=())
    authorization_servers: tuple[str, ...] = field(default=())

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: it listens there alone, and nothing that others reach passes on."""
        public = None if self.public_url is None else urlsplit(self.public_url).hostname
        return _is_loopback(self.host) and not self.is_behind_proxy and (public is None or _is_loopback(public))

    @property
    def peers(self) -> Peers:
        """Who may ask: only a proxy, where others could reach it past the one that does its TLS."""
        is_closed = self.is_behind_proxy and self.certificate is None and not _is_loopback(self.host)
        return Peers(self.trusted_proxies, is_closed=is_closed)

    @property
    def url(self) -> str:
        """The address to try it under."""
        if self.public_url is not None:
            return self.public_url
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{name}:{self.port}"

    def check(self, *, has_admin_key: bool) -> None:
        """Return when a server may listen there: beyond this machine only with a key, an address and TLS.

        Raises Misconfigured, with the one line that puts it right.
        """
        if (self.certificate is None) != (self.certificate_key is None):
            raise Misconfigured("TLS takes both files: add --tls-certificate FILE and --tls-key FILE")
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path not in {"", "/"}:
                raise Misconfigured("the public address is a bare one: CALLFARE_PUBLIC_URL=https://billing.example.com")
        self._check_files()
        if self.is_behind_proxy != bool(self.trusted_proxies):
            raise Misconfigured("a proxy is told of by both: --behind-proxy --trusted-proxy ADDRESS")
        for proxy in self.trusted_proxies:
            if not _is_some_address(proxy):
                raise Misconfigured(f"a trusted proxy is an address such as 10.0.0.7 or 10.0.0.0/24, not {proxy!r}")
        for issuer in self.authorization_servers:
            _check_issuer(issuer)
        if _is_loopback(self.host):
            return
        if not has_admin_key:
            raise Misconfigured(
                f"{self.host} can be reached from elsewhere, and no key of this ledger has the scope keys:admin; "
                "make one first: `callfare keys make admin --admin`"
            )
        if self.public_url is None:
            raise Misconfigured(
                f"{self.host} can be reached from elsewhere, so say under which address: "
                "CALLFARE_PUBLIC_URL=https://billing.example.com"
            )
        if self.certificate is None and not self.is_behind_proxy:
            raise Misconfigured(
                f"{self.host} can be reached from elsewhere, and credentials would travel in the clear: "
                "add --tls-certificate FILE --tls-key FILE, or --behind-proxy with --trusted-proxy ADDRESS"
            )

    def _check_files(self) -> None:
        """Return when the files for TLS can be read and belong together, which nobody is asked a password for.

        Raises Misconfigured.
        """
        if self.certificate is None or self.certificate_key is None:
            return
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.certificate_key, password=_no_password)
        except OSError as error:
            # An error of TLS is one of the system's too, and says the reason in a field of its own.
            reason = getattr(error, "reason", None) or error.strerror
            raise Misconfigured(
                f"{self.certificate} and {self.certificate_key} cannot be used for TLS: {reason}; name a certificate "
                "and its key, both as PEM and without a password: --tls-certificate FILE --tls-key FILE"
            ) from None


def _check_issuer(issuer: str) -> None:
    """Return when an address can be an authorization server's: over TLS or on this machine, nothing after its path.

    Raises Misconfigured.
    """
    try:
        parts = urlsplit(issuer)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
        is_plain = bool(parts.hostname) and not (parts.query or parts.fragment or parts.username or "@" in parts.netloc)
    except ValueError:
        is_safe = is_plain = False
    if not (is_safe and is_plain and issuer.isascii() and issuer.isprintable()):
        raise Misconfigured(f"an authorization server is an address such as https://login.example.com, not {issuer!r}")


def _no_password() -> str:
    """Return no password: whoever starts a server is not there to be asked."""
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_some_address(text: str) -> bool:
    """Tell whether text is an address or a range of them, and not all there are: anybody's word would be taken then."""
    try:
        return ipaddress.ip_network(text).prefixlen > 0
    except ValueError:
        return False


def bound(listening: Listening) -> socket.socket:
    """Return a socket that listens there.

    Raises Misconfigured when the port is taken or not to be had.
    """
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    # Only of a socket that is known to be TCP does asyncio send each part of an answer at once.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((listening.host, listening.port))
    except OSError as error:
        found.close()
        raise Misconfigured(
            f"cannot listen on {listening.host}:{listening.port}: {error.strerror}; name another with --port"
        ) from None
    found.set_inheritable(True)
    return found


def settle_memory() -> None:
    """Leave what has been made by now out of every later search for garbage.

    It stays as long as the process: price books, routes, models of the wire. To look through all of it, which a full
    intake would have done several times a second, takes 60 ms in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, _ROUNDS_TO_MIDDLE, _ROUNDS_TO_OLD)


class _Announcing(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if self.started:
            settle_memory()
            self._ready()


def serve(app: Any, listening: Listening, listener: socket.socket, ready: Callable[[], None]) -> bool:  # noqa: ANN401 - ASGI is a shape, not a class
    """Answer requests until SIGTERM or SIGINT, then what was accepted, and return whether it went well.

    ready: called once requests are answered.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    server = _Announcing(configured(app, listening), ready)
    with _heard_once(server):
        server.run(sockets=[listener])
    _log.info("stopped")
    return server.started


def configured(app: Any, listening: Listening) -> uvicorn.Config:  # noqa: ANN401 - ASGI is a shape, not a class
    """Return how an application is served there."""
    return uvicorn.Config(
        app,
        http=Heads,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        # Whose word is taken on who calls, the application knows: it looks at who has connected first.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.certificate_key,
    )


@contextmanager
def _heard_once(server: uvicorn.Server) -> Iterator[None]:
    """Let a signal end the server and nothing else: uvicorn raises it again for whoever had it before.

    One that comes before uvicorn hears of signals ends it once it has begun.
    """

    def end(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
