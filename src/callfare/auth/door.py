"""The door: turns what an Authorization header says into a principal, or refuses."""

from __future__ import annotations

from callfare.auth.principal import Principal
from callfare.clock import Clock
from callfare.engine.engine import Engine
from callfare.errors import Unauthorized


class Door:
    """Knows who asks. audience: the address that user tokens must be made for, such as https://api.example.com."""

    def __init__(self, engine: Engine, *, audience: str, clock: Clock | None = None) -> None:
        self._engine = engine
        self._audience = audience
        self._clock = clock or engine.clock

    async def principal(self, authorization: str | None, *, address: str) -> Principal:
        """Return who asks. address: where the request comes from, for the bound on failed attempts.

        Raises Unauthorized, TooManyAttempts, LedgerUnavailable.
        """
        del authorization, address
        raise Unauthorized("give a key or a token: Authorization: Bearer cf_…")
