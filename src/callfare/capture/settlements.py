"""What a call has earned, and where that goes: settled, pended as a job, or released.

Decides nothing: a dialect says what a reply has earned. Refuses to pend or settle what was told again without news.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec import Struct

from callfare.capture.base import Meter, Ticket
from callfare.capture.recent import RECENT, Note, note_metered
from callfare.usage.extract import Reading


class Settlement(Struct, frozen=True):
    """What a call has earned: to be settled, to stay pending as a job, or to be released.

    is_job: the call is a job, whose end is told under its id.
    """

    kind: Literal["settle", "pend", "release"]
    reading: Reading
    estimated: bool = False
    is_job: bool = False


class Ending(Protocol):
    """Where a settlement goes."""

    def apply(self, settlement: Settlement) -> None:
        """Carry it out."""
        ...

    async def apply_async(self, settlement: Settlement) -> None:
        """Carry it out without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Ticketed:
    """The ending of a call that was admitted."""

    ticket: Ticket
    note: Note | None = field(default_factory=note_metered)

    def apply(self, settlement: Settlement) -> None:
        """Settle, pend or release the ticket."""
        reading = settlement.reading
        if settlement.kind == "pend":
            self.ticket.pend(reading.response_id, reading)
        elif settlement.kind == "release":
            self._release()
        else:
            self._claim(reading)
            self.ticket.settle(reading, estimated=settlement.estimated)

    async def apply_async(self, settlement: Settlement) -> None:
        """Settle, pend or release the ticket without blocking the event loop."""
        reading = settlement.reading
        if settlement.kind == "pend":
            await self.ticket.pend_async(reading.response_id, reading)
        elif settlement.kind == "release":
            self._release()
        else:
            self._claim(reading)
            await self.ticket.settle_async(reading, estimated=settlement.estimated)

    def _release(self) -> None:
        if self.note is not None:
            self.note.released()
        self.ticket.release()

    def _claim(self, reading: Reading) -> None:
        if self.note is not None:
            self.note.settled(reading.usage)
        RECENT.claim(reading.response_id)


@dataclass(frozen=True, slots=True)
class Retold:
    """The ending of a call that was made earlier, perhaps elsewhere: its job ends, or its count is told again.

    user: the client's own, whose call it may have been.
    """

    meter: Meter
    provider: str
    base_url: str
    job_id: str
    user: str | None

    def apply(self, settlement: Settlement) -> None:
        """Settle the job, or let the meter compare the count with what it knows."""
        provider, base_url, reading = self.provider, self.base_url, settlement.reading
        if settlement.kind == "pend" or settlement.estimated:
            return
        if settlement.is_job:
            outcome: Literal["completed", "failed"] = "failed" if settlement.kind == "release" else "completed"
            self.meter.settle_job(
                provider=provider, base_url=base_url, job_id=self.job_id, outcome=outcome, reading=_retold(settlement)
            )
        elif settlement.kind == "settle":
            self.meter.observe(provider=provider, base_url=base_url, reading=reading, user=self.user)

    async def apply_async(self, settlement: Settlement) -> None:
        """As `apply`, without blocking the event loop."""
        provider, base_url, reading = self.provider, self.base_url, settlement.reading
        if settlement.kind == "pend" or settlement.estimated:
            return
        if settlement.is_job:
            outcome: Literal["completed", "failed"] = "failed" if settlement.kind == "release" else "completed"
            await self.meter.settle_job_async(
                provider=provider, base_url=base_url, job_id=self.job_id, outcome=outcome, reading=_retold(settlement)
            )
        elif settlement.kind == "settle":
            await self.meter.observe_async(provider=provider, base_url=base_url, reading=reading, user=self.user)


def _retold(settlement: Settlement) -> Reading | None:
    """Return the count a job's end tells: tokens, where there are any.

    Seconds were told when the job was accepted, and the end of an extended video tells those of the whole film.
    """
    is_counted = settlement.kind == "settle" and "video_seconds" not in settlement.reading.usage
    return settlement.reading if is_counted else None
