"""The seam between capture and the engine: what a wrapper tells before and after a provider's call.

A wrapper asks a `Meter` to admit a call before it is made, which may refuse it, and settles the `Ticket` it got once
the provider has answered. Refuses to let anything of ours reach the caller after that answer: faults are logged, and
the answer is handed on. Knows no provider, no store and no price.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol

from msgspec import Struct

from callfare.usage.extract import Reading
from callfare.usage.quantities import Quantity

LOGGER = logging.getLogger("callfare")

JobOutcome = Literal["completed", "failed"]
BatchOutcome = Literal["completed", "failed", "cancelled"]


class Intent(Struct, frozen=True, kw_only=True):
    """What a request fixes before it is sent.

    operation: chat, responses, embedding, rerank, speech, transcription, image, video and the like.
    usage: the quantities that are known, and the most that the others can be; a meter nobody can bound is left out.
    attributes: what selects among rates, as asked for; what is left to the provider is left out.
    """

    provider: str
    base_url: str
    operation: str
    model: str
    usage: Mapping[str, Quantity]
    attributes: Mapping[str, str]


class Ticket(Protocol):
    """One admitted call. Its user, run and step were captured when it was admitted.

    An async settlement is handed over before it first suspends: cancelling the wait does not undo it.
    """

    def settle(self, reading: Reading, *, estimated: bool = False) -> None:
        """Charge what the call used. Never raises. A second settlement after an estimated one corrects it."""
        ...

    async def settle_async(self, reading: Reading, *, estimated: bool = False) -> None:
        """As `settle`, without blocking the event loop."""
        ...

    def pend(self, job_id: str, reading: Reading) -> None:
        """Hold what a long job will cost: the provider has accepted it under this id."""
        ...

    async def pend_async(self, job_id: str, reading: Reading) -> None:
        """As `pend`, without blocking the event loop."""
        ...

    def release(self) -> None:
        """Let the call go: it failed before it used anything. Does no I/O."""
        ...


class BatchName(Struct, frozen=True, kw_only=True):
    """What a batch is known by. ids: its own, and those of files with its results; any of them will do."""

    provider: str
    base_url: str
    ids: tuple[str, ...]


class BatchLine(Struct, frozen=True, kw_only=True):
    """One line of a batch's results that was answered: what it was asked for, and what it used."""

    intent: Intent
    reading: Reading
    estimated: bool


class BatchTicket(Protocol):
    """One admitted batch. What it may cost is held until its results were read, or it is told to have ended without."""

    def bind(self, name: BatchName, *, is_more: bool = False) -> None:
        """Have the batch belong to whoever it was admitted for: the provider has made it. Never raises.

        is_more: these calls were added to a batch that may have an owner: it stays theirs, and holds that much more.
        """
        ...

    async def bind_async(self, name: BatchName, *, is_more: bool = False) -> None:
        """As `bind`, without blocking the event loop."""
        ...

    def release(self) -> None:
        """Give back what was held: the batch was not made. Never raises."""
        ...

    async def release_async(self) -> None:
        """As `release`, without waiting for it."""
        ...


class BatchMeter(Protocol):
    """Admits batches before they are made, and hears of their ends and results, here or elsewhere."""

    def admit(self, intents: Sequence[Intent], *, provider: str, user: str | None = None) -> BatchTicket:
        """Return a ticket for a batch of these calls that may be made now. user: None for the one of the context.

        Raises Refused, before any request, as for a single call.
        """
        ...

    async def admit_async(self, intents: Sequence[Intent], *, provider: str, user: str | None = None) -> BatchTicket:
        """As `admit`, without blocking the event loop."""
        ...

    def deliver(self, name: BatchName, lines: Sequence[BatchLine], *, is_whole: bool, user: str | None) -> None:
        """Charge results to whoever made the batch, or where nobody is known, to whoever reads them. Never raises.

        is_whole: these are all there are, so nothing need be held any more. user: the reading client's own.
        """
        ...

    async def deliver_async(
        self, name: BatchName, lines: Sequence[BatchLine], *, is_whole: bool, user: str | None
    ) -> None:
        """As `deliver`, without blocking the event loop."""
        ...

    def tell(self, name: BatchName, outcome: BatchOutcome | None) -> None:
        """Know a batch by all these ids; with an outcome, it has ended and has no results to read. Never raises."""
        ...

    async def tell_async(self, name: BatchName, outcome: BatchOutcome | None) -> None:
        """As `tell`, without blocking the event loop."""
        ...


class Meter(Protocol):
    """Admits calls before they are made, and hears of those made elsewhere. batches: the same for batches."""

    @property
    def batches(self) -> BatchMeter:
        """The meter of batches."""
        ...

    def admit(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that may be made now. user: None for the one of the context.

        Raises Refused, before any request: insufficient credit, unpriced model, ledger unavailable, no user.
        """
        ...

    async def admit_async(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """As `admit`, without blocking the event loop."""
        ...

    def accept(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that is being made whatever its user has; one of nobody's is recorded as such."""
        ...

    def settle_job(
        self, *, provider: str, base_url: str, job_id: str, outcome: JobOutcome, reading: Reading | None
    ) -> None:
        """Charge a long job that completed, or give back what was held for one that failed.

        reading: None when the quantity was known at its creation. Repeats are harmless; an unknown job is ignored.
        """
        ...

    async def settle_job_async(
        self, *, provider: str, base_url: str, job_id: str, outcome: JobOutcome, reading: Reading | None
    ) -> None:
        """As `settle_job`, without blocking the event loop."""
        ...

    def observe(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """Correct an estimate: the provider told again about a reply that was charged. Otherwise nothing happens.

        user: whose call it may have been where the context names nobody; None when the client has no user of its own.
        """
        ...

    async def observe_async(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """As `observe`, without blocking the event loop."""
        ...


_COVER: ContextVar[threading.Lock | None] = ContextVar("callfare_metered_call", default=None)


def is_metered() -> bool:
    """Whether an outer layer is metering the call being made in this context; an inner one must not count it again."""
    cover = _COVER.get()
    return cover is not None and cover.locked()


def marked_as_metered() -> threading.Lock:
    """Return what marks the calls made within it, by `with`, as already metered.

    Tasks started within inherit the mark, but not beyond its end. A lock, since nothing a signal raises can come
    between its end and the letting go; a mark that stayed would leave every later call of this context uncounted.
    """
    cover = threading.Lock()
    _COVER.set(cover)
    return cover


@dataclass(frozen=True, slots=True)
class Unharmed:
    """Logs and swallows our own faults within, so that a caller never loses a provider's answer to them."""

    what: str
    logger: logging.Logger = field(default=LOGGER)

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        # What listens to the log may be at fault itself.
        with suppress(Exception):
            self.logger.error(
                "callfare could not %s; the call itself is unharmed", self.what, exc_info=(type(error), error, trace)
            )
        return True


READING = Unharmed("read a request")
"""Around what is read of a request: one that callfare cannot read may still be one that the provider can."""
