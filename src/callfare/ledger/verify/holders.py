"""What holds credit in one account: lots, runs and jobs, each with what history still has to account for.

A tally starts as the row says; whatever history explains is taken off. What is left at the end is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from callfare.ledger.charges import ATTEMPT
from callfare.ledger.commands import RecordUsage
from callfare.ledger.jobs import hold_id
from callfare.ledger.receipts import CloseReceipt, Receipt
from callfare.ledger.rows import Grant, Hold, Job, Row, Run
from callfare.ledger.verify.arithmetic import Wrong, quantities, rated
from callfare.ledger.verify.findings import Findings, Stream

RunTallies = dict[str, "RunTally | None"]
R = TypeVar("R", bound=Receipt)

_JOB_PREFIX = hold_id("")


def mark(number: int, other: int = 0) -> int:
    """Return what stands for numbers in a sum, where a wrong one must not be made up for by another.

    Text is hashed well, tuples of integers are not.
    """
    return hash(f"{number} {other}")


class LotTally:
    """A lot, less what entries and holds account for."""

    __slots__ = (
        "amount",
        "created_at_us",
        "expires_at_us",
        "granted",
        "held",
        "paid_picousd",
        "reference",
        "refunded",
        "remaining",
        "source",
        "taken_back",
    )

    def __init__(self, row: Grant) -> None:
        self.granted = self.amount = row.amount_nanocredits
        self.remaining = row.remaining_nanocredits
        self.held = row.held_nanocredits
        self.refunded = self.taken_back = row.refunded_nanocredits
        self.source = row.source
        self.reference = row.reference
        self.paid_picousd = row.paid_picousd
        self.created_at_us = row.created_at_us
        self.expires_at_us = row.expires_at_us


class RunTally:
    """A run, less what events, holds and transfers account for. The `end_` amounts are those of its receipt."""

    __slots__ = (
        "calls",
        "chain",
        "charged",
        "close_seq",
        "closed_at_us",
        "cost",
        "debt",
        "debt_posted",
        "drawn",
        "end_calls",
        "end_charged",
        "end_cost",
        "end_unpriced",
        "held",
        "is_adjusted",
        "is_blurred",
        "is_open",
        "is_waived",
        "numbers",
        "receipt",
        "states",
        "unpriced",
        "used",
        "waived",
        "workflow",
    )

    def __init__(self, row: Run, receipt: CloseReceipt | None) -> None:
        self.workflow = row.workflow
        self.is_open = row.status == "open"
        self.is_waived = row.status == "failed" and row.on_failure == "waive"
        self.close_seq = row.close_seq
        self.closed_at_us = row.closed_at_us
        self.held = row.held_nanocredits
        self.used = self.drawn = row.used_nanocredits
        self.debt = self.debt_posted = row.debt_nanocredits
        self.charged = row.charged_nanocredits
        self.cost = row.cost_picousd
        self.calls = row.calls
        self.unpriced = row.unpriced_calls
        # What the calls' own draws say, folded so that their order does not matter.
        self.chain = mark(row.calls, row.used_nanocredits) - mark(0, 0)
        self.states = mark(row.used_nanocredits) - mark(0)
        self.numbers = row.calls * (row.calls + 1) // 2
        self.is_adjusted = self.is_blurred = False
        self.waived = receipt.waived_nanocredits if receipt else 0
        self.end_calls = receipt.calls if receipt else row.calls
        self.end_charged = receipt.charged_nanocredits + self.waived if receipt else 0
        self.end_cost = receipt.cost_picousd if receipt else 0
        self.end_unpriced = receipt.unpriced_calls if receipt else 0
        self.receipt = _mark_of(receipt) if receipt else 0


class JobTally:
    """A long job, and whether an event stands for its end."""

    __slots__ = ("expected", "has_event", "held", "run_id", "status")

    def __init__(self, row: Job, expected: int | None) -> None:
        self.status = row.status
        self.run_id = row.run_id
        self.held = row.held_nanocredits
        self.expected = expected
        self.has_event = False


def decoded(text: str, kind: type[R]) -> R | None:
    """Return a stored receipt, or None when it is not one of this kind."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None


def _mark_of(receipt: CloseReceipt) -> int:
    """Return what tells receipts apart; an answer to a repeat is the same receipt."""
    return hash(msgspec.structs.astuple(msgspec.structs.replace(receipt, is_replay=False)))


def is_receipt_of(run: RunTally, receipt: CloseReceipt) -> bool:
    """Tell whether a remembered answer is the receipt that the run has."""
    return run.receipt == _mark_of(receipt)


class Holders:
    """The lots, runs and jobs of one account."""

    def __init__(self, account_id: int, findings: Findings) -> None:
        self._account_id = account_id
        self._findings = findings
        self._lots: dict[int, LotTally | None] = {}
        self._runs: RunTallies = {}
        self.jobs: dict[str, JobTally] = {}
        self.held = 0

    def lot(self, grant_id: int) -> LotTally | None:
        """Return a lot; one that is not there is noted once."""
        if grant_id not in self._lots:
            self._lots[grant_id] = None
            self._findings.fault(
                Grant, (self._account_id, grant_id), None, "entries or holds name it, and it is missing"
            )
        return self._lots[grant_id]

    def run(self, run_id: str) -> RunTally | None:
        """Return a run; one that is not there is noted once."""
        if run_id not in self._runs:
            self._runs[run_id] = None
            self._findings.fault(Run, (self._account_id, run_id), None, "history names it, and it is missing")
        return self._runs[run_id]

    # Reading

    def read(
        self,
        grants: Stream[Grant],
        runs: Stream[Run],
        jobs: Stream[Job],
        holds: Stream[Hold],
        *,
        withhold: Callable[[str, int], bool],
    ) -> None:
        """Take in the rows of the account. withhold: takes what a hold reserves for a dispute, if that is its name."""
        for grant in grants.of(self._account_id):
            self._check_bounds(grant)
            self._lots[grant.grant_id] = LotTally(grant)
        for run in runs.of(self._account_id):
            self._runs[run.run_id] = RunTally(run, self._receipt_of(run))
        for job in jobs.of(self._account_id):
            self.jobs[job.job_id] = JobTally(job, self._expected_of(job))
        for hold in holds.of(self._account_id):
            self._take_hold(hold, withhold)

    def _check_bounds(self, row: Grant) -> None:
        if not 0 <= row.held_nanocredits <= row.remaining_nanocredits <= row.amount_nanocredits:
            self._findings.wrong(row, "remaining_nanocredits", "0 ≤ held ≤ remaining ≤ amount does not hold")

    def _receipt_of(self, row: Run) -> CloseReceipt | None:
        wrong = self._findings.wrong
        if row.status == "open":
            if (row.closed_at_us, row.close_seq, row.receipt) != (None, None, None):
                wrong(row, "status", "it is open and has an end")
            if not 0 <= row.used_nanocredits <= row.held_nanocredits:
                wrong(row, "used_nanocredits", f"it has drawn {row.used_nanocredits} of {row.held_nanocredits}")
            return None
        receipt = decoded(row.receipt or "", CloseReceipt)
        if receipt is None:
            wrong(row, "receipt", "it is not the receipt of a run")
            return None
        is_waived = row.status == "failed" and row.on_failure == "waive"
        expected = {
            "account_id": row.account_id,
            "run_id": row.run_id,
            "outcome": row.status,
            "captured_nanocredits": row.used_nanocredits,
            "debt_nanocredits": 0 if is_waived else row.debt_nanocredits,
            "closed_at_us": row.closed_at_us,
        }
        for name, value in expected.items():
            if getattr(receipt, name) != value:
                wrong(row, "receipt", f"its {name} is {getattr(receipt, name)}, the run says {value}")
        if receipt.calls > row.calls:
            wrong(row, "receipt", f"it counts {receipt.calls} calls, the run has {row.calls}")
        if receipt.given_back_nanocredits < 0 or receipt.waived_nanocredits < 0:
            wrong(row, "receipt", "it gives back or waives less than nothing")
        if is_waived and (row.used_nanocredits or receipt.charged_nanocredits):
            wrong(row, "receipt", "a run that was waived captured something")
        return receipt

    def _expected_of(self, row: Job) -> int | None:
        """Return what a job is expected to cost, in nanocredits."""
        wrong = self._findings.wrong
        if (row.settled_at_us is None) != (row.status == "pending"):
            wrong(row, "status", f"it is {row.status}, and settled at {row.settled_at_us}")
        try:
            charge = msgspec.json.decode(row.charge, type=RecordUsage)
            if (charge.key, charge.run_id) != (row.job_id, row.run_id):
                wrong(row, "charge", "it is the charge of another job or run")
            if charge.status == "priced":
                said = charge.picousd, charge.nanocredits
                picousd, nanocredits = rated(charge.lines, quantities(charge.usage), charge.markup)
                if (picousd, 0 if charge.repeat == ATTEMPT else nanocredits) != said:
                    wrong(row, "charge", f"its lines do not come to {said}")
        except msgspec.MsgspecError:
            wrong(row, "charge", "it is not a charge")
            return None
        except Wrong as reason:
            wrong(row, "charge", str(reason))
        return charge.nanocredits

    def _take_hold(self, hold: Hold, withhold: Callable[[str, int], bool]) -> None:
        amount = hold.amount_nanocredits
        self.held += amount
        if amount <= 0:
            self._findings.wrong(hold, "amount_nanocredits", "a hold reserves more than nothing")
        lot = self.lot(hold.grant_id)
        if lot is not None:
            lot.held -= amount
        if withhold(hold.hold_id, amount):
            return
        if hold.hold_id.startswith(_JOB_PREFIX):
            job = self.jobs.get(hold.hold_id.removeprefix(_JOB_PREFIX))
            if job is None or job.status != "pending":
                self._findings.wrong(hold, "hold_id", "it is for no job that is pending")
            else:
                job.held -= amount
            return
        run = self._runs.get(hold.hold_id)
        if run is None or not run.is_open:
            self._findings.wrong(hold, "hold_id", "it is for no run that is open")
        else:
            run.held -= amount

    # Concluding

    def close(self) -> None:
        """Note every lot, run and job of which something is left unexplained."""
        for grant_id, lot in self._lots.items():
            if lot is not None:
                key = (self._account_id, grant_id)
                self._left(Grant, key, "amount_nanocredits", lot.amount, "the entry that brought it")
                self._left(Grant, key, "remaining_nanocredits", lot.remaining, "its entries")
                self._left(Grant, key, "held_nanocredits", lot.held, "the holds on it")
                self._left(Grant, key, "refunded_nanocredits", lot.refunded, "its refunds")
        for run_id, run in self._runs.items():
            if run is not None:
                self._close_run((self._account_id, run_id), run)
        for job_id, job in self.jobs.items():
            self._close_job((self._account_id, job_id), job)

    def _close_run(self, key: tuple[int, str], run: RunTally) -> None:
        self._left(Run, key, "calls", run.calls, "its events")
        self._left(Run, key, "charged_nanocredits", run.charged, "its events")
        self._left(Run, key, "cost_picousd", run.cost, "its events")
        self._left(Run, key, "unpriced_calls", run.unpriced, "its events")
        self._left(Run, key, "used_nanocredits", run.drawn, "what its events drew")
        self._left(Run, key, "debt_nanocredits", run.debt, "its events")
        self._left(Run, key, "debt_nanocredits", run.debt_posted, "its debt transfers")
        self._left(Run, key, "held_nanocredits", run.held, "the holds for it")
        if run.numbers:
            self._findings.fault(Run, key, "calls", "its calls are not numbered from 1 on")
        if run.states or (run.chain and not run.is_adjusted):
            self._findings.fault(
                Run, key, "used_nanocredits", "used_after of its calls does not follow from call to call"
            )
        if run.is_open:
            return
        self._left(Run, key, "receipt", run.waived, "its waiver, by waived_nanocredits")
        if not run.is_blurred:
            self._left(Run, key, "receipt", run.end_charged, "its events until it ended, by charged_nanocredits")
            self._left(Run, key, "receipt", run.end_cost, "its events until it ended, by cost_picousd")
            self._left(Run, key, "receipt", run.end_unpriced, "its events until it ended, by unpriced_calls")

    def _close_job(self, key: tuple[int, str], job: JobTally) -> None:
        self._left(Job, key, "held_nanocredits", job.held, "the holds for it")
        if job.status == "pending" and job.has_event:
            self._findings.fault(Job, key, "status", "it is pending, and was charged")
        if job.status in {"completed", "expired"} and not job.has_event:
            self._findings.fault(Job, key, "status", f"it has {job.status}, and no event stands for it")

    def _left(self, table: type[Row], key: tuple[int, int | str], column: str, left: int, source: str) -> None:
        if left:
            more = f"{left} more" if left > 0 else f"{-left} less"
            self._findings.fault(table, key, column, f"it is {more} than {source} come to")

    def ends(self) -> Iterator[tuple[str, RunTally]]:
        """Yield the runs that have ended."""
        for run_id, run in self._runs.items():
            if run is not None and not run.is_open:
                yield run_id, run
