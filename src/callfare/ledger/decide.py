"""The one door to the ledger: state and a command in; a receipt and the changed rows out, or a business error.

Reads no clock, no random, no I/O, and never changes the state it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from callfare.errors import NotFound, RunNotFound
from callfare.ledger import access, audit, batches, charges, grants, inbox, jobs, orders, runs, sales
from callfare.ledger.accounts import ensure_account
from callfare.ledger.commands import (
    AdjustUsage,
    ClaimBatch,
    CloseRun,
    Command,
    ExpireDue,
    ExtendRun,
    GrantCredit,
    MakeKey,
    NoteCheck,
    NoteKeyUse,
    OpenRun,
    PendJob,
    RecordUsage,
    RefundGrant,
    RevokeKey,
    RollKey,
    SettleJob,
    TouchRun,
)
from callfare.ledger.expiry import expire_due
from callfare.ledger.keys import recall
from callfare.ledger.receipts import (
    ChargeReceipt,
    CheckReceipt,
    ExpiryReceipt,
    GrantReceipt,
    JobReceipt,
    OpenReceipt,
    Receipt,
    RefundReceipt,
)
from callfare.ledger.sale_commands import (
    ClaimCustomer,
    ClaimDelivery,
    ClaimQuarantined,
    DropCustomer,
    LinkCustomer,
    MirrorSubscription,
    MoveOrder,
    NoteFact,
    OpenOrder,
    Quarantine,
    SettleDelivery,
    SettleSale,
    TakeDelivery,
)
from callfare.ledger.state import Draft

if TYPE_CHECKING:
    from collections.abc import Callable

    from callfare.ledger.rows import Pk, Row, Run
    from callfare.ledger.state import State


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A decision: the answer, and every row it writes by its primary key, in order."""

    receipt: Receipt
    changes: dict[Pk, Row]


def decide(state: State, command: Command, now_us: int) -> Outcome:
    """Decide one command.

    Raises a CallfareError when it is refused; the state is as it was.
    """
    draft = Draft(state)
    receipt = (_OTHERS.get(type(command)) or _dispatch)(draft, command, now_us)
    # Who asked for usage is kept for all of a transaction together: see audit.UsageAudit.
    if command.audit is not None and not receipt.is_replay and type(command) is not RecordUsage:
        audit.write(draft, command.audit, command, receipt, now_us)
    return Outcome(receipt, draft.changed)


def _dispatch(draft: Draft, command: Command, now_us: int) -> Receipt:
    match command:
        case RecordUsage():
            return _record(draft, command, now_us)
        case OpenRun():
            return _open(draft, command, now_us)
        case CloseRun() | ExtendRun() | TouchRun():
            return _steer(draft, command, now_us)
        case GrantCredit():
            return _grant(draft, command, now_us)
        case PendJob():
            return _pend(draft, command, now_us)
        case SettleJob():
            return _settle(draft, command, now_us)
        case AdjustUsage():
            _expire_known(draft, command.account_id, now_us)
            return charges.adjust(draft, command, now_us)
        case RefundGrant():
            return _refund(draft, command, now_us)
        case ExpireDue():
            _expire_known(draft, command.account_id, now_us)
            return ExpiryReceipt(account_id=command.account_id, changes=len(draft.changed))
        case NoteCheck():
            return CheckReceipt()
        case MakeKey() | RollKey() | RevokeKey() | NoteKeyUse():
            return access.steer_key(draft, command, now_us)
        case _:
            raise AssertionError(command)


# What has a decision of its own: a batch, and what buying credits asks for.
_OTHERS: dict[type[Command], Callable[[Draft, Any, int], Receipt]] = {
    ClaimBatch: batches.claim,
    OpenOrder: orders.open_order,
    MoveOrder: orders.move_order,
    SettleSale: sales.settle_sale,
    ClaimCustomer: orders.claim_customer,
    LinkCustomer: orders.link_customer,
    DropCustomer: orders.drop_customer,
    MirrorSubscription: orders.mirror_subscription,
    TakeDelivery: inbox.take_delivery,
    ClaimDelivery: inbox.claim_delivery,
    SettleDelivery: inbox.settle_delivery,
    Quarantine: inbox.quarantine,
    ClaimQuarantined: inbox.claim_quarantined,
    NoteFact: inbox.note_fact,
}


def _expire_known(draft: Draft, account_id: int, now_us: int) -> None:
    if draft.knows(account_id):
        expire_due(draft, account_id, now_us)


def _run_of(draft: Draft, run_id: str, account_id: int | None) -> Run:
    if account_id is None:
        owners = draft.owners_of("runs", run_id)
        if len(owners) != 1:
            raise RunNotFound(run_id)
        account_id = owners[0]
    run = draft.run(account_id, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def _subject(draft: Draft, command: RecordUsage, now_us: int) -> tuple[int, Run | None]:
    """Return whom a call is charged to. A run of another user than the one named is as good as unknown."""
    if command.run_id is None:
        if command.account_id is not None:
            if not draft.knows(command.account_id):
                raise NotFound(f"there is no account {command.account_id}", param="account_id")
            return command.account_id, None
        return ensure_account(draft, command.user, command.new_account_id, now_us).account_id, None
    account_id = command.account_id
    if account_id is None and command.user:
        user = draft.user(command.user)
        if user is None:
            raise RunNotFound(command.run_id)
        account_id = user.account_id
    run = _run_of(draft, command.run_id, account_id)
    return run.account_id, run


def _is_due(run: Run, now_us: int) -> bool:
    return run.status == "open" and run.expires_at_us <= now_us


def _record(draft: Draft, command: RecordUsage, now_us: int) -> ChargeReceipt:
    account_id, run = _subject(draft, command, now_us)
    earlier, flag = charges.earlier_charge(draft, account_id, command)
    if earlier is not None:
        return charges.receipt_of(earlier, is_replay=True)
    fits = run and run.status == "open" and not _is_due(run, now_us) and command.nanocredits <= run.room_nanocredits
    if not fits:
        expire_due(draft, account_id, now_us)
        run = draft.run(account_id, run.run_id) if run else None
    if flag is not None:
        return charges.keep_uncharged(draft, account_id, run, command, flag=flag, now_us=now_us)
    return charges.charge(draft, account_id, run, command, now_us)


def _open(draft: Draft, command: OpenRun, now_us: int) -> OpenReceipt:
    account = ensure_account(draft, command.user, command.new_account_id, now_us)
    known = draft.run(account.account_id, command.run_id)
    if known is not None:
        return runs.opened_before(known, command)
    expire_due(draft, account.account_id, now_us)
    return runs.open_run(draft, draft.account(account.account_id), command, now_us)


def _steer(draft: Draft, command: CloseRun | ExtendRun | TouchRun, now_us: int) -> Receipt:
    run = _run_of(draft, command.run_id, command.account_id)
    if isinstance(command, ExtendRun):
        first = runs.extended_before(draft, run, command)
        if first is not None:
            return first
    expire_due(draft, run.account_id, now_us)
    run = _run_of(draft, command.run_id, run.account_id)
    if isinstance(command, CloseRun):
        return runs.close_run(draft, run, command, now_us)
    if isinstance(command, TouchRun):
        return runs.touch_run(draft, run, now_us)
    return runs.extend_run(draft, run, command, now_us)


def _grant(draft: Draft, command: GrantCredit, now_us: int) -> GrantReceipt:
    user = draft.user(command.user)
    if user is not None:
        first = recall(draft, user.account_id, command.key, GrantReceipt, kind="grant", fingerprint=command.fingerprint)
        if first is not None:
            return first
        expire_due(draft, user.account_id, now_us)
    if command.audit is not None and command.audit.key_id is not None:
        access.count_grant(draft, command.audit.key_id, command.nanocredits, now_us)
    return grants.grant_credit(draft, command, now_us)


def _refund(draft: Draft, command: RefundGrant, now_us: int) -> RefundReceipt:
    user = draft.user(command.user)
    if user is not None:
        first = recall(
            draft, user.account_id, command.key, RefundReceipt, kind="refund", fingerprint=command.fingerprint
        )
        if first is not None:
            return first
        expire_due(draft, user.account_id, now_us)
    return grants.refund_grant(draft, command, now_us)


def _pend(draft: Draft, command: PendJob, now_us: int) -> JobReceipt:
    account_id, run = _subject(draft, command.charge, now_us)
    expire_due(draft, account_id, now_us)
    run = draft.run(account_id, run.run_id) if run else None
    return jobs.pend_job(draft, account_id, run, command, now_us)


def _settle(draft: Draft, command: SettleJob, now_us: int) -> JobReceipt:
    owners = draft.owners_of("jobs", command.job_id)
    if command.account_id is not None:
        owners = [owner for owner in owners if owner == command.account_id]
    if len(owners) != 1:
        raise NotFound(f"there is no job {command.job_id!r}", param="job_id")
    expire_due(draft, owners[0], now_us)
    job = draft.job(owners[0], command.job_id)
    assert job is not None, command.job_id
    return jobs.settle_job(draft, job, command.outcome, command.charge, now_us)
