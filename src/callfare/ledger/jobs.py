"""Long jobs, such as videos: held at creation, charged when somebody sees the end, given back when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from callfare.clock import US_PER_S
from callfare.errors import JobSettled, KeyConflict
from callfare.ledger import charges, grants, holds
from callfare.ledger.accounts import RECEIVABLE, REVENUE
from callfare.ledger.commands import AdjustUsage, RecordUsage
from callfare.ledger.receipts import JobReceipt
from callfare.ledger.rows import Job, Key
from callfare.ledger.transfers import post

if TYPE_CHECKING:
    from callfare.ledger.commands import PendJob
    from callfare.ledger.rows import Run
    from callfare.ledger.state import Draft

# The kind of key row that names the first job of a step's call.
STEP = "step"


def pend_job(draft: Draft, account_id: int, run: Run | None, command: PendJob, now_us: int) -> JobReceipt:
    """Hold what the job will cost: first out of its run's hold, then out of available credit.

    Raises KeyConflict when the job's id stands for another job, or for a call.
    """
    job_id = command.charge.key
    known = draft.job(account_id, job_id)
    if known is not None:
        if _charge_of(known).fingerprint != command.charge.fingerprint:
            raise KeyConflict(job_id)
        return receipt_of(known, run, is_replay=True)
    if draft.event(account_id, job_id) is not None:
        raise KeyConflict(job_id)
    command = _as_attempt(draft, account_id, command, now_us)
    wanted = command.charge.nanocredits
    moved = 0
    if run and run.status == "open":
        moved = min(wanted, run.room_nanocredits)
        holds.hand_over(draft, account_id, run.run_id, moved, to=hold_id(job_id))
        run = holds.renewed(replace(run, held_nanocredits=run.held_nanocredits - moved), now_us)
        draft.put(run)
    # The provider has accepted the job, so what cannot be held is no refusal; it becomes debt if the job completes.
    added = min(wanted - moved, draft.account(account_id).available_nanocredits)
    holds.authorize(draft, account_id, hold_id(job_id), added)
    job = Job(
        account_id=account_id,
        job_id=job_id,
        run_id=run.run_id if run else None,
        status="pending",
        held_nanocredits=moved + added,
        charge=msgspec.json.encode(replace(command.charge, audit=None)).decode(),
        created_at_us=now_us,
        expires_at_us=now_us + command.ttl_s * US_PER_S,
        settled_at_us=None,
    )
    draft.put(job)
    return receipt_of(job, run)


def _as_attempt(draft: Draft, account_id: int, command: PendJob, now_us: int) -> PendJob:
    """Return the job as a later attempt, uncharged, where its step has begun another one; else remember the first."""
    if command.step_key is None:
        return command
    first = draft.key(account_id, command.step_key)
    if first is None:
        charge = command.charge
        draft.put(Key(account_id, command.step_key, STEP, charge.fingerprint, charge.key, now_us))
        return command
    return replace(command, charge=_uncharged(command.charge))


def _uncharged(charge: RecordUsage) -> RecordUsage:
    return replace(charge, nanocredits=0, repeat=charges.ATTEMPT)


def settle_job(draft: Draft, job: Job, outcome: str, charge: RecordUsage | None, now_us: int) -> JobReceipt:
    """Charge a completed job, give back the hold of a failed one; a repeat changes nothing.

    A job that expired was charged by its estimate; what is learnt later corrects that.
    Raises JobSettled when the job ended with another outcome.
    """
    if job.status == "pending":
        return _end(draft, job, outcome, _real_charge(job, charge), now_us)
    if job.status == "expired":
        charges.adjust(draft, _correction(job, outcome, charge), now_us)
        job = replace(job, status=outcome)
        draft.put(job)
        return receipt_of(job, draft.run(job.account_id, job.run_id) if job.run_id else None)
    if job.status != outcome:
        raise JobSettled(f"job {job.job_id!r} has ended as {job.status}", param="job_id")
    run = draft.run(job.account_id, job.run_id) if job.run_id else None
    return receipt_of(job, run, is_replay=True)


def expire_job(draft: Draft, job: Job, now_us: int) -> None:
    """Charge a job that nobody saw the end of by what was expected of it, flagged as estimated."""
    _end(draft, job, "expired", replace(_charge_of(job), is_estimated=True), now_us)


def hold_id(job_id: str) -> str:
    """Return the name of a job's hold; run ids hold no control characters."""
    return f"job\x1f{job_id}"


def receipt_of(job: Job, run: Run | None, *, is_replay: bool = False) -> JobReceipt:
    """Return the answer about a job."""
    return JobReceipt(
        is_replay=is_replay,
        account_id=job.account_id,
        job_id=job.job_id,
        status=job.status,
        held_nanocredits=job.held_nanocredits,
        run_id=job.run_id,
        run_held_nanocredits=run.held_nanocredits if run else 0,
        run_used_nanocredits=run.used_nanocredits if run else 0,
        run_expires_at_us=run.expires_at_us if run else 0,
    )


def _end(draft: Draft, job: Job, outcome: str, charge: RecordUsage, now_us: int) -> JobReceipt:
    account_id = job.account_id
    seq, debt = None, 0
    run = draft.run(account_id, job.run_id) if job.run_id else None
    if outcome == "failed":
        holds.void(draft, account_id, hold_id(job.job_id))
    else:
        debt, seq = _capture(draft, job, run, charge.nanocredits, now_us)
        flags = [charges.ESTIMATED] if charge.is_estimated else []
        flags += [charges.ATTEMPT] if charge.repeat == charges.ATTEMPT else []
        if charges.is_waived(run):
            flags.append(charges.WAIVED)
            charge = replace(charge, nanocredits=0)
        if run:
            run = charges.count_call(run, charge.nanocredits, charge.picousd, is_unpriced=charge.status == "unpriced")
            draft.put(run)
        event = charges.event_of(
            account_id, run, charge, key=job.job_id, flags=flags, now_us=now_us, debt=debt, seq=seq
        )
        charges.write_event(draft, event, charge)
    grants.expire_lots(draft, account_id, now_us)
    grants.repay(draft, account_id, now_us)
    job = replace(job, status=outcome, held_nanocredits=0, settled_at_us=now_us)
    draft.put(job)
    return receipt_of(job, run)


def _capture(draft: Draft, job: Job, run: Run | None, nanocredits: int, now_us: int) -> tuple[int, int | None]:
    """Take a job's charge out of its hold, then out of what is available, and return as `charges.take` does."""
    account_id = job.account_id
    if charges.is_waived(run):
        holds.void(draft, account_id, hold_id(job.job_id))
        return charges.take(draft, account_id, nanocredits, now_us, run=run, key=job.job_id)
    covered = min(nanocredits, job.held_nanocredits)
    rest = nanocredits - covered
    extra = min(rest, draft.account(account_id).available_nanocredits)
    debt = rest - extra
    legs = [
        *holds.capture_legs(draft, account_id, hold_id(job.job_id), covered),
        *holds.available_legs(draft, account_id, extra),
        (RECEIVABLE, None, -debt),
        (REVENUE, None, nanocredits),
    ]
    seq = None
    if nanocredits:
        seq = post(draft, account_id, "capture", legs, now_us=now_us, run_id=job.run_id, reference=job.job_id)
    holds.void(draft, account_id, hold_id(job.job_id))
    return debt, seq


def _charge_of(job: Job) -> RecordUsage:
    return msgspec.json.decode(job.charge, type=RecordUsage)


def _real_charge(job: Job, charge: RecordUsage | None) -> RecordUsage:
    """Return what a job is charged: what was expected of it, or what its end told, of the call that began it."""
    begun = _charge_of(job)
    if charge is None:
        return begun
    real = replace(charge, operation=begun.operation, step=begun.step, metadata=begun.metadata, at_us=begun.at_us)
    return _uncharged(real) if begun.repeat == charges.ATTEMPT else replace(real, repeat=begun.repeat)


def _correction(job: Job, outcome: str, charge: RecordUsage | None) -> AdjustUsage:
    real = charge or _charge_of(job)
    failed = outcome == "failed"
    return AdjustUsage(
        account_id=job.account_id,
        key=job.job_id,
        kind="correction",
        status=real.status,
        nanocredits=0 if failed else real.nanocredits,
        picousd=0 if failed else real.picousd,
        edition=real.edition,
        markup=real.markup,
        usage="{}" if failed else real.usage,
        attributes=real.attributes,
        lines="[]" if failed else real.lines,
        raw=None if failed else real.raw,
    )
