"""The engine: one open ledger with its settings. Both façades, capture and the command line stand on it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from callfare.answers import Repriced
from callfare.clock import Clock, SystemClock
from callfare.committer import Committer
from callfare.context import current_run, current_user
from callfare.delivery import Delivery
from callfare.engine.elsewhere import Elsewhere
from callfare.engine.glances import Glances
from callfare.engine.reports import Reports
from callfare.engine.requests import Requests, Subject, local_note, shown_key
from callfare.engine.shapes import units
from callfare.errors import (
    CallfareError,
    InsufficientCredit,
    KeyConflict,
    LedgerNotFound,
    LedgerUnavailable,
    Misconfigured,
    UserRequired,
)
from callfare.estimate.workflows import Workflows
from callfare.finished import Finished, Spooled
from callfare.ledger.commands import AdjustUsage, Command
from callfare.ledger.receipts import BatchReceipt, ChargeReceipt, Receipt
from callfare.ledger.rows import Event
from callfare.ledger.verify import Verification, verify
from callfare.local_run import LocalRun
from callfare.money import Credits
from callfare.secrets import Secrets, open_secrets
from callfare.settings import Terms
from callfare.spool import Spool
from callfare.store.memory import MemoryStore
from callfare.store.protocol import Store, UnpricedEvents
from callfare.store.sqlite import SqliteStore

C = TypeVar("C", bound=Receipt)
T = TypeVar("T")

_log = logging.getLogger("callfare")

_REPRICE_PAGE = 500
_NOT_THE_CALLER = frozenset({"callfare", "openai", "asyncio", "contextlib"})


def _frames_to_caller() -> int:
    """Return how far up the first caller is who is neither callfare nor a library it wraps."""
    depth, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_CALLER:
        frame = frame.f_back
        depth += 1
    return depth - 1


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class UnattributedWarning(UserWarning):
    """A call named no user and was charged to `unattributed`."""


class Engine:
    """One ledger: its store, its committer and its settings. Safe to share between threads and event loops."""

    def __init__(
        self,
        store: Store,
        settings: Terms,
        clock: Clock | None = None,
        *,
        address: str | None = None,
        spool: Spool | None = None,
        secrets_folder: Path | None = None,
    ) -> None:
        self.store = store
        # What the command line must be told to find this ledger; None where it needs no telling.
        self.address = address
        # Where its secrets lie unless the environment says otherwise; None for a ledger in memory.
        self.secrets_folder = secrets_folder
        self.settings = settings
        self.clock = clock or SystemClock()
        self.workflows = Workflows()
        self.requests = Requests(settings, self.workflows, self.clock)
        self.reports = Reports(store, settings, self.workflows, self.clock)
        # What the server in front of the ledger does itself; None where the ledger is here.
        self.elsewhere: Elsewhere | None = None
        # Where finished calls go that the ledger cannot take; None for a ledger in memory, or opened for reading.
        self.delivery = None if spool is None else Delivery(spool, store, self.clock)
        self._committer = Committer(store, keep=None if self.delivery is None else self.delivery.keep)
        # A server's reads wait for their answers; a file's only compute, and two threads would be in each other's way.
        is_here = isinstance(store, SqliteStore | MemoryStore)
        self._glances = Glances(threads=1, together=64) if is_here else Glances(threads=4, together=1)
        self._is_created = False
        self._has_warned = False

    @cached_property
    def secrets(self) -> Secrets:
        """What keys and tokens of this ledger are made and checked with, made now where there is nothing yet.

        Raises Misconfigured.
        """
        return open_secrets(self.secrets_folder, self.clock)

    def create(self) -> bool:
        """Make sure the ledger exists; return whether it was made just now, saying so once."""
        if self._is_created:
            return False
        is_new = self.store.create()
        self._is_created = True
        if is_new:
            url = self.store.facts().url
            if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
                _log.info("made a new ledger at %s", url)
            else:
                print(f"callfare: made a new ledger at {url}", file=sys.stderr)  # noqa: T201 - where no log is heard
        return is_new

    async def create_async(self) -> bool:
        """Make sure the ledger exists, as `create` does, without blocking the loop."""
        return not self._is_created and await self.read_async(self.create)

    def commit(self, command: Command | Finished, kind: type[C]) -> C:
        """Apply a command and return its receipt once it is durable."""
        try:
            receipt = self._committer.commit(command)
        except (KeyConflict, InsufficientCredit) as refusal:
            raise self._for_caller(refusal) from None
        return self._heard(receipt, kind)

    async def commit_async(self, command: Command | Finished, kind: type[C]) -> C:
        """Apply a command and return its receipt once it is durable, without blocking the loop."""
        try:
            receipt = await self._committer.commit_async(command)
        except (KeyConflict, InsufficientCredit) as refusal:
            raise self._for_caller(refusal) from None
        return self._heard(receipt, kind)

    def _heard(self, receipt: Receipt, kind: type[C]) -> C:
        assert isinstance(receipt, kind), receipt
        if self.delivery is not None and self.delivery.is_away and not isinstance(receipt, Spooled):
            self.delivery.answered()
        return receipt

    def finish(self, finished: Finished, kind: type[C]) -> C | None:
        """Record what has happened and return the receipt; None when it waits in the spool until the ledger is back.

        Raises the ledger's refusals, and LedgerUnavailable when there is no spool or it cannot be written either.
        """
        while True:
            if self.delivery is not None and self.delivery.has_waiting and self.delivery.keep_behind(finished):
                return None
            if finished.first is None:
                return _unless_spooled(self.commit(finished, Receipt), kind)
            finished = _after(finished, self.commit(Finished(finished.first), Receipt))

    async def finish_async(self, finished: Finished, kind: type[C]) -> C | None:
        """Record what has happened, as `finish` does, without blocking the loop. A cancelled caller changes nothing."""
        while True:
            delivery = self.delivery
            if delivery is not None and delivery.has_waiting and await delivery.keep_behind_async(finished):
                return None
            if finished.first is None:
                return _unless_spooled(await self.commit_async(finished, Receipt), kind)
            finished = _after(finished, await self.commit_async(Finished(finished.first), Receipt))

    async def finish_many_async(self, finished: Sequence[Finished], kind: type[C]) -> list[C | CallfareError | None]:
        """Record what has happened, in its order, and return for each its receipt, its refusal, or None when it waits.

        What belongs to one caller shares a commit. Raises what is a fault and no refusal.
        """
        if self.delivery is not None and self.delivery.has_waiting:
            answers = await asyncio.gather(*(self.finish_async(one, kind) for one in finished), return_exceptions=True)
        else:
            answers = [self._answered(one, kind) for one in await self._committer.commit_many_async(finished)]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CallfareError):
                raise answer
        return answers  # type: ignore[return-value]  # faults were raised

    async def apply_many_async(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Apply commands in their order, and return for each its receipt or its refusal. None of them is spooled here.

        Raises LedgerUnavailable, and what is a fault and no refusal.
        """
        if not commands:
            return []
        await self.catch_up_async()
        answers = [self._answered(one, Receipt) for one in await self._committer.commit_many_async(commands)]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CallfareError):
                raise answer
        return answers  # type: ignore[return-value]  # faults were raised, and what is not spooled has a receipt

    def _answered(self, answer: Receipt | BaseException, kind: type[C]) -> C | BaseException | None:
        if isinstance(answer, KeyConflict | InsufficientCredit):
            return self._for_caller(answer)
        return answer if isinstance(answer, BaseException) else _unless_spooled(self._heard(answer, Receipt), kind)

    def save(self, finished: Finished | None, fault: Exception) -> bool:
        """Keep a call in the spool that an unexpected fault has stopped, and return whether it is safe there.

        finished: None when the fault came before there was anything to keep. What was refused would be refused again.
        """
        is_refusal = isinstance(fault, CallfareError) and not isinstance(
            fault, LedgerUnavailable | LedgerNotFound | Misconfigured
        )
        was_tried = isinstance(fault.__cause__, OSError)
        if self.delivery is None or finished is None or is_refusal or was_tried:
            return False
        return self.delivery.keep([finished])

    async def save_async(self, finished: Finished | None, fault: Exception) -> bool:
        """Keep a call in the spool, as `save` does."""
        return await asyncio.to_thread(self.save, finished, fault)

    def catch_up(self) -> None:
        """Deliver what waits here, so that what is asked of the ledger now comes after it.

        Raises LedgerUnavailable when the ledger is away.
        """
        if self.delivery is not None and self.delivery.has_waiting:
            self.delivery.deliver()

    async def catch_up_async(self) -> None:
        """Deliver what waits here, as `catch_up` does."""
        if self.delivery is not None and self.delivery.has_waiting:
            await self.read_async(self.delivery.deliver)

    async def know_prices_async(self) -> None:
        """Make sure that asking what a call may cost will not block the loop."""

    def deliver_left_overs(self) -> None:
        """Deliver what processes that have ended left in the spool, before anything is asked that depends on it.

        While the ledger is away it waits on, and where an event loop would be held up it is delivered beside.
        """
        if self.delivery is None or not self.delivery.spool.has_files():
            return
        if not _is_in_a_loop():
            with suppress(CallfareError):
                self.delivery.deliver()
        if self.delivery.spool.has_files():
            self.delivery.begin()

    def refuse_while_away(self) -> None:
        """Return unless the ledger is known to be away: a call that must be asked for need not wait for that again.

        Raises LedgerUnavailable.
        """
        if self.delivery is not None and self.delivery.is_away:
            raise LedgerUnavailable("the ledger does not answer; it is asked again every two seconds, retry then")

    def _for_caller(self, refusal: KeyConflict | InsufficientCredit) -> CallfareError:
        """Return a refusal of the ledger in its caller's terms: the key as it was given, the ledger by its address."""
        if isinstance(refusal, KeyConflict):
            return KeyConflict(shown_key(refusal.key))
        needed, available = refusal.needed, refusal.available
        return InsufficientCredit(refusal.user, needed=needed, available=available, ledger=self.address)

    def active_run(self) -> LocalRun | None:
        """Return the run of this ledger that is in force here; a user named inside it stands before it."""
        run = current_run.get()
        if run is None or run.store is not self.store or current_user.get() not in {None, run.user}:
            return None
        return run

    def leave(self, command: Command) -> None:
        """Have a command applied for an asyncio caller who has gone; nobody hears what became of it."""
        self._committer.leave(command)

    async def read_async(self, read: Callable[[], T]) -> T:
        """Return what a read returns, run in a thread so that the loop goes on."""
        return await asyncio.to_thread(read)

    async def glance_async(self, read: Callable[[], T]) -> T:
        """Return what a short read returns, one that finds a few rows by their keys, without blocking the loop."""
        return await self._glances.read(read)

    def glance(self, read: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future of a short read, for whoever has others waiting for it."""
        return self._glances.ask(read)

    def subject_of(self, user: str | None) -> Subject:
        """Return whom a call outside a run is for.

        Raises UserRequired when it names nobody and the settings ask for a user; warns once otherwise.
        """
        if user is not None:
            return Subject(user=user)
        if self.settings.require_user:
            raise UserRequired("the call names no user", step="use fare.user(…), fare.run(…) or user=", param="user")
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "a call names no user and is charged to 'unattributed'; use fare.user(…), fare.run(…) or user=",
                UnattributedWarning,
                stacklevel=_frames_to_caller(),
            )
        return Subject()

    def verify(self, progress: Callable[[str, int], None] | None = None) -> Verification:
        """Recompute the whole ledger from its history and return every row that is wrong."""
        with self.store.one_instant() as scan:
            return verify(scan, progress=progress)

    def reprice(self) -> Repriced:
        """Rate all unpriced calls again under the present book, and charge those that have a price now."""
        priced = unpriced = nanocredits = 0
        for original in self._unpriced():
            event = self.reports.as_corrected(original)
            if event.status == "priced":
                continue
            command = self._again(event)
            if command.status == "unpriced":
                unpriced += 1
                continue
            nanocredits += self.commit(command, ChargeReceipt).nanocredits
            priced += 1
        return Repriced(priced=priced, still_unpriced=unpriced, credits=Credits.of_units(nanocredits))

    def _again(self, event: Event) -> AdjustUsage:
        command = self.requests.adjustment(
            event.account_id,
            event.corrects or event.key,
            "reprice",
            model=event.model,
            provider=event.provider,
            usage=units(event.usage),
            attributes=self.requests.attributes_of(event.attributes),
            at_us=event.at_us,
            markup=Fraction(event.markup),
        )
        return msgspec.structs.replace(command, audit=local_note("usage.reprice"))

    def _unpriced(self) -> Iterator[Event]:
        account_id, key = -1, ""
        while True:
            page = self.store.select(UnpricedEvents(after_account_id=account_id, after_key=key, limit=_REPRICE_PAGE))
            for row in page:
                assert isinstance(row, Event), row
                yield row
                account_id, key = row.account_id, row.key
            if len(page) < _REPRICE_PAGE:
                return

    def close(self) -> None:
        """Apply what waits and close the store."""
        self._committer.close()
        self._glances.close()
        if self.delivery is not None:
            self.delivery.close()
        self.store.close()


def _unless_spooled(receipt: Receipt, kind: type[C]) -> C | None:
    """Return a receipt, None when it only says that the call is kept."""
    if isinstance(receipt, Spooled):
        return None
    assert isinstance(receipt, kind), receipt
    return receipt


def _after(finished: Finished, first: Receipt) -> Finished:
    """Return what can be asked for after what comes first; as it was where that waits as well."""
    return finished.after(first) if isinstance(first, ChargeReceipt | BatchReceipt) else finished
