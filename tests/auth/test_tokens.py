"""User tokens: what a good one gives, and every hostile one refused in the same words."""

from __future__ import annotations

import base64
import hmac
import json

import jwt
import pytest

from callfare.auth import tokens
from callfare.auth.tokens import check_audience, mint, read_token
from callfare.clock import US_PER_S
from callfare.errors import InvalidInput, InvalidUser, Misconfigured, Unauthorized
from tests.auth.conftest import AUDIENCE, HERE
from tests.auth.test_door_keys import THE_ANSWER
from tests.support.commands import START_US

NOW_S = START_US // US_PER_S
# A real RSA public key, as an attacker has it who hopes that it is taken as an HMAC secret.
PUBLIC_KEY = (
    "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf\n"
    "9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==\n-----END PUBLIC KEY-----"
)


def packed(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(secret: str, claims: object, header: object) -> str:
    text = f"{packed(header)}.{packed(claims)}"
    return f"{text}.{packed(hmac.digest(secret.encode(), text.encode(), 'sha256'))}"


@pytest.fixture
def minted(engine):
    def minted(user="alice", scopes=("me:read",), **facts):
        facts.setdefault("audience", AUDIENCE)
        return mint(engine.secrets, engine.clock, user, scopes=scopes, **facts)

    return minted


@pytest.fixture
def forge(engine):
    """Signs whatever is asked with the real secret: the worst case."""

    def forge(header=None, **changes):
        claims = {"sub": "alice", "aud": AUDIENCE, "iat": NOW_S, "exp": NOW_S + 900, "scope": "me:read"} | changes
        claims = {name: value for name, value in claims.items() if value is not ...}
        signing = engine.secrets.signing
        header = {"alg": "HS256", "kid": signing.kid, "typ": "JWT"} | (header or {})
        return signed(signing.secret, claims, {name: value for name, value in header.items() if value is not ...})

    return forge


async def test_a_token_lets_one_user_in_for_a_quarter_of_an_hour(door, minted):
    token = minted("user_123", ("me:read", "me:checkout"))

    who = await door.principal(f"Bearer {token.token}", address=HERE)

    assert (who.kind, who.id, who.user, who.key_id) == ("user", "user_123", "user_123", None)
    assert who.scopes == {"me:read", "me:checkout"}
    assert token.expires_at.timestamp() == NOW_S + 900
    assert who.sees("user_123")
    assert not who.sees("user_124")


def test_the_forger_of_these_tests_makes_good_tokens(engine, forge):
    assert read_token(engine.secrets, engine.clock, forge(), audience=AUDIENCE).user == "alice"


def test_a_token_is_a_plain_jwt_that_other_libraries_read(engine, minted):
    token = minted().token

    claims = jwt.decode(token, engine.secrets.signing.secret, algorithms=["HS256"], audience=AUDIENCE, options={
        "verify_exp": False, "verify_iat": False,
    })  # fmt: skip

    assert claims == {"sub": "alice", "aud": AUDIENCE, "iat": NOW_S, "exp": NOW_S + 900, "scope": "me:read"}


HOSTILE = {
    "no exp": {"exp": ...},
    "no aud": {"aud": ...},
    "no sub": {"sub": ...},
    "no iat": {"iat": ...},
    "no scope": {"scope": ...},
    "another audience": {"aud": "https://evil.example.com"},
    "the audience as a prefix": {"aud": AUDIENCE + ".evil.com"},
    "the audience with a slash": {"aud": AUDIENCE + "/"},
    "a list of audiences": {"aud": [AUDIENCE, "https://evil.example.com"]},
    "an audience that is no text": {"aud": 7},
    "ten years": {"exp": NOW_S + 10 * 365 * 86_400},
    "an hour and a second": {"exp": NOW_S + 3601},
    "made in the future": {"iat": NOW_S + 3600, "exp": NOW_S + 3700},
    "made before it ends": {"iat": NOW_S, "exp": NOW_S},
    "expired": {"iat": NOW_S - 1000, "exp": NOW_S - 60},
    "not yet": {"nbf": NOW_S + 61},
    "an exp that is text": {"exp": str(NOW_S + 900)},
    "an exp that is a fraction": {"exp": NOW_S + 900.5},
    "an exp that is true": {"exp": True},
    "an exp that is huge": {"exp": 10**400},
    "an exp that is infinite": {"exp": float("inf")},
    "an iat that is negative": {"iat": -(10**18), "exp": NOW_S + 1},
    "an empty user": {"sub": ""},
    "a user that is a number": {"sub": 7},
    "a user that is a list": {"sub": ["alice"]},
    "a user with a line": {"sub": "alice\nbob"},
    "a long user": {"sub": "a" * 256},
    "an admin's scope": {"scope": "me:read credits:grant"},
    "no scope at all": {"scope": ""},
    "a list of scopes": {"scope": ["me:read"]},
    "a doubled space": {"scope": "me:read  me:hold"},
}
HEADERS = {
    "no algorithm": {"alg": ...},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "another HS": {"alg": "HS512"},
    "alg in small letters": {"alg": "hs256"},
    "alg as a list": {"alg": ["HS256"]},
    "RS256": {"alg": "RS256"},
    "no kid": {"kid": ...},
    "an unknown kid": {"kid": "other"},
    "an empty kid": {"kid": ""},
    "a path as kid": {"kid": "../../../../dev/null"},
    "an absolute path as kid": {"kid": "/etc/passwd"},
    "SQL as kid": {"kid": "x' UNION SELECT 'secret"},
    "an address as kid": {"kid": "https://evil.example.com/jwks"},
    "a kid that is a number": {"kid": 1},
    "a kid that is a list": {"kid": ["a"]},
    "a NUL in kid": {"kid": "\x00"},
    "a key of its own": {"jwk": {"kty": "oct", "k": "AAAA"}},
    "an address for keys": {"jku": "https://evil.example.com/jwks"},
    "a certificate": {"x5u": "https://evil.example.com/cert"},
    "something critical": {"crit": ["b64"], "b64": False},
    "compressed": {"zip": "DEF"},
}


@pytest.mark.parametrize("claims", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_token_that_says_the_wrong_thing_is_refused_although_it_is_signed(door, forge, claims):
    with pytest.raises(Unauthorized) as refusal:
        await door.principal(f"Bearer {forge(**claims)}", address=HERE)

    assert refusal.value.facts() == THE_ANSWER


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
async def test_a_token_with_another_header_is_refused_although_it_is_signed(door, forge, header):
    with pytest.raises(Unauthorized) as refusal:
        await door.principal(f"Bearer {forge(header)}", address=HERE)

    assert refusal.value.facts() == THE_ANSWER


def unsigned(engine, minted) -> dict[str, str]:
    good = minted().token
    header, claims, signature = good.split(".")
    kid = engine.secrets.signing.kid
    other = packed({"sub": "bob", "aud": AUDIENCE, "iat": NOW_S, "exp": NOW_S + 900, "scope": "me:read"})
    none = packed({"alg": "none", "kid": kid, "typ": "JWT"})
    return {
        "alg none without a signature": f"{none}.{claims}.",
        "alg none with the old signature": f"{none}.{claims}.{signature}",
        "without a signature": f"{header}.{claims}.",
        "another user under the old signature": f"{header}.{other}.{signature}",
        "signed with nothing": signed("", json.loads('{"sub": "alice"}'), {"alg": "HS256", "kid": kid}),
        "signed with the kid": signed(kid, {"sub": "alice"}, {"alg": "HS256", "kid": kid}),
        "signed with a public key": signed(
            PUBLIC_KEY,
            {"sub": "alice", "aud": AUDIENCE, "iat": NOW_S, "exp": NOW_S + 900, "scope": "me:read"},
            {"alg": "HS256", "kid": kid, "typ": "JWT"},
        ),
        "half a signature": f"{header}.{claims}.{signature[:-8]}",
        "a signature with a character more": f"{good}A",
        "two parts": f"{header}.{claims}",
        "four parts": f"{good}.{signature}",
        "not base64": f"{header}.!!!.{signature}",
        "not JSON": f"{header}.{packed(b'nonsense')}.{signature}",
        "a header that is a list": f"{packed([1])}.{claims}.{signature}",
        "claims that are a list": f"{header}.{packed([1])}.{signature}",
        "deep JSON": f"{packed(b'[' * 2000)}.{claims}.{signature}",
        "oversized": f"{good}{'A' * 9000}",
        "other letters": f"{header}.{claims}.é{signature[1:]}",
        "dots only": "..",
    }


async def test_a_token_that_is_not_signed_by_this_server_is_refused(door, engine, minted):
    for number, (name, token) in enumerate(unsigned(engine, minted).items()):
        with pytest.raises(Unauthorized) as refusal:
            await door.principal(f"Bearer {token}", address=f"192.0.2.{number}")
        assert refusal.value.facts() == THE_ANSWER, name


def test_a_token_holds_a_minute_longer_than_it_says_and_no_second_more(engine, minted, clock):
    token = minted(ttl_s=60).token
    clock.advance(119)
    assert read_token(engine.secrets, clock, token, audience=AUDIENCE).user == "alice"

    clock.advance(1)

    with pytest.raises(Unauthorized):
        read_token(engine.secrets, clock, token, audience=AUDIENCE)


def test_a_token_of_a_server_whose_clock_is_a_minute_ahead_is_taken(engine, minted, clock):
    token = minted().token
    clock.advance(-60)
    assert read_token(engine.secrets, clock, token, audience=AUDIENCE).user == "alice"

    clock.advance(-1)

    with pytest.raises(Unauthorized):
        read_token(engine.secrets, clock, token, audience=AUDIENCE)


@pytest.mark.parametrize("ttl_s", [0, -1, 3601, 10**9, 1.5, True, "900"])
def test_a_token_lives_for_at_most_an_hour(minted, ttl_s):
    with pytest.raises(InvalidInput):
        minted(ttl_s=ttl_s)


@pytest.mark.parametrize("scopes", [(), "me:read", ["me:read", "credits:grant"], ["all:read"], [7], None])
def test_a_user_gets_no_scope_but_a_users(minted, scopes):
    with pytest.raises(InvalidInput):
        minted(scopes=scopes)


@pytest.mark.parametrize("user", ["", "a" * 256, "a\nb", 7, None])
def test_a_token_is_for_a_user(minted, user):
    with pytest.raises(InvalidUser):
        minted(user)


@pytest.mark.parametrize(
    "address",
    [None, "", "api.example.com", "ftp://a.example", "https://", "https://u:p@a.example", "https://a/?x=1", 7],
)
def test_a_token_is_for_a_server(minted, address):
    with pytest.raises(Misconfigured):
        minted(audience=address)


def test_a_slash_at_the_end_of_an_address_is_no_other_address():
    assert check_audience("https://api.example.com/") == AUDIENCE
    assert check_audience("http://127.0.0.1:8000") == "http://127.0.0.1:8000"


def test_the_longest_token_there_can_be_is_taken(engine, minted):
    token = minted("\U0001f600" * 159, sorted(tokens.USER_SCOPES)).token

    assert len(token) < tokens.TOKEN_LENGTH_MAX
    assert read_token(engine.secrets, engine.clock, token, audience=AUDIENCE).user == "\U0001f600" * 159


def test_a_repr_does_not_show_the_token(minted):
    token = minted()

    assert token.token not in repr(token)


# Faults that a check must find


async def test_a_door_that_does_not_check_the_audience_is_found_out(door, forge, monkeypatch):
    claims_of = tokens._claims

    def blind(secrets, token):
        claims = claims_of(secrets, token)
        return None if claims is None else claims | {"aud": AUDIENCE}

    monkeypatch.setattr(tokens, "_claims", blind)

    who = await door.principal(f"Bearer {forge(aud='https://evil.example.com')}", address=HERE)

    # With the audience unchecked, the hostile token above would be let in: that test can fail.
    assert who.user == "alice"
