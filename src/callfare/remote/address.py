"""The address of a server and the key to it, checked before anything is sent. Refuses to send a key in the clear."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from callfare.errors import Misconfigured

KEY_VARIABLE = "CALLFARE_API_KEY"
SCHEMES = ("http", "https")
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is. prefix: what stands before its routes. Its repr, and so every message, holds no key."""

    scheme: str
    host: str
    port: int
    prefix: str
    key: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The address as people may read it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"

    @property
    def netloc(self) -> str:
        """Host and port as the Host header names them."""
        return (
            self.shown.removeprefix(f"{self.scheme}://").removesuffix(self.prefix)
            if self.prefix
            else (self.shown.removeprefix(f"{self.scheme}://"))
        )


def is_server(url: object) -> bool:
    """Tell whether an address is a server's and no ledger's own."""
    return isinstance(url, str) and url.partition(":")[0].lower() in SCHEMES


def address_of(url: str, key: str | None) -> Address:
    """Return a checked address with its key.

    Raises Misconfigured, naming neither the key nor what stands in the address besides host and path.
    """
    if not url.isprintable():
        raise _no_address()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address() from None
    if not host or not host.isascii():
        raise _no_address()
    if parts.username is not None or parts.password is not None:
        raise Misconfigured(f"a key does not belong into an address; set {KEY_VARIABLE} instead", param="url")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise Misconfigured("a server's address has no '?' and no '#'; give it without", param="url")
    scheme = parts.scheme.lower()
    if scheme == "http" and not _is_loopback(host):
        raise Misconfigured(f"http:// would send the key to {host} in the clear; use https://", param="url")
    return Address(
        scheme=scheme, host=host, port=port or _PORTS[scheme], prefix=parts.path.rstrip("/"), key=_checked(key)
    )


def _no_address() -> Misconfigured:
    return Misconfigured("this is no address of a server; use one such as https://billing.example.com", param="url")


def _checked(key: object) -> str:
    if key is None or key == "":
        raise Misconfigured(
            f"a server takes a key: set {KEY_VARIABLE}, or give api_key=, at the command line --key-file; its owner "
            "makes one where the ledger is, with `callfare keys make`, and the server's first start kept one in "
            "admin.key there",
            param="api_key",
        )
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise Misconfigured("the key is no key: it has blanks, or characters that none has", param="api_key")
    return key


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
