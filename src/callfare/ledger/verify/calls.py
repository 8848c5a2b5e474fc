"""Usage events of one account: their arithmetic, their corrections, the transfers and runs they stand for.

Read once, in the order of their keys. An event's corrections follow it there with only keys between that begin with
its own, so what is kept at any time is one chain of such keys.
"""

from __future__ import annotations

from itertools import permutations

from callfare.ids import response_key_of
from callfare.ledger import charges
from callfare.ledger.rollups import unpriced_change
from callfare.ledger.rows import Event, Job, RawUsage, digest_of
from callfare.ledger.settle import WAIVER, waiver_key
from callfare.ledger.verify.arithmetic import Number, Wrong, quantities, rated
from callfare.ledger.verify.findings import Findings, Stream
from callfare.ledger.verify.holders import Holders, RunTally, mark
from callfare.ledger.verify.marks import Marks
from callfare.ledger.verify.postings import Postings
from callfare.ledger.verify.totals import Totals

_ADJUSTMENTS = frozenset({"correction", "reprice"})
_FLAGS = charges.UNCHARGED | {charges.LATE, charges.ESTIMATED, charges.NOW_PRICED, charges.NOW_UNPRICED}
_NOTHING: dict[str, Number] = {}
# What a correction takes over from the event it is about.
_TAKEN_OVER = (
    "run_id", "workflow", "call_number", "step", "provider", "base_url", "model", "operation", "response_id",
    "metadata", "at_us", "fingerprint",
)  # fmt: skip


def response_name(event: Event) -> str:
    """Return the key under which a provider's response is remembered."""
    return response_key_of(provider=event.provider, base_url=event.base_url, response_id=event.response_id)


class _Family:
    """An event and what corrects it."""

    __slots__ = ("adjustments", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.adjustments: list[tuple[Event, tuple[int, int]]] = []


class Calls:
    """The events of one account."""

    def __init__(self, account_id: int, findings: Findings, holders: Holders, postings: Postings) -> None:
        self._account_id = account_id
        self._findings = findings
        self._wrong = findings.wrong
        self._holders = holders
        self._postings = postings
        self._families: list[_Family] = []
        self.totals = Totals(account_id, findings)
        # Events that a remembered response may point to, and the names of responses that must be remembered.
        self.answered = Marks()
        self.responses = Marks()

    def read(self, events: Stream[Event], raws: Stream[RawUsage], raw_from_us: int) -> None:
        """Take in the events of the account, with the providers' own usage objects beside them.

        raw_from_us: those of events recorded from then on must be there.
        """
        for event in events.of(self._account_id):
            self._leave(event.key)
            self._compare_raw(event, raws, raw_from_us)
            self._take(event)
        self._leave(None)
        self._orphans(raws, None)
        self.answered.close()

    # The provider's own usage object

    def _compare_raw(self, event: Event, raws: Stream[RawUsage], raw_from_us: int) -> None:
        self._orphans(raws, event.key)
        raw = raws.head
        if raw is None or raw.account_id != self._account_id or raw.key != event.key:
            if event.raw_digest is not None and event.recorded_at_us >= raw_from_us:
                message = "its event has its digest, and it is missing"
                self._findings.fault(RawUsage, (event.account_id, event.key), None, message)
            return
        if digest_of(raw.raw.encode()) != event.raw_digest:
            self._wrong(raw, "raw", "its event has the digest of another usage object")
        if raw.recorded_at_us != event.recorded_at_us:
            self._wrong(raw, "recorded_at_us", "its event was recorded at another time")
        raws.step()

    def _orphans(self, raws: Stream[RawUsage], before: str | None) -> None:
        raw = raws.head
        while raw is not None and raw.account_id == self._account_id and (before is None or raw.key < before):
            self._wrong(raw, "key", "there is no event under this key")
            raws.step()
            raw = raws.head

    # One event

    def _take(self, event: Event) -> None:
        run = self._run_of(event)
        usage, came = self._arithmetic(event)
        if event.kind == "usage":
            self._families.append(_Family(event))
            self._usage(event, run, came)
            self.totals.add(event, usage)
        elif event.kind in _ADJUSTMENTS:
            self._adjustment(event, run, came)
            self.totals.add(event, self._counted(event))
        elif event.kind == WAIVER:
            self._waiver(event, run)
            self.totals.add(event, usage)
        else:
            self._wrong(event, "kind", f"{event.kind!r} is no kind of event")
        if event.kind not in _ADJUSTMENTS and (event.corrects, event.counted) != (None, None):
            self._wrong(event, "corrects", "only an adjustment corrects anything")
        if event.flags and not _FLAGS.issuperset(event.flags.split()):
            self._wrong(event, "flags", f"{event.flags!r} are no flags")
        if run is not None:
            run.charged -= event.nanocredits
            run.cost -= event.picousd

    def _run_of(self, event: Event) -> RunTally | None:
        held, used = event.held_after_nanocredits, event.used_after_nanocredits
        if event.run_id is None:
            if event.workflow or event.call_number or held or used:
                self._wrong(event, "run_id", "it is outside a run, and has a workflow, a number or a hold")
            return None
        run = self._holders.run(event.run_id)
        if run is None:
            return None
        if event.workflow != run.workflow:
            self._wrong(event, "workflow", f"it is {event.workflow!r}, its run's is {run.workflow!r}")
        if min(held, used) < 0 or (used > held and (held or run.is_open)):
            self._wrong(event, "used_after_nanocredits", f"{used} of {held} drawn cannot be")
        return run

    def _arithmetic(self, event: Event) -> tuple[dict[str, Number], tuple[int, int]]:
        """Return the usage and what the lines come to."""
        column = "usage"
        try:
            usage = quantities(event.usage)
            column = "lines"
            came = rated(event.lines, usage, event.markup)
        except Wrong as reason:
            self._wrong(event, column, str(reason))
            return _NOTHING, (event.picousd, event.nanocredits)
        if event.status == "unpriced" and came != (0, 0):
            self._wrong(event, "status", "it has no price, and its lines have")
        elif event.status not in {"priced", "unpriced"}:
            self._wrong(event, "status", f"{event.status!r} is no status")
        return usage, came

    def _counted(self, event: Event) -> dict[str, Number]:
        try:
            return quantities(event.counted or "")
        except Wrong as reason:
            self._wrong(event, "counted", str(reason))
            return _NOTHING

    # Usage

    def _usage(self, event: Event, run: RunTally | None, came: tuple[int, int]) -> None:
        flags = event.flags.split() if event.flags else ()
        is_free = bool(flags) and not charges.UNCHARGED.isdisjoint(flags)
        nanocredits = 0 if is_free else came[1]
        if (event.picousd, event.nanocredits) != (came[0], nanocredits):
            agreeing = event.picousd == came[0], event.nanocredits == nanocredits
            column = {(True, False): "nanocredits", (False, True): "picousd"}.get(agreeing, "lines")
            self._wrong(event, column, f"its lines come to {came[0]} picodollars and {nanocredits} nanocredits")
        if not 0 <= event.debt_nanocredits <= max(event.nanocredits, 0):
            self._wrong(event, "debt_nanocredits", f"{event.debt_nanocredits} of {event.nanocredits} cannot be debt")
        job = self._holders.jobs.get(event.key)
        if job is not None:
            job.has_event = True
            if job.status == "expired" and (charges.ESTIMATED not in flags or nanocredits not in {job.expected, 0}):
                self._wrong(event, "nanocredits", f"job {event.key} expired, and {job.expected} was expected of it")
        drawn = 0
        if event.charge_seq is None:
            drawn = self._drawn(event, run)
        elif charges.WAIVED in flags:
            self._claim(event, ("waive",), came[1], event.key)
        else:
            is_job = job is not None or self._is_captured(event.charge_seq)
            if job is None and is_job:
                self._findings.fault(Job, (self._account_id, event.key), None, "it was charged, and is missing")
            self._claim(event, ("capture",) if is_job else ("charge",), event.nanocredits, event.key)
        if run is not None:
            self._count(event, run, drawn, is_late=charges.LATE in flags, is_free=is_free or job is not None)
        if event.response_id and job is None:
            self._remembered(event, is_free=is_free)

    def _drawn(self, event: Event, run: RunTally | None) -> int:
        """Return what an event drew from the hold of its run."""
        if run is None:
            if event.nanocredits and event.run_id is None:
                self._wrong(event, "charge_seq", "it is charged outside a run, and no transfer is named")
            return 0
        run.debt -= event.debt_nanocredits
        return event.nanocredits - event.debt_nanocredits

    def _claim(self, event: Event, kinds: tuple[str, ...], amount: int | None, reference: str | None) -> int:
        """Claim an event's transfer, and return what it moved."""
        seq = event.charge_seq
        assert seq is not None, event
        run_id = None if kinds == ("correction",) else event.run_id
        reason = self._postings.claim(seq, kinds, amount=amount, run_id=run_id, reference=reference)
        if reason:
            self._wrong(event, "charge_seq", reason)
        at = self._postings.find(seq)
        if at is None:
            return 0
        if kinds[0] in {"charge", "capture"} and self._postings.receivable(at) != -event.debt_nanocredits:
            self._wrong(event, "debt_nanocredits", f"transfer {seq} made {-self._postings.receivable(at)} of debt")
        return self._postings.amount(at)

    def _is_captured(self, seq: int) -> bool:
        at = self._postings.find(seq)
        return at is not None and self._postings.kind(at) == "capture"

    def _count(self, event: Event, run: RunTally, drawn: int, *, is_late: bool, is_free: bool) -> None:
        """Count a call of a run. `is_free`: one that may come after the end without being late."""
        number, used = event.call_number, event.used_after_nanocredits
        run.calls -= 1
        run.unpriced -= event.status == "unpriced"
        run.drawn -= drawn
        run.numbers -= number
        run.chain -= mark(number, used) - mark(number - 1, used - drawn)
        run.states -= mark(used) - mark(used - drawn)
        is_before_end = number <= run.end_calls
        fits = not is_late if is_before_end else is_late or (is_free and not drawn)
        if number < 1 or not fits:
            self._wrong(event, "call_number", f"call {number} does not lie where its run has it")
        if is_late and (event.held_after_nanocredits, used) != (0, run.used):
            self._wrong(event, "used_after_nanocredits", f"its run had ended with {run.used} drawn and nothing held")
        if is_before_end:
            run.end_charged -= event.nanocredits
            run.end_cost -= event.picousd
            run.end_unpriced -= event.status == "unpriced"

    def _remembered(self, event: Event, *, is_free: bool) -> None:
        name = response_name(event)
        if event.key != name and not (is_free and event.key.startswith(f"{name}#")):
            self.answered.add(hash((event.key, event.fingerprint, event.recorded_at_us)))
            self.responses.add(hash(name))

    # What changes a charge later

    def _adjustment(self, event: Event, run: RunTally | None, came: tuple[int, int]) -> None:
        family = next((found for found in reversed(self._families) if found.event.key == event.corrects), None)
        if family is None or event.key != f"{event.corrects}#{event.kind}":
            self._wrong(event, "corrects", f"there is no call {event.corrects!r} that it is about")
        else:
            family.adjustments.append((event, came))
        if not 0 <= event.debt_nanocredits <= max(event.nanocredits, 0):
            self._wrong(event, "debt_nanocredits", f"{event.debt_nanocredits} of {event.nanocredits} cannot be debt")
        drawn = 0
        if event.charge_seq is None:
            drawn = self._drawn(event, run)
        elif event.nanocredits > 0:
            self._claim(event, ("charge",), event.nanocredits, event.corrects)
        else:
            given_back = self._claim(event, ("correction",), None, event.corrects)
            drawn = event.nanocredits + given_back
            if drawn > 0 or (drawn and run is None):
                self._wrong(event, "charge_seq", f"transfer {event.charge_seq} gave {given_back} back")
        if run is not None:
            self._count_adjustment(event, run, drawn)

    def _count_adjustment(self, event: Event, run: RunTally, drawn: int) -> None:
        used = event.used_after_nanocredits
        run.drawn -= drawn
        run.unpriced -= unpriced_change(event)
        run.states -= mark(used) - mark(used - drawn)
        is_before_end = bool(event.held_after_nanocredits) or run.is_open
        # Where among the calls it came is not known; if it drew nothing, the calls still follow from each other.
        run.is_adjusted = run.is_adjusted or bool(drawn)
        if is_before_end:
            run.end_charged -= event.nanocredits
            run.end_cost -= event.picousd
            run.end_unpriced -= unpriced_change(event)
        elif run.closed_at_us is not None and event.recorded_at_us <= run.closed_at_us:
            # Without a hold it cannot be told whether it came before the end or at the same instant.
            run.is_blurred = True
        elif used != run.used:
            self._wrong(event, "used_after_nanocredits", f"its run had ended with {run.used} drawn")

    def _waiver(self, event: Event, run: RunTally | None) -> None:
        if run is None:
            return
        fits = run.is_waived and event.key == waiver_key(event.run_id or "") and event.charge_seq == run.close_seq
        rest = (event.picousd, event.debt_nanocredits, event.held_after_nanocredits, event.used_after_nanocredits)
        if not fits or event.call_number != run.end_calls + 1 or any(rest):
            self._wrong(event, "kind", "it does not waive what its run was charged")
        run.waived += event.nanocredits

    def _leave(self, key: str | None) -> None:
        """Settle the families that no later key can belong to."""
        families = self._families
        while families and (key is None or not key.startswith(families[-1].event.key)):
            family = families.pop()
            if family.adjustments:
                self._settle(family)

    def _settle(self, family: _Family) -> None:
        """Compare an event's corrections with it, in one of the orders in which they can have come."""
        for adjustment, _ in family.adjustments:
            for column in _TAKEN_OVER:
                if getattr(adjustment, column) != getattr(family.event, column):
                    self._wrong(adjustment, column, f"it is not that of the call {family.event.key}")
        reasons = [self._reason(family.event, order) for order in permutations(family.adjustments)]
        if all(reasons):
            adjustment, column, message = next(reason for reason in reasons if reason)
            self._wrong(adjustment, column, message)

    def _reason(self, event: Event, order: tuple[tuple[Event, tuple[int, int]], ...]) -> tuple[Event, str, str] | None:
        """Return what is wrong with corrections in this order, or None."""
        before, picousd, nanocredits = event, event.picousd, event.nanocredits
        is_free = not charges.UNCHARGED.isdisjoint(event.flags.split())
        run = self._holders.run(event.run_id) if event.run_id is not None else None
        for adjustment, came in order:
            if adjustment.picousd != came[0] - picousd:
                return adjustment, "picousd", f"its lines come to {came[0]}, {picousd} was counted before"
            is_late_waived = run is not None and run.is_waived and not adjustment.held_after_nanocredits
            expected = {0} if is_free else {came[1] - nanocredits, 0} if is_late_waived else {came[1] - nanocredits}
            if adjustment.nanocredits not in expected:
                return adjustment, "nanocredits", f"its lines come to {came[1]}, {nanocredits} was charged before"
            if not _is_difference(adjustment, before):
                return adjustment, "counted", "it is not the difference to the usage counted before"
            if adjustment.flags != charges.change_of_price(before.status, adjustment.status):
                return adjustment, "flags", f"the status went from {before.status} to {adjustment.status}"
            before = adjustment
            picousd += adjustment.picousd
            nanocredits += adjustment.nanocredits
        return None


def _is_difference(adjustment: Event, before: Event) -> bool:
    try:
        now, earlier, counted = (
            quantities(text) for text in (adjustment.usage, before.usage, adjustment.counted or "")
        )
    except Wrong:
        return False
    meters = now.keys() | earlier.keys() | counted.keys()
    return all(now.get(meter, 0) - earlier.get(meter, 0) == counted.get(meter, 0) for meter in meters)
