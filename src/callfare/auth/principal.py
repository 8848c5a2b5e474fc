"""Who asks, and what they may do. A principal comes from a credential, never from an argument."""

from __future__ import annotations

import msgspec

from callfare.errors import Forbidden
from callfare.ids import new_id
from callfare.ledger.commands import AuditNote
from callfare.money import Credits

ALL_READ = "all:read"
SCOPES = frozenset(
    {
        "usage:write",
        "holds:write",
        "credits:grant",
        "credits:read",
        "prices:write",
        "payments:write",
        "keys:admin",
        ALL_READ,
    }
)
USER_SCOPES = frozenset({"me:read", "me:checkout", "me:portal", "me:hold"})

KEY = "key"
USER = "user"
LOCAL = "local"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """One who asks: an API key, a user with a token, or whoever may open the ledger's own file.

    id: the public id of a key, or the user. user: the only one they may ask about, None for every user. grant_cap:
    what they may grant in a UTC day, None without a bound; the ledger decides by what stands in it. audience: the
    address that a token says it is for, None for a key, which is for its ledger wherever that is served.
    """

    kind: str
    id: str
    user: str | None
    scopes: frozenset[str]
    key_id: str | None = None
    grant_cap: Credits | None = None
    audience: str | None = None

    def may(self, scope: str) -> bool:
        """Return whether the principal has a scope; all:read includes every scope for reading."""
        return scope in self.scopes or (ALL_READ in self.scopes and scope.endswith(":read") and scope in SCOPES)

    def require(self, scope: str) -> None:
        """Return when the principal has a scope. Raises Forbidden."""
        if not self.may(scope):
            raise Forbidden(f"this credential may not do that: it lacks the scope {scope}", scope=scope)

    def sees(self, user: str) -> bool:
        """Return whether the principal may ask about a user. A foreign one is answered like an unknown one."""
        return self.user is None or self.user == user

    def note(self, operation: str, *, request_id: str | None = None) -> AuditNote:
        """Return the note that a command carries, so that the ledger keeps who asked for it.

        operation: what was asked for, such as `credits.grant`.
        """
        # A user is named by the account that the row is about; no history row names a person.
        who = self.kind if self.kind != KEY else f"key:{self.id}"
        return AuditNote(
            id=new_id("aud"), principal=who, key_id=self.key_id, operation=operation, request_id=request_id
        )


LOCAL_PRINCIPAL = Principal(kind=LOCAL, id=LOCAL, user=None, scopes=SCOPES)
"""Whoever can open the ledger's own file: its mode, 0600, is the authentication."""
