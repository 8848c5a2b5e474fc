"""Bodies about the ledger as a whole and the server before it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from callfare.answers import ApiKeyShown
from callfare.auth.principal import Principal
from callfare.ledger.verify import Fault, Verification
from callfare.money import Credits
from callfare.server.wire.base import Answer, Asked, CreditsText


class Verify(Asked):
    """Nothing to say: the whole ledger is meant."""


class Progress(Answer):
    """How many rows of a table have been read."""

    table: str
    rows: int


class WrongRow(Answer):
    """A row that is wrong. key: its primary key; column: null where the whole row is meant."""

    table: str
    key: list[str]
    column: str | None
    message: str

    @classmethod
    def of(cls, fault: Fault) -> Self:
        """Return a fault as it goes out."""
        return cls(table=fault.table, key=list(fault.key), column=fault.column, message=fault.message)


class Verified(Answer):
    """A ledger that was recomputed. faultCount: how many rows are wrong, of which the first hundred are told."""

    is_clean: bool
    fault_count: int
    counted: dict[str, int]
    totals_credits: dict[str, CreditsText]
    held_credits: CreditsText
    debt_credits: CreditsText

    @classmethod
    def of(cls, found: Verification) -> Self:
        """Return a verification as it goes out, its faults apart."""
        totals = found.totals_nanocredits.items()
        return cls(
            is_clean=found.is_clean,
            fault_count=found.fault_count,
            counted=dict(found.counted),
            totals_credits={kind: str(Credits.of_units(units)) for kind, units in totals},
            held_credits=str(Credits.of_units(found.held_nanocredits)),
            debt_credits=str(Credits.of_units(found.debt_nanocredits)),
        )


class Asking(Answer):
    """Who asks. label, mode, expiresAt: of a key; scopes: what it may."""

    kind: str
    id: str
    user_id: str | None
    scopes: list[str]
    label: str | None
    mode: str | None
    expires_at: datetime | None

    @classmethod
    def of(cls, who: Principal, key: ApiKeyShown | None) -> Self:
        """Return who asks as it goes out. key: what may be shown of theirs, None for a user's token."""
        return cls(
            kind=who.kind,
            id=who.id,
            user_id=who.user,
            scopes=sorted(who.scopes),
            label=None if key is None else key.label,
            mode=None if key is None else key.mode,
            expires_at=None if key is None else key.expires_at,
        )


class About(Answer):
    """What a server is: its version, the address that tokens are for, its clock, and who asks it."""

    version: Annotated[str, Field(examples=["0.1.0"])]
    audience: str
    now: datetime
    asking: Asking
