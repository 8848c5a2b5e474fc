"""Finished calls on their way to the ledger: what has happened, and must not be lost whatever becomes of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callfare.ledger.commands import AdjustUsage, CloseRun, PendJob, RecordUsage, SettleJob
from callfare.ledger.receipts import Receipt

if TYPE_CHECKING:
    from callfare.ledger.receipts import ChargeReceipt
    from callfare.local_run import LocalRun

Kept = RecordUsage | AdjustUsage | PendJob | SettleJob | CloseRun


class Finished:
    """A finished call on its way to the ledger, and the local view of its run, which must count it while it waits."""

    __slots__ = ("command", "estimate", "nanocredits", "run")

    def __init__(
        self, command: Kept, *, run: LocalRun | None = None, nanocredits: int = 0, estimate: RecordUsage | None = None
    ) -> None:
        self.command = command
        self.run = run
        self.nanocredits = nanocredits
        self.estimate = estimate

    def after(self, estimate: ChargeReceipt) -> Finished:
        """Return an adjustment that names the estimate as the ledger has it."""
        assert isinstance(self.command, AdjustUsage), self.command
        command = msgspec.structs.replace(self.command, account_id=estimate.account_id, key=estimate.key)
        return Finished(command, run=self.run, nanocredits=self.nanocredits)


class Spooled(Receipt, frozen=True, gc=False, kw_only=True):
    """The answer to a finished call that the ledger could not take: it is durable in the spool."""
