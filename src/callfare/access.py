"""The access methods of both façades: keys for programs, tokens for users, and who asked for what.

Whoever may open the ledger's own file may use them: its mode, 0600, is the authentication.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial

from callfare.answers import (
    ApiKeyShown,
    AuditEntry,
    NewApiKey,
    UserToken,
)
from callfare.auth import keys
from callfare.auth.keys import GRANT_CAP, OVERLAP_S, KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL
from callfare.engine.requests import Amount
from callfare.errors import InvalidInput
from callfare.facade import Facade
from callfare.ledger.receipts import KeyReceipt
from callfare.pages import Page

_TOKEN_TTL_S = 900


class _Minting(Facade):
    """What both façades do in the same way."""

    def _mint(self, user: str, *, scopes: Iterable[str], ttl_s: int, audience: str | None) -> UserToken:
        far = self._engine.elsewhere
        if far is not None:
            if audience is not None:
                raise InvalidInput("a server makes tokens for itself; leave audience out", param="audience")
            return far.mint_token(user, scopes=scopes, ttl_s=ttl_s)
        from callfare.auth.tokens import AUDIENCE_VARIABLE, mint  # noqa: PLC0415 - slow to load, and few need it

        address = os.environ.get(AUDIENCE_VARIABLE, "") if audience is None else audience
        engine = self._engine
        return mint(engine.secrets, engine.clock, user, audience=address, scopes=scopes, ttl_s=ttl_s)

    def _key_requests(self) -> KeyRequests:
        return KeyRequests(self._engine.secrets, self._engine.clock)


class Access(_Minting):
    """What programs that wait do about access."""

    def mint_token(
        self, user: str, *, scopes: Iterable[str] = ("me:read",), ttl_s: int = _TOKEN_TTL_S, audience: str | None = None
    ) -> UserToken:
        """Return a token with which a user asks a server about themselves, for seconds. Asks no ledger.

        scopes: of me:read, me:checkout, me:portal and me:hold. ttl_s: at most an hour. audience: the server's public
        address; CALLFARE_PUBLIC_URL when None. A server that is asked makes it for itself.

        Raises InvalidUser, InvalidInput, Misconfigured when no address is known, or the secrets cannot be read.
        """
        return self._mint(user, scopes=scopes, ttl_s=ttl_s, audience=audience)

    def make_key(
        self,
        label: str,
        *,
        scopes: Iterable[str],
        user: str | None = None,
        networks: Iterable[str] = (),
        grant_cap: Amount | None = GRANT_CAP,
        mode: str = "test",
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> NewApiKey:
        """Make an API key, and return it: this once, for only a digest of it is kept.

        label: what people know it by. scopes: of usage:write, holds:write, credits:grant, credits:read, prices:write,
        payments:write, keys:admin and all:read. user: the only one it may ask about; every user when None. networks:
        address ranges it is taken from; anywhere when there are none. grant_cap: what it may grant in a UTC day, None
        without a bound. mode: "test" or "live". expires_at: never when None. key: names this request; a repeat is told
        of the first key without its secret.

        Raises InvalidInput, InvalidUser, InvalidAmount, InvalidTime, KeyConflict, Misconfigured, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return far.make_key(
                label,
                scopes=scopes,
                user=user,
                networks=networks,
                grant_cap=grant_cap,
                mode=mode,
                expires_at=expires_at,
                key=key,
            )
        command, text = self._key_requests().make(
            label,
            scopes=scopes,
            by=LOCAL_PRINCIPAL,
            user=user,
            networks=networks,
            grant_cap=grant_cap,
            mode=mode,
            expires_at=expires_at,
            key=key,
        )
        self._engine.create()
        return keys.new_key(self._engine.commit(command, KeyReceipt), text)

    def roll_key(self, key_id: str, *, overlap_s: int = OVERLAP_S, key: str | None = None) -> NewApiKey:
        """Put a new key in the place of one, with all that it may do, and return it, this once.

        overlap_s: for how many more seconds the old one holds; a day. Together they keep to one daily cap.

        Raises NotFound, Conflict when it has ended or was rolled, InvalidInput, KeyConflict, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return far.roll_key(key_id, overlap_s=overlap_s, key=key)
        store = self._engine.store
        found = keys.find_key(store, key_id)
        command, text = self._key_requests().roll(found, by=LOCAL_PRINCIPAL, overlap_s=overlap_s, key=key)
        return keys.new_key(self._engine.commit(command, KeyReceipt), text)

    def revoke_key(self, key_id: str) -> ApiKeyShown:
        """End a key at once, everywhere. Ending it again changes nothing.

        Raises NotFound, InvalidInput, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return far.revoke_key(key_id)
        self._engine.commit(KeyRequests.revoke(key_id, by=LOCAL_PRINCIPAL), KeyReceipt)
        engine = self._engine
        return keys.shown(keys.find_key(engine.store, key_id), engine.clock.now_us())

    def keys(self, *, limit: int = 50, cursor: str | None = None) -> Page[ApiKeyShown]:
        """List the API keys there are and were, in the order of their ids: at most 200 at a time. No secret is shown.

        Raises InvalidInput, LedgerUnavailable.
        """
        engine, far = self._engine, self._engine.elsewhere
        listed = far.keys if far is not None else partial(keys.list_keys, engine.store, engine.clock.now_us())
        page = listed(limit, cursor)
        return replace(page, following=lambda cursor: self.keys(limit=limit, cursor=cursor))

    def audit(self, *, user: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
        """List who asked for which write, newest first, at most 200 at a time.

        user: about whose account; about everything when None.

        Raises InvalidUser, InvalidInput, LedgerUnavailable.
        """
        store, far = self._engine.store, self._engine.elsewhere
        page = keys.list_audit(store, user, limit, cursor) if far is None else far.audit(user, limit, cursor)
        return replace(page, following=lambda cursor: self.audit(user=user, limit=limit, cursor=cursor))


class AsyncAccess(_Minting):
    """What asyncio programs do about access."""

    async def mint_token(
        self, user: str, *, scopes: Iterable[str] = ("me:read",), ttl_s: int = _TOKEN_TTL_S, audience: str | None = None
    ) -> UserToken:
        """Return a token with which a user asks a server about themselves, for seconds. Asks no ledger.

        scopes: of me:read, me:checkout, me:portal and me:hold. ttl_s: at most an hour. audience: the server's public
        address; CALLFARE_PUBLIC_URL when None. A server that is asked makes it for itself.

        Raises InvalidUser, InvalidInput, Misconfigured when no address is known, or the secrets cannot be read.
        """
        return await self._engine.read_async(lambda: self._mint(user, scopes=scopes, ttl_s=ttl_s, audience=audience))

    async def make_key(
        self,
        label: str,
        *,
        scopes: Iterable[str],
        user: str | None = None,
        networks: Iterable[str] = (),
        grant_cap: Amount | None = GRANT_CAP,
        mode: str = "test",
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> NewApiKey:
        """Make an API key, and return it: this once, for only a digest of it is kept.

        label: what people know it by. scopes: of usage:write, holds:write, credits:grant, credits:read, prices:write,
        payments:write, keys:admin and all:read. user: the only one it may ask about; every user when None. networks:
        address ranges it is taken from; anywhere when there are none. grant_cap: what it may grant in a UTC day, None
        without a bound. mode: "test" or "live". expires_at: never when None. key: names this request; a repeat is told
        of the first key without its secret.

        Raises InvalidInput, InvalidUser, InvalidAmount, InvalidTime, KeyConflict, Misconfigured, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return await self._engine.read_async(
                lambda: far.make_key(
                    label,
                    scopes=scopes,
                    user=user,
                    networks=networks,
                    grant_cap=grant_cap,
                    mode=mode,
                    expires_at=expires_at,
                    key=key,
                )
            )
        command, text = self._key_requests().make(
            label,
            scopes=scopes,
            by=LOCAL_PRINCIPAL,
            user=user,
            networks=networks,
            grant_cap=grant_cap,
            mode=mode,
            expires_at=expires_at,
            key=key,
        )
        await self._engine.create_async()
        return keys.new_key(await self._engine.commit_async(command, KeyReceipt), text)

    async def roll_key(self, key_id: str, *, overlap_s: int = OVERLAP_S, key: str | None = None) -> NewApiKey:
        """Put a new key in the place of one, with all that it may do, and return it, this once.

        overlap_s: for how many more seconds the old one holds; a day. Together they keep to one daily cap.

        Raises NotFound, Conflict when it has ended or was rolled, InvalidInput, KeyConflict, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return await self._engine.read_async(lambda: far.roll_key(key_id, overlap_s=overlap_s, key=key))
        store = self._engine.store
        found = await self._engine.read_async(lambda: keys.find_key(store, key_id))
        command, text = self._key_requests().roll(found, by=LOCAL_PRINCIPAL, overlap_s=overlap_s, key=key)
        return keys.new_key(await self._engine.commit_async(command, KeyReceipt), text)

    async def revoke_key(self, key_id: str) -> ApiKeyShown:
        """End a key at once, everywhere. Ending it again changes nothing.

        Raises NotFound, InvalidInput, LedgerUnavailable.
        """
        far = self._engine.elsewhere
        if far is not None:
            return await self._engine.read_async(lambda: far.revoke_key(key_id))
        await self._engine.commit_async(KeyRequests.revoke(key_id, by=LOCAL_PRINCIPAL), KeyReceipt)
        engine = self._engine
        return await self._engine.read_async(
            lambda: keys.shown(keys.find_key(engine.store, key_id), engine.clock.now_us())
        )

    async def keys(self, *, limit: int = 50, cursor: str | None = None) -> Page[ApiKeyShown]:
        """List the API keys there are and were, in the order of their ids: at most 200 at a time. No secret is shown.

        Raises InvalidInput, LedgerUnavailable.
        """
        engine, far = self._engine, self._engine.elsewhere
        listed = far.keys if far is not None else partial(keys.list_keys, engine.store, engine.clock.now_us())
        page = await engine.read_async(lambda: listed(limit, cursor))
        return replace(page, following=lambda cursor: self.keys(limit=limit, cursor=cursor))

    async def audit(self, *, user: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
        """List who asked for which write, newest first, at most 200 at a time.

        user: about whose account; about everything when None.

        Raises InvalidUser, InvalidInput, LedgerUnavailable.
        """
        store, far = self._engine.store, self._engine.elsewhere
        listed = far.audit if far is not None else partial(keys.list_audit, store)
        page = await self._engine.read_async(lambda: listed(user, limit, cursor))
        return replace(page, following=lambda cursor: self.audit(user=user, limit=limit, cursor=cursor))
