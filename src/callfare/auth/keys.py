"""API keys from what callers give: the commands that make, roll and end them, and what may be shown of them.

A key is shown in the answer that makes it, and nowhere else. Every check of what a caller says stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_network

from callfare.answers import (
    ApiKeyShown,
    AuditEntry,
    NewApiKey,
)
from callfare.auth.key_text import MODES, KeyText, new_key_text
from callfare.auth.principal import SCOPES, Principal
from callfare.checks import check_choice, check_text, check_user, check_whole
from callfare.clock import Clock, instant_of, moment_of
from callfare.engine.requests import Amount, fingerprint_of, shown_key, stored_key
from callfare.errors import InvalidAmount, InvalidInput, InvalidTime, NotFound
from callfare.ids import new_id
from callfare.ledger.commands import MakeKey, RevokeKey, RollKey
from callfare.ledger.receipts import KeyReceipt
from callfare.ledger.rows import HOUSE, ApiKey, AuditRow, User
from callfare.money import Credits
from callfare.pages import Cursors, Page
from callfare.secrets import Secrets
from callfare.store import protocol as ask
from callfare.store.protocol import Store

# $1,000 worth a day.
GRANT_CAP = Credits(100_000)
OVERLAP_S = 24 * 3600
_OVERLAP_S_MAX = 30 * 24 * 3600
_NETWORKS_MAX = 32
_LABEL_LENGTH_MAX = 100
_PAGE_MAX = 200
_LAST_ID = "~"


class KeyRequests:
    """Builds commands about keys. Writes nothing."""

    def __init__(self, secrets: Secrets, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock

    def make(
        self,
        label: str,
        *,
        scopes: Iterable[str],
        by: Principal,
        user: str | None = None,
        networks: Iterable[str] = (),
        grant_cap: Amount | None = GRANT_CAP,
        mode: str = "test",
        expires_at: datetime | None = None,
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[MakeKey, KeyText]:
        """Return the command that makes a key, and the key.

        Raises InvalidInput, InvalidUser, InvalidAmount, InvalidTime.
        """
        text = new_key_text(check_choice(mode, "mode", MODES))
        label = check_text(label, "label", length_max=_LABEL_LENGTH_MAX)
        given = " ".join(check_scopes(scopes))
        cap = None if grant_cap is None else Credits(grant_cap).nanocredits
        if cap is not None and cap < 0:
            raise InvalidAmount("a cap cannot be negative; give 0 for none, or None for no bound", param="grant_cap")
        expires_at_us = None if expires_at is None else instant_of(expires_at, "expires_at")
        if expires_at_us is not None and expires_at_us <= self._clock.now_us():
            raise InvalidTime("expires_at lies in the past", param="expires_at")
        user = None if user is None else check_user(user)
        ranges = _check_networks(networks)
        command = MakeKey(
            key=stored_key(new_id("make") if key is None else check_text(key, "key")),
            key_id=text.key_id,
            mode=text.mode,
            label=label,
            scopes=given,
            digest=self._secrets.digest(text.digested),
            pepper=self._secrets.pepper_id,
            user=user,
            networks=ranges,
            grant_cap_nanocredits=cap,
            expires_at_us=expires_at_us,
            fingerprint=fingerprint_of(text.mode, label, given, user, ranges, cap, expires_at_us),
            audit=by.note("keys.make", request_id=request_id),
        )
        return command, text

    def roll(
        self,
        found: ApiKey,
        *,
        by: Principal,
        overlap_s: int = OVERLAP_S,
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[RollKey, KeyText]:
        """Return the command that puts a new key in the place of one, and the new key.

        Raises InvalidInput.
        """
        overlap_s = check_whole(overlap_s, "overlap_s", least=0, most=_OVERLAP_S_MAX)
        text = new_key_text(found.mode)
        command = RollKey(
            key=stored_key(new_id("roll") if key is None else check_text(key, "key")),
            key_id=found.key_id,
            new_key_id=text.key_id,
            digest=self._secrets.digest(text.digested),
            pepper=self._secrets.pepper_id,
            overlap_s=overlap_s,
            fingerprint=fingerprint_of(found.key_id, overlap_s),
            audit=by.note("keys.roll", request_id=request_id),
        )
        return command, text

    @staticmethod
    def revoke(key_id: str, *, by: Principal, request_id: str | None = None) -> RevokeKey:
        """Return the command that ends a key at once."""
        note = by.note("keys.revoke", request_id=request_id)
        return RevokeKey(key_id=check_text(key_id, "key_id"), audit=note)


def check_scopes(scopes: object) -> tuple[str, ...]:
    """Return scopes of an API key, sorted.

    Raises InvalidInput when there are none, or one that there is not.
    """
    if isinstance(scopes, str) or not isinstance(scopes, Iterable):
        raise InvalidInput("scopes is no list; give some of " + ", ".join(sorted(SCOPES)), param="scopes")
    given = list(scopes)
    if not given or not all(isinstance(one, str) and one in SCOPES for one in given):
        raise InvalidInput("a key has some of the scopes " + ", ".join(sorted(SCOPES)), param="scopes")
    return tuple(sorted(set(given)))


def _check_networks(networks: object) -> str | None:
    if isinstance(networks, str) or not isinstance(networks, Iterable):
        raise InvalidInput("networks is no list; give ranges such as 10.0.0.0/8", param="networks")
    given = list(networks)
    if len(given) > _NETWORKS_MAX:
        raise InvalidInput(f"{len(given)} networks are too many; {_NETWORKS_MAX} are the most", param="networks")
    try:
        ranges = [str(ip_network(one)) for one in given if isinstance(one, str)]
    except ValueError:
        ranges = []
    if len(ranges) < len(given):
        raise InvalidInput("a network is an address range such as 10.0.0.0/8 or 2001:db8::/32", param="networks")
    return " ".join(sorted(set(ranges))) or None


# What may be shown


def new_key(receipt: KeyReceipt, text: KeyText) -> NewApiKey:
    """Return a key as its maker sees it, once: a repeat is told of the first key, whose secret nobody has any more."""
    is_first = not receipt.is_replay and receipt.key_id == text.key_id
    return NewApiKey(
        id=receipt.key_id,
        key=text.written if is_first else None,
        mode=receipt.mode,
        label=receipt.label,
        scopes=tuple(receipt.scopes.split(" ")),
        user=receipt.user,
        networks=tuple((receipt.networks or "").split()),
        grant_cap=_credits(receipt.grant_cap_nanocredits),
        created_at=moment_of(receipt.created_at_us),
        expires_at=_moment(receipt.expires_at_us),
        replaces=receipt.replaces,
        is_replay=receipt.is_replay,
    )


def shown(row: ApiKey, now_us: int) -> ApiKeyShown:
    """Return what may be shown of a key."""
    state = "revoked" if row.revoked_at_us is not None else "active" if row.is_live(now_us) else "expired"
    if state == "active" and row.rolled_to is not None:
        state = "rolled"
    return ApiKeyShown(
        id=row.key_id,
        status=state,
        mode=row.mode,
        label=row.label,
        scopes=tuple(row.scopes.split(" ")),
        user=row.user,
        networks=tuple((row.networks or "").split()),
        grant_cap=_credits(row.grant_cap_nanocredits),
        created_at=moment_of(row.created_at_us),
        expires_at=_moment(row.expires_at_us),
        revoked_at=_moment(row.revoked_at_us),
        rolled_to=row.rolled_to,
        last_used_at=_moment(row.used_at_us),
    )


def _credits(nanocredits: int | None) -> Credits | None:
    return None if nanocredits is None else Credits.of_units(nanocredits)


def _moment(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else moment_of(instant_us)


# Reading


def find_key(store: Store, key_id: str) -> ApiKey:
    """Return the row of a key.

    Raises NotFound, InvalidInput.
    """
    for row in store.select(ask.ApiKeyNamed(key_id=check_text(key_id, "key_id"))):
        assert isinstance(row, ApiKey), row
        return row
    raise NotFound(f"there is no key {key_id!r}", step="list them with `callfare keys list`", param="key_id")


def list_keys(store: Store, now_us: int, limit: int, cursor: str | None) -> Page[ApiKeyShown]:
    """Return a page of the keys there are, in the order of their ids.

    Raises InvalidInput.
    """
    check_whole(limit, "limit", least=1, most=_PAGE_MAX)
    cursors = Cursors("keys")
    _, after = cursors.read(cursor, (0, ""))
    rows = store.select(ask.ApiKeysAfter(after_key_id=after, limit=limit + 1))
    found = [shown(row, now_us) for row in rows[:limit] if isinstance(row, ApiKey)]
    return Page(items=tuple(found), next_cursor=cursors.text(0, found[-1].id) if len(rows) > limit else None)


def list_audit(store: Store, user: str | None, limit: int, cursor: str | None) -> Page[AuditEntry]:
    """Return a page of who asked for what, newest first.

    user: about whose account; about everything when None. Raises InvalidInput, InvalidUser.
    """
    check_whole(limit, "limit", least=1, most=_PAGE_MAX)
    cursors = Cursors("audit") if user is None else Cursors("audit", check_user(user))
    _, before = cursors.read(cursor, (0, _LAST_ID))
    account_id = None
    if user is not None:
        named = store.select(ask.UserNamed(user=check_user(user)))
        if not named:
            return Page(items=(), next_cursor=None)
        account_id = named[0].account_id  # type: ignore[attr-defined]  # the rows asked for are users
    if account_id is None:
        rows = store.select(ask.AuditBefore(before_id=before, limit=limit + 1))
    else:
        rows = store.select(ask.AuditOf(account_id=account_id, before_id=before, limit=limit + 1))
    names: dict[int, str | None] = {HOUSE: None}
    if account_id is not None:
        names[account_id] = user
    found = [_entry(store, row, names) for row in rows[:limit] if isinstance(row, AuditRow)]
    return Page(items=tuple(found), next_cursor=cursors.text(0, found[-1].id) if len(rows) > limit else None)


def _entry(store: Store, row: AuditRow, names: dict[int, str | None]) -> AuditEntry:
    if row.account_id not in names:
        named = store.select(ask.UserOf(account_id=row.account_id))
        names[row.account_id] = next((one.user for one in named if isinstance(one, User)), None)
    return AuditEntry(
        id=row.audit_id,
        at=moment_of(row.at_us),
        principal=row.principal,
        key_id=row.key_id,
        operation=row.operation,
        user=names[row.account_id],
        object=row.object,
        request_key=None if row.request_key is None else shown_key(row.request_key),
        request_id=row.request_id,
        before=row.state_before,
        after=row.state_after,
    )
