"""The door: turns what an Authorization header says into a principal, or refuses.

One refusal, in the same words, for a credential that is unknown, revoked, expired, of another server or from a wrong
address. Typing errors are found by the checksum, without asking the ledger.
"""

from __future__ import annotations

import hmac
import logging
from ipaddress import ip_network

from callfare.auth.attempts import Attempts, plain_address
from callfare.auth.key_text import KeyText, looks_like_a_key, parse_key
from callfare.auth.lookup import Lookup
from callfare.auth.principal import KEY, Principal
from callfare.auth.tokens import TOKEN_LENGTH_MAX, check_audience, read_token, refusal
from callfare.clock import US_PER_S, Clock
from callfare.engine.engine import Engine
from callfare.errors import Unauthorized
from callfare.ledger.commands import NoteKeyUse
from callfare.ledger.rows import ApiKey
from callfare.money import Credits
from callfare.store.protocol import Look, Seen, Snapshot

_log = logging.getLogger("callfare")

_MINUTE_US = 60 * US_PER_S
_SCHEME = "bearer"
_NOTED_MAX = 10_000
# What a key is compared with when there is no row of it: as long as a digest, and none.
_NO_DIGEST = "-" * 64


class Door:
    """Knows who asks, by the secrets of an engine's ledger, made where there are none.

    audience: the address that user tokens must be made for, such as https://api.example.com.

    Raises Misconfigured.
    """

    def __init__(self, engine: Engine, *, audience: str, clock: Clock | None = None) -> None:
        self._engine = engine
        self._secrets = engine.secrets
        self._audience = check_audience(audience)
        self._clock = clock or engine.clock
        self._attempts = Attempts(self._clock)
        self._lookup = Lookup(engine)
        # In which minute the use of a key was noted last.
        self._noted: dict[str, int] = {}
        self._has_warned = False

    async def principal(self, authorization: str | None, *, address: str) -> Principal:
        """Return who asks. address: where the request comes from, for the bound on failed attempts.

        Raises Unauthorized, TooManyAttempts after ten that failed within a minute, LedgerUnavailable.
        """
        who, _ = await self._admitted(authorization, address, None)
        return who

    async def principal_and_account(
        self, authorization: str | None, *, address: str, user: str | None
    ) -> tuple[Principal, Snapshot | None]:
        """Return who asks, as `principal` does, and with the same look the account of a user.

        user: None for whom the credential is bound to. The account is None for whoever they may not see.
        """
        who, seen = await self._admitted(authorization, address, user)
        if seen is None:
            # A token tells its user by itself, so nothing has been looked up.
            asked = who.user if user is None else user
            if asked is not None and who.sees(asked):
                seen = await self._lookup.look(Look(user=asked))
        return who, None if seen is None else seen.account

    async def _admitted(
        self, authorization: str | None, address: str, user: str | None
    ) -> tuple[Principal, Seen | None]:
        self._attempts.check(address)
        if not authorization:
            # Nothing was tried, so nothing is counted.
            raise refusal()
        try:
            return await self._known(authorization, address, user)
        except Unauthorized:
            self._attempts.failed(address)
            raise

    async def _known(self, authorization: str, address: str, user: str | None) -> tuple[Principal, Seen | None]:
        scheme, _, credential = authorization.strip().partition(" ")
        credential = credential.strip()
        if scheme.lower() != _SCHEME or not credential or len(credential) > TOKEN_LENGTH_MAX:
            raise refusal()
        if not looks_like_a_key(credential):
            return read_token(self._secrets, self._clock, credential, audience=self._audience), None
        key = parse_key(credential)
        if key is None:
            raise refusal()
        seen = await self._lookup.look(Look(key_id=key.key_id, user=user))
        row = seen.key
        # A key that is not there takes as long as one whose secret is wrong.
        is_held = self._is_held(key, row)
        if row is None or not is_held or not self._holds(row, address):
            raise refusal()
        self._note_use(row)
        return _principal_of(row), seen

    def _is_held(self, key: KeyText, row: ApiKey | None) -> bool:
        """Tell, in the same time for any key, whether it is the one of a row."""
        digest = _NO_DIGEST if row is None else row.digest
        is_same = hmac.compare_digest(self._secrets.digest(key.digested), digest)
        if row is not None and row.pepper != self._secrets.pepper_id and not self._has_warned:
            self._has_warned = True
            _log.warning("key %s was made under another pepper; every server of a ledger needs the same", row.key_id)
        return is_same and row is not None

    def _holds(self, row: ApiKey, address: str) -> bool:
        """Tell whether a key is taken now, from an address."""
        if not row.is_live(self._clock.now_us()):
            return False
        if row.networks is None:
            return True
        here = plain_address(address)
        return here is not None and any(here in ip_network(network) for network in row.networks.split(" "))

    def _note_use(self, row: ApiKey) -> None:
        """Have it noted beside whatever is asked, once in a minute, that a key was used."""
        at_us = self._clock.now_us() // _MINUTE_US * _MINUTE_US
        if self._noted.get(row.key_id) != at_us and (row.used_at_us or 0) < at_us:
            if len(self._noted) >= _NOTED_MAX:
                self._noted.clear()
            self._noted[row.key_id] = at_us
            self._engine.leave(NoteKeyUse(key_id=row.key_id, at_us=at_us))


def _principal_of(row: ApiKey) -> Principal:
    cap = row.grant_cap_nanocredits
    return Principal(
        kind=KEY,
        id=row.key_id,
        user=row.user,
        scopes=frozenset(row.scopes.split(" ")),
        key_id=row.key_id,
        grant_cap=None if cap is None else Credits.of_units(cap),
    )
