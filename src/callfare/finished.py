"""Finished calls on their way to the ledger: what has happened, and must not be lost whatever becomes of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callfare.ledger.commands import AdjustUsage, ClaimBatch, CloseRun, PendJob, RecordUsage, SettleJob
from callfare.ledger.receipts import BatchReceipt, Receipt

if TYPE_CHECKING:
    from callfare.ledger.receipts import ChargeReceipt
    from callfare.local_run import LocalRun

Kept = RecordUsage | AdjustUsage | PendJob | SettleJob | CloseRun | ClaimBatch


class Finished:
    """A finished call on its way to the ledger, and the local view of its run, which must count it while it waits.

    estimate: what it corrects. claim: whose batch it is of. Either is asked first where it stands here.
    """

    __slots__ = ("claim", "command", "estimate", "nanocredits", "run")

    def __init__(
        self,
        command: Kept,
        *,
        run: LocalRun | None = None,
        nanocredits: int = 0,
        estimate: RecordUsage | None = None,
        claim: ClaimBatch | None = None,
    ) -> None:
        self.command = command
        self.run = run
        self.nanocredits = nanocredits
        self.estimate = estimate
        self.claim = claim

    @property
    def first(self) -> RecordUsage | ClaimBatch | None:
        """What the ledger must have answered before it can be asked for this; None for nothing."""
        return self.estimate or self.claim

    def after(self, answer: ChargeReceipt | BatchReceipt) -> Finished:
        """Return what can be asked for now: a correction names its estimate, a line is of the batch's owner."""
        command = self.command
        if isinstance(answer, BatchReceipt):
            return Finished(self._of_owner(answer), run=self.run, nanocredits=self.nanocredits)
        assert isinstance(command, AdjustUsage), command
        corrects = msgspec.structs.replace(command, account_id=answer.account_id, key=answer.key)
        return Finished(corrects, run=self.run, nanocredits=self.nanocredits)

    def _of_owner(self, owner: BatchReceipt) -> Kept:
        """Return what is to be done of a batch's owner: a line recorded, its own run ended where it has one."""
        command = self.command
        if isinstance(command, RecordUsage):
            return msgspec.structs.replace(command, user="", account_id=owner.account_id, run_id=owner.run_id)
        assert isinstance(command, CloseRun), command
        if owner.is_own and owner.run_id is not None:
            return msgspec.structs.replace(command, account_id=owner.account_id, run_id=owner.run_id)
        # There is no run to end; asking once more whose it is changes nothing.
        assert self.claim is not None, command
        return self.claim


class Spooled(Receipt, frozen=True, gc=False, kw_only=True):
    """The answer to a finished call that the ledger could not take: it is durable in the spool."""
