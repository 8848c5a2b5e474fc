"""Opens the store that an address names. Creates nothing: that is for the first write that may."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

from callfare.clock import Clock
from callfare.errors import Misconfigured
from callfare.store.memory import MemoryStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore


def open_store(url: str, clock: Clock | None = None) -> Store:
    """Return the store at an address: `sqlite:///file.db`, `sqlite:////absolute/file.db`, `postgresql://…` or `memory://`.

    `?mode=ro` opens a SQLite file for reading only. Raises Misconfigured for any other address.
    """
    parts = urlsplit(_checked(url))
    if parts.scheme == "memory":
        return MemoryStore(clock)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        mode = parse_qs(parts.query).get("mode", ["rw"])[-1]
        if mode not in {"rw", "ro"}:
            raise Misconfigured(f"mode is {mode!r}; use rw or ro", param="url")
        return SqliteStore(unquote(parts.path[1:]), clock=clock, is_readonly=mode == "ro")
    if parts.scheme in {"postgresql", "postgres"}:
        return _open_postgres(url, clock)
    raise Misconfigured(f"{parts.scheme or url!r} is no ledger address; use sqlite:///callfare.db", param="url")


def _open_postgres(url: str, clock: Clock | None) -> Store:
    try:
        from callfare.store.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra
    except ImportError:
        raise Misconfigured("PostgreSQL needs its driver: pip install 'callfare[postgres]'", param="url") from None
    return PostgresStore(url, clock=clock)


def _checked(url: object) -> str:
    if isinstance(url, str) and url.isprintable():
        return url
    raise Misconfigured(f"{url!a:.100} is no ledger address; use sqlite:///callfare.db", param="url")
