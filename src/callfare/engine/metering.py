"""Metering: what captured SDK calls go through. Refuses before a call is made; never breaks it afterwards."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec

from callfare.capture.base import Intent
from callfare.checks import RESPONSE_ID_LENGTH_MAX, clean_text
from callfare.context import current_step, current_user
from callfare.engine.engine import Engine
from callfare.engine.requests import Call, Subject
from callfare.errors import AmountOutOfRange, InsufficientCredit, InvalidQuantity, NotFound, UnpricedModel
from callfare.ids import job_key_of, new_id, response_key_of
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.commands import AdjustUsage, ExtendRun, PendJob, RecordUsage, SettleJob
from callfare.ledger.receipts import ChargeReceipt, ExtendReceipt, JobReceipt
from callfare.local_run import LocalRun
from callfare.money import Credits
from callfare.pricing.ceiling import ceiling
from callfare.usage.extract import Reading

_log = logging.getLogger("callfare")

JOB_TTL_S = 24 * 3600


class Ticket:
    """One admitted call. Its user, run and step are those in force when it was admitted."""

    def __init__(self, meter: Metering, intent: Intent, subject: Subject, run: LocalRun | None, reserved: int) -> None:
        self._meter = meter
        self._intent = intent
        self._subject = subject
        self._run = run
        self._reserved = reserved
        self._step = current_step.get() if run else None
        self._ordinal = run.next_ordinal(self._step) if run and self._step is not None else 1
        self._attempt = new_id("try") if self._step is not None else ""
        self._estimate: ChargeReceipt | None = None
        self._made_at_us = 0
        self._is_over = False

    def settle(self, reading: Reading, *, estimated: bool = False) -> None:
        """Record and charge what the call used. A second settle, after an estimate, corrects it. Never raises."""
        try:
            command = self._command(reading, estimated=estimated)
            self._settled(self._meter.engine.commit(command, ChargeReceipt), estimated=estimated)
        except Exception:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    async def settle_async(self, reading: Reading, *, estimated: bool = False) -> None:
        """Record and charge what the call used, as `settle` does."""
        try:
            command = self._command(reading, estimated=estimated)
            self._settled(await self._meter.engine.commit_async(command, ChargeReceipt), estimated=estimated)
        except Exception:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    def pend(self, job_id: str, reading: Reading) -> None:
        """Hold what a long job will cost. Never raises."""
        try:
            self._pending(self._meter.engine.commit(self._job(job_id, reading), JobReceipt))
        except Exception:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
            self._lost(reading)
        finally:
            self._is_over = True
            self.release()

    async def pend_async(self, job_id: str, reading: Reading) -> None:
        """Hold what a long job will cost, as `pend` does."""
        try:
            self._pending(await self._meter.engine.commit_async(self._job(job_id, reading), JobReceipt))
        except Exception:  # noqa: BLE001 - the call is over, and its answer belongs to the caller
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

    def _command(self, reading: Reading, *, estimated: bool) -> RecordUsage | AdjustUsage:
        call = self._meter.call_of(self._intent, reading, is_estimated=estimated)
        if self._estimate is not None:
            estimate = self._estimate
            return self._meter.correction(
                estimate.account_id, estimate.key, self._intent.provider, reading, at_us=self._made_at_us
            )
        call = replace(call, step=self._step, ordinal=self._ordinal, attempt=self._attempt)
        command = self._meter.usage(self._subject, call)
        self._made_at_us = command.at_us
        return command

    def _pending(self, receipt: JobReceipt) -> None:
        if self._run is not None and receipt.run_id == self._run.run_id and not receipt.is_replay:
            self._run.learn(
                held_nanocredits=receipt.run_held_nanocredits,
                used_nanocredits=receipt.run_used_nanocredits,
                expires_at_us=receipt.run_expires_at_us,
            )

    def _settled(self, receipt: ChargeReceipt, *, estimated: bool) -> None:
        if estimated:
            self._estimate = receipt
        if self._run is not None and receipt.run_id == self._run.run_id and not receipt.is_replay:
            self._run.learn(
                held_nanocredits=receipt.held_after_nanocredits,
                used_nanocredits=receipt.used_after_nanocredits,
                expires_at_us=receipt.run_expires_at_us,
            )

    def _job(self, job_id: str, reading: Reading) -> PendJob:
        call = self._meter.call_of(self._intent, reading, is_estimated=False)
        key = job_key(self._intent.provider, self._intent.base_url, job_id)
        named = replace(call, response_id=None, step=self._step, ordinal=self._ordinal, attempt=self._attempt)
        command = self._meter.usage(self._subject, named)
        return PendJob(
            charge=msgspec.structs.replace(_with_key(command, key, job_id), repeat="conflict"),
            ttl_s=JOB_TTL_S,
            step_key=None if self._step is None else command.key,
        )

    def _lost(self, reading: Reading) -> None:
        _log.exception("a call of %s could not be recorded: usage %s", reading.model, dict(reading.usage))


class Metering:
    """The meter of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # Before a call

    def admit(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that may be made.

        Raises InsufficientCredit, UnpricedModel, UserRequired and LedgerUnavailable, all before the call.
        """
        subject, run = self._whom(user)
        needed, reason = self._ceiling(intent)
        if run is None:
            self._check_account(subject, needed)
            return Ticket(self, intent, subject, None, 0)
        extension = self._begin(run, intent, needed, reason)
        if extension is not None:
            try:
                self._extended(run, self.engine.commit(extension, ExtendReceipt))
            except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the call is not made
                run.end(needed)
                raise _for_user(error, run) from None
        return Ticket(self, intent, subject, run, needed)

    async def admit_async(self, intent: Intent, *, user: str | None = None) -> Ticket:
        """Return a ticket for a call that may be made, as `admit` does."""
        subject, run = self._whom(user)
        needed, reason = self._ceiling(intent)
        if run is None:
            await self.engine.read_async(lambda: self._check_account(subject, needed))
            return Ticket(self, intent, subject, None, 0)
        extension = self._begin(run, intent, needed, reason)
        if extension is not None:
            try:
                self._extended(run, await self.engine.commit_async(extension, ExtendReceipt))
            except BaseException as error:  # noqa: BLE001 - whatever ends the wait, the call is not made
                run.end(needed)
                raise _for_user(error, run) from None
        return Ticket(self, intent, subject, run, needed)

    def _whom(self, user: str | None) -> tuple[Subject, LocalRun | None]:
        run = self.engine.active_run()
        if run is not None:
            return Subject(account_id=run.account_id, run_id=run.run_id), run
        return self.engine.subject_of(current_user.get() or user), None

    def _ceiling(self, intent: Intent) -> tuple[int, str]:
        now_us = self.engine.clock.now_us()
        return ceiling(
            self.engine.settings.book,
            model=intent.model,
            usage=intent.usage,
            attributes=intent.attributes,
            at_us=now_us,
            markup=self.engine.settings.markup_at(now_us),
            provider=intent.provider or None,
        )

    def _check_account(self, subject: Subject, needed: int) -> None:
        if not subject.user:
            self.engine.reports.account_of(UNATTRIBUTED)
            return
        available = self.engine.reports.balance(subject.user).available
        if available.nanocredits <= 0 or needed > available.nanocredits:
            least = Credits.of_units(max(needed, 1))
            raise InsufficientCredit(subject.user, needed=least, available=available, ledger=self.engine.address)

    def _begin(self, run: LocalRun, intent: Intent, needed: int, reason: str) -> ExtendRun | None:
        if reason:
            raise UnpricedModel(intent.model, reason=reason)
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
            attributes=reading.attributes,
            provider=intent.provider,
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

    def correction(self, account_id: int, key: str, provider: str, reading: Reading, *, at_us: int) -> AdjustUsage:
        """Return the command that puts a real count in place of an estimate, at the rates of the call's own time."""
        return self.engine.requests.adjustment(
            account_id,
            key,
            "correction",
            model=clean_text(reading.model),
            provider=provider,
            usage=reading.usage,
            attributes=reading.attributes,
            at_us=at_us,
            raw=reading.raw,
        )

    # Jobs, and what providers say again

    def settle_job(self, *, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None) -> None:
        """End a long job, whoever began it. A repeat is harmless, an unknown job is ignored. Never raises."""
        try:
            self.engine.commit(self._end(provider, base_url, job_id, outcome, reading), JobReceipt)
        except NotFound:
            return
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("the end of job %s could not be recorded", job_id)

    async def settle_job_async(
        self, *, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None
    ) -> None:
        """End a long job, as `settle_job` does."""
        try:
            await self.engine.commit_async(self._end(provider, base_url, job_id, outcome, reading), JobReceipt)
        except NotFound:
            return
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("the end of job %s could not be recorded", job_id)

    def _end(self, provider: str, base_url: str, job_id: str, outcome: str, reading: Reading | None) -> SettleJob:
        key = job_key(provider, base_url, job_id)
        charge = None
        if reading is not None and reading.usage and outcome == "completed":
            intent = Intent(
                provider=provider,
                base_url=base_url,
                operation="video",
                model=reading.model,
                usage={},
                attributes={},
            )
            call = replace(self.call_of(intent, reading, is_estimated=False), response_id=None)
            charge = _with_key(self.engine.requests.usage(Subject(), call), key, job_id)
        return SettleJob(job_id=key, outcome=outcome, charge=charge)

    def observe(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """Take note that a provider told again about a response: an estimate is corrected. Never raises."""
        try:
            command = self._correction_of(provider, base_url, reading, user)
            if command is not None:
                self.engine.commit(command, ChargeReceipt)
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("what %s said again could not be recorded", provider)

    async def observe_async(self, *, provider: str, base_url: str, reading: Reading, user: str | None = None) -> None:
        """Take note that a provider told again about a response, as `observe` does."""
        try:
            command = await self.engine.read_async(lambda: self._correction_of(provider, base_url, reading, user))
            if command is not None:
                await self.engine.commit_async(command, ChargeReceipt)
        except Exception:  # noqa: BLE001 - nothing after a call may lose its answer
            _log.exception("what %s said again could not be recorded", provider)

    def _correction_of(
        self, provider: str, base_url: str, reading: Reading, client_user: str | None
    ) -> AdjustUsage | None:
        run = self.engine.active_run()
        user = current_user.get() or client_user
        account_id = run.account_id if run else self.engine.reports.account_of(user or UNATTRIBUTED)
        if account_id is None or not reading.response_id or not reading.usage or reading.incomplete:
            return None
        name = response_key_of(
            provider=provider,
            base_url=clean_text(base_url),
            response_id=clean_text(reading.response_id, RESPONSE_ID_LENGTH_MAX),
        )
        event = self.engine.reports.event_of_response(account_id, name)
        if event is None or "estimated" not in event.flags.split():
            return None
        return self.correction(account_id, event.key, provider, reading, at_us=event.at_us)


def job_key(provider: str, base_url: str, job_id: str) -> str:
    """Return the key of a long job at a provider."""
    return job_key_of(provider=provider, base_url=clean_text(base_url), job_id=clean_text(job_id))


def _with_key(command: RecordUsage, key: str, job_id: str) -> RecordUsage:
    return msgspec.structs.replace(command, key=key, other_key=f"{key}#other", response_id=clean_text(job_id))


def _for_user(error: BaseException, run: LocalRun) -> BaseException:
    """Return a refusal that names the user, where the ledger could only name the run."""
    if isinstance(error, InsufficientCredit):
        return InsufficientCredit(run.user, needed=error.needed, available=error.available, ledger=error.ledger)
    return error
