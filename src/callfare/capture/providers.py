"""Which provider stands behind a base address, and which SDK is metered by what. Data: providers.toml.

Refuses to look anything up on a network.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from urllib.parse import urlsplit

_TABLE = tomllib.loads(files("callfare.capture").joinpath("providers.toml").read_text(encoding="utf-8"))

HOSTS: Mapping[str, str] = MappingProxyType(
    {host: row["name"] for row in _TABLE["provider"] for host in row.get("hosts", ())}
)
"""The provider behind each host."""

PORTS: Mapping[int, str] = MappingProxyType(
    {port: row["name"] for row in _TABLE["provider"] for port in row.get("ports", ())}
)
"""The provider whose servers on one's own machines listen at a port."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: row["name"] for row in _TABLE["provider"] for alias in row.get("aliases", ())}
)
"""The provider that frameworks call by another name than the price books."""

WRAPPED: Mapping[str, str] = MappingProxyType({row["package"]: row["file"] for row in _TABLE["wrapped"]})
"""The module of this folder whose `wrap` meters the clients of a package."""

WHOLE = frozenset(row["package"] for row in _TABLE["wrapped"] if row.get("is_whole"))
"""The packages whose own functions make calls, so that the module itself is wrapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """An SDK made as OpenAI's is, for an API that speaks as OpenAI's does.

    package: where its classes are. client: what to give, for people. provider: whose it is.
    under: what its paths have before OpenAI's.
    """

    package: str
    client: str
    provider: str
    under: tuple[str, ...]


SIBLINGS: Mapping[str, Sibling] = MappingProxyType(
    {row["package"]: Sibling(**row | {"under": tuple(row["under"])}) for row in _TABLE["sdk"]}
)
"""Every such SDK, by its package."""

CLIENTS: Mapping[str, str] = MappingProxyType(
    {
        module: row["client"]
        for row in (*_TABLE["wrapped"], *_TABLE["sdk"])
        if "client" in row
        for module in (row["package"], *row.get("modules", ()))
    }
)
"""What to give to `fare.wrap` where a module was given, by the module's name."""

ELSEWHERE: Mapping[str, str] = MappingProxyType({row["package"]: row["instead"] for row in _TABLE["elsewhere"]})
"""What to wrap instead of the clients of a package that is not wrapped, in words for people."""

_HOST_LENGTH_MAX = 253
_PATTERNS = [
    (re.compile(re.escape(pattern).replace(r"\*", "[^.]+")), row["name"])
    for row in _TABLE["provider"]
    for pattern in row.get("patterns", ())
]
_GOOGLE_CLOUD = re.compile(
    r"(?:(?P<region>[a-z0-9-]+)-)?aiplatform\.(?:(?P<area>[a-z0-9-]+)\.rep\.)?googleapis\.com", re.ASCII
)


@lru_cache(maxsize=256)
def provider_at(base_url: str, maker: str = "openai") -> str:
    """Return the provider that answers at an address.

    maker: the provider whose SDK makes the call; it is taken where no row names the host or the port, as for a proxy of
    one's own.
    """
    named = provider_named_at(base_url)
    if named is not None:
        return named
    try:
        port = urlsplit(base_url).port
    except ValueError:
        return maker
    return maker if port is None else PORTS.get(port, maker)


@lru_cache(maxsize=256)
def provider_named_at(base_url: str) -> str | None:
    """Return the provider that the host of an address names; None where no row names it."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return None
    while host:
        if host in HOSTS:
            return HOSTS[host]
        for pattern, name in _PATTERNS:
            if pattern.fullmatch(host):
                return str(name)
        host = host.partition(".")[2]
    return None


def stranger_at(base_url: str, provider: str) -> str:
    """Return the host of an address that was taken for a provider's only because its SDK made the call; else ""."""
    try:
        place = urlsplit(base_url)
        host = place.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    is_taken = provider in WRAPPED.values() and provider_at(base_url, "") == ""
    return host if is_taken and len(host) <= _HOST_LENGTH_MAX and host.isascii() and host.isprintable() else ""


@lru_cache(maxsize=256)
def endpoint_at(base_url: str) -> str:
    """Return whether an address of Google Cloud is "global" or "regional", as part of the price; "" for any other."""
    try:
        found = _GOOGLE_CLOUD.fullmatch(urlsplit(base_url).hostname or "")
    except ValueError:
        return ""
    return "" if found is None else endpoint_in(found["region"] or found["area"] or "global")


def endpoint_in(region: str) -> str:
    """Return what kind of endpoint a region of Google Cloud is told by; an area such as "eu" costs as a region does."""
    return "global" if region == "global" else "regional"


def maker_of(client: object, clouds: Mapping[str, str], otherwise: str) -> str:
    """Return who answers a client at an address that is nobody's: by the module of its class, or else the maker."""
    package = package_of(client, clouds)
    return otherwise if package is None else clouds[package]


def package_of(client: object, packages: Iterable[str]) -> str | None:
    """Return in which of these packages the class of a client is, or one it was made from; None for none of them."""
    modules = [f"{kind.__module__}." for kind in type(client).__mro__]
    return next((package for module in modules for package in packages if module.startswith(f"{package}.")), None)
