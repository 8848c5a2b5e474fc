"""Bodies about access: keys for programs, tokens for users, and who asked for what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, StrictStr

from callfare import answers
from callfare.server.wire.base import Amount, Answer, Asked, CreditsText, Moment, Text, UserId, text_of

Scope = Literal[
    "usage:write", "holds:write", "credits:grant", "credits:read", "prices:write", "payments:write", "keys:admin",
    "all:read",
]  # fmt: skip
UserScope = Literal["me:read", "me:checkout", "me:portal", "me:hold"]


class MakeKey(Asked):
    """A key to make. grantCapCredits: what it may grant in a UTC day, null for no bound."""

    label: Annotated[StrictStr, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=8)]
    user_id: UserId | None = None
    networks: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    grant_cap_credits: Amount | None = "100000"
    mode: Literal["test", "live"] = "test"
    expires_at: Moment | None = None


class RollKey(Asked):
    """A key to put another in the place of; for overlapSeconds both hold."""

    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=2_592_000)] = 86_400


class RevokeKey(Asked):
    """A key to end at once."""


class MintToken(Asked):
    """A token to make for a user."""

    user_id: UserId | None = None
    scopes: Annotated[tuple[UserScope, ...], Field(min_length=1, max_length=4)] = ("me:read",)
    ttl_seconds: Annotated[StrictInt, Field(ge=1, le=3600)] = 900


class NewKey(Answer):
    """A key, shown this once; null for a repeat, which is told of the first key without its secret."""

    id: str
    key: str | None
    mode: str
    label: str
    scopes: list[str]
    user_id: str | None
    networks: list[str]
    grant_cap_credits: CreditsText | None
    created_at: datetime
    expires_at: datetime | None
    replaces: str | None
    is_replay: bool

    @classmethod
    def of(cls, made: answers.NewApiKey) -> Self:
        """Return a new key as it goes out."""
        return cls(
            id=made.id,
            key=made.key,
            mode=made.mode,
            label=made.label,
            scopes=list(made.scopes),
            user_id=made.user,
            networks=list(made.networks),
            grant_cap_credits=text_of(made.grant_cap),
            created_at=made.created_at,
            expires_at=made.expires_at,
            replaces=made.replaces,
            is_replay=made.is_replay,
        )


class Key(Answer):
    """What may be shown of a key. status: active, rolled, expired or revoked."""

    id: str
    status: str
    mode: str
    label: str
    scopes: list[str]
    user_id: str | None
    networks: list[str]
    grant_cap_credits: CreditsText | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rolled_to: str | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: answers.ApiKeyShown) -> Self:
        """Return a key as it goes out."""
        return cls(
            id=key.id,
            status=key.status,
            mode=key.mode,
            label=key.label,
            scopes=list(key.scopes),
            user_id=key.user,
            networks=list(key.networks),
            grant_cap_credits=text_of(key.grant_cap),
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            rolled_to=key.rolled_to,
            last_used_at=key.last_used_at,
        )


class Keys(Answer):
    """A page of keys, in the order of their ids."""

    keys: list[Key]
    next_cursor: str | None


class Token(Answer):
    """A token with which a user asks about themselves until it expires."""

    token: str
    user_id: str
    scopes: list[str]
    expires_at: datetime

    @classmethod
    def of(cls, minted: answers.UserToken) -> Self:
        """Return a token as it goes out."""
        return cls(token=minted.token, user_id=minted.user, scopes=list(minted.scopes), expires_at=minted.expires_at)


class AuditEntry(Answer):
    """Who asked for a write. principal: `key:` with its id, `user` or `local`. userId: null for the house."""

    id: str
    at: datetime
    principal: str
    key_id: str | None
    operation: str
    user_id: str | None
    object: str
    request_key: str | None
    request_id: str | None
    before: str | None
    after: str | None

    @classmethod
    def of(cls, entry: answers.AuditEntry) -> Self:
        """Return an entry as it goes out."""
        return cls(
            id=entry.id,
            at=entry.at,
            principal=entry.principal,
            key_id=entry.key_id,
            operation=entry.operation,
            user_id=entry.user,
            object=entry.object,
            request_key=entry.request_key,
            request_id=entry.request_id,
            before=entry.before,
            after=entry.after,
        )


class Audit(Answer):
    """A page of who asked for what, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
