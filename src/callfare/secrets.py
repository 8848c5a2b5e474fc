"""The server's own secrets: the pepper under which keys are digested, and what user tokens are signed with.

Made at the first start in a file that only its owner may read, or given by the environment. They are never logged,
never told in an error, and have no readable repr. Refuses blank and short ones, and files that others may read.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from callfare.clock import Clock
from callfare.errors import Misconfigured
from callfare.ids import new_id, random_base62
from callfare.store.files import unusable

FILE_VARIABLE = "CALLFARE_SECRETS_FILE"
PEPPER_VARIABLE = "CALLFARE_KEY_PEPPER"
TOKENS_VARIABLE = "CALLFARE_TOKEN_SECRETS"
_NAME = "secrets.json"
_LENGTH = 43
_LENGTH_MIN = 32
_SIGNING_MAX = 8
KID = re.compile(r"[0-9A-Za-z_-]{1,32}", re.ASCII)


class Signing(msgspec.Struct, frozen=True):
    """A secret that tokens are signed with, and the name by which a token says so."""

    kid: str
    secret: str
    made_at_us: int = 0

    def __repr__(self) -> str:
        return f"Signing(kid={self.kid!r})"


class _Kept(msgspec.Struct, frozen=True):
    """What stands in the file. The first secret signs; the others are still read."""

    pepper: str
    signing: tuple[Signing, ...]
    callfare_secrets: int = 1

    def __repr__(self) -> str:
        return "_Kept(…)"


class Secrets:
    """The secrets of one server. A file is read again when it was changed, so that rotation reaches who is running."""

    def __init__(self, kept: _Kept, path: Path | None = None) -> None:
        self._kept = kept
        self._path = path
        self._mark = None if path is None else _mark_of(path)

    def __repr__(self) -> str:
        return f"Secrets({self._path or 'in memory'})"

    @property
    def path(self) -> Path | None:
        """The file they stand in, None where they were given otherwise."""
        return self._path

    def digest(self, text: str) -> str:
        """Return the keyed digest of a key's secret, as hexadecimal digits."""
        return hmac.digest(self._now().pepper.encode(), text.encode(), "sha256").hex()

    @property
    def pepper_id(self) -> str:
        """What tells one pepper from another without telling anything of it."""
        return blake2b(self._now().pepper.encode(), digest_size=4, person=b"callfare-pepper").hexdigest()

    @property
    def signing(self) -> Signing:
        """The secret that new tokens are signed with."""
        return self._now().signing[0]

    def signing_of(self, kid: str) -> Signing | None:
        """Return the secret of a name, None when there is none of it, or none any more."""
        return next((one for one in self._now().signing if one.kid == kid), None)

    def rotate(self, clock: Clock, *, drop_others: bool = False) -> Signing:
        """Make a new secret sign from now on. The others are still read, unless they are dropped.

        Raises Misconfigured when the secrets do not stand in a file of ours.
        """
        if self._path is None:
            raise Misconfigured(
                f"the token secrets were not read from a file; put a new one first in {TOKENS_VARIABLE}"
            )
        fresh = _new_signing(clock)
        kept = self._now()
        others = () if drop_others else kept.signing[: _SIGNING_MAX - 1]
        _replace(self._path, _Kept(pepper=kept.pepper, signing=(fresh, *others)))
        return fresh

    def _now(self) -> _Kept:
        if self._path is not None:
            mark = _mark_of(self._path)
            if mark != self._mark:
                self._kept, self._mark = _read(self._path), mark
        return self._kept


def open_secrets(folder: Path | None, clock: Clock, environ: Mapping[str, str] | None = None) -> Secrets:
    """Return the secrets of a ledger: those of the environment, else those in its file, made now where there is none.

    folder: None for a ledger in memory; then they last as long as what is returned.

    Raises Misconfigured when they are blank, short or half given, and when others may read the file.
    """
    environ = os.environ if environ is None else environ
    given = _given(environ)
    if given is not None:
        return Secrets(given)
    named = environ.get(FILE_VARIABLE)
    if named is not None and not named.strip():
        raise Misconfigured(f"{FILE_VARIABLE} is blank; name a file, or unset it")
    if named:
        path = Path(named).expanduser().absolute()
    elif folder is not None:
        path = folder / _NAME
    else:
        return Secrets(_fresh(clock))
    if not path.exists():
        _make(path, _fresh(clock))
    return Secrets(_read(path), path)


def _given(environ: Mapping[str, str]) -> _Kept | None:
    pepper, tokens = environ.get(PEPPER_VARIABLE), environ.get(TOKENS_VARIABLE)
    if pepper is None and tokens is None:
        return None
    if pepper is None or tokens is None:
        missing = PEPPER_VARIABLE if pepper is None else TOKENS_VARIABLE
        raise Misconfigured(f"{missing} is missing; set both {PEPPER_VARIABLE} and {TOKENS_VARIABLE}, or neither")
    signing = []
    for part in tokens.split(","):
        kid, _, secret = part.strip().partition(":")
        signing.append(Signing(kid, secret))
    return _checked(_Kept(pepper=pepper, signing=tuple(signing)), f"{PEPPER_VARIABLE} and {TOKENS_VARIABLE}")


def _checked(kept: _Kept, where: str) -> _Kept:
    if len(kept.pepper.strip()) < _LENGTH_MIN:
        raise Misconfigured(f"the pepper in {where} is blank or short; give at least {_LENGTH_MIN} random characters")
    names = {one.kid for one in kept.signing}
    if not kept.signing or len(names) < len(kept.signing) or not all(KID.fullmatch(name) for name in names):
        raise Misconfigured(
            f"the token secrets in {where} need a name each, such as 2026a:SECRET; letters, digits, - and _"
        )
    if any(len(one.secret.strip()) < _LENGTH_MIN for one in kept.signing):
        raise Misconfigured(
            f"a token secret in {where} is blank or short; give at least {_LENGTH_MIN} random characters"
        )
    return kept


def _fresh(clock: Clock) -> _Kept:
    return _Kept(pepper=random_base62(_LENGTH), signing=(_new_signing(clock),))


def _new_signing(clock: Clock) -> Signing:
    return Signing(kid=random_base62(8), secret=random_base62(_LENGTH), made_at_us=clock.now_us())


def _read(path: Path) -> _Kept:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise Misconfigured(f"others may read {path}, which holds secrets; run: chmod 600 {path}")
            text = file.read()
    except OSError as error:
        raise unusable(error, path, "read") from None
    try:
        kept = msgspec.json.decode(text, type=_Kept)
    except msgspec.MsgspecError:
        # The decoder's own words could quote what stands there.
        raise Misconfigured(f"{path} is not a file of secrets that callfare wrote; restore it from a copy") from None
    return _checked(kept, str(path))


def _make(path: Path, kept: _Kept) -> None:
    """Put a file there unless another process has done so meanwhile."""
    part = _written(path, kept)
    try:
        with suppress(FileExistsError):
            os.link(part, path)
    except OSError as error:
        raise unusable(error, path, "written") from None
    finally:
        part.unlink(missing_ok=True)


def _replace(path: Path, kept: _Kept) -> None:
    _written(path, kept).replace(path)


def _written(path: Path, kept: _Kept) -> Path:
    """Return a new file beside one, durable, that only its owner may read."""
    part = path.with_name(f"{path.name}.{new_id('part')}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unusable(error, path, "written") from None
    return part


def _mark_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError as error:
        raise unusable(error, path, "read") from None
    return found.st_ino, found.st_mtime_ns, found.st_size
