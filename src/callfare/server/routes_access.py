"""Routes about access: keys for programs, tokens for users, and who asked for what."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.responses import Response

from callfare.auth import keys, tokens
from callfare.auth.keys import KeyRequests
from callfare.ledger.receipts import KeyReceipt
from callfare.server.caller import Caller, read
from callfare.server.routes_reading import Cursor, Limit, UserId
from callfare.server.routes_writing import replayed
from callfare.server.routing import Routes, answer
from callfare.server.rules import API, check_minting
from callfare.server.wire import access

_MAKE = TypeAdapter(access.MakeKey)
_ROLL = TypeAdapter(access.RollKey)
_REVOKE = TypeAdapter(access.RevokeKey)
_MINT = TypeAdapter(access.MintToken)


async def list_keys(caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the API keys there are and were, without their secrets."""
    engine = caller.engine
    page = await engine.read_async(lambda: keys.list_keys(engine.store, engine.clock.now_us(), limit, cursor))
    return answer(access.Keys(keys=[access.Key.of(key) for key in page.items], next_cursor=page.next_cursor))


async def make_key(caller: Caller) -> Response:
    """Make an API key, and show it this once: only a digest of it is kept."""
    asked, key = read(_MAKE, await caller.body()), caller.key_or_new
    command, text = _requests(caller).make(
        asked.label,
        scopes=asked.scopes,
        by=caller.principal,
        user=asked.user_id,
        networks=asked.networks,
        grant_cap=asked.grant_cap_credits,
        mode=asked.mode,
        expires_at=asked.expires_at,
        key=key,
        request_id=caller.request_id,
    )
    made = keys.new_key(await caller.engine.commit_async(command, KeyReceipt), text)
    return answer(access.NewKey.of(made), headers=replayed(key, is_replay=made.is_replay))


async def roll_key(caller: Caller) -> Response:
    """Put a new key in the place of one, with all that it may do; both hold for a while."""
    asked, key = read(_ROLL, await caller.body()), caller.key_or_new
    store, key_id = caller.engine.store, caller.path("key_id")
    found = await caller.engine.read_async(lambda: keys.find_key(store, key_id))
    command, text = _requests(caller).roll(
        found, by=caller.principal, overlap_s=asked.overlap_seconds, key=key, request_id=caller.request_id
    )
    made = keys.new_key(await caller.engine.commit_async(command, KeyReceipt), text)
    return answer(access.NewKey.of(made), headers=replayed(key, is_replay=made.is_replay))


async def revoke_key(caller: Caller) -> Response:
    """End a key at once, everywhere. Ending it again changes nothing, so its Idempotency-Key does not either."""
    read(_REVOKE, await caller.body())
    engine, key_id = caller.engine, caller.path("key_id")
    command = KeyRequests.revoke(key_id, by=caller.principal, request_id=caller.request_id)
    receipt = await engine.commit_async(command, KeyReceipt)
    ended = await engine.read_async(lambda: keys.shown(keys.find_key(engine.store, key_id), engine.clock.now_us()))
    return answer(access.Key.of(ended), headers=replayed(caller.key_or_new, is_replay=receipt.is_replay))


async def mint_token(caller: Caller) -> Response:
    """Make a token with which a user asks about themselves, for minutes. Writes nothing, so a repeat makes another.

    A key gives a user no more than it may itself: me:read takes all:read, me:hold takes holds:write, me:checkout and
    me:portal take payments:write; keys:admin gives any of them.
    """
    asked = read(_MINT, await caller.body())
    check_minting(caller.principal, asked.scopes)
    engine = caller.engine
    minted = tokens.mint(
        engine.secrets,
        engine.clock,
        caller.one_user(asked.user_id),
        audience=caller.served.audience,
        scopes=asked.scopes,
        ttl_s=asked.ttl_seconds,
    )
    return answer(access.Token.of(minted), headers=replayed(caller.key_or_new, is_replay=False))


async def list_audit(caller: Caller, user_id: UserId = None, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List who asked for which write, newest first: about a user's account, or everything."""
    user, store = caller.user(user_id), caller.engine.store
    page = await caller.engine.read_async(lambda: keys.list_audit(store, user, limit, cursor))
    entries = [access.AuditEntry.of(entry) for entry in page.items]
    return answer(access.Audit(entries=entries, next_cursor=page.next_cursor))


def _requests(caller: Caller) -> KeyRequests:
    return KeyRequests(caller.engine.secrets, caller.engine.clock)


def add_access(routes: Routes) -> None:
    """Add the routes about access."""
    routes.add("GET", f"{API}/keys", list_keys, answers=access.Keys)
    routes.add("POST", f"{API}/keys", make_key, answers=access.NewKey, asks=_MAKE)
    routes.add("POST", f"{API}/keys/{{key_id}}/roll", roll_key, answers=access.NewKey, asks=_ROLL)
    routes.add("POST", f"{API}/keys/{{key_id}}/revoke", revoke_key, answers=access.Key, asks=_REVOKE)
    routes.add("POST", f"{API}/tokens", mint_token, answers=access.Token, asks=_MINT)
    routes.add("GET", f"{API}/audit", list_audit, answers=access.Audit)
