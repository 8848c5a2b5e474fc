"""AsyncCallfare: the façade for asyncio programs. Callfare in callfare.py is its twin, signature for signature.

Writes wait on the same committer as everyone else's; reads run in a thread, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from callfare.access import AsyncAccess
from callfare.answers import (
    Balance,
    Call,
    Charge,
    Estimate,
    Explanation,
    GrantReceipt,
    HoldReceipt,
    Price,
    Repriced,
    RunReceipt,
    RunSummary,
    Transaction,
    UsageReport,
)
from callfare.buying import AsyncBuying
from callfare.checks import check_user
from callfare.context import current_user
from callfare.engine import shapes, spooling
from callfare.engine.requests import Amount, local_note
from callfare.errors import CallfareError, RunClosed
from callfare.facade import Outcome, Period, Source
from callfare.finished import Finished
from callfare.handle import RunHandle, call_of, run_named
from callfare.ledger.commands import TouchRun
from callfare.ledger.receipts import ChargeReceipt, CloseReceipt, ExtendReceipt, OpenReceipt
from callfare.ledger.receipts import GrantReceipt as PostedGrant
from callfare.ledger.verify import Verification
from callfare.operating import AsyncOperating
from callfare.pages import Page

_log = logging.getLogger("callfare")


class AsyncCallfare(AsyncAccess, AsyncBuying, AsyncOperating):
    """A ledger of AI calls and the credits that pay for them. Safe to share between tasks and loops.

    url: `sqlite:///file.db`, `postgresql://…`, `memory://`, or a server's `https://…`; None takes
    CALLFARE_DATABASE_URL, else `sqlite:///callfare.db`.
    books: TOML price books of one's own, the first that names a model deciding.
    seed_prices: False drops the price table that callfare was specified with.
    catalogue: the file of one that `callfare prices update` wrote, for the models that no book names; "none" for none.
    None takes CALLFARE_CATALOGUE, else the one accepted beside the ledger's file, else the one that is shipped.
    markup: what list cost is multiplied by, one decimal or one for each time it begins at.
    require_user: refuse a call that names no user, instead of charging it to `unattributed`.
    spool: the folder for finished calls that the ledger cannot take; None takes CALLFARE_SPOOL_DIR, else one beside the
    ledger's file, or in the user's state folder for a server.
    api_key: for a server's address; CALLFARE_API_KEY when None. Books, prices, markup and require_user are its to say.
    deadline_s: how long a server's answer may take, all tries together.

    Raises PriceBookInvalid, Misconfigured.
    """

    async def grant(
        self,
        user: str,
        credits: Amount,
        *,
        key: str,
        source: Source = "adjustment",
        expires_at: datetime | None = None,
    ) -> GrantReceipt:
        """Give a user a lot of credit, which pays older debt first.

        credits: above 0, exact to nine decimals. key: names this grant for ever; a repeat returns the first receipt.
        expires_at: when what is left and not held becomes breakage; never when None.

        Raises InvalidAmount, InvalidUser, InvalidTime, KeyConflict, LedgerUnavailable.
        """
        command = self._engine.requests.grant(
            user, credits, key=key, source=source, expires_at=expires_at, note=local_note("credits.grant")
        )
        await self._engine.create_async()
        return shapes.grant(user, await self._engine.commit_async(command, PostedGrant))

    async def balance(self, user: str) -> Balance:
        """Return what a user has: posted, held, spent in open runs, available, and debt.

        Raises InvalidUser, LedgerNotFound, LedgerUnavailable.
        """
        reports = self._engine.reports
        return await self._engine.read_async(lambda: reports.balance(user))

    def run(
        self,
        workflow: str,
        *,
        user: str,
        run_id: str | None = None,
        hold: Amount = "low",
        ttl_s: int = 3600,
        input: Mapping[str, Any] | None = None,
    ) -> AsyncRun:
        """Return a run for `async with`: opened under a hold on entry, closed as completed, failed or cancelled after.

        hold: "low" or "high" of the workflow's estimate, or an amount. ttl_s: an hour without a call ends the run.
        run_id: made when None; the same id with the same arguments is the same run.

        Entering raises InsufficientCredit, KeyConflict, UnknownWorkflow, LedgerUnavailable.
        """
        bounds = self._engine.reports.bounds_of(workflow)
        command = self._engine.requests.open_run(
            workflow, user=user, run_id=run_id, hold=hold, ttl_s=ttl_s, input=input, bounds=bounds
        )
        return AsyncRun(self._engine, command)

    async def open_run(
        self,
        workflow: str,
        *,
        user: str,
        run_id: str | None = None,
        hold: Amount = "low",
        ttl_s: int = 3600,
        input: Mapping[str, Any] | None = None,
    ) -> AsyncRun:
        """Open a run where `async with` cannot be used, and return it. Close it with `run.close` or `close_run`.

        Raises InsufficientCredit, KeyConflict, UnknownWorkflow, LedgerUnavailable.
        """
        run = self.run(workflow, user=user, run_id=run_id, hold=hold, ttl_s=ttl_s, input=input)
        try:
            await run.open()
        except asyncio.CancelledError:
            if run_id is None:
                # Nobody knows the id that was made, so nobody else can close it.
                run._abandon()  # noqa: SLF001 - its own façade
            raise
        return run

    async def close_run(
        self, run_id: str, outcome: Outcome = "completed", *, user: str | None = None, key: str | None = None
    ) -> RunReceipt:
        """Settle a run: capture what it used, give the rest of its hold back.

        outcome: a failed run still pays, unless its workflow waives. key: a repeat returns the first receipt.
        user: names whose run it is where several users have one of this id.

        Raises RunNotFound, RunClosed, KeyConflict, LedgerUnavailable.
        """
        account_id = await self._engine.read_async(lambda: self._engine.reports.account_of_run(run_id, user))
        await self._engine.catch_up_async()
        command = self._engine.requests.close(run_id, account_id, outcome, key)
        return shapes.ended_run(await self._engine.commit_async(command, CloseReceipt), key)

    async def record(
        self,
        model: str,
        usage: Mapping[str, object],
        *,
        user: str | None = None,
        operation: str | None = None,
        attributes: Mapping[str, str] | None = None,
        response_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        at: datetime | None = None,
        key: str | None = None,
        provider: str | None = None,
    ) -> Charge:
        """Record a call that was made, and charge it to the run in force here, or directly where there is none.

        What nothing covers becomes debt. usage: meter → quantity. user: charged directly, whatever run is in force;
        when None the run's, else the one of `fare.user(…)`, else `unattributed`. response_id: the provider's; the same
        one charges once. key: made and returned when None.

        Raises InvalidInput, KeyConflict, UserRequired, LedgerNotFound, LedgerUnavailable.
        """
        await self._engine.know_prices_async()
        run = self._engine.active_run() if user is None else None
        if run is not None and isinstance(run.handle, AsyncRun):
            return await run.handle.record(
                model,
                usage,
                operation=operation,
                attributes=attributes,
                response_id=response_id,
                metadata=metadata,
                at=at,
                key=key,
                provider=provider,
            )
        call = call_of(
            model,
            usage,
            operation=operation,
            attributes=attributes,
            step=None,
            response_id=response_id,
            metadata=metadata,
            at=at,
            key=key,
            provider=provider,
        )
        subject = self._engine.subject_of(check_user(user) if user is not None else current_user.get())
        command = self._engine.requests.usage(subject, call)
        receipt = await self._engine.finish_async(Finished(command), ChargeReceipt)
        return spooling.charge(command, model) if receipt is None else shapes.charge(receipt, model)

    async def price(
        self,
        model: str,
        usage: Mapping[str, object],
        *,
        attributes: Mapping[str, str] | None = None,
        at: datetime | None = None,
        provider: str | None = None,
    ) -> Price:
        """Return what a call would cost, line by line, without any effect.

        provider: whose price, where several sell the model; its maker's when None.

        Raises UnpricedModel, MissingAttribute, InvalidInput.
        """
        reports = self._engine.reports
        return await self._engine.read_async(lambda: reports.price(model, usage, attributes, at, provider))

    async def estimate(self, workflow: str, *, user: str | None = None) -> Estimate:
        """Return what a run is expected to cost, what that rests on, and what the user's past runs have cost.

        Raises UnknownWorkflow.
        """
        reports = self._engine.reports
        return await self._engine.read_async(lambda: reports.estimate(workflow, user))

    async def usage(
        self,
        user: str,
        period: Period = "month",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tz: str = "UTC",
    ) -> UsageReport:
        """Return a user's usage: totals, by workflow, by model with units, by day of a zone.

        period: the last 24 hours, 7 or 30 days, or all; `since` and `until` name a window instead.

        Raises InvalidInput, InvalidTime, LedgerNotFound.
        """
        reports = self._engine.reports
        return await self._engine.read_async(lambda: reports.usage(user, period, since=since, until=until, tz=tz))

    async def history(self, user: str, limit: int = 10, cursor: str | None = None) -> Page[RunSummary]:
        """Return a page of a user's runs, newest first; `limit` is at most 200."""
        reports = self._engine.reports
        page = await self._engine.read_async(lambda: reports.history(user, limit, cursor))
        return replace(page, following=lambda cursor: self.history(user, limit, cursor))

    async def calls(
        self, run: str | RunHandle, *, user: str | None = None, limit: int = 200, cursor: str | None = None
    ) -> Page[Call]:
        """Return a page of a run's calls in their order; `limit` is at most 200.

        Raises RunNotFound.
        """
        run_id, owner = run_named(run, user)
        reports = self._engine.reports
        page = await self._engine.read_async(lambda: reports.calls(run_id, owner, limit, cursor))
        return replace(page, following=lambda cursor: self.calls(run_id, user=owner, limit=limit, cursor=cursor))

    async def transactions(self, user: str, limit: int = 50, cursor: str | None = None) -> Page[Transaction]:
        """Return a page of the transfers of a user's credit, newest first; `limit` is at most 200."""
        reports = self._engine.reports
        page = await self._engine.read_async(lambda: reports.transactions(user, limit, cursor))
        return replace(page, following=lambda cursor: self.transactions(user, limit, cursor))

    async def explain(self, charge: str | Charge | Call) -> Explanation:
        """Return everything behind a charge: raw usage, prices, arithmetic, run, transfers, lots and payments.

        Raises ChargeNotFound.
        """
        reports = self._engine.reports
        return await self._engine.read_async(
            lambda: reports.explain(charge.id if isinstance(charge, Charge | Call) else charge)
        )

    async def reprice(self) -> Repriced:
        """Rate every unpriced call again under the present books, and charge those that have a price now."""
        return await self._engine.read_async(self._engine.reprice)

    async def verify(self, progress: Callable[[str, int], None] | None = None) -> Verification:
        """Recompute the ledger from its history, and name every row that is wrong, the first one first.

        progress: called with a table's name and how many of its rows were read.
        """
        return await self._engine.read_async(lambda: self._engine.verify(progress))

    async def close(self) -> None:
        """Finish what waits and close the ledger."""
        await self._engine.read_async(self._engine.close)

    async def __aenter__(self) -> Self:
        # Made in a loop, it has not waited for what earlier processes left in the spool.
        await self._engine.read_async(self._engine.deliver_left_overs)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncRun(RunHandle):
    """A run of a workflow. Inside its `async with` block every call of a wrapped client is charged to it."""

    async def open(self) -> None:
        """Start the run under its hold. Opening it again is harmless.

        Raises InsufficientCredit, KeyConflict, LedgerUnavailable.
        """
        await self._engine.create_async()
        self._take_open(await self._engine.commit_async(self._command, OpenReceipt))

    async def record(
        self,
        model: str,
        usage: Mapping[str, object],
        *,
        operation: str | None = None,
        attributes: Mapping[str, str] | None = None,
        step: str | None = None,
        response_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        at: datetime | None = None,
        key: str | None = None,
        provider: str | None = None,
    ) -> Charge:
        """Record a call that the run made, and draw its hold down.

        step: with it, the charge's key is run + step + the step's how-manieth call; a retried step charges once.
        at: when it happened, now when None; its rates and markup are those of that time.

        Raises InvalidInput, KeyConflict, RunNotFound, LedgerUnavailable.
        """
        call = call_of(
            model,
            usage,
            operation=operation,
            attributes=attributes,
            step=step,
            response_id=response_id,
            metadata=metadata,
            at=at,
            key=key,
            provider=provider,
        )
        numbered = self._numbered(call)
        try:
            finished = self._finished(numbered)
            receipt = await self._engine.finish_async(finished, ChargeReceipt)
        except BaseException:
            # Also of a cancelled caller, whose call may be recorded all the same: its repeat has the same key.
            self._unnumber(numbered)
            raise
        return self._take_charge(receipt, finished, model)

    async def extend(self, credits: Amount, *, key: str | None = None) -> HoldReceipt:
        """Reserve more credit for the run.

        Raises InsufficientCredit, RunClosed, KeyConflict.
        """
        command = self._engine.requests.extend(self.id, self._opened().account_id, credits, key)
        receipt = await self._engine.commit_async(command, ExtendReceipt)
        self._take_hold(receipt)
        return shapes.hold(receipt)

    async def touch(self) -> HoldReceipt:
        """Renew the hold for the run's time to live, as every recorded call does.

        Raises RunClosed.
        """
        command = TouchRun(run_id=self.id, account_id=self._opened().account_id)
        receipt = await self._engine.commit_async(command, ExtendReceipt)
        self._take_hold(receipt)
        return shapes.hold(receipt)

    async def close(self, outcome: Outcome = "completed", *, key: str | None = None) -> RunReceipt:
        """Settle the run: capture what it used, give the rest of its hold back. A repeat returns the first receipt.

        Raises RunClosed when it has ended otherwise, KeyConflict, LedgerUnavailable.
        """
        command = self._engine.requests.close(self.id, self._opened().account_id, outcome, key)
        await self._engine.catch_up_async()
        return self._take_close(await self._engine.commit_async(command, CloseReceipt), key)

    def _abandon(self) -> None:
        """Have a run closed as cancelled whose opening was cancelled: it may have been on its way to the ledger."""
        self._engine.leave(self._engine.requests.close(self.id, None, "cancelled", None))

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except asyncio.CancelledError:
            self._abandon()
            raise
        self._enter()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._leave():
            # A fork's child left the block as well; the run is its parent's.
            return
        try:
            self._take_end(await self._engine.finish_async(self._end(error_type), CloseReceipt))
        except RunClosed:
            self._opened().close()
            # The block has closed its run itself, with the outcome it chose.
            return
        except CallfareError:
            if error is None:
                raise
            # The block's own error matters more; the hold ends by itself when its time has come.
            _log.exception("run %s could not be closed", self.id)


__all__ = ["AsyncCallfare", "AsyncRun"]
