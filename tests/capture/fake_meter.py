"""A meter that only remembers: it stands behind our own seam, where the engine stands otherwise."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from callfare.capture.base import Intent
from callfare.usage.extract import Reading


@dataclass
class FakeTicket:
    """One admitted call, and everything that was done with it."""

    meter: FakeMeter = field(repr=False)
    intent: Intent
    user: str | None
    settled: list[tuple[Reading, bool]] = field(default_factory=list)
    pended: list[tuple[str, Reading]] = field(default_factory=list)
    released: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def settle(self, reading, *, estimated=False):
        self.settled.append((reading, estimated))
        self.ended.set()
        if self.meter.breaks:
            raise RuntimeError("the meter is broken")

    async def settle_async(self, reading, *, estimated=False):
        self.meter.async_count += 1
        self.settle(reading, estimated=estimated)

    def pend(self, job_id, reading):
        self.pended.append((job_id, reading))
        self.ended.set()

    async def pend_async(self, job_id, reading):
        self.meter.async_count += 1
        self.pend(job_id, reading)

    def release(self):
        self.released += 1
        self.ended.set()

    @property
    def usage(self):
        """The usage of the only settlement."""
        [(reading, _)] = self.settled
        return reading.usage

    @property
    def is_estimated(self):
        """Whether the only settlement was an estimate."""
        [(_, estimated)] = self.settled
        return estimated


@dataclass
class FakeBatchTicket:
    """One admitted batch, and what was done with it."""

    intents: list[Intent]
    user: str | None
    bound: list[tuple[str, ...]] = field(default_factory=list)
    is_more: bool = False
    released: int = 0

    def bind(self, name, *, is_more=False):
        self.bound.append(name.ids)
        self.is_more = is_more

    async def bind_async(self, name, *, is_more=False):
        self.bind(name, is_more=is_more)

    def release(self):
        self.released += 1

    async def release_async(self):
        self.release()


@dataclass
class FakeBatches:
    """Remembers batches; each line that is delivered is a ticket of the meter's, settled."""

    meter: FakeMeter = field(repr=False)
    tickets: list[FakeBatchTicket] = field(default_factory=list)
    delivered: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)
    told: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    @property
    def ticket(self):
        """The only ticket."""
        [ticket] = self.tickets
        return ticket

    def admit(self, intents, *, provider, user=None):
        assert provider
        if self.meter.refusal is not None:
            raise self.meter.refusal
        self.tickets.append(FakeBatchTicket(list(intents), user))
        return self.tickets[-1]

    async def admit_async(self, intents, *, provider, user=None):
        self.meter.async_count += 1
        return self.admit(intents, provider=provider, user=user)

    def deliver(self, name, lines, *, is_whole, user):
        self.delivered.append((name.ids, is_whole))
        for line in lines:
            self.meter.accept(line.intent, user=user).settle(line.reading, estimated=line.estimated)

    async def deliver_async(self, name, lines, *, is_whole, user):
        self.meter.async_count += 1
        self.deliver(name, lines, is_whole=is_whole, user=user)

    def tell(self, name, outcome):
        self.told.append((name.ids, outcome))

    async def tell_async(self, name, outcome):
        self.meter.async_count += 1
        self.tell(name, outcome)


@dataclass
class FakeMeter:
    """Remembers every admission, job and observation; refuses with `refusal` if it has one."""

    refusal: Exception | None = None
    breaks: bool = False
    tickets: list[FakeTicket] = field(default_factory=list)
    jobs: list[tuple[str, str, Reading | None]] = field(default_factory=list)
    observed: list[Reading] = field(default_factory=list)
    observed_for: list[str | None] = field(default_factory=list)
    async_count: int = 0
    batches: FakeBatches = field(init=False, repr=False)

    def __post_init__(self):
        self.batches = FakeBatches(self)

    @property
    def ticket(self):
        """The only ticket."""
        [ticket] = self.tickets
        return ticket

    def admit(self, intent, *, user=None):
        if self.refusal is not None:
            raise self.refusal
        self.tickets.append(FakeTicket(self, intent, user))
        return self.tickets[-1]

    def accept(self, intent, *, user=None):
        self.tickets.append(FakeTicket(self, intent, user))
        return self.tickets[-1]

    async def admit_async(self, intent, *, user=None):
        self.async_count += 1
        return self.admit(intent, user=user)

    def settle_job(self, *, provider, base_url, job_id, outcome, reading):
        self.jobs.append((job_id, outcome, reading))

    async def settle_job_async(self, *, provider, base_url, job_id, outcome, reading):
        self.async_count += 1
        self.settle_job(provider=provider, base_url=base_url, job_id=job_id, outcome=outcome, reading=reading)

    def observe(self, *, provider, base_url, reading, user=None):
        self.observed.append(reading)
        self.observed_for.append(user)

    async def observe_async(self, *, provider, base_url, reading, user=None):
        self.async_count += 1
        self.observe(provider=provider, base_url=base_url, reading=reading, user=user)
