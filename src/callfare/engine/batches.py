"""Batches at a provider: bounded before they are made, and charged to whoever made them, whoever reads the results.

A batch is a run of its own, whose hold is the most it can cost. It is opened before the provider is asked, bound to the
batch's id once the provider has answered, and ended when all results were read or there will be none. Refuses before a
batch is made or not at all; afterwards, no error of ours reaches the caller.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.capture.base import BatchLine, BatchName, Intent, Unharmed
from callfare.checks import clean_text
from callfare.context import current_user
from callfare.engine.requests import Subject
from callfare.errors import CallfareError, InsufficientCredit, NotFound
from callfare.finished import Finished
from callfare.ids import batch_key_of, new_account_id, new_id
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.commands import ClaimBatch, CloseRun, ExtendRun, OpenRun, TouchRun
from callfare.ledger.receipts import BatchReceipt, ChargeReceipt, CloseReceipt, ExtendReceipt, OpenReceipt, Receipt
from callfare.local_run import LocalRun
from callfare.money import Credits, in_range
from callfare.mutexes import new_mutex

if TYPE_CHECKING:
    from callfare.engine.metering import Metering

_log = logging.getLogger("callfare")

WORKFLOW = "batch"
BATCH_TTL_S = 7 * 24 * 3600
"""How long a batch's hold waits for its results: they are there within two days, and may be fetched after a weekend."""
_UNBOUND_TTL_S = 3600
"""How long it lasts of a process that ended before it knew the batch's id."""
_AT_ONCE = 64
_TOLD_MAX = 1000


class BatchTicket:
    """One admitted batch.

    subject: whose it is; its run is the batch's own, None where nothing is held.
    """

    __slots__ = ("_batches", "_held_nanocredits", "_subject")

    def __init__(self, batches: Batches, subject: Subject, *, held_nanocredits: int = 0) -> None:
        self._batches = batches
        self._subject = subject
        self._held_nanocredits = held_nanocredits

    def bind(self, name: BatchName, *, is_more: bool = False) -> None:
        """Have the batch belong to its maker, durably, or hold more for whoever's it is already. Never raises."""
        engine = self._batches.engine
        finished = Finished(self._claim(name))
        try:
            owner = engine.finish(finished, BatchReceipt)
        except Exception as fault:  # noqa: BLE001 - the batch is made, and its answer belongs to the caller
            if not engine.save(finished, fault):
                _log.exception("whose batch %s is could not be recorded", name.ids)
            return
        with Unharmed(f"hold what was added to batch {name.ids}", _log):
            for command in self._moving(owner) if is_more else ():
                engine.commit(command, Receipt)

    async def bind_async(self, name: BatchName, *, is_more: bool = False) -> None:
        """Have the batch belong to its maker, as `bind` does."""
        engine = self._batches.engine
        finished = Finished(self._claim(name))
        try:
            owner = await engine.finish_async(finished, BatchReceipt)
        except Exception as fault:  # noqa: BLE001 - the batch is made, and its answer belongs to the caller
            if not await engine.save_async(finished, fault):
                _log.exception("whose batch %s is could not be recorded", name.ids)
            return
        with Unharmed(f"hold what was added to batch {name.ids}", _log):
            for command in self._moving(owner) if is_more else ():
                await engine.commit_async(command, Receipt)

    def _moving(self, owner: BatchReceipt | None) -> Iterator[CloseRun | ExtendRun]:
        """Yield what moves what is held here to the run of a batch that had an owner before."""
        if owner is None or self._subject.run_id in (None, owner.run_id):
            return
        yield _closing(self._subject, "completed")
        if owner.is_own and owner.run_id is not None:
            yield ExtendRun(
                run_id=owner.run_id,
                account_id=owner.account_id,
                key=new_id("ext"),
                by_nanocredits=self._held_nanocredits,
            )

    def release(self) -> None:
        """Give back what was held. Never raises; what cannot be given back now expires within the hour."""
        try:
            if self._subject.run_id is not None:
                self._batches.engine.finish(Finished(_closing(self._subject, "cancelled")), CloseReceipt)
        except Exception:  # noqa: BLE001 - the caller is to have the provider's own error
            _log.exception("the hold of a batch that was not made could not be given back; it will expire")

    async def release_async(self) -> None:
        """Have given back what was held, without waiting: this task may be one that was cancelled."""
        if self._subject.run_id is not None:
            self._batches.engine.leave(_closing(self._subject, "cancelled"))

    def _claim(self, name: BatchName) -> ClaimBatch:
        is_own = self._subject.run_id is not None
        return replace(claim_of(name, self._subject), ttl_s=BATCH_TTL_S if is_own else None)


class Batches:
    """The meter of batches of one ledger."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self.engine = metering.engine
        self._told = _Told()

    # Before a batch

    def admit(self, intents: Sequence[Intent], *, provider: str, user: str | None = None) -> BatchTicket:
        """Return a ticket for a batch that may be made, under a hold of the most it can cost.

        Raises InsufficientCredit, UnpricedModel, RunClosed, UserRequired and LedgerUnavailable, all before it is made.
        """
        subject, run = self._metering.whom(user)
        needed = self._most(intents, run)
        self.engine.refuse_while_away()
        if run is None and not subject.user:
            self.engine.reports.balance(UNATTRIBUTED)
            return BatchTicket(self, subject)
        command = self._opening(subject, run, needed, len(intents), provider)
        try:
            opened = self.engine.commit(command, OpenReceipt)
            owner = Subject(account_id=opened.account_id, run_id=opened.run_id)
            ticket = BatchTicket(self, owner, held_nanocredits=needed)
            if run is not None:
                self._learn(run, ticket)
        except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the batch is not made
            raise _for_user(error, command.user) from None
        finally:
            _end(run, needed)
        return ticket

    async def admit_async(self, intents: Sequence[Intent], *, provider: str, user: str | None = None) -> BatchTicket:
        """Return a ticket for a batch that may be made, as `admit` does."""
        await self.engine.know_prices_async()
        subject, run = self._metering.whom(user)
        needed = self._most(intents, run)
        self.engine.refuse_while_away()
        if run is None and not subject.user:
            await self.engine.read_async(lambda: self.engine.reports.balance(UNATTRIBUTED))
            return BatchTicket(self, subject)
        command = self._opening(subject, run, needed, len(intents), provider)
        try:
            opened = await self.engine.commit_async(command, OpenReceipt)
            owner = Subject(account_id=opened.account_id, run_id=opened.run_id)
            ticket = BatchTicket(self, owner, held_nanocredits=needed)
            if run is not None:
                await self._learn_async(run, ticket)
        except asyncio.CancelledError:
            # What was asked for happens all the same, and nobody will make the batch.
            self.engine.leave(CloseRun(run_id=command.run_id, account_id=None, outcome="cancelled", key=None))
            raise
        except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the batch is not made
            raise _for_user(error, command.user) from None
        finally:
            _end(run, needed)
        return ticket

    def _learn(self, run: LocalRun, ticket: BatchTicket) -> None:
        """Ask what a run has left that has handed a part of its hold over. If nobody can say, no batch is made."""
        try:
            run.follow_hold(self.engine.commit(_touch(run), ExtendReceipt))
        except BaseException:
            ticket.release()
            raise

    async def _learn_async(self, run: LocalRun, ticket: BatchTicket) -> None:
        try:
            run.follow_hold(await self.engine.commit_async(_touch(run), ExtendReceipt))
        except BaseException:
            await ticket.release_async()
            raise

    def _most(self, intents: Sequence[Intent], run: LocalRun | None) -> int:
        """Return the nanocredits all calls may cost together, 1 at least, so that nobody begins with nothing.

        Raises UnpricedModel within a run.
        """
        total = 0
        for intent in intents:
            needed, reason = self._metering.ceiling_of(intent)
            if reason and run is not None:
                raise self._metering.unpriced(intent, reason)
            total += needed
        return in_range(max(total, 1), "cost of the batch", param="usage")

    def _opening(self, subject: Subject, run: LocalRun | None, needed: int, count: int, provider: str) -> OpenRun:
        """Return what opens the batch's own run, whose hold comes out of the run it is made in as far as that goes."""
        told = {"provider": provider, "requests": count, "run": None if run is None else run.run_id}
        command = self.engine.requests.open_run(
            WORKFLOW,
            user=subject.user if run is None else run.user,
            run_id=new_id("batch"),
            hold=Credits.of_units(needed),
            ttl_s=_UNBOUND_TTL_S,
            input={name: value for name, value in told.items() if value},
            bounds=None,
            on_failure="charge",
        )
        if run is None:
            return command
        shortfall = run.begin(needed, self.engine.clock.now_us())
        return replace(command, parent=run.run_id, from_parent_nanocredits=max(0, needed - shortfall))

    # Results

    def deliver(self, name: BatchName, lines: Sequence[BatchLine], *, is_whole: bool, user: str | None) -> None:
        """Charge results to whoever made the batch, once. Never raises."""
        if not lines:
            if is_whole:
                self.tell(name, "completed")
            return
        owner = self._owner(name, user)
        for line in lines:
            finished = None
            try:
                finished = self._recorded(line, owner)
                self._follow(finished, self.engine.finish(finished, ChargeReceipt))
            except Exception as fault:  # noqa: BLE001 - one line is no reason to lose the others
                if not self.engine.save(finished, fault):
                    self._lost(line)
        if is_whole:
            self._close(owner, "completed")

    async def deliver_async(
        self, name: BatchName, lines: Sequence[BatchLine], *, is_whole: bool, user: str | None
    ) -> None:
        """Charge results to whoever made the batch, as `deliver` does; those that wait together share a commit."""
        if not lines:
            if is_whole:
                await self.tell_async(name, "completed")
            return
        owner = await self._owner_async(name, user)
        for start in range(0, len(lines), _AT_ONCE):
            await asyncio.gather(*(self._record_async(line, owner) for line in lines[start : start + _AT_ONCE]))
        if is_whole:
            await self._close_async(owner, "completed")

    async def _record_async(self, line: BatchLine, owner: _Owner) -> None:
        finished = None
        try:
            finished = self._recorded(line, owner)
            self._follow(finished, await self.engine.finish_async(finished, ChargeReceipt))
        except Exception as fault:  # noqa: BLE001 - one line is no reason to lose the others
            if not await self.engine.save_async(finished, fault):
                self._lost(line)

    def _owner(self, name: BatchName, user: str | None) -> _Owner:
        """Return whose a batch is, or what each line brings along where the ledger cannot say now."""
        if self._is_nobody(user):
            known = self._known(name)
            if known is not None:
                return _owner_of(known)
        claim = claim_of(name, self._metering.whom_made(user, "a batch")[0])
        try:
            return _owner_by(claim, self.engine.finish(Finished(claim), BatchReceipt))
        except Exception as fault:  # noqa: BLE001 - the lines are recorded all the same
            return _owner_after(fault, claim)

    async def _owner_async(self, name: BatchName, user: str | None) -> _Owner:
        if self._is_nobody(user):
            known = await self._known_async(name)
            if known is not None:
                return _owner_of(known)
        claim = claim_of(name, self._metering.whom_made(user, "a batch")[0])
        try:
            return _owner_by(claim, await self.engine.finish_async(Finished(claim), BatchReceipt))
        except Exception as fault:  # noqa: BLE001 - the lines are recorded all the same
            return _owner_after(fault, claim)

    def _is_nobody(self, user: str | None) -> bool:
        return self.engine.active_run() is None and (current_user.get() or user) is None

    def _known(self, name: BatchName) -> BatchReceipt | None:
        try:
            return self.engine.commit(_look(name), BatchReceipt)
        except CallfareError:
            return None

    async def _known_async(self, name: BatchName) -> BatchReceipt | None:
        try:
            return await self.engine.commit_async(_look(name), BatchReceipt)
        except CallfareError:
            return None

    def _recorded(self, line: BatchLine, owner: _Owner) -> Finished:
        call = self._metering.call_of(line.intent, line.reading, is_estimated=line.estimated)
        command = self._metering.usage(owner.subject, call)
        here = self.engine.active_run()
        is_here = here is not None and (here.account_id, here.run_id) == (command.account_id, command.run_id)
        return Finished(
            command,
            run=here if is_here and owner.claim is None else None,
            nanocredits=command.nanocredits,
            claim=owner.claim,
        )

    @staticmethod
    def _follow(finished: Finished, receipt: ChargeReceipt | None) -> None:
        if finished.run is not None and receipt is not None:
            finished.run.follow(receipt)

    @staticmethod
    def _lost(line: BatchLine) -> None:
        reading = line.reading
        _log.exception("a result of %s could not be recorded: usage %s", reading.model, dict(reading.usage))

    # Ends

    def tell(self, name: BatchName, outcome: str | None) -> None:
        """Know a batch by all its ids, and give back what is held for one that ended without results. Never raises."""
        if not self._told.note(name, outcome):
            return
        try:
            owner = self.engine.commit(_look(name), BatchReceipt)
            if outcome is not None:
                self._close(_owner_of(owner), outcome)
        except NotFound:
            self._told.forget(name, outcome)
        except CallfareError as fault:
            self._told.forget(name, outcome)
            _log.warning("what was told of batch %s is not recorded, until it is told again: %s", name.ids, fault)

    async def tell_async(self, name: BatchName, outcome: str | None) -> None:
        """Know a batch by all its ids, as `tell` does."""
        if not self._told.note(name, outcome):
            return
        try:
            owner = await self.engine.commit_async(_look(name), BatchReceipt)
            if outcome is not None:
                await self._close_async(_owner_of(owner), outcome)
        except NotFound:
            self._told.forget(name, outcome)
        except CallfareError as fault:
            self._told.forget(name, outcome)
            _log.warning("what was told of batch %s is not recorded, until it is told again: %s", name.ids, fault)

    def _close(self, owner: _Owner, outcome: str) -> None:
        """End the run of a batch, unless it is one that others use too. One that has ended already stays as it is."""
        closing = owner.closing(outcome)
        if closing is None:
            return
        try:
            self.engine.finish(closing, Receipt)
        except CallfareError as refusal:
            _log.debug("the run of a batch stays as it is: %s", refusal)

    async def _close_async(self, owner: _Owner, outcome: str) -> None:
        closing = owner.closing(outcome)
        if closing is None:
            return
        try:
            await self.engine.finish_async(closing, Receipt)
        except CallfareError as refusal:
            _log.debug("the run of a batch stays as it is: %s", refusal)


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose a batch is.

    claim: what asks for that later, where the ledger could not say. has_run: it has a run of its own, or may have.
    """

    subject: Subject
    claim: ClaimBatch | None = None
    has_run: bool = False

    def closing(self, outcome: str) -> Finished | None:
        """Return the end of the batch's own run, None where it has none."""
        if not self.has_run:
            return None
        if self.claim is None:
            return Finished(_closing(self.subject, outcome))
        return Finished(CloseRun(run_id="", account_id=None, outcome=outcome, key=None), claim=self.claim)


def _owner_of(known: BatchReceipt) -> _Owner:
    return _Owner(Subject(account_id=known.account_id, run_id=known.run_id), has_run=known.is_own)


def _owner_by(claim: ClaimBatch, known: BatchReceipt | None) -> _Owner:
    """Return whose a batch is that was claimed; known: None where the claim waits in the spool."""
    return _Owner(_subject_of(claim), claim, has_run=True) if known is None else _owner_of(known)


class _Told:
    """What was told of batches lately, so that asking again and again does not move the ledger. Safe in threads."""

    def __init__(self) -> None:
        self._told: dict[tuple[BatchName, str | None], None] = {}
        self._mutex = new_mutex(self, "_mutex")

    def note(self, name: BatchName, outcome: str | None) -> bool:
        """Return whether this is news."""
        with self._mutex:
            if (name, outcome) in self._told:
                return False
            self._told[name, outcome] = None
            if len(self._told) > _TOLD_MAX:
                self._told.pop(next(iter(self._told)))
            return True

    def forget(self, name: BatchName, outcome: str | None) -> None:
        """Take it for news when it is told again."""
        with self._mutex:
            self._told.pop((name, outcome), None)


def _owner_after(fault: Exception, claim: ClaimBatch) -> _Owner:
    """Return who pays where a claim came to nothing: who reads, if they were refused; else whose it turns out to be."""
    if isinstance(fault, NotFound):
        _log.warning("a batch is charged to its reader, who may not read it for anybody else: %s", fault)
        return _Owner(_subject_of(claim))
    _log.error("whose a batch is could not be asked: %s", fault)
    return _owner_by(claim, None)


def _subject_of(claim: ClaimBatch) -> Subject:
    return Subject(user=claim.user, account_id=claim.account_id, run_id=claim.run_id)


def names_of(name: BatchName) -> tuple[str, ...]:
    """Return the keys that a batch is claimed under."""
    base_url = clean_text(name.base_url)
    return tuple(batch_key_of(provider=name.provider, base_url=base_url, batch_id=_id_of(one)) for one in name.ids)


def _id_of(batch_id: str) -> str:
    """Return an id as it can be kept: its digest, where it is not clean text of a sensible length."""
    if clean_text(batch_id) == batch_id:
        return batch_id
    return hashlib.sha256(batch_id.encode("utf-8", "surrogatepass")).hexdigest()


def claim_of(name: BatchName, subject: Subject) -> ClaimBatch:
    """Return the claim of a batch for somebody; for `unattributed` where nobody is named."""
    return ClaimBatch(
        names=names_of(name),
        user=subject.user or ("" if subject.account_id is not None else UNATTRIBUTED),
        new_account_id=0 if subject.account_id is not None else new_account_id(),
        account_id=subject.account_id,
        run_id=subject.run_id,
    )


def _closing(subject: Subject, outcome: str) -> CloseRun:
    """Return the end of a batch's own run."""
    assert subject.run_id is not None, subject
    return CloseRun(run_id=subject.run_id, account_id=subject.account_id, outcome=outcome, key=None)


def _look(name: BatchName) -> ClaimBatch:
    return ClaimBatch(names=names_of(name), is_known_only=True)


def _touch(run: LocalRun) -> TouchRun:
    return TouchRun(run_id=run.run_id, account_id=run.account_id)


def _end(run: LocalRun | None, needed: int) -> None:
    if run is not None:
        run.end(needed)


def _for_user(error: BaseException, user: str) -> BaseException:
    """Return a refusal that names the user, where the ledger could only name the account."""
    if isinstance(error, InsufficientCredit):
        return InsufficientCredit(user, needed=error.needed, available=error.available, ledger=error.ledger)
    return error
