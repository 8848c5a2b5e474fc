"""Which provider stands behind a base address. Data: providers.toml. Refuses to look anything up on a network."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from urllib.parse import urlsplit

_TABLE = tomllib.loads(files("callfare.capture").joinpath("providers.toml").read_text(encoding="utf-8"))

HOSTS: Mapping[str, str] = MappingProxyType({host: row["name"] for row in _TABLE["provider"] for host in row["hosts"]})
"""The provider behind each host."""


@lru_cache(maxsize=256)
def provider_at(base_url: str, maker: str = "openai") -> str:
    """Return the provider that answers at an address.

    maker: the provider whose SDK makes the call; it is taken where no row names the host, as for a proxy of one's own.
    """
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return maker
    while host:
        if host in HOSTS:
            return HOSTS[host]
        host = host.partition(".")[2]
    return maker
