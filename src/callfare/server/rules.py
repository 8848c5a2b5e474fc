"""Who may call what: one rule for each route, and the one function that decides. A route without a rule does not start.

A user's token sees that user only. Whom else it names is answered as somebody nobody has heard of, so that it cannot
find out who is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from callfare.auth.principal import SCOPES, USER, Principal
from callfare.errors import Forbidden, NotFound


class Door(Enum):
    """Who gets in without a credential."""

    CLOSED = "nobody"
    LOCAL = "whoever is on this machine, when the server listens there alone"
    OPEN = "anybody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a route asks of a credential.

    scopes: a key needs one of them. own: the scope with which a user's token may call it for itself, None when it may
    not. is_whole: it reaches beyond one user, so a key that is bound to one may not call it.
    """

    scopes: tuple[str, ...] = ()
    own: str | None = None
    is_whole: bool = False
    door: Door = Door.CLOSED


_READ = Rule(scopes=("credits:read",), own="me:read")
_ASK = Rule(scopes=("credits:read", "usage:write", "holds:write"), own="me:read")
_CALLS = Rule(scopes=("all:read",), own="me:read")
_HOLD = Rule(scopes=("holds:write",), own="me:hold")
# Not for a user's token: whoever may say that a run failed may have it waived.
_CLOSE = Rule(scopes=("holds:write",))
_RECORD = Rule(scopes=("usage:write",))
_KEYS = Rule(scopes=("keys:admin",), is_whole=True)
# What else it takes depends on what the token may: see check_minting.
_MINT = Rule(scopes=("keys:admin", "all:read", "holds:write", "payments:write"))
_LOCAL = Rule(scopes=("all:read",), door=Door.LOCAL)
_OPEN = Rule(door=Door.OPEN)

API = "/api/billing"
RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): _OPEN,
    ("GET", "/readyz"): _LOCAL,
    ("GET", "/metrics"): _LOCAL,
    ("GET", "/openapi.json"): _LOCAL,
    # Whoever may ask for anything that is read there; each tool has the rule of its route.
    ("POST", "/mcp"): _ASK,
    ("GET", "/.well-known/oauth-protected-resource"): _OPEN,
    ("GET", f"{API}/packages"): _OPEN,
    ("GET", f"{API}/balance"): _READ,
    ("GET", f"{API}/usage"): _READ,
    ("GET", f"{API}/transactions"): _READ,
    ("GET", f"{API}/estimate"): _ASK,
    ("POST", f"{API}/price"): _ASK,
    ("GET", f"{API}/runs"): _CALLS,
    ("GET", f"{API}/runs/{{run_id}}"): _CALLS,
    ("GET", f"{API}/runs/{{run_id}}/calls"): _CALLS,
    ("GET", f"{API}/charges/{{charge_id}}"): _CALLS,
    ("GET", f"{API}/export/{{kind}}"): _CALLS,
    ("POST", f"{API}/runs"): _HOLD,
    ("POST", f"{API}/runs/{{run_id}}/extend"): _HOLD,
    ("POST", f"{API}/runs/{{run_id}}/touch"): _HOLD,
    ("POST", f"{API}/runs/{{run_id}}/close"): _CLOSE,
    ("POST", f"{API}/events"): _RECORD,
    # Whoever has any credential may know what they ask, and what they may.
    ("GET", f"{API}/about"): Rule(scopes=tuple(sorted(SCOPES)), own="me:read"),
    # It names rows of everybody, and keeps a processor busy for as long as the ledger is long.
    ("POST", f"{API}/verify"): _KEYS,
    ("POST", f"{API}/grants"): Rule(scopes=("credits:grant",)),
    # Each command stands under the rule of the route that does the same by itself as well.
    ("POST", f"{API}/commands"): Rule(scopes=("usage:write", "holds:write", "credits:grant"), own="me:hold"),
    ("GET", f"{API}/prices"): _ASK,
    ("GET", f"{API}/charges"): Rule(scopes=("all:read", "usage:write"), own="me:read"),
    ("POST", f"{API}/reprice"): Rule(scopes=("prices:write",), is_whole=True),
    ("GET", f"{API}/keys"): _KEYS,
    ("POST", f"{API}/keys"): _KEYS,
    ("POST", f"{API}/keys/{{key_id}}/roll"): _KEYS,
    ("POST", f"{API}/keys/{{key_id}}/revoke"): _KEYS,
    ("GET", f"{API}/audit"): _KEYS,
    ("POST", f"{API}/tokens"): _MINT,
    ("POST", f"{API}/checkout"): Rule(scopes=("payments:write",), own="me:checkout"),
    ("POST", f"{API}/portal"): Rule(scopes=("payments:write",), own="me:portal"),
    # Stripe signs what it sends; until there is a secret to check that by, the route only says so.
    ("POST", f"{API}/webhook"): _OPEN,
    # Whoever comes back from paying has no credential; the page tells of one checkout, whose id nobody can guess.
    ("GET", f"{API}/checkout/done"): _OPEN,
}


def check_scope(principal: Principal, rule: Rule) -> None:
    """Return when a principal may call a route at all.

    Raises Forbidden.
    """
    if principal.kind == USER:
        if rule.own is None:
            raise Forbidden("a user's token may not do that; it takes a key of the server's owner")
        principal.require(rule.own)
    elif principal.user is not None and rule.is_whole:
        raise Forbidden("this key is bound to one user, and that reaches beyond them")
    elif not any(principal.may(scope) for scope in rule.scopes):
        raise Forbidden(f"this key may not do that: it lacks the scope {rule.scopes[0]}", scope=rule.scopes[0])


_MINTED = {
    "me:read": "all:read",
    "me:hold": "holds:write",
    "me:checkout": "payments:write",
    "me:portal": "payments:write",
}


def check_minting(principal: Principal, scopes: Iterable[str]) -> None:
    """Return when a principal may give a user a token with these scopes: none that reaches further than itself.

    Raises Forbidden.
    """
    for scope in () if principal.may("keys:admin") else scopes:
        principal.require(_MINTED[scope])


def allow(principal: Principal, rule: Rule, user: str | None) -> str | None:
    """Return whose rows a principal may have: the user they name, their own when bound to one, None for anybody's.

    user: whom the request names, None when nobody. Raises Forbidden, and NotFound for a user who is not theirs,
    whether or not there is one.
    """
    check_scope(principal, rule)
    if user is None:
        return principal.user
    if not principal.sees(user):
        raise NotFound("there is no such user", param="user")
    return user
