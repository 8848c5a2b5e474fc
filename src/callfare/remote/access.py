"""What a server does itself: keys, tokens and the audit are made and listed there, and buying begins there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from callfare.answers import (
    ApiKeyShown,
    AuditEntry,
    NewApiKey,
    UserToken,
)
from callfare.checks import check_text, check_user, check_whole
from callfare.clock import Clock, instant_of
from callfare.engine.findings import Finding
from callfare.engine.requests import Amount
from callfare.errors import InvalidInput
from callfare.money import Credits
from callfare.pages import Page
from callfare.remote import checked, told
from callfare.remote.client import Client, part

_PAGE_MAX = 200


class RemoteAccess:
    """What a server does about access, and about buying."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def make_key(
        self,
        label: str,
        *,
        scopes: Iterable[str],
        user: str | None,
        networks: Iterable[str],
        grant_cap: Amount | None,
        mode: str,
        expires_at: datetime | None,
        key: str | None,
    ) -> NewApiKey:
        """Make an API key."""
        if expires_at is not None:
            instant_of(expires_at, "expires_at")
        asked = {
            "label": label,
            "scopes": _texts(scopes, "scopes"),
            "userId": None if user is None else check_user(user),
            "networks": _texts(networks, "networks"),
            "grantCapCredits": None if grant_cap is None else str(Credits(grant_cap)),
            "mode": mode,
            "expiresAt": None if expires_at is None else expires_at.isoformat(),
        }
        return told.new_key(self._client.post("/keys", asked, key=key))

    def roll_key(self, key_id: str, *, overlap_s: int, key: str | None) -> NewApiKey:
        """Put a new key in the place of one."""
        path = f"/keys/{part(check_text(key_id, 'key_id'))}/roll"
        return told.new_key(self._client.post(path, {"overlapSeconds": overlap_s}, key=key))

    def revoke_key(self, key_id: str) -> ApiKeyShown:
        """End a key at once."""
        return told.key(self._client.post(f"/keys/{part(check_text(key_id, 'key_id'))}/revoke", {}))

    def keys(self, limit: int, cursor: str | None) -> Page[ApiKeyShown]:
        """List the keys."""
        check_whole(limit, "limit", least=1, most=_PAGE_MAX)
        facts = self._client.get("/keys", {"limit": limit, "cursor": cursor})
        return Page(items=tuple(map(told.key, facts["keys"])), next_cursor=facts["nextCursor"])

    def audit(self, user: str | None, limit: int, cursor: str | None) -> Page[AuditEntry]:
        """List who asked for which write."""
        check_whole(limit, "limit", least=1, most=_PAGE_MAX)
        named = None if user is None else check_user(user)
        facts = self._client.get("/audit", {"userId": named, "limit": limit, "cursor": cursor})
        return Page(items=tuple(map(told.audit_entry, facts["entries"])), next_cursor=facts["nextCursor"])

    def findings(self) -> Iterator[Finding]:
        """Yield what a doctor has to say of the server."""
        return checked.findings(self._client, self._clock)

    def mint_token(self, user: str, *, scopes: Iterable[str], ttl_s: int) -> UserToken:
        """Return a token for a user, made by the server for itself."""
        asked = {"userId": check_user(user), "scopes": _texts(scopes, "scopes"), "ttlSeconds": ttl_s}
        facts = self._client.post("/tokens", asked)
        return UserToken(
            token=facts["token"],
            user=facts["userId"],
            scopes=tuple(facts["scopes"]),
            expires_at=told.moment(facts["expiresAt"]),
        )

    def checkout(self, user: str, package_id: str, *, email: str | None, key: str | None) -> str:
        """Return the address at which a user pays for a package or a plan."""
        asked = {"userId": check_user(user), "packageId": check_text(package_id, "package_id"), "email": email}
        return str(self._client.post("/checkout", asked, key=key)["url"])

    def portal(self, user: str, *, email: str | None) -> str:
        """Return the address at which a user sees what they paid."""
        return str(self._client.post("/portal", {"userId": check_user(user), "email": email})["url"])


def _texts(values: object, what: str) -> list[str]:
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        found = list(values)
        if all(isinstance(value, str) for value in found):
            return found
    raise InvalidInput(f"{what} must be a list of texts", param=what)
