"""Opens the store that an address names. Creates nothing: that is for the first write that may."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from callfare.clock import Clock
from callfare.errors import Misconfigured
from callfare.store.memory import MemoryStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore

_PASSWORD = re.compile(r"^(\w+://[^/?#@:]*):[^/?#]*@")
_PASSWORD_OPTION = re.compile(r"([?&])(?:ssl)?password=[^&]*&?", re.IGNORECASE)
_NO_ADDRESS = "this is no ledger address; use sqlite:///callfare.db"


def open_store(url: str, clock: Clock | None = None) -> Store:
    """Return the store at an address: `sqlite:///file.db`, `postgresql://…`, `convex://…` or `memory://`.

    `?mode=ro` opens a SQLite file for reading only; `#`, `?` and `%` in its name are written %23, %3F and %25.
    Raises Misconfigured for any other address, and for an option that is not known.
    """
    parts = _split(url)
    if parts.scheme == "memory":
        _options(url, parts, known=frozenset())
        return MemoryStore(clock)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        mode = _options(url, parts, known=frozenset({"mode"})).get("mode", "rw")
        if mode not in {"rw", "ro"}:
            raise Misconfigured(f"mode is {mode!r}; use rw or ro", param="url")
        return SqliteStore(_file_name(parts.path[1:]), clock=clock, is_readonly=mode == "ro")
    if parts.scheme in {"postgresql", "postgres"}:
        return _open_postgres(url, clock)
    if parts.scheme == "convex":
        _options(url, parts, known=frozenset())
        return _open_convex(parts, clock)
    raise Misconfigured(
        f"{parts.scheme} is no ledger; use sqlite:///callfare.db" if parts.scheme else _NO_ADDRESS, param="url"
    )


def _split(url: object) -> SplitResult:
    # What cannot be taken apart is not shown: it may hold a password.
    if not isinstance(url, str) or not url.isprintable():
        raise Misconfigured(_NO_ADDRESS, param="url")
    try:
        return urlsplit(url)
    except ValueError:
        raise Misconfigured(_NO_ADDRESS, param="url") from None


def _options(url: str, parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    """Return what follows the question mark. Whatever would be dropped in silence is refused."""
    if "#" in url:
        raise Misconfigured("the address has a '#', after which nothing counts; write it as %23", param="url")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if "?" in url and not options:
        raise Misconfigured("the address has a '?' with nothing after it; write it as %3F in a file name", param="url")
    for name, _ in options:
        if name not in known:
            raise Misconfigured(
                f"{name!r} is no option of this address; use mode=ro, and write '?' as %3F in a file name", param="url"
            )
    if len(options) != len(dict(options)):
        raise Misconfigured("the address gives an option twice; give it once", param="url")
    return dict(options)


def _file_name(path: str) -> str:
    try:
        name = unquote(path, errors="strict")
    except UnicodeDecodeError:
        name = ""
    if name and name.isprintable():
        return name
    raise Misconfigured("the file name in the address is no clean text; give another", param="url")


def _open_postgres(url: str, clock: Clock | None) -> Store:
    try:
        from callfare.store.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra
    except ImportError:
        raise Misconfigured("PostgreSQL needs its driver: pip install 'callfare[postgres]'", param="url") from None
    return PostgresStore(url, clock=clock)


def _open_convex(parts: SplitResult, clock: Clock | None) -> Store:
    from callfare.store.convex import ConvexStore  # noqa: PLC0415 - who has another ledger need not wait for TLS
    from callfare.store.convex_address import deployment_of  # noqa: PLC0415 - the same

    return ConvexStore(deployment_of(parts), clock=clock)


def without_password(url: str) -> str:
    """Return an address as it may be shown. Raises Misconfigured when it is none."""
    _split(url)
    return _PASSWORD_OPTION.sub(r"\1", _PASSWORD.sub(r"\1@", url)).rstrip("?&")
