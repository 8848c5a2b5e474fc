"""Ids that callfare makes: sortable by time, unique without asking anyone. The only user of randomness."""

from __future__ import annotations

import re
import secrets
import time
from functools import lru_cache
from hashlib import blake2b

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Python's own digits for 32 end at `v`: those of ours that it lacks stand for those of its that we leave out.
_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_BASE32 = re.compile(f"[{_ALPHABET}]+")
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_TIME_CHARACTERS = 10
# A random byte as a character: of its eight bits five count.
_RANDOM = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_RANDOM_CHARACTERS = 16
_ACCOUNT_CHARACTERS = 13
# What a provider's id begins with where it says what it is of, as in `chatcmpl-…`.
_KIND = re.compile(r"^[A-Za-z]+[-_:.]")
# One of a thousand or a million, drawn, or the seconds since 1970.
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_OWN_LENGTH_MIN = 6


def base32(number: int, width: int) -> str:
    """Return a non-negative integer in `width` characters that sort as the numbers do."""
    pairs = []
    for _ in range((width + 1) // 2):
        pairs.append(_PAIRS[number & 1023])
        number >>= 10
    return "".join(reversed(pairs))[-width:]


def from_base32(text: str) -> int:
    """Return the number that `base32` wrote.

    Raises ValueError for any other text.
    """
    if not _BASE32.fullmatch(text):
        raise ValueError(text)
    return int(text.translate(_DIGITS), 32)


def new_id(prefix: str) -> str:
    """Return a fresh id such as `run_01hx…`: milliseconds since 1970, then 80 random bits."""
    return f"{prefix}_{_time_text(time.time_ns() // 1_000_000)}{_random_text()}"


def _random_text() -> str:
    return secrets.token_bytes(_RANDOM_CHARACTERS).translate(_RANDOM).decode("ascii")


@lru_cache(maxsize=2)
def _time_text(milliseconds: int) -> str:
    return base32(milliseconds, _TIME_CHARACTERS)


@lru_cache(maxsize=4096)
def _account_text(account_id: int) -> str:
    return base32(account_id, _ACCOUNT_CHARACTERS)


def new_account_id() -> int:
    """Return a random positive 63-bit number for an account that may be needed."""
    return secrets.randbits(63) or 1


def charge_id(account_id: int, key: str) -> str:
    """Return the id of the charge that an account has under a key."""
    return f"chg_{_account_text(account_id)}_{key}"


def parse_charge_id(text: str) -> tuple[int, str] | None:
    """Return the account and the key of a charge id, or None when the text is none."""
    prefix, _, rest = text.partition("_")
    account, _, key = rest.partition("_")
    account_id = parse_account(account)
    return None if prefix != "chg" or not key or account_id is None else (account_id, key)


def account_text(account_id: int) -> str:
    """Return the number of an account as it stands in the ids of its charges and transfers."""
    return _account_text(account_id)


def parse_account(text: str) -> int | None:
    """Return the number that `account_text` wrote, or None when the text is none."""
    if len(text) != _ACCOUNT_CHARACTERS or not _BASE32.fullmatch(text):
        return None
    account_id = from_base32(text)
    return account_id if account_id < 2**63 else None


def new_suffix() -> str:
    """Return what makes an order's id its own: 80 random bits."""
    return base32(secrets.randbits(80), _RANDOM_CHARACTERS)


def order_id(account_id: int, suffix: str) -> str:
    """Return the id of an order, which tells whose it is."""
    return f"ord_{_account_text(account_id)}_{suffix}"


def order_owner(text: str) -> int | None:
    """Return the account of an order's id, None when the text is none."""
    prefix, _, rest = text.partition("_")
    account, _, suffix = rest.partition("_")
    if prefix != "ord" or (len(account), len(suffix)) != (_ACCOUNT_CHARACTERS, _RANDOM_CHARACTERS):
        return None
    if not _BASE32.fullmatch(account + suffix):
        return None
    account_id = from_base32(account)
    return account_id if account_id < 2**63 else None


def transfer_id(account_id: int, seq: int) -> str:
    """Return the id of an account's transfer by its number."""
    return f"txn_{_account_text(account_id)}_{seq}"


def made_key(kind: str, *parts: str) -> str:
    """Return a key that callfare makes of parts; no other parts make the same one.

    ':' parts them and '#' is what the ledger appends, so within a part both are escaped.
    """
    return ":".join([kind, *[_escaped(part) for part in parts]])


def _escaped(part: str) -> str:
    if "%" in part or ":" in part or "#" in part:
        return part.replace("%", "%25").replace(":", "%3A").replace("#", "%23")
    return part


def response_key_of(*, provider: str, base_url: str, response_id: str) -> str:
    """Return the key that a provider's response has by itself."""
    return made_key("response", provider, _short(base_url), response_id)


def names_one_reply(response_id: str) -> bool:
    """Whether an id is one reply's alone: six characters or more, and no plain number of up to ten digits.

    Ollama draws one of a thousand numbers, or of a million; other servers of one's own say the same each time, or the
    second they answered in. What stands before the first mark is what kind of reply it is, and does not count.
    """
    own = _KIND.sub("", response_id)
    return len(own) >= _OWN_LENGTH_MIN and not _NUMBER.fullmatch(own)


def job_key_of(*, provider: str, base_url: str, job_id: str) -> str:
    """Return the key of a long job at a provider."""
    return made_key("job", provider, _short(base_url), job_id)


def batch_key_of(*, provider: str, base_url: str, batch_id: str) -> str:
    """Return the key that a provider's batch has by its own id, or by that of a file with its results."""
    return made_key("batch", provider, _short(base_url), batch_id)


@lru_cache(maxsize=1024)
def _short(address: str) -> str:
    """Return eight characters that stand for an address, so that a charge's id stays one that people can paste."""
    if not address:
        return ""
    return base32(int.from_bytes(blake2b(address.encode(), digest_size=5).digest(), "big"), 8)


def jitter(most: int) -> int:
    """Return a random number from 0 up to and with `most`, so that those who try again do not come together."""
    return secrets.randbelow(most + 1)


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number: int, width: int) -> str:
    """Return a non-negative integer in `width` letters and digits."""
    letters = []
    for _ in range(width):
        number, letter = divmod(number, len(_BASE62))
        letters.append(_BASE62[letter])
    return "".join(reversed(letters))


def random_base62(width: int) -> str:
    """Return random letters and digits, of almost six bits each, that nobody can foretell."""
    return "".join(secrets.choice(_BASE62) for _ in range(width))
