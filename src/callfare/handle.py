"""What the sync and the async run handle share: the request that opens a run, and what is known of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Token
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from callfare.answers import Charge, RunReceipt
from callfare.context import current_run, current_step, current_user
from callfare.engine import shapes, spooling
from callfare.engine.engine import Engine
from callfare.engine.requests import Call, Subject, check_step
from callfare.errors import RunNotFound
from callfare.finished import Finished
from callfare.ledger.commands import OpenRun
from callfare.ledger.receipts import ChargeReceipt, CloseReceipt, ExtendReceipt, OpenReceipt
from callfare.local_run import LocalRun
from callfare.money import Credits

# A block of either façade may be left by any of them: sync code runs under event loops too.
_CANCELLATIONS = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit)


class RunHandle:
    """A run as its caller holds it. `id` is known before it is opened."""

    def __init__(self, engine: Engine, command: OpenRun) -> None:
        self._engine = engine
        self._command = command
        self._local: LocalRun | None = None
        self._receipt: RunReceipt | None = None
        self._pid = os.getpid()
        self._tokens: list[tuple[Token[LocalRun | None], Token[str | None]]] = []

    @property
    def id(self) -> str:
        """The run's id, which is also its idempotency key."""
        return self._command.run_id

    @property
    def user(self) -> str:
        """The user who pays."""
        return self._command.user

    @property
    def workflow(self) -> str:
        """The kind of run."""
        return self._command.workflow

    @property
    def left(self) -> Credits:
        """What the hold has left for further calls, as far as this process knows."""
        return Credits.of_units(self._opened().left_nanocredits)

    @property
    def receipt(self) -> RunReceipt | None:
        """What the run was charged and gave back, once this handle has closed it; None if its end was spooled."""
        return self._receipt

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name the calls made inside, so that a retried step charges once.

        Raises InvalidInput.
        """
        token = current_step.set(check_step(name))
        try:
            yield
        finally:
            current_step.reset(token)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the run of all wrapped calls made inside, without opening or closing it."""
        run_token, user_token = current_run.set(self._opened()), current_user.set(self.user)
        try:
            yield
        finally:
            current_user.reset(user_token)
            current_run.reset(run_token)

    def _opened(self) -> LocalRun:
        if self._local is None:
            raise RunNotFound(self.id)
        return self._local

    def _take_open(self, receipt: OpenReceipt) -> None:
        if self._local is not None:
            # Opened again: the numbers of its steps and its calls in flight go on.
            self._local.learn(
                held_nanocredits=receipt.held_nanocredits,
                used_nanocredits=receipt.used_nanocredits,
                expires_at_us=receipt.expires_at_us,
            )
            return
        self._local = LocalRun(
            store=self._engine.store,
            account_id=receipt.account_id,
            run_id=receipt.run_id,
            user=self.user,
            workflow=self.workflow,
            held_nanocredits=receipt.held_nanocredits,
            used_nanocredits=receipt.used_nanocredits,
            expires_at_us=receipt.expires_at_us,
        )
        self._local.handle = self
        if receipt.status != "open":
            self._local.close()

    def __repr__(self) -> str:
        status = self._receipt.outcome if self._receipt else "open" if self._local else "not opened"
        return f"{type(self).__name__}({self.id!r}, workflow={self.workflow!r}, user={self.user!r}, {status})"

    def _take_close(self, receipt: CloseReceipt, key: str | None) -> RunReceipt:
        self._opened().close()
        self._receipt = shapes.ended_run(receipt, key)
        return self._receipt

    def _take_end(self, receipt: CloseReceipt | None) -> None:
        """Take note of the end of the block; None when it waits in the spool, and there is no receipt yet."""
        self._opened().close()
        if receipt is not None:
            self._take_close(receipt, None)

    def _take_hold(self, receipt: ExtendReceipt) -> None:
        self._opened().learn(
            held_nanocredits=receipt.held_nanocredits,
            used_nanocredits=receipt.used_nanocredits,
            expires_at_us=receipt.expires_at_us,
        )

    def _take_charge(self, receipt: ChargeReceipt | None, finished: Finished, model: str) -> Charge:
        if receipt is None:
            return spooling.charge(finished.command, model, left=self.left)
        self._opened().follow(receipt)
        return shapes.charge(receipt, model)

    def _finished(self, call: Call) -> Finished:
        """Return a call on its way to the ledger."""
        command = self._engine.requests.usage(self._subject(), call)
        return Finished(command, run=self._opened(), nanocredits=command.nanocredits)

    def _end(self, error_type: type[BaseException] | None) -> Finished:
        """Return the end of the run whose block was left by an error of this type, or by none."""
        command = self._engine.requests.close(self.id, self._opened().account_id, outcome_of(error_type), None)
        return Finished(command, run=self._opened())

    def _subject(self) -> Subject:
        return Subject(account_id=self._opened().account_id, run_id=self.id)

    def _numbered(self, call: Call) -> Call:
        """Return a call with its step and its number in that step, where it has one."""
        step = call.step if call.step is not None else current_step.get()
        if step is None or call.key is not None:
            return call
        return replace(call, step=check_step(step), ordinal=self._opened().next_ordinal(step))

    def _unnumber(self, call: Call) -> None:
        """Give the number of a call back that was not recorded, so that its repeat has the same key."""
        if call.step is not None and call.key is None:
            self._opened().return_ordinal(call.step, call.ordinal)

    def _enter(self) -> None:
        self._pid = os.getpid()
        self._tokens.append((current_run.set(self._opened()), current_user.set(self.user)))

    def _leave(self) -> bool:
        """Take the run out of force, and return whether this process is the one to close it."""
        if self._tokens:
            run_token, user_token = self._tokens.pop()
            # Left from another task than it was entered in, the run was never in force there.
            with suppress(ValueError):
                current_user.reset(user_token)
            with suppress(ValueError):
                current_run.reset(run_token)
        before = current_run.get()
        if before is not None and before.is_over:
            # Runs that end in another order than they began would leave an ended one in force.
            current_run.set(None)
            current_user.set(None)
        return os.getpid() == self._pid


def call_of(
    model: str,
    usage: Mapping[str, object],
    *,
    operation: str | None,
    attributes: Mapping[str, str] | None,
    step: str | None,
    response_id: str | None,
    metadata: Mapping[str, Any] | None,
    at: datetime | None,
    key: str | None,
    provider: str | None,
) -> Call:
    """Return a call from the arguments of `record`."""
    return Call(
        model=model,
        usage=usage,
        operation="" if operation is None else operation,
        attributes=attributes,
        step=step,
        response_id=response_id,
        metadata=metadata,
        at=at,
        key=key,
        provider="" if provider is None else provider,
    )


def run_named(run: str | RunHandle, user: str | None) -> tuple[str, str | None]:
    """Return a run's id and whose it is; a handle knows its user."""
    return (run.id, user or run.user) if isinstance(run, RunHandle) else (run, user)


def outcome_of(error_type: type[BaseException] | None) -> str:
    """Return how a run ends whose block was left by an error of this type, or by none."""
    if error_type is None:
        return "completed"
    return "cancelled" if issubclass(error_type, _CANCELLATIONS) else "failed"
