"""Charges: a metered call is written once, drawn from its run's hold or taken directly; what nothing covers is debt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.errors import ChargeNotFound, KeyConflict
from callfare.ledger import grants, holds
from callfare.ledger.accounts import PROMO, RECEIVABLE, REVENUE
from callfare.ledger.counted import difference
from callfare.ledger.receipts import ChargeReceipt
from callfare.ledger.rows import Event, Key, RawUsage, digest_of
from callfare.ledger.transfers import post
from callfare.money import in_range

if TYPE_CHECKING:
    from callfare.ledger.commands import AdjustUsage, RecordUsage
    from callfare.ledger.rows import Run
    from callfare.ledger.state import Draft
    from callfare.ledger.transfers import Leg

LATE = "late"
ESTIMATED = "estimated"
ATTEMPT = "attempt"
DUPLICATE = "duplicate"
# The kind of key row that names the event of a provider's response.
RESPONSE = "response"
WAIVED = "waived"
UNCHARGED = frozenset({ATTEMPT, DUPLICATE, WAIVED})
# On an adjustment: the call it is about had no price before, or has none any more.
NOW_PRICED = "now_priced"
NOW_UNPRICED = "now_unpriced"


def earlier_charge(draft: Draft, account_id: int, command: RecordUsage) -> tuple[Event | None, str | None]:
    """Return the event that already stands for this call, or the flag under which a further one is kept.

    Raises KeyConflict when an explicit key stands for another call, or for something that is no call.
    """
    event = draft.event(account_id, command.key)
    flag = command.repeat
    if event is None or (flag == ATTEMPT and event.response_id != command.response_id):
        # A response may have been told of before under another name, whatever the key stands for.
        told = _event_of_response(draft, account_id, command)
        if told is not None:
            event, flag = told, DUPLICATE
        elif event is None:
            return None, None
    elif flag == ATTEMPT and command.response_id:
        flag = DUPLICATE
    is_same = event.fingerprint == command.fingerprint
    if flag == DUPLICATE:
        is_same = (event.model, event.usage) == (command.model, command.usage)
    if is_same:
        return event, None
    if flag in {"conflict", "never"}:
        raise KeyConflict(command.key)
    return draft.event(account_id, command.other_key), flag


def _event_of_response(draft: Draft, account_id: int, command: RecordUsage) -> Event | None:
    """Return the event of the provider's response that a call tells of, recorded under another key."""
    row = draft.key(account_id, command.key)
    if row is not None and row.kind != RESPONSE:
        raise KeyConflict(command.key)
    if command.response_key:
        event = draft.event(account_id, command.response_key)
        if event is not None:
            return event
        row = draft.key(account_id, command.response_key)
    return draft.event(account_id, row.receipt) if row and row.kind == RESPONSE else None


def draw(draft: Draft, run: Run, nanocredits: int, now_us: int) -> tuple[Run, int]:
    """Draw a charge from an open run's hold, extended from what is available, and return the run and the debt."""
    shortfall = nanocredits - run.room_nanocredits
    debt = 0
    if shortfall > 0:
        extension = min(shortfall, draft.account(run.account_id).available_nanocredits)
        holds.authorize(draft, run.account_id, run.run_id, extension)
        run = replace(run, held_nanocredits=run.held_nanocredits + extension)
        debt = shortfall - extension
        if debt:
            legs: list[Leg] = [(RECEIVABLE, None, -debt), (REVENUE, None, debt)]
            post(draft, run.account_id, "debt", legs, now_us=now_us, run_id=run.run_id)
    drawn = replace(
        run,
        used_nanocredits=run.used_nanocredits + nanocredits - debt,
        debt_nanocredits=run.debt_nanocredits + debt,
    )
    return holds.kept_alive(drawn, now_us), debt


def take(
    draft: Draft,
    account_id: int,
    nanocredits: int,
    now_us: int,
    *,
    run: Run | None,
    key: str,
) -> tuple[int, int | None]:
    """Take a charge from available credit, and return the debt and the number of the transfer."""
    if not nanocredits:
        return 0, None
    run_id = run.run_id if run else None
    if is_waived(run):
        waived: list[Leg] = [(PROMO, None, -nanocredits), (REVENUE, None, nanocredits)]
        return 0, post(draft, account_id, "waive", waived, now_us=now_us, run_id=run_id, reference=key)
    covered = min(nanocredits, draft.account(account_id).available_nanocredits)
    debt = nanocredits - covered
    legs: list[Leg] = [
        *holds.available_legs(draft, account_id, covered),
        (RECEIVABLE, None, -debt),
        (REVENUE, None, nanocredits),
    ]
    return debt, post(draft, account_id, "charge", legs, now_us=now_us, run_id=run_id, reference=key)


def charge(draft: Draft, account_id: int, run: Run | None, command: RecordUsage, now_us: int) -> ChargeReceipt:
    """Charge a call to its open run, or directly when there is none or it has ended, and write its event."""
    flags = [ESTIMATED] if command.is_estimated else []
    seq = None
    if run and run.status == "open":
        run, debt = draw(draft, run, command.nanocredits, now_us)
    else:
        flags += [LATE] if run else []
        debt, seq = take(draft, account_id, command.nanocredits, now_us, run=run, key=command.key)
    if is_waived(run):
        flags.append(WAIVED)
        command = replace(command, nanocredits=0)
    if run:
        run = count_call(run, command.nanocredits, command.picousd, is_unpriced=command.status == "unpriced")
        draft.put(run)
    event = event_of(account_id, run, command, key=command.key, flags=flags, now_us=now_us, debt=debt, seq=seq)
    write_event(draft, event, command)
    return receipt_of(event, run)


def is_waived(run: Run | None) -> bool:
    """Tell whether the house has taken a run over: what comes for it later is charged to nobody."""
    return run is not None and run.status == "failed" and run.on_failure == "waive"


def keep_uncharged(
    draft: Draft,
    account_id: int,
    run: Run | None,
    command: RecordUsage,
    *,
    flag: str,
    now_us: int,
) -> ChargeReceipt:
    """Write a call that cost the operator but is not charged again, flagged as what it is."""
    free = replace(command, nanocredits=0)
    if run:
        run = holds.kept_alive(run, now_us) if run.status == "open" else run
        run = count_call(run, 0, command.picousd, is_unpriced=command.status == "unpriced")
        draft.put(run)
    event = event_of(account_id, run, free, key=command.other_key, flags=[flag], now_us=now_us, debt=0, seq=None)
    named = command.response_key
    is_new = named is not None and draft.key(account_id, named) is None and draft.event(account_id, named) is None
    write_event(draft, event, command if is_new else replace(command, response_key=None))
    return receipt_of(event, run)


def count_call(run: Run, nanocredits: int, picousd: int, *, is_unpriced: bool) -> Run:
    """Return the run with one more call in its totals.

    Raises AmountOutOfRange when a total would leave 64 bits.
    """
    return replace(
        run,
        charged_nanocredits=in_range(run.charged_nanocredits + nanocredits, "charged credits", param="usage"),
        cost_picousd=in_range(run.cost_picousd + picousd, "cost of the run", param="usage"),
        calls=run.calls + 1,
        unpriced_calls=run.unpriced_calls + is_unpriced,
    )


def event_of(
    account_id: int,
    run: Run | None,
    command: RecordUsage,
    *,
    key: str,
    flags: list[str],
    now_us: int,
    debt: int,
    seq: int | None,
) -> Event:
    """Return the event that stands for a recorded call."""
    return Event(
        account_id=account_id,
        key=key,
        kind="usage",
        corrects=None,
        run_id=run.run_id if run else None,
        workflow=run.workflow if run else "",
        call_number=run.calls if run else 0,
        step=command.step,
        provider=command.provider,
        base_url=command.base_url,
        model=command.model,
        operation=command.operation,
        response_id=command.response_id,
        status=command.status,
        flags=" ".join(flags),
        reason=command.reason,
        nanocredits=command.nanocredits,
        picousd=command.picousd,
        debt_nanocredits=debt,
        charge_seq=seq,
        edition=command.edition,
        markup=command.markup,
        usage=command.usage,
        counted=None,
        attributes=command.attributes,
        lines=command.lines,
        metadata=command.metadata,
        raw_digest=None if command.raw is None else digest_of(command.raw.encode()),
        at_us=command.at_us,
        recorded_at_us=now_us,
        fingerprint=command.fingerprint,
        held_after_nanocredits=run.held_nanocredits if run else 0,
        used_after_nanocredits=run.used_nanocredits if run else 0,
    )


def write_event(draft: Draft, event: Event, command: RecordUsage | AdjustUsage) -> None:
    """Write an event with the provider's own usage object and the name of the response it is the first to stand for."""
    draft.put(event)
    if command.raw is not None:
        draft.put(RawUsage(event.account_id, event.key, event.recorded_at_us, command.raw))
    response_key = getattr(command, "response_key", None)
    if response_key and draft.key(event.account_id, response_key) is None:
        draft.put(Key(event.account_id, response_key, RESPONSE, event.fingerprint, event.key, event.recorded_at_us))


def adjust(draft: Draft, command: AdjustUsage, now_us: int) -> ChargeReceipt:
    """Put another rating in place of a recorded one, and charge or give back the difference.

    Raises ChargeNotFound when nothing is recorded under the key.
    """
    account_id = command.account_id
    event = draft.event(account_id, command.key)
    if event is None:
        raise ChargeNotFound(f"there is no charge under the key {command.key!r}", param="charge")
    done = draft.event(account_id, f"{command.key}#{command.kind}")
    if done is not None:
        assert done.kind == command.kind, done
        return receipt_of(done, is_replay=True)
    earlier = [draft.event(account_id, f"{command.key}#{kind}") for kind in ("correction", "reprice")]
    counted = [event, *(other for other in earlier if other)]
    run = draft.run(account_id, event.run_id) if event.run_id else None
    is_charged = not UNCHARGED & set(event.flags.split()) and not is_waived(run)
    delta = command.nanocredits - sum(row.nanocredits for row in counted) if is_charged else 0
    cost_delta = command.picousd - sum(row.picousd for row in counted)
    run, debt, seq = _place_difference(draft, event, run, delta, now_us)
    flag = change_of_price(counted[-1].status, command.status)
    if run:
        run = count_call(run, delta, cost_delta, is_unpriced=False)
        unpriced_calls = run.unpriced_calls + (flag == NOW_UNPRICED) - (flag == NOW_PRICED)
        draft.put(replace(run, calls=run.calls - 1, unpriced_calls=unpriced_calls))
    adjusted = replace(
        event,
        key=f"{command.key}#{command.kind}",
        kind=command.kind,
        corrects=command.key,
        status=command.status,
        flags=flag,
        reason=None,
        nanocredits=delta,
        picousd=cost_delta,
        debt_nanocredits=debt,
        charge_seq=seq,
        edition=command.edition,
        markup=command.markup,
        usage=command.usage,
        counted=difference(command.usage, counted[-1].usage),
        attributes=command.attributes,
        lines=command.lines,
        raw_digest=None if command.raw is None else digest_of(command.raw.encode()),
        recorded_at_us=now_us,
        held_after_nanocredits=run.held_nanocredits if run else 0,
        used_after_nanocredits=run.used_nanocredits if run else 0,
    )
    write_event(draft, adjusted, command)
    return receipt_of(adjusted, run)


def change_of_price(before: str, now: str) -> str:
    """Return the flag of an adjustment that gives a call a price, or takes it away; empty for any other."""
    if before == now:
        return ""
    return NOW_PRICED if now == "priced" else NOW_UNPRICED


def _place_difference(
    draft: Draft,
    event: Event,
    run: Run | None,
    delta: int,
    now_us: int,
) -> tuple[Run | None, int, int | None]:
    if delta >= 0 and run and run.status == "open":
        run, debt = draw(draft, run, delta, now_us)
        return run, debt, None
    if delta >= 0:
        debt, seq = take(draft, event.account_id, delta, now_us, run=run, key=event.key)
        return run, debt, seq
    given_back = -delta
    if run and run.status == "open":
        part = min(given_back, run.used_nanocredits)
        run = holds.renewed(replace(run, used_nanocredits=run.used_nanocredits - part), now_us)
        given_back -= part
    seq = None
    if given_back:
        seq = grants.add_lot(
            draft,
            event.account_id,
            given_back,
            kind="correction",
            source="adjustment",
            house=REVENUE,
            now_us=now_us,
            reference=event.key,
        )
        grants.repay(draft, event.account_id, now_us)
    return run, 0, seq


def receipt_of(event: Event, run: Run | None = None, *, is_replay: bool = False) -> ChargeReceipt:
    """Return the answer to the request that an event stands for."""
    return ChargeReceipt(
        is_replay=is_replay,
        account_id=event.account_id,
        key=event.key,
        run_id=event.run_id,
        status=event.status,
        flags=event.flags,
        nanocredits=event.nanocredits,
        picousd=event.picousd,
        debt_nanocredits=event.debt_nanocredits,
        edition=event.edition,
        lines=event.lines,
        held_after_nanocredits=event.held_after_nanocredits,
        used_after_nanocredits=event.used_after_nanocredits,
        run_expires_at_us=run.expires_at_us if run else 0,
    )
