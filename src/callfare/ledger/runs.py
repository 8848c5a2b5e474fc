"""Runs: opened under a committed hold, extended and renewed while they go, closed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from callfare.clock import US_PER_S
from callfare.errors import InsufficientCredit, KeyConflict, RunClosed, RunNotFound
from callfare.ledger import holds
from callfare.ledger.keys import again, recall, remember
from callfare.ledger.receipts import CloseReceipt, ExtendReceipt, OpenReceipt
from callfare.ledger.rows import Run, digest_of
from callfare.ledger.settle import settle_run
from callfare.money import Credits, in_range

if TYPE_CHECKING:
    from callfare.ledger.commands import CloseRun, ExtendRun, OpenRun
    from callfare.ledger.rows import Account
    from callfare.ledger.state import Draft


def opened_before(run: Run, command: OpenRun) -> OpenReceipt:
    """Return the run that the same request opened.

    Raises KeyConflict when another request did.
    """
    if run.fingerprint != command.fingerprint:
        raise KeyConflict(command.run_id)
    return again(_open_receipt(run))


def open_run(draft: Draft, account: Account, command: OpenRun, now_us: int) -> OpenReceipt:
    """Start a run under a hold, of which a part may come out of another run's.

    Raises InsufficientCredit when less than the rest of the hold is available, or a debt stands open; RunClosed and
    RunNotFound for the other run.
    """
    available, debt = account.available_nanocredits, account.debt_nanocredits
    parent = _parent_of(draft, account.account_id, command.parent)
    moved = 0
    if parent is not None:
        moved = min(command.from_parent_nanocredits, command.hold_nanocredits, parent.room_nanocredits)
    rest = command.hold_nanocredits - moved
    if rest > available or debt:
        raise InsufficientCredit(
            command.user,
            needed=Credits.of_units(in_range(rest + debt, "hold", param="hold")),
            available=Credits.of_units(available),
        )
    account_id = account.account_id
    if parent is not None and moved:
        holds.hand_over(draft, account_id, parent.run_id, moved, to=command.run_id)
        draft.put(holds.renewed(replace(parent, held_nanocredits=parent.held_nanocredits - moved), now_us))
    holds.authorize(draft, account_id, command.run_id, rest)
    run = Run(
        account_id=account_id,
        run_id=command.run_id,
        workflow=command.workflow,
        status="open",
        on_failure=command.on_failure,
        asked_nanocredits=command.hold_nanocredits,
        held_nanocredits=command.hold_nanocredits,
        used_nanocredits=0,
        debt_nanocredits=0,
        charged_nanocredits=0,
        cost_picousd=0,
        calls=0,
        unpriced_calls=0,
        low_nanocredits=command.low_nanocredits,
        high_nanocredits=command.high_nanocredits,
        ttl_s=command.ttl_s,
        opened_at_us=now_us,
        expires_at_us=now_us + command.ttl_s * US_PER_S,
        closed_at_us=None,
        close_seq=None,
        receipt=None,
        input=command.input,
        fingerprint=command.fingerprint,
    )
    draft.put(run)
    return _open_receipt(run)


def _parent_of(draft: Draft, account_id: int, run_id: str | None) -> Run | None:
    """Return the open run that hands a part of its hold over, None where none is named."""
    if run_id is None:
        return None
    run = draft.run(account_id, run_id)
    if run is None:
        raise RunNotFound(run_id)
    _require_open(run)
    return run


def extended_before(draft: Draft, run: Run, command: ExtendRun) -> ExtendReceipt | None:
    """Return the first answer to a repeated extension, or None when it is new."""
    fingerprint = _extension_fingerprint(command)
    return recall(draft, run.account_id, command.key, ExtendReceipt, kind="extend", fingerprint=fingerprint)


def extend_run(draft: Draft, run: Run, command: ExtendRun, now_us: int) -> ExtendReceipt:
    """Reserve more credit for an open run.

    Raises RunClosed when it has ended, InsufficientCredit when less is available.
    """
    _require_open(run)
    available = draft.account(run.account_id).available_nanocredits
    if command.by_nanocredits > available:
        needed = Credits.of_units(command.by_nanocredits)
        user = draft.name_of(run.account_id)
        raise InsufficientCredit(user, needed=needed, available=Credits.of_units(available))
    holds.authorize(draft, run.account_id, run.run_id, command.by_nanocredits)
    run = holds.renewed(replace(run, held_nanocredits=run.held_nanocredits + command.by_nanocredits), now_us)
    draft.put(run)
    receipt = _extend_receipt(run)
    fingerprint = _extension_fingerprint(command)
    remember(draft, run.account_id, command.key, receipt, kind="extend", fingerprint=fingerprint, now_us=now_us)
    return receipt


def touch_run(draft: Draft, run: Run, now_us: int) -> ExtendReceipt:
    """Renew an open run's hold for its time to live.

    Raises RunClosed when it has ended.
    """
    _require_open(run)
    run = holds.renewed(run, now_us)
    draft.put(run)
    return _extend_receipt(run)


def close_run(draft: Draft, run: Run, command: CloseRun, now_us: int) -> CloseReceipt:
    """Settle a run. A repeat, and the end of an expired run, get the receipt of the first end.

    Raises RunClosed when the run has ended with another outcome, KeyConflict when the key stands for another request.
    """
    fingerprint = digest_of(f"{run.run_id}\x1f{command.outcome}".encode())
    if command.key:
        first = recall(draft, run.account_id, command.key, CloseReceipt, kind="close", fingerprint=fingerprint)
        if first:
            return first
    if run.status == "open":
        receipt = settle_run(draft, run, command.outcome, now_us)
    elif run.status in {command.outcome, "expired"}:
        assert run.receipt is not None, run
        receipt = again(msgspec.json.decode(run.receipt, type=CloseReceipt))
    else:
        raise RunClosed(run.run_id, outcome=run.status)
    if command.key:
        remember(draft, run.account_id, command.key, receipt, kind="close", fingerprint=fingerprint, now_us=now_us)
    return receipt


def _require_open(run: Run) -> None:
    if run.status != "open":
        raise RunClosed(run.run_id, outcome=run.status)


def _extension_fingerprint(command: ExtendRun) -> int:
    return digest_of(f"{command.run_id}\x1f{command.by_nanocredits}".encode())


def _extend_receipt(run: Run) -> ExtendReceipt:
    return ExtendReceipt(
        account_id=run.account_id,
        run_id=run.run_id,
        held_nanocredits=run.held_nanocredits,
        used_nanocredits=run.used_nanocredits,
        expires_at_us=run.expires_at_us,
    )


def _open_receipt(run: Run) -> OpenReceipt:
    return OpenReceipt(
        account_id=run.account_id,
        run_id=run.run_id,
        status=run.status,
        asked_nanocredits=run.asked_nanocredits,
        held_nanocredits=run.held_nanocredits,
        used_nanocredits=run.used_nanocredits,
        expires_at_us=run.expires_at_us,
    )
