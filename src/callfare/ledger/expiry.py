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
    due = [
        *((run.expires_at_us, 0, run.run_id, run) for run in draft.open_runs(account_id)),
        *((job.expires_at_us, 1, job.job_id, job) for job in draft.pending_jobs(account_id)),
        *((grant.expires_at_us or 0, 2, str(grant.grant_id), grant)
          for grant in draft.grants(account_id) if grant.expires_at_us is not None),
    ]  # fmt: skip
    for expires_at_us, order, name, row in sorted(due, key=lambda item: item[:3]):
        if expires_at_us > now_us:
            break
        if order == 0:
            run = draft.run(account_id, name)
            assert run is not None, name
            settle_run(draft, run, EXPIRED, expires_at_us)
        elif order == 1:
            job = draft.job(account_id, name)
            assert job is not None, name
            expire_job(draft, job, expires_at_us)
        else:
            grants.expire_lot(draft, draft.grant(account_id, row.grant_id), expires_at_us)  # type: ignore[union-attr]  # order 2 is a grant
    grants.repay(draft, account_id, now_us)
