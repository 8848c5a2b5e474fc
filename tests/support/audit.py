"""An auditor that shares no code with the ledger: it reads every row and recomputes what the rows must say.

`verify` is the product's own auditor. A test that trusted it alone would share its blind spots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from callfare.ledger.rows import TABLES, Account, Entry, Event, Grant, Hold, Job, Rollup, Row, Run, Transfer, seal_of
from callfare.ledger.sale_rows import Sale
from callfare.store.protocol import Store

R = TypeVar("R", bound=Row)
Number = defaultdict[Any, int]


def faults(store: Store) -> list[str]:
    """Return what is wrong with a ledger; nothing is."""
    rows: dict[type[Row], list[Any]] = {}
    found: list[str] = []
    for table in TABLES:
        sealed = list(store.scan(table))
        rows[table] = [row for row, _ in sealed]
        found += [f"the seal of {row} is broken" for row, seal in sealed if seal != seal_of(row)]
    transfers, entries, events, runs = rows[Transfer], rows[Entry], rows[Event], rows[Run]
    found += _transfers(transfers, entries)
    found += _accounts(rows[Account], transfers, entries, rows[Hold])
    found += _lots(rows[Grant], entries, rows[Hold])
    found += _holders(runs, rows[Job], rows[Sale], rows[Hold])
    found += _spending(events, runs, transfers, entries)
    found += _runs(runs, events)
    found += _rollups(rows[Rollup], events)
    return found


def _sum(pairs: Iterable[tuple[Any, int]]) -> Number:
    total: Number = defaultdict(int)
    for name, amount in pairs:
        total[name] += amount
    return total


def _transfers(transfers: list[Transfer], entries: list[Entry]) -> Iterator[str]:
    sides: defaultdict[tuple[int, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        sides[entry.account_id, entry.seq].append(entry)
    for transfer in transfers:
        own = sides.pop((transfer.account_id, transfer.seq), [])
        amounts = [entry.amount_nanocredits for entry in own]
        if sum(amounts) or not all(amounts):
            yield f"{transfer} does not balance: {own}"
        if transfer.amount_nanocredits != sum(amount for amount in amounts if amount > 0):
            yield f"{transfer} moved something else: {own}"
        if transfer.entry_count != len(own) or [entry.position for entry in own] != list(range(len(own))):
            yield f"{transfer} lost an entry: {own}"
    for own in sides.values():
        yield f"these entries have no transfer: {own}"


def _accounts(
    accounts: list[Account], transfers: list[Transfer], entries: list[Entry], holds: list[Hold]
) -> Iterator[str]:
    posted = _sum((row.account_id, row.amount_nanocredits) for row in entries if row.account_kind == "customer")
    owed = _sum((row.account_id, -row.amount_nanocredits) for row in entries if row.account_kind == "receivable")
    held = _sum((row.account_id, row.amount_nanocredits) for row in holds)
    numbers: defaultdict[int, list[int]] = defaultdict(list)
    for transfer in transfers:
        numbers[transfer.account_id].append(transfer.seq)
    for account in accounts:
        number = account.account_id
        recomputed = (posted.pop(number, 0), held.pop(number, 0), owed.pop(number, 0))
        if recomputed != (account.posted_nanocredits, account.held_nanocredits, account.debt_nanocredits):
            yield f"{account} is recomputed as {recomputed}"
        if min(*recomputed, recomputed[0] - recomputed[1]) < 0:
            yield f"{account} is below zero"
        if account.debt_nanocredits and account.available_nanocredits:
            yield f"{account} owes while credit is available"
        if numbers[number] != list(range(1, account.last_seq + 1)):
            yield f"{account} has the transfers {numbers[number]}"
    for number in {*posted, *held, *owed}:
        yield f"account {number} has rows and no total"


def _lots(lots: list[Grant], entries: list[Entry], holds: list[Hold]) -> Iterator[str]:
    remaining = _sum(
        ((row.account_id, row.grant_id), row.amount_nanocredits) for row in entries if row.account_kind == "customer"
    )
    held = _sum(((row.account_id, row.grant_id), row.amount_nanocredits) for row in holds)
    for lot in lots:
        pk = (lot.account_id, lot.grant_id)
        recomputed = (remaining.pop(pk, 0), held.pop(pk, 0))
        if recomputed != (lot.remaining_nanocredits, lot.held_nanocredits):
            yield f"{lot} is recomputed as {recomputed}"
        if not 0 <= recomputed[1] <= recomputed[0] <= lot.amount_nanocredits:
            yield f"{lot} is out of bounds: {recomputed}"
    for pk in {*remaining, *held}:
        yield f"lot {pk} is named and not there"


def _holders(runs: list[Run], jobs: list[Job], sales: list[Sale], holds: list[Hold]) -> Iterator[str]:
    held = _sum(((row.account_id, row.hold_id), row.amount_nanocredits) for row in holds)
    for run in runs:
        if run.held_nanocredits != held.pop((run.account_id, run.run_id), 0):
            yield f"{run} holds something else"
        if run.status == "open" and not 0 <= run.used_nanocredits <= run.held_nanocredits:
            yield f"{run} has drawn what it does not hold"
        if run.status != "open" and run.held_nanocredits:
            yield f"{run} has ended and still holds"
    for job in jobs:
        if job.held_nanocredits != held.pop((job.account_id, f"job\x1f{job.job_id}"), 0):
            yield f"{job} holds something else"
        if job.status != "pending" and job.held_nanocredits:
            yield f"{job} has ended and still holds"
    for sale in sales:
        if sale.withheld_nanocredits != held.pop((sale.account_id, f"dispute\x1f{sale.sale_id}"), 0):
            yield f"{sale} withholds something else"
    for pk in held:
        yield f"{pk} holds and is neither run nor job"


def _spending(events: list[Event], runs: list[Run], transfers: list[Transfer], entries: list[Entry]) -> Iterator[str]:
    """What events say was spent is what the house earned, less what it waived, and what open runs have drawn."""
    waives = {(row.account_id, row.seq) for row in transfers if row.kind == "waive"}
    earned = _sum((row.account_id, row.amount_nanocredits) for row in entries if row.account_kind == "revenue")
    for entry in entries:
        if entry.account_kind == "promo" and (entry.account_id, entry.seq) in waives:
            earned[entry.account_id] += entry.amount_nanocredits
    for run in runs:
        earned[run.account_id] += run.used_nanocredits if run.status == "open" else 0
    spent = _sum((event.account_id, event.nanocredits) for event in events)
    for number in {*earned, *spent}:
        if earned[number] != spent[number]:
            yield f"account {number} spent {spent[number]} and paid {earned[number]}"


def _runs(runs: list[Run], events: list[Event]) -> Iterator[str]:
    charged = _sum(((row.account_id, row.run_id), row.nanocredits) for row in events)
    cost = _sum(((row.account_id, row.run_id), row.picousd) for row in events)
    calls = _sum(((row.account_id, row.run_id), 1) for row in events if row.kind == "usage")
    numbers = {(run.account_id, run.run_id) for run in runs}
    for run in runs:
        pk = (run.account_id, run.run_id)
        if (run.charged_nanocredits, run.cost_picousd, run.calls) != (charged[pk], cost[pk], calls[pk]):
            yield f"{run} is recomputed as {charged[pk]}, {cost[pk]}, {calls[pk]}"
        own = [event for event in events if (event.account_id, event.run_id) == pk]
        if run.unpriced_calls != len(_still_unpriced(own)):
            yield f"{run} has {len(_still_unpriced(own))} unpriced calls"
    for event in events:
        if event.run_id is not None and (event.account_id, event.run_id) not in numbers:
            yield f"{event} names a run that is not there"


def _rollups(rolled: list[Rollup], events: list[Event]) -> Iterator[str]:
    for grain in ("day", "quarter"):
        own = [row for row in rolled if row.grain == grain]
        said = _sum((row.account_id, row.nanocredits) for row in own)
        cost = _sum((row.account_id, int(row.picousd)) for row in own)
        calls = _sum((row.account_id, row.calls) for row in own)
        unpriced = _sum((row.account_id, row.unpriced_calls) for row in own)
        for number in {row.account_id for row in events}:
            mine = [event for event in events if event.account_id == number]
            recomputed = (
                sum(event.nanocredits for event in mine),
                sum(event.picousd for event in mine),
                sum(event.kind == "usage" for event in mine),
                len(_still_unpriced(mine)),
            )
            if (said[number], cost[number], calls[number], unpriced[number]) != recomputed:
                yield f"roll-ups by {grain} of account {number} are recomputed as {recomputed}"


def _still_unpriced(events: list[Event]) -> set[str]:
    """Return the calls without a price. Clocks step back, so time tells no order: adjustments say what they changed."""
    unpriced = _sum((event.key, event.status == "unpriced") for event in events if event.kind == "usage")
    for event in events:
        if event.corrects:
            unpriced[event.corrects] += {"now_unpriced": 1, "now_priced": -1}.get(event.flags, 0)
    return {key for key, count in unpriced.items() if count}
