"""Writes of callers who are elsewhere: they name runs by their ids, and the ledger keeps a note of who asked.

A server stands on this and on Reports. What is decided, is decided in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from callfare.answers import Charge, GrantReceipt, RunReceipt
from callfare.checks import check_user
from callfare.engine import shapes, spooling
from callfare.engine.engine import Engine
from callfare.engine.requests import Amount, Call, Subject
from callfare.engine.turns import Turns
from callfare.errors import CallfareError
from callfare.finished import Finished
from callfare.ledger.commands import AuditNote, Command, RecordUsage, TouchRun
from callfare.ledger.receipts import ChargeReceipt, CloseReceipt, ExtendReceipt, OpenReceipt
from callfare.ledger.receipts import GrantReceipt as PostedGrant

C = TypeVar("C", bound=Command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call that somebody tells of: of a run by its id, else of a user. user: also whose run it has to be."""

    call: Call
    user: str | None = None
    run_id: str | None = None


class OnBehalf:
    """The writes of one engine for callers elsewhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.turns = Turns()

    async def grant(
        self,
        user: str,
        credits: Amount,
        *,
        key: str,
        source: str,
        expires_at: datetime | None,
        note: AuditNote | None,
    ) -> GrantReceipt:
        """Give a user a lot of credit.

        Raises InvalidAmount, InvalidUser, InvalidTime, GrantCapReached, KeyConflict, LedgerUnavailable.
        """
        command = self._engine.requests.grant(user, credits, key=key, source=source, expires_at=expires_at, note=note)
        return shapes.grant(user, await self._engine.commit_async(command, PostedGrant))

    async def open_run(
        self,
        workflow: str,
        *,
        user: str,
        run_id: str | None,
        hold: Amount,
        ttl_s: int,
        input: Mapping[str, Any] | None,
        note: AuditNote | None,
    ) -> OpenReceipt:
        """Open a run under its hold; the same id with the same arguments is the same run.

        Raises InsufficientCredit, KeyConflict, UnknownWorkflow, LedgerUnavailable.
        """
        command = self._engine.requests.open_run(
            workflow,
            user=user,
            run_id=run_id,
            hold=hold,
            ttl_s=ttl_s,
            input=input,
            bounds=self._engine.reports.bounds_of(workflow),
        )
        return await self._engine.commit_async(_noted(command, note), OpenReceipt)

    async def extend(
        self, run_id: str, credits: Amount, *, user: str | None, key: str | None, note: AuditNote | None
    ) -> ExtendReceipt:
        """Reserve more credit for a run.

        Raises RunNotFound, InsufficientCredit, RunClosed, KeyConflict.
        """
        command = self._engine.requests.extend(run_id, await self._account(run_id, user), credits, key)
        return await self._engine.commit_async(_noted(command, note), ExtendReceipt)

    async def touch(self, run_id: str, *, user: str | None, note: AuditNote | None) -> ExtendReceipt:
        """Renew a run's hold for its time to live.

        Raises RunNotFound, RunClosed.
        """
        command = TouchRun(run_id=run_id, account_id=await self._account(run_id, user))
        return await self._engine.commit_async(_noted(command, note), ExtendReceipt)

    async def close_run(
        self, run_id: str, outcome: str, *, user: str | None, key: str | None, note: AuditNote | None
    ) -> RunReceipt:
        """Settle a run: capture what it used, give the rest of its hold back.

        Raises RunNotFound, RunClosed, KeyConflict, LedgerUnavailable.
        """
        account_id = await self._account(run_id, user)
        await self._engine.catch_up_async()
        command = self._engine.requests.close(run_id, account_id, outcome, key)
        return shapes.ended_run(await self._engine.commit_async(_noted(command, note), CloseReceipt), key)

    async def record(
        self, told: Sequence[Told | CallfareError], note: AuditNote | None
    ) -> list[Charge | CallfareError]:
        """Record calls that were made, in their order, and return a charge or a refusal for each.

        told: a refusal in place of a call is handed through. note: one for all of them. All share a commit.

        Raises LedgerUnavailable and faults, after which nothing is known to be written.
        """
        accounts = await self._accounts(told)
        commands = await self.turns.each(lambda one: self._command(one, accounts, note), told)
        finished = [Finished(command) for command in commands if isinstance(command, RecordUsage)]
        receipts = iter(await self._engine.finish_many_async(finished, ChargeReceipt) if finished else ())
        answers = [next(receipts) if isinstance(command, RecordUsage) else None for command in commands]
        return await self.turns.each(_charge, list(zip(commands, answers, strict=True)))

    def _command(
        self,
        told: Told | CallfareError,
        accounts: Mapping[tuple[str, str | None], int | CallfareError],
        note: AuditNote | None,
    ) -> RecordUsage | CallfareError:
        if isinstance(told, CallfareError):
            return told
        try:
            if told.run_id is None:
                subject = self._engine.subject_of(None if told.user is None else check_user(told.user))
            else:
                account_id = accounts[told.run_id, told.user]
                if isinstance(account_id, CallfareError):
                    return account_id
                subject = Subject(account_id=account_id, run_id=told.run_id)
            return self._engine.requests.usage(subject, told.call, note)
        except CallfareError as refusal:
            return refusal

    async def _account(self, run_id: str, user: str | None) -> int:
        run = await self._engine.glance_async(lambda: self._engine.reports.find_run(run_id, user))
        return run.account_id

    async def _accounts(
        self, told: Sequence[Told | CallfareError]
    ) -> dict[tuple[str, str | None], int | CallfareError]:
        """Return whose the runs are that calls name, each asked for once."""
        named = list({(one.run_id, one.user): None for one in told if isinstance(one, Told) and one.run_id is not None})
        if not named:
            return {}
        owners = await self._engine.glance_async(lambda: self._engine.reports.owners_of_runs(named))
        return dict(zip(named, owners, strict=True))


def _noted(command: C, note: AuditNote | None) -> C:
    return command if note is None else msgspec.structs.replace(command, audit=note)


def _charge(
    answered: tuple[RecordUsage | CallfareError, ChargeReceipt | CallfareError | None],
) -> Charge | CallfareError:
    command, receipt = answered
    if isinstance(command, CallfareError):
        return command
    if isinstance(receipt, CallfareError):
        return receipt
    return spooling.charge(command, command.model) if receipt is None else shapes.charge(receipt, command.model)
