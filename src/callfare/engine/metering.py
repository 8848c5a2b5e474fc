"""Metering: what captured SDK calls go through. Refuses before a call is made; never breaks it afterwards."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec.structs import replace

from callfare.capture.base import Intent
from callfare.capture.places import with_place
from callfare.capture.providers import stranger_at
from callfare.checks import RESPONSE_ID_LENGTH_MAX, check_user, clean_text
from callfare.context import current_step, current_user
from callfare.engine.batches import Batches
from callfare.engine.engine import Engine, UnattributedWarning
from callfare.engine.near import unpriced
from callfare.engine.reports import Estimated
from callfare.engine.requests import Call, Subject, job_key
from callfare.errors import (
    AmountOutOfRange,
    InsufficientCredit,
    InvalidQuantity,
    InvalidUser,
    NotFound,
    UnpricedModel,
    UserRequired,
)
from callfare.finished import Finished
from callfare.ids import names_one_reply, new_id, response_key_of
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.commands import ExtendRun, PendJob, RecordUsage, SettleJob
from callfare.ledger.receipts import ChargeReceipt, ExtendReceipt, JobReceipt
from callfare.local_run import LocalRun
from callfare.money import Credits
from callfare.pricing.ceiling import ceiling
from callfare.usage.extract import Reading

_log = logging.getLogger("callfare")

JOB_TTL_S = 24 * 3600
_ESTIMATES_MAX = 1000


class Ticket:
    """One admitted call. Its user, run and step are those in force when it was admitted."""

    __slots__ = (
        *("_attempt", "_estimate", "_intent", "_is_exact", "_is_over", "_made", "_made_at_us", "_meter"),
        *("_is_told", "_ordinal", "_reading", "_reserved", "_run", "_step", "_subject"),
    )

    def __init__(
        self,
        meter: Metering,
        intent: Intent,
        subject: Subject,
        run: LocalRun | None,
        reserved: int,
        *,
        is_told: bool = False,
    ) -> None:
        self._meter = meter
        # Somebody else made the call, and may tell of it twice.
        self._is_told = is_told
        self._intent = intent
        self._subject = subject
        self._run = run
        self._reserved = reserved
        self._step = current_step.get() if run else None
        self._ordinal = run.next_ordinal(self._step) if run and self._step is not None else 1
        self._attempt = new_id("try") if self._step is not None else ""
        # The charge it stands as, or the call itself where that waits in the spool.
        self._estimate: ChargeReceipt | RecordUsage | None = None
        # What was handed to the ledger last: one who was interrupted hands the same again, and it is heard once.
        self._made: Finished | None = None
        self._reading: Reading | None = None
        self._is_exact = False
        self._made_at_us = 0
        self._is_over = False

    def settle(self, reading: Reading, *, estimated: bool = False) -> None:
        """Record and charge what the call used. A second settle, after an estimate, corrects it. Never raises."""
        finished = None
        try:
            finished = self._finished(reading, estimated=estimated)
            self._settled(self._meter.engine.finish(finished, ChargeReceipt), finished, estimated=estimated)
        except Exception as fault:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            if not self._meter.engine.save(finished, fault):
                self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    async def settle_async(self, reading: Reading, *, estimated: bool = False) -> None:
        """Record and charge what the call used, as `settle` does."""
        engine, finished = self._meter.engine, None
        try:
            finished = self._finished(reading, estimated=estimated)
            self._settled(await engine.finish_async(finished, ChargeReceipt), finished, estimated=estimated)
        except Exception as fault:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            if not await engine.save_async(finished, fault):
                self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    def pend(self, job_id: str, reading: Reading) -> None:
        """Hold what a long job will cost. Never raises."""
        finished = None
        try:
            finished = self._job(job_id, reading)
            self._pending(self._meter.engine.finish(finished, JobReceipt))
        except Exception as fault:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            if not self._meter.engine.save(finished, fault):
                self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    async def pend_async(self, job_id: str, reading: Reading) -> None:
        """Hold what a long job will cost, as `pend` does."""
        engine, finished = self._meter.engine, None
        try:
            finished = self._job(job_id, reading)
            self._pending(await engine.finish_async(finished, JobReceipt))
        except Exception as fault:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            if not await engine.save_async(finished, fault):
                self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    def release(self) -> None:
        """Stop counting the call against its run. Calling it twice is harmless."""
        if self._run is not None:
            self._run.end(self._reserved)
            self._reserved = 0
            if self._step is not None and not self._is_over:
                self._is_over = True
                self._run.return_ordinal(self._step, self._ordinal)

    def _finished(self, reading: Reading, *, estimated: bool) -> Finished:
        if self._made is not None and (self._is_exact or reading == self._reading):
            return self._made
        self._made = finished = self._made_of(reading, estimated=estimated)
        self._reading, self._is_exact = reading, not estimated
        return finished

    def _made_of(self, reading: Reading, *, estimated: bool) -> Finished:
        if self._estimate is not None:
            return self._meter.correction(
                self._estimate,
                reading,
                provider=self._intent.provider,
                base_url=self._intent.base_url,
                at_us=self._made_at_us,
                run=self._run,
            )
        call = self._meter.call_of(self._intent, reading, is_estimated=estimated)
        if call.response_id and not self._is_told and not names_one_reply(call.response_id):
            # Made here, it is settled once whatever it is called; under such a name the next one would be taken for it.
            call = replace(call, response_id=None)
        if self._step is not None:
            call = replace(call, step=self._step, ordinal=self._ordinal, attempt=self._attempt)
        command = self._meter.usage(self._subject, call)
        self._made_at_us = command.at_us
        if estimated:
            # It stands as this from now on, whether or not its caller waits until the ledger has it.
            self._estimate = command
        return Finished(command, run=self._run, nanocredits=command.nanocredits)

    def _pending(self, receipt: JobReceipt | None) -> None:
        if self._run is not None and receipt is not None:
            self._run.follow(receipt)

    def _settled(self, receipt: ChargeReceipt | None, finished: Finished, *, estimated: bool) -> None:
        if estimated and isinstance(finished.command, RecordUsage):
            self._estimate = receipt or finished.command
            if receipt is None:
                self._meter.remember(finished.command)
        if self._run is not None and receipt is not None:
            self._run.follow(receipt)

    def _job(self, job_id: str, reading: Reading) -> Finished:
        call = self._meter.call_of(self._intent, reading, is_estimated=False)
        named = replace(call, step=self._step, ordinal=self._ordinal, attempt=self._attempt)
        pend = self._meter.job(self._subject, named, job_id)
        return Finished(pend, run=self._run, nanocredits=pend.charge.nanocredits)

    def _lost(self, reading: Reading) -> None:
        _log.exception("a call of %s could not be recorded: usage %s", reading.model, dict(reading.usage))


class Metering:
    """The meter of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # The latest that waited in the spool when they were made, by their responses.
        self._estimates: dict[str, RecordUsage] = {}
        self.batches = Batches(self)

    # Before a call

    def admit(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that may be made.

        Raises InsufficientCredit, UnpricedModel, UserRequired and LedgerUnavailable, all before the call.
        """
        subject, run = self.whom(user)
        needed, reason = self.ceiling_of(intent)
        if run is None:
            self.engine.refuse_while_away()
            self._check_account(subject, needed)
            return Ticket(self, intent, subject, None, 0)
        extension = self._begin(run, intent, needed, reason)
        if extension is not None:
            try:
                self.engine.refuse_while_away()
                self._extended(run, self.engine.commit(extension, ExtendReceipt))
            except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the call is not made
                run.end(needed)
                raise _for_user(error, run) from None
        return Ticket(self, intent, subject, run, needed)

    async def admit_async(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that may be made, as `admit` does."""
        await self.engine.know_prices_async()
        subject, run = self.whom(user)
        needed, reason = self.ceiling_of(intent)
        if run is None:
            self.engine.refuse_while_away()
            await self.engine.read_async(lambda: self._check_account(subject, needed))
            return Ticket(self, intent, subject, None, 0)
        extension = self._begin(run, intent, needed, reason)
        if extension is not None:
            try:
                self.engine.refuse_while_away()
                self._extended(run, await self.engine.commit_async(extension, ExtendReceipt))
            except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the call is not made
                run.end(needed)
                raise _for_user(error, run) from None
        return Ticket(self, intent, subject, run, needed)

    def accept(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that is being made whatever its user has: one of nobody's is `unattributed`."""
        subject, run = self.whom_made(user, intent.model)
        return Ticket(self, intent, subject, run, 0, is_told=True)

    def whom_made(self, user: str | None, model: str) -> tuple[Subject, LocalRun | None]:
        """Return whom a call that was made is for, nobody where none is named: it can no longer be refused."""
        try:
            return self.whom(user if user is None else check_user(user))
        except InvalidUser as refusal:
            _log.error("a call of %s names no user that can be: %s", model or "a model", refusal)
            return self.whom_made(None, model)
        except (UserRequired, UnattributedWarning) as refusal:
            # What a provider did is recorded.
            _log.error("a call of %s is charged to %s: %s", model or "a model", UNATTRIBUTED, refusal)
            return Subject(), None

    def whom(self, user: str | None) -> tuple[Subject, LocalRun | None]:
        """Return whom a call made here and now is for, and its run where it is in one. Raises UserRequired."""
        run = self.engine.active_run()
        if run is not None:
            return Subject(account_id=run.account_id, run_id=run.run_id), run
        return self.engine.subject_of(current_user.get() or user), None

    def ceiling_of(self, intent: Intent) -> tuple[int, str]:
        """Return the nanocredits a call may cost at the most, and why it has no price; one of the two is empty."""
        now_us = self.engine.clock.now_us()
        return ceiling(
            self.engine.settings.book,
            model=intent.model,
            usage=intent.usage,
            attributes=_attributes_of(intent, intent.attributes, intent.model),
            at_us=now_us,
            markup=self.engine.settings.markup_at(now_us),
            provider=intent.provider or None,
        )

    def unpriced(self, intent: Intent, reason: str) -> UnpricedModel:
        """Return the refusal of a call that has no price, with the names that may have been meant."""
        return unpriced(
            self.engine.settings.book,
            intent.model,
            provider=intent.provider or None,
            at_us=self.engine.clock.now_us(),
            reason=reason,
            host=stranger_at(intent.base_url, intent.provider),
        )

    def _check_account(self, subject: Subject, needed: int) -> None:
        if not subject.user:
            self.engine.reports.balance(UNATTRIBUTED)
            return
        available = self.engine.reports.balance(subject.user).available
        if available.nanocredits <= 0 or needed > available.nanocredits:
            least = Credits.of_units(max(needed, 1))
            raise InsufficientCredit(subject.user, needed=least, available=available, ledger=self.engine.address)

    def _begin(self, run: LocalRun, intent: Intent, needed: int, reason: str) -> ExtendRun | None:
        if reason:
            raise self.unpriced(intent, reason)
        shortfall = run.begin(needed, self.engine.clock.now_us())
        if not shortfall:
            return None
        return ExtendRun(run_id=run.run_id, account_id=run.account_id, key=new_id("ext"), by_nanocredits=shortfall)

    @staticmethod
    def _extended(run: LocalRun, receipt: ExtendReceipt) -> None:
        run.learn(
            held_nanocredits=receipt.held_nanocredits,
            used_nanocredits=receipt.used_nanocredits,
            expires_at_us=receipt.expires_at_us,
        )

    # After a call

    def call_of(self, intent: Intent, reading: Reading, *, is_estimated: bool) -> Call:
        """Return a captured call as it may be recorded; nothing a provider says is a reason to lose it."""
        return Call(
            model=clean_text(reading.model) or clean_text(intent.model) or "unknown",
            usage=reading.usage or {"calls": 1},
            operation=intent.operation,
            attributes=_attributes_of(intent, reading.attributes, reading.model or intent.model),
            provider=clean_text(intent.provider),
            base_url=clean_text(intent.base_url),
            response_id=clean_text(reading.response_id, RESPONSE_ID_LENGTH_MAX) or None,
            raw=reading.raw,
            is_estimated=is_estimated,
        )

    def usage(self, subject: Subject, call: Call) -> RecordUsage:
        """Return the command for a captured call; one whose count cannot be priced is kept unpriced, never lost."""
        try:
            return self.engine.requests.usage(subject, call)
        except (AmountOutOfRange, InvalidQuantity):
            return self.engine.requests.usage(subject, replace(call, usage={"calls": 1}))

    def job(self, subject: Subject, call: Call, job_id: str) -> PendJob:
        """Return the command for a long job; one whose count cannot be priced is kept unpriced, never lost."""
        try:
            return self.engine.requests.job(subject, call, job_id, ttl_s=JOB_TTL_S)
        except (AmountOutOfRange, InvalidQuantity):
            return self.engine.requests.job(subject, replace(call, usage={"calls": 1}), job_id, ttl_s=JOB_TTL_S)

    def correction(
        self,
        estimate: ChargeReceipt | RecordUsage | Estimated,
        reading: Reading,
        *,
        provider: str,
        base_url: str,
        at_us: int,
        run: LocalRun | None = None,
    ) -> Finished:
        """Return what puts a real count in place of an estimate, at the rates of the call's own time.

        An estimate that waits in the spool has no account number yet: the correction brings the estimate along.
        """
        model = clean_text(reading.model)
        command = self.engine.requests.adjustment(
            estimate.account_id or 0,
            estimate.key,
            "correction",
            model=model,
            provider=provider,
            usage=reading.usage,
            # Its price may depend on the place, which only the call's address tells.
            attributes=with_place(reading.attributes, provider=provider, base_url=base_url, model=model),
            at_us=at_us,
            raw=reading.raw,
        )
        more = max(0, command.nanocredits - estimate.nanocredits)
        known = estimate if isinstance(estimate, RecordUsage) else None
        return Finished(command, run=run, nanocredits=more, estimate=known)

    # Jobs, and what providers say again

    def settle_job(self, *, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None) -> None:
        """End a long job, whoever began it. A repeat is harmless, an unknown job is ignored. Never raises."""
        finished = None
        try:
            finished = Finished(self._end(provider, base_url, job_id, outcome, reading))
            self.engine.finish(finished, JobReceipt)
        except NotFound:
            return
        except Exception as fault:  # noqa: BLE001 - nothing after a call may lose its answer
            if not self.engine.save(finished, fault):
                _log.exception("the end of job %s could not be recorded", job_id)

    async def settle_job_async(
        self, *, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None
    ) -> None:
        """End a long job, as `settle_job` does."""
        finished = None
        try:
            finished = Finished(self._end(provider, base_url, job_id, outcome, reading))
            await self.engine.finish_async(finished, JobReceipt)
        except NotFound:
            return
        except Exception as fault:  # noqa: BLE001 - nothing after a call may lose its answer
            if not await self.engine.save_async(finished, fault):
                _log.exception("the end of job %s could not be recorded", job_id)

    def _end(self, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None) -> SettleJob:
        key = job_key(provider, base_url, job_id)
        call = None
        if reading is not None and reading.usage and outcome == "completed":
            intent = Intent(
                provider=provider,
                base_url=base_url,
                operation="video",
                model=reading.model,
                usage={},
                attributes={},
            )
            call = self.call_of(intent, reading, is_estimated=False)
        return self.engine.requests.job_end(key, job_id, outcome, call)

    def observe(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """Take note that a provider told again about a response: an estimate is corrected. Never raises."""
        try:
            finished = self._correction_of(provider, base_url, reading, user)
            if finished is not None:
                self.engine.finish(finished, ChargeReceipt)
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("what %s said again could not be recorded", provider)

    async def observe_async(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """Take note that a provider told again about a response, as `observe` does."""
        try:
            finished = await self.engine.read_async(lambda: self._correction_of(provider, base_url, reading, user))
            if finished is not None:
                await self.engine.finish_async(finished, ChargeReceipt)
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("what %s said again could not be recorded", provider)

    def _correction_of(
        self, provider: str, base_url: str, reading: Reading, client_user: str | None
    ) -> Finished | None:
        if not reading.response_id or not reading.usage or reading.incomplete:
            return None
        name = response_key_of(
            provider=provider,
            base_url=clean_text(base_url),
            response_id=clean_text(reading.response_id, RESPONSE_ID_LENGTH_MAX),
        )
        estimate = self._estimates.get(name) or self._estimate_of(name, current_user.get() or client_user)
        if estimate is None:
            return None
        return self.correction(estimate, reading, provider=provider, base_url=base_url, at_us=estimate.at_us)

    def _estimate_of(self, name: str, user: str | None) -> Estimated | None:
        """Return the estimate that the ledger has of a response."""
        run = self.engine.active_run()
        return self.engine.reports.estimate_of_response(run.user if run else user or UNATTRIBUTED, name)

    def remember(self, estimate: RecordUsage) -> None:
        """Know an estimate again when its response is told of, even if the ledger cannot be asked then."""
        if estimate.response_id:
            self._estimates[estimate.response_key or estimate.key] = estimate
            while len(self._estimates) > _ESTIMATES_MAX:
                self._estimates.pop(next(iter(self._estimates)))


def _attributes_of(intent: Intent, attributes: Mapping[str, str], model: str) -> Mapping[str, str]:
    """Return what selects among rates, with the place where a call was run if that is part of its price."""
    return with_place(attributes, provider=intent.provider, base_url=intent.base_url, model=model)


def _for_user(error: BaseException, run: LocalRun) -> BaseException:
    """Return a refusal that names the user, where the ledger could only name the run."""
    if isinstance(error, InsufficientCredit):
        return InsufficientCredit(run.user, needed=error.needed, available=error.available, ledger=error.ledger)
    return error
