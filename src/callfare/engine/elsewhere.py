"""What a façade has a server do where the ledger is elsewhere: keys, tokens, buying, and looking itself over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from callfare.answers import (
    ApiKeyShown,
    AuditEntry,
    NewApiKey,
    UserToken,
)
from callfare.engine.findings import Finding
from callfare.engine.requests import Amount
from callfare.pages import Page


class Elsewhere(Protocol):
    """A server in front of a ledger. What it refuses is raised as the façade's own methods raise it."""

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
        ...

    def roll_key(self, key_id: str, *, overlap_s: int, key: str | None) -> NewApiKey:
        """Put a new key in the place of one."""
        ...

    def revoke_key(self, key_id: str) -> ApiKeyShown:
        """End a key at once."""
        ...

    def keys(self, limit: int, cursor: str | None) -> Page[ApiKeyShown]:
        """List the keys."""
        ...

    def audit(self, user: str | None, limit: int, cursor: str | None) -> Page[AuditEntry]:
        """List who asked for which write."""
        ...

    def findings(self) -> Iterator[Finding]:
        """Yield what a doctor has to say of the server."""
        ...

    def mint_token(self, user: str, *, scopes: Iterable[str], ttl_s: int) -> UserToken:
        """Return a token for a user."""
        ...

    def checkout(self, user: str, package_id: str, *, email: str | None, key: str | None) -> str:
        """Return the address at which a user pays for a package or a plan."""
        ...

    def portal(self, user: str, *, email: str | None) -> str:
        """Return the address at which a user sees what they paid."""
        ...
