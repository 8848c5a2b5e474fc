"""Making batches and asking about them: admitted before they are made, bound to their maker by the provider's answer.

Refuses to fetch anything that nobody asked for: of a batch whose requests this process has not seen, nothing is known
but that it was made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from callfare.capture.base import LOGGER, BatchName, BatchTicket, Intent, Meter
from callfare.capture.dialect import BatchTold, Hear, Replies, Request
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, Tally
from callfare.mutexes import new_mutex
from callfare.usage.extract import read

_FILES_MAX = 1000
_REQUESTS_MAX = 200_000


class Noted(Settlement, frozen=True, kw_only=True):
    """What a reply has told of a batch; None for nothing."""

    told: BatchTold | None = None


def noted(told: BatchTold | None) -> Noted:
    """Return what a reply has told of a batch, which costs nothing by itself."""
    return Noted("settle", read("batch", None, model=""), told=told)


@dataclass(frozen=True, slots=True)
class BatchNotes:
    """How replies are read that tell of a batch, or of a file of its requests."""

    dialect: Replies
    hear: Hear

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for a whole reply."""
        return _WholeTally()

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply tells."""
        return noted(None if reply is None else self.hear(reply))


class _WholeTally(Counting):
    __slots__ = ()

    def take(self, event: object) -> bool:
        """Take in the reply."""
        self.end(event)
        return False


@dataclass(frozen=True, slots=True)
class Making:
    """The ending of a request that makes a batch. is_more: it adds calls to one that may be there."""

    ticket: BatchTicket
    provider: str
    base_url: str
    is_more: bool = False

    def apply(self, settlement: Settlement) -> None:
        """Have the batch belong to its maker, or give back what was held where none was made."""
        name = self._name(settlement)
        if name is not None:
            self.ticket.bind(name, is_more=self.is_more)
        elif settlement.kind == "release":
            self.ticket.release()

    async def apply_async(self, settlement: Settlement) -> None:
        """As `apply`, without blocking the event loop."""
        name = self._name(settlement)
        if name is not None:
            await self.ticket.bind_async(name, is_more=self.is_more)
        elif settlement.kind == "release":
            await self.ticket.release_async()

    def _name(self, settlement: Settlement) -> BatchName | None:
        told = settlement.told if isinstance(settlement, Noted) else None
        if told is None and settlement.kind != "release":
            LOGGER.warning("a provider made a batch and did not say which; what is held for it expires")
        return None if told is None else BatchName(provider=self.provider, base_url=self.base_url, ids=told.ids)


@dataclass(frozen=True, slots=True)
class Hearing:
    """The ending of a request that asks about a batch, or puts one's requests into a file."""

    meter: Meter
    provider: str
    base_url: str

    def apply(self, settlement: Settlement) -> None:
        """Know a batch by the files it is told to have, and that it ended without results."""
        told = self._news(settlement)
        if told is not None:
            self.meter.batches.tell(self._name(told), told.outcome)

    async def apply_async(self, settlement: Settlement) -> None:
        """As `apply`, without blocking the event loop."""
        told = self._news(settlement)
        if told is not None:
            await self.meter.batches.tell_async(self._name(told), told.outcome)

    def _news(self, settlement: Settlement) -> BatchTold | None:
        told = settlement.told if isinstance(settlement, Noted) else None
        if told is None:
            return None
        for file_id in told.ids[1:]:
            BATCH_FILES.note(self.base_url, file_id, told.ids[0])
        return told if told.outcome is not None or len(told.ids) > 1 else None

    def _name(self, told: BatchTold) -> BatchName:
        return BatchName(provider=self.provider, base_url=self.base_url, ids=told.ids)


class BatchFiles:
    """The latest batches by the files of their results, as providers told them. Safe in threads."""

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._mutex = new_mutex(self, "_mutex")

    def note(self, base_url: str, file_id: str, batch_id: str) -> None:
        """Know whose file this is."""
        with self._mutex:
            self._batches[base_url, file_id] = batch_id
            if len(self._batches) > _FILES_MAX:
                self._batches.popitem(last=False)

    def batch_of(self, base_url: str, file_id: str) -> str | None:
        """Return the batch whose results a file has, None where nobody has told."""
        with self._mutex:
            return self._batches.get((base_url, file_id))


class Uploads:
    """The requests in the latest files that were uploaded for batches. Safe in threads."""

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[str, str], tuple[Intent, ...]] = OrderedDict()
        self._count = 0
        self._mutex = new_mutex(self, "_mutex")

    def note(self, base_url: str, file_id: str, requests: Sequence[Intent]) -> None:
        """Keep what a file asks for, in place of the oldest."""
        with self._mutex:
            self._drop((base_url, file_id))
            self._requests[base_url, file_id] = tuple(requests)
            self._count += len(requests)
            while self._count > _REQUESTS_MAX and len(self._requests) > 1:
                self._drop(next(iter(self._requests)))

    def of(self, base_url: str, file_id: str) -> tuple[Intent, ...]:
        """Return what a file asks for, nothing where this process has not seen it."""
        with self._mutex:
            return self._requests.get((base_url, file_id), ())

    def _drop(self, key: tuple[str, str]) -> None:
        self._count -= len(self._requests.pop(key, ()))


BATCH_FILES = BatchFiles()
"""Those of this process: a batch is asked about by one client, and its file read by another."""
UPLOADS = Uploads()
"""Those of this process."""
