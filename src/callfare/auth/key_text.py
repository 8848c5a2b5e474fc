"""How an API key is written: `cf_test_`, its public id, its secret, and a checksum that finds typing errors.

`cf_live_` or `cf_test_` + 8 characters of public id + `_` + 30 random letters and digits + 6 of CRC-32. The secret has
178 random bits, so a keyed hash of it needs no slowing down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from zlib import crc32

from callfare.ids import base62, random_base62

MODES = ("test", "live")
ID_LENGTH = 8
_SECRET_LENGTH = 30
_CHECK_LENGTH = 6
_FORM = re.compile(
    rf"cf_(live|test)_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECK_LENGTH}}})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class KeyText:
    """An API key as its holder has it. Only `written` shows its secret."""

    mode: str
    key_id: str
    secret: str = field(repr=False)

    @property
    def digested(self) -> str:
        """What the digest of the key is made of: the secret, bound to its mode and its public id."""
        return f"{self.mode}:{self.key_id}:{self.secret}"

    @property
    def written(self) -> str:
        """The whole key, for the one time that it is shown."""
        text = f"cf_{self.mode}_{self.key_id}_{self.secret}"
        return text + base62(crc32(text.encode()), _CHECK_LENGTH)


def new_key_text(mode: str) -> KeyText:
    """Return a key that nobody has had."""
    return KeyText(mode, random_base62(ID_LENGTH), random_base62(_SECRET_LENGTH))


def looks_like_a_key(text: str) -> bool:
    """Return whether text means to be an API key, well written or not."""
    return text.startswith("cf_")


def parse_key(text: str) -> KeyText | None:
    """Return a key, None when it is not one or a character of it was mistyped. Asks nobody."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    key = KeyText(found[1], found[2], found[3])
    return key if key.written == text else None
