"""User tokens: JWTs that an application gives its users, for one server, one user and minutes.

The algorithm is HS256 and nothing a token says changes that. What a token must say, and may say at most, is checked
here; the signature by PyJWT.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import jwt

from callfare.answers import UserToken
from callfare.auth.principal import USER, USER_SCOPES, Principal
from callfare.checks import check_user, check_whole
from callfare.clock import US_PER_S, Clock, moment_of
from callfare.errors import InvalidInput, InvalidUser, Misconfigured, Unauthorized
from callfare.secrets import KID, Secrets

ALGORITHM = "HS256"
TTL_S = 900
TTL_S_MAX = 3600
LEEWAY_S = 60
TOKEN_LENGTH_MAX = 8192
AUDIENCE_VARIABLE = "CALLFARE_PUBLIC_URL"
_HEADER = frozenset({"alg", "kid", "typ"})
# Checked here: PyJWT would ask its own clock, and takes lists of audiences.
_OPTIONS = {
    "verify_signature": True,
    "require": ["exp", "iat", "aud", "sub", "scope"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_sub": False,
}


def check_audience(address: object) -> str:
    """Return the public address of a server, as tokens name it: without a slash at its end.

    Raises Misconfigured for anything but an http or https address without user, query and fragment.
    """
    try:
        parts = urlsplit(address) if isinstance(address, str) else None
        is_address = (
            parts is not None
            and parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and not (parts.query or parts.fragment or parts.username or parts.password)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_address = False
    if not is_address or not isinstance(address, str):
        raise Misconfigured(
            f"the address that tokens are for is missing or none; set {AUDIENCE_VARIABLE}=https://api.example.com",
            param="audience",
        )
    return address.rstrip("/")


def check_user_scopes(scopes: object) -> tuple[str, ...]:
    """Return scopes of user tokens, sorted.

    Raises InvalidInput when there are none, or one that users cannot have.
    """
    if isinstance(scopes, str) or not isinstance(scopes, Iterable):
        raise InvalidInput("scopes is no list; give some of " + ", ".join(sorted(USER_SCOPES)), param="scopes")
    given = list(scopes)
    if not given or not all(isinstance(one, str) and one in USER_SCOPES for one in given):
        raise InvalidInput("a user's token has some of " + ", ".join(sorted(USER_SCOPES)), param="scopes")
    return tuple(sorted(set(given)))


def mint(
    secrets: Secrets, clock: Clock, user: str, *, audience: str, scopes: Iterable[str], ttl_s: int = TTL_S
) -> UserToken:
    """Return a token with which a user may ask one server about themselves, for seconds. Asks no ledger.

    Raises InvalidUser, InvalidInput, Misconfigured.
    """
    user = check_user(user)
    given = check_user_scopes(scopes)
    ttl_s = check_whole(ttl_s, "ttl_s", least=1, most=TTL_S_MAX)
    now_s = clock.now_us() // US_PER_S
    signing = secrets.signing
    claims = {
        "sub": user,
        "aud": check_audience(audience),
        "iat": now_s,
        "exp": now_s + ttl_s,
        "scope": " ".join(given),
    }
    token = jwt.encode(claims, signing.secret, algorithm=ALGORITHM, headers={"kid": signing.kid})
    return UserToken(token=token, user=user, scopes=given, expires_at=moment_of((now_s + ttl_s) * US_PER_S))


def read_token(secrets: Secrets, clock: Clock, token: str, *, audience: str) -> Principal:
    """Return the user whom a token stands for.

    Raises Unauthorized, with the same words whatever is wrong.
    """
    claims = _claims(secrets, token)
    if claims is None or not _is_in_time(claims, clock.now_us() // US_PER_S) or claims["aud"] != audience:
        raise refusal()
    scopes = claims["scope"].split(" ") if isinstance(claims["scope"], str) else []
    try:
        user = check_user(claims["sub"])
        given = check_user_scopes(scopes)
    except (InvalidUser, InvalidInput):
        raise refusal() from None
    return Principal(kind=USER, id=user, user=user, scopes=frozenset(given), audience=str(claims["aud"]))


def refusal() -> Unauthorized:
    """Return the one refusal of whatever does not hold."""
    return Unauthorized(
        "the credential is missing or does not hold; give a key or a token: Authorization: Bearer cf_test_…"
    )


def _claims(secrets: Secrets, token: str) -> dict[str, object] | None:
    """Return what a token of ours says, None when it is not one."""
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        return None
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if header.keys() - _HEADER or header.get("alg") != ALGORITHM or not isinstance(kid, str):
            return None
        signing = secrets.signing_of(kid) if KID.fullmatch(kid) else None
        if signing is None:
            return None
        return jwt.decode(token, signing.secret, algorithms=[ALGORITHM], options=_OPTIONS)  # type: ignore[arg-type]  # typed as a TypedDict there
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def _is_in_time(claims: dict[str, object], now_s: int) -> bool:
    """Tell whether a token holds now, and for no longer than any token may."""
    issued, ends, begins = claims["iat"], claims["exp"], claims.get("nbf", 0)
    if type(issued) is not int or type(ends) is not int or type(begins) is not int:
        return False
    return (
        issued < ends <= issued + TTL_S_MAX
        and issued <= now_s + LEEWAY_S
        and begins <= now_s + LEEWAY_S
        and now_s < ends + LEEWAY_S
    )
