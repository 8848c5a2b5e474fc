"""Answers about what waits in the spool. Pure but for reading the spool's files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from callfare.answers import Charge, Delivered, SpooledCall, SpoolReport
from callfare.clock import moment_of
from callfare.engine.engine import Engine
from callfare.engine.lines import Lines
from callfare.engine.requests import shown_key
from callfare.finished import Kept
from callfare.ids import charge_id
from callfare.ledger.commands import AdjustUsage, ClaimBatch, CloseRun, PendJob, RecordUsage, SettleJob
from callfare.money import Credits, Usd
from callfare.spool_file import Entry

_REFUSED_SHOWN = 50


def charge(command: Kept, model: str, *, left: Credits | None = None) -> Charge:
    """Return a call that waits in the spool as its reporter sees it, priced as it will be charged."""
    assert isinstance(command, RecordUsage), command
    return Charge(
        id="" if command.account_id is None else charge_id(command.account_id, command.key),
        key=shown_key(command.key),
        run_id=command.run_id,
        model=model,
        status=command.status,
        flags=("estimated",) if command.is_estimated else (),
        lines=Lines(command.lines),
        cost=Usd.of_units(command.picousd),
        credits=Credits.of_units(command.nanocredits),
        debt=Credits(0),
        left=left,
        edition=command.edition,
        is_replay=False,
        is_spooled=True,
    )


def report(engine: Engine) -> SpoolReport:
    """Return what the spool of a ledger holds, in all processes."""
    if engine.delivery is None:
        return SpoolReport(folder=None, waiting=0, oldest_at=None, cost=Usd(0), refused_count=0, refused=(), damaged=())
    spool = engine.delivery.spool
    waiting = picousd = 0
    oldest_us: int | None = None
    for entry in spool.waiting():
        waiting += 1
        picousd += _picousd_of(entry)
        oldest_us = entry.at_us if oldest_us is None else min(oldest_us, entry.at_us)
    refused = spool.refused()
    shown = tuple(_call(entry) for entry in islice(refused, _REFUSED_SHOWN))
    return SpoolReport(
        folder=str(spool.folder),
        waiting=waiting,
        oldest_at=None if oldest_us is None else moment_of(oldest_us),
        cost=Usd.of_units(picousd),
        refused_count=len(shown) + sum(1 for _ in refused),
        refused=shown,
        damaged=tuple(str(path) for path in spool.damaged()),
    )


def drain(engine: Engine, progress: Callable[[int], None] | None, *, refused: bool) -> Delivered:
    """Deliver what waits, and with `refused` what the ledger has refused before.

    Raises LedgerUnavailable.
    """
    if engine.delivery is None:
        return Delivered(delivered=0, refused=0, waiting=0)
    if refused:
        engine.delivery.spool.try_refused_again()
    tally = engine.delivery.deliver(progress)
    waiting = sum(1 for _ in engine.delivery.spool.waiting())
    return Delivered(delivered=tally.delivered, refused=tally.refused, waiting=waiting)


def _call(entry: Entry) -> SpooledCall:
    command, usage = entry.command, entry.usage
    key = _key_of(command)
    run_id = command.run_id if isinstance(command, CloseRun | ClaimBatch) else usage.run_id if usage else None
    return SpooledCall(
        kind=_KINDS.get(type(command), "job_end"),
        key=shown_key(key),
        run_id=run_id,
        model=usage.model if usage else "",
        cost=Usd.of_units(_picousd_of(entry)),
        reason=entry.refusal.replace(repr(key), repr(shown_key(key))),
        at=moment_of(entry.at_us),
    )


def _key_of(command: Kept) -> str:
    match command:
        case PendJob():
            return command.charge.key
        case SettleJob():
            return command.job_id
        case CloseRun():
            return command.key or command.run_id
        case ClaimBatch():
            return command.names[0]
        case _:
            return command.key


_KINDS: dict[type, str] = {
    RecordUsage: "usage",
    AdjustUsage: "correction",
    PendJob: "job",
    CloseRun: "run_end",
    ClaimBatch: "batch",
}


def _picousd_of(entry: Entry) -> int:
    # A correction names the call it corrects, which waits by itself.
    return entry.usage.picousd if entry.usage and entry.estimate is None else 0
