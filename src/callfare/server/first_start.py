"""What the first start makes, so that there is nothing to set up: the ledger, its secrets, and one key that may do all.

The key is told once, and kept in a file that only its owner may read, beside the secrets of the ledger.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from callfare.auth import keys
from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL, SCOPES
from callfare.engine.engine import Engine
from callfare.ledger.receipts import KeyReceipt
from callfare.store.files import unusable

ADMIN = "keys:admin"
_FILE = "admin.key"
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstKey:
    """The key of a first start, and the file it is kept in, None for a ledger in memory."""

    key: str = field(repr=False)
    file: Path | None


def has_admin_key(engine: Engine) -> bool:
    """Tell whether a key of the ledger may make others now."""
    cursor: str | None = ""
    while cursor is not None:
        page = keys.list_keys(engine.store, engine.clock.now_us(), _PAGE, cursor or None)
        if any(key.status == "active" and ADMIN in key.scopes and key.user is None for key in page.items):
            return True
        cursor = page.next_cursor
    return False


def make_admin_key(engine: Engine) -> FirstKey:
    """Make a key that may do everything, and keep it in a file that only its owner may read.

    Raises Misconfigured, LedgerUnavailable.
    """
    requests = KeyRequests(engine.secrets, engine.clock)
    command, text = requests.make("admin, made at the first start", scopes=SCOPES, by=LOCAL_PRINCIPAL)
    engine.commit(command, KeyReceipt)
    folder = engine.secrets_folder
    return FirstKey(key=text.written, file=None if folder is None else _kept(folder / _FILE, text.written))


def _kept(file: Path, key: str) -> Path:
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(key + "\n")
        part.replace(file)
    except OSError as error:
        raise unusable(error, file, "written") from None
    return file
