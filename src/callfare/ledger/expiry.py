"""What time does to an account: abandoned runs settle, unseen jobs are charged, lots turn into breakage.

Applied before every decision that looks at a balance, and by readers on what they loaded; so it holds whether or not
any job ever ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.ledger import grants
from callfare.ledger.jobs import expire_job
from callfare.ledger.settle import settle_run

if TYPE_CHECKING:
    from callfare.ledger.state import Draft

EXPIRED = "expired"


def expire_due(draft: Draft, account_id: int, now_us: int) -> None:
    """Settle everything of the account that is past its time, in the order in which the times came."""
    if draft.may_be_due(account_id, now_us):
        _expire(draft, account_id, now_us)
    grants.repay(draft, account_id, now_us)


def _expire(draft: Draft, account_id: int, now_us: int) -> None:
    runs = {run.run_id: run.expires_at_us for run in draft.open_runs(account_id)}
    jobs = {job.job_id: job.expires_at_us for job in draft.pending_jobs(account_id)}
    lots = {lot.grant_id: lot.expires_at_us for lot in draft.grants(account_id) if lot.expires_at_us is not None}
    due: list[tuple[int, int, str, int]] = [
        *((at_us, 0, run_id, 0) for run_id, at_us in runs.items() if at_us <= now_us),
        *((at_us, 1, job_id, 0) for job_id, at_us in jobs.items() if at_us <= now_us),
        *((at_us, 2, "", grant_id) for grant_id, at_us in lots.items() if at_us <= now_us),
    ]
    for at_us, order, name, grant_id in sorted(due):
        run = draft.run(account_id, name) if order == 0 else None
        job = draft.job(account_id, name) if order == 1 else None
        if run is not None:
            settle_run(draft, run, EXPIRED, at_us)
        elif job is not None:
            expire_job(draft, job, at_us)
        else:
            grants.expire_lot(draft, draft.grant(account_id, grant_id), at_us)
