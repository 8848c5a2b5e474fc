"""Where a ledger's spool and its secrets lie: beside its file, or in folders of their own. Opens nothing."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from callfare.ids import base32
from callfare.ledger.rows import digest_of
from callfare.store.convex_address import named_address

_NAME_MAX = 80
_WHICH = ("host", "hostaddr", "port", "dbname", "service")


class Place(NamedTuple):
    """A folder, and the name of the ledger whose calls lie there. A spool beside its ledger's file may move with it."""

    folder: Path
    ledger: str
    is_beside: bool


def place_of(url: str, *, file: Path | None, folder: str | Path | None, state: str | None) -> Place | None:
    """Return where the spool of a ledger lies, None where it can have none.

    file: the ledger's own, None for a server. folder: under which it is to lie; beside the file when None, and for a
    server in `state`, which is ~/.local/state when None. A ledger's name has no user and no password.
    """
    if url.partition(":")[0] == "memory" or find_spec("fcntl") is None:
        return None
    if file is not None and folder is None:
        return Place(file.with_name(f"{file.name}.spool"), file.name, is_beside=True)
    ledger = f"sqlite:///{file}" if file is not None else _server_of(url)
    above = Path(folder) if folder is not None else _state_folder(state)
    return Place(above.absolute() / _folder_name(ledger), ledger, is_beside=False)


def secrets_folder(url: str, *, file: Path | None, state: str | None) -> Path | None:
    """Return where the secrets of a ledger lie, None for one in memory, whose secrets end with it.

    Beside the ledger's file; for a server in `state`, as for its spool.
    """
    if url.partition(":")[0] == "memory":
        return None
    if file is not None:
        return file.with_name(f"{file.name}.secrets")
    return _state_folder(state).absolute() / f"{_folder_name(_server_of(url))}.secrets"


def _state_folder(state: str | None) -> Path:
    return Path(state or "~/.local/state").expanduser() / "callfare"


def _folder_name(ledger: str) -> str:
    short = base32(digest_of(ledger.encode()) % 2**40, 8)
    name = re.sub(r"[^\w.-]+", "-", ledger.partition("://")[2]).strip("-.")[-_NAME_MAX:]
    return f"{name}-{short}"


def _server_of(url: str) -> str:
    """Return an address with nothing in it but what tells one database, or one server, from another."""
    parts = urlsplit(url)
    if parts.scheme.lower() in {"http", "https"}:
        return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"
    if parts.scheme == "convex":
        return named_address(parts)
    asked = dict(parse_qsl(parts.query))
    which = [f"{name}={value}" for name, value in sorted(asked.items()) if name in _WHICH]
    if parts.path in {"", "/"} and not asked.keys() & {"dbname", "service"}:
        # Then the database has the user's name.
        which.append(f"user={asked.get('user') or unquote(parts.username or '')}")
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?" + "&".join(which) if which else "")
