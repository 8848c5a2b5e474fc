"""Reads: balances, usage, histories, estimates and explanations. Writes nothing and creates nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from callfare.answers import (
    Balance,
    Call,
    Estimate,
    EstimatePart,
    Explanation,
    Movement,
    Package,
    Price,
    RunSummary,
    Transaction,
    UsageReport,
)
from callfare.checks import check_text, check_user, check_whole
from callfare.clock import Clock, event_instant, moment_of
from callfare.engine import shapes
from callfare.engine.near import unpriced
from callfare.engine.usage_report import usage_report, window_of
from callfare.errors import CallfareError, ChargeNotFound, RunAmbiguous, RunNotFound
from callfare.estimate.history import PastRuns, past_runs
from callfare.estimate.workflows import Workflow, Workflows
from callfare.ids import parse_charge_id
from callfare.ledger.charges import ESTIMATED
from callfare.ledger.receipts import BatchReceipt
from callfare.ledger.rows import (
    HOUSE,
    RAW_USAGE,
    Entry,
    Event,
    Grant,
    Key,
    RawUsage,
    Retention,
    Row,
    Run,
    Transfer,
    User,
)
from callfare.ledger.view import balance_of
from callfare.money import Credits
from callfare.pages import NUMBER_MAX, Cursors, Page
from callfare.payments.packages import offered
from callfare.pricing.rating import rate
from callfare.settings import Terms
from callfare.store import protocol as ask
from callfare.store.protocol import Look, Query, Snapshot, Store
from callfare.usage.quantities import check_attributes, check_usage

R = TypeVar("R", bound=Row)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A call that was recorded by an estimate, and what is needed to correct it."""

    account_id: int
    key: str
    nanocredits: int
    at_us: int


PAGE_MAX = 200
PAST_RUNS_MAX = 200
_CHARGE_ID_LENGTH_MAX = 8192


class Reports:
    """Answers questions about one ledger."""

    def __init__(self, store: Store, settings: Terms, workflows: Workflows, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._workflows = workflows
        self._clock = clock

    def _select(self, query: Query, kind: type[R]) -> list[R]:
        return [row for row in self._store.select(query) if isinstance(row, kind)]

    def account_of(self, user: str) -> int | None:
        """Return the number of a user's account, or None when there is none."""
        rows = self._select(ask.UserNamed(user=check_user(user)), User)
        return rows[0].account_id if rows else None

    def packages(self) -> tuple[Package, ...]:
        """Return what is for sale: the packages of credits, then the plans."""
        return offered(self._settings).products

    def balance(self, user: str) -> Balance:
        """Return the balances of a user, all zero for one nobody has heard of."""
        check_user(user)
        [found] = self._store.look([Look(user=user)])
        return self.balance_in(user, found.account)

    @staticmethod
    def balance_in(user: str, snapshot: Snapshot | None) -> Balance:
        """Return the balances that a user has in what was looked at.

        Raises InvalidUser.
        """
        check_user(user)
        if snapshot is None:
            return shapes.balance(user, None)
        view = balance_of(snapshot.state, snapshot.account_id, snapshot.spent_nanocredits, snapshot.now_us)
        return shapes.balance(user, view)

    def usage(self, user: str, period: str, *, since: datetime | None, until: datetime | None, tz: str) -> UsageReport:
        """Return the usage of a user in a period or a window."""
        now_us = self._clock.now_us()
        since_us, until_us = window_of(period, since, until, now_us)
        return usage_report(
            self._store,
            user=user,
            account_id=self.account_of(user),
            since_us=since_us,
            until_us=until_us,
            tz=tz,
            now_us=now_us,
        )

    def history(self, user: str, limit: int, cursor: str | None) -> Page[RunSummary]:
        """Return a page of a user's runs, newest first."""
        check_whole(limit, "limit", least=1, most=PAGE_MAX)
        cursors = Cursors("runs", check_user(user))
        before_us, before_run_id = cursors.read(cursor, (NUMBER_MAX, ""))
        account_id = self.account_of(user)
        if account_id is None:
            return Page(items=(), next_cursor=None)
        query = ask.RunsOf(account_id=account_id, before_us=before_us, before_run_id=before_run_id, limit=limit + 1)
        rows = self._select(query, Run)
        now_us = self._clock.now_us()
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            items=tuple(shapes.run(row, now_us) for row in rows[:limit]),
            next_cursor=cursors.text(last.opened_at_us, last.run_id) if last else None,
        )

    def find_run(self, run_id: str, user: str | None = None) -> Run:
        """Return a run by its id, of the user where one is named.

        Raises RunNotFound, RunAmbiguous when several users have a run of this id and none is named.
        """
        check_text(run_id, "run_id")
        rows = self._select(ask.RunsNamed(run_id=run_id), Run)
        return _the_one(run_id, rows, user is not None, None if user is None else self.account_of(user))

    def owners_of_runs(self, named: Sequence[tuple[str, str | None]]) -> list[int | CallfareError]:
        """Return whose each run is, or why it cannot be told, as `find_run` does, by one look for all of them."""
        wrong = {one: refusal for one in named if (refusal := _wrong_in(*one))}
        asked = [one for one in named if one not in wrong]
        run_ids = _encode(list({run_id: None for run_id, _ in asked})).decode()
        users = list({user: None for _, user in asked if user is not None})
        rows, *found = self._store.select_all(
            [ask.RunsAmong(run_ids=run_ids), *(ask.UserNamed(user=user) for user in users)]
        )
        accounts = {row.user: row.account_id for rows in found for row in rows if isinstance(row, User)}
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        for row in rows:
            assert isinstance(row, Run), row
            runs[row.run_id].append(row)
        return [
            wrong[one] if one in wrong else _owner(one[0], runs[one[0]], one[1] is not None, accounts.get(one[1] or ""))
            for one in named
        ]

    def owner_of_batch(self, names: Sequence[str]) -> int | None:
        """Return the account that a provider's batch belongs to by its keys, None where nobody claimed it."""
        found = self._store.select_all([ask.KeyNamed(account_id=HOUSE, key=name) for name in names])
        for row in (row for rows in found for row in rows):
            assert isinstance(row, Key), row
            return msgspec.json.decode(row.receipt, type=BatchReceipt).account_id
        return None

    def account_of_run(self, run_id: str, user: str | None) -> int:
        """Return the number of a run's account.

        Raises RunNotFound, RunAmbiguous when several users have a run of this id and none is named.
        """
        return self.find_run(run_id, user).account_id

    def calls(self, run_id: str, user: str | None, limit: int, cursor: str | None) -> Page[Call]:
        """Return a page of a run's calls, in their order."""
        check_whole(limit, "limit", least=1, most=PAGE_MAX)
        run = self.find_run(run_id, user)
        cursors = Cursors("calls", str(run.account_id), run_id)
        after_number, after_key = cursors.read(cursor, (-1, ""))
        query = ask.EventsOfRun(
            account_id=run.account_id, run_id=run_id, after_number=after_number, after_key=after_key, limit=limit + 1
        )
        rows = self._select(query, Event)
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            items=tuple(shapes.call(row) for row in rows[:limit]),
            next_cursor=cursors.text(last.call_number, last.key) if last else None,
        )

    def transactions(self, user: str, limit: int, cursor: str | None) -> Page[Transaction]:
        """Return a page of a user's transfers, newest first."""
        check_whole(limit, "limit", least=1, most=PAGE_MAX)
        cursors = Cursors("transactions", check_user(user))
        before_seq, _ = cursors.read(cursor, (NUMBER_MAX, ""))
        account_id = self.account_of(user)
        if account_id is None:
            return Page(items=(), next_cursor=None)
        rows = self._select(ask.TransfersOf(account_id=account_id, before_seq=before_seq, limit=limit + 1), Transfer)
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            items=tuple(shapes.transaction(row, self._entries(row)) for row in rows[:limit]),
            next_cursor=cursors.text(last.seq, "") if last else None,
        )

    def _entries(self, transfer: Transfer) -> list[Entry]:
        return self._select(ask.EntriesOf(account_id=transfer.account_id, seq=transfer.seq), Entry)

    # Prices

    def price(
        self,
        model: str,
        usage: Mapping[str, object],
        attributes: Mapping[str, str] | None,
        at: datetime | None,
        provider: str | None = None,
    ) -> Price:
        """Return what a call would cost, at the markup of its time.

        Raises UnpricedModel when it has no price, MissingAttribute when one that decides the price is not given.
        """
        return self._priced(model, usage, attributes, at, provider)

    def _priced(
        self,
        model: str,
        usage: Mapping[str, object],
        attributes: Mapping[str, str] | None,
        at: datetime | None,
        provider: str | None = None,
    ) -> Price:
        check_text(model, "model")
        if provider is not None:
            check_text(provider, "provider")
        book, now_us = self._settings.book, self._clock.now_us()
        quantities = check_usage(usage)
        at_us = now_us if at is None else event_instant(at, now_us)
        given = check_attributes({} if attributes is None else attributes, also=book.attribute_names)
        rating = rate(
            book,
            model=model,
            usage=quantities,
            attributes=given,
            at_us=at_us,
            markup=self._settings.markup_at(at_us),
            provider=provider,
        )
        entry = book.entry(model, provider=provider, at_us=at_us)
        if rating.status == "unpriced" or entry is None:
            raise unpriced(book, model, provider=provider, at_us=at_us, reason=rating.reason)
        return shapes.price(rating, entry, given)

    # Estimates

    def parts_of(self, workflow: Workflow) -> tuple[EstimatePart, ...]:
        """Return the parts of a workflow at today's prices."""
        return tuple(
            EstimatePart(
                model=part.model,
                usage=part.usage,
                attributes=part.attributes,
                at_least=part.at_least,
                at_most=part.at_most,
                credits_each=self._priced(part.model, part.usage, part.attributes, None).credits,
            )
            for part in workflow.parts
        )

    def bounds_of(self, name: str) -> tuple[Credits, Credits] | None:
        """Return the range of a workflow in credits, or None when it is not known."""
        workflow = self._workflows.find(check_text(name, "workflow"))
        return None if workflow is None else _bounds(workflow, self.parts_of(workflow))

    def estimate(self, name: str, user: str | None) -> Estimate:
        """Return what a run of a workflow is expected to cost, and what runs of the user have cost.

        Raises UnknownWorkflow.
        """
        workflow = self._workflows.get(check_text(name, "workflow"))
        parts = self.parts_of(workflow)
        low, high = _bounds(workflow, parts)
        past = self.past(name, user)
        median, highest = past.median_nanocredits, past.highest_nanocredits
        return Estimate(
            workflow=name,
            low=low,
            high=high,
            parts=parts,
            rests_on="declared" if workflow.low is not None and workflow.high is not None else "parts",
            on_failure=workflow.on_failure,
            past_runs=past.count,
            past_median=None if median is None else Credits.of_units(median),
            past_highest=None if highest is None else Credits.of_units(highest),
        )

    def past(self, workflow: str, user: str | None) -> PastRuns:
        """Return what the user's latest runs of a workflow have cost; nothing where no user is named."""
        account_id = self.account_of(user) if user is not None else None
        if account_id is None:
            return past_runs((), workflow)
        query = ask.RunsOf(account_id=account_id, before_us=NUMBER_MAX, before_run_id="", limit=PAST_RUNS_MAX)
        return past_runs(self._select(query, Run), workflow)

    # Explanations

    def event(self, charge: str, user: str | None = None) -> Event:
        """Return the event behind a charge id, of the user where one is named.

        Raises ChargeNotFound.
        """
        parsed = parse_charge_id(check_text(charge, "charge", length_max=_CHARGE_ID_LENGTH_MAX))
        if parsed and user is not None and parsed[0] != self.account_of(user):
            parsed = None
        rows = self._select(ask.EventNamed(account_id=parsed[0], key=parsed[1]), Event) if parsed else []
        if not rows:
            raise ChargeNotFound(
                f"there is no charge {charge!r}", step="`callfare calls RUN` lists those of a run", param="charge"
            )
        return rows[0]

    def event_of_response(self, user: str, response_key: str) -> Event | None:
        """Return the user's event that stands for a provider's response, whichever key it was recorded under."""
        check_text(response_key, "response_key", length_max=_CHARGE_ID_LENGTH_MAX)
        account_id = self.account_of(user)
        if account_id is None:
            return None
        rows = self._select(ask.EventNamed(account_id=account_id, key=response_key), Event)
        for named in self._select(ask.KeyNamed(account_id=account_id, key=response_key), Key):
            rows += self._select(ask.EventNamed(account_id=account_id, key=named.receipt), Event)
        return rows[0] if rows else None

    def estimate_of_response(self, user: str, response_key: str) -> Estimated | None:
        """Return the estimate that stands for a provider's response, None where there is none or it was counted."""
        event = self.event_of_response(user, response_key)
        if event is None or ESTIMATED not in event.flags.split():
            return None
        return Estimated(account_id=event.account_id, key=event.key, nanocredits=event.nanocredits, at_us=event.at_us)

    def explain(self, charge: str, user: str | None = None) -> Explanation:
        """Return everything behind a charge, of the user where one is named.

        Raises ChargeNotFound.
        """
        event = self.event(charge, user)
        account_id = event.account_id
        raw = self._select(ask.RawOf(account_id=account_id, key=event.key), RawUsage)
        run = None
        if event.run_id is not None:
            rows = self._select(ask.RunsNamed(run_id=event.run_id), Run)
            run = next((row for row in rows if row.account_id == account_id), None)
        corrections = list(self._corrections(event))
        transfers = list(self._transfers_behind([event, *corrections], run))
        return Explanation(
            call=shapes.call(event),
            arithmetic=shapes.arithmetic(event),
            raw=json.loads(raw[0].raw) if raw else None,
            raw_removed_before=None if raw else self._removed_before(event),
            corrections=tuple(shapes.call(row) for row in corrections),
            run=None if run is None else shapes.run(run, self._clock.now_us()),
            transfers=tuple(shapes.transaction(row, self._entries(row)) for row in transfers),
            movements=tuple(move for row in transfers for move in self._movements(row)),
        )

    def _removed_before(self, event: Event) -> datetime | None:
        """Return the instant before which raw usage was removed, when an event's was there and lies before it."""
        kept = self._select(ask.RetentionOf(kind=RAW_USAGE), Retention)
        if event.raw_digest is None or not kept or event.recorded_at_us >= kept[0].before_us:
            return None
        return moment_of(kept[0].before_us)

    def as_corrected(self, event: Event) -> Event:
        """Return the correction of an event where there is one, else the event."""
        query = ask.EventNamed(account_id=event.account_id, key=f"{event.key}#correction")
        found = self._select(query, Event)
        return found[0] if found else event

    def _corrections(self, event: Event) -> Iterator[Event]:
        for kind in ("correction", "reprice"):
            query = ask.EventNamed(account_id=event.account_id, key=f"{event.key}#{kind}")
            yield from self._select(query, Event)

    def _transfers_behind(self, events: list[Event], run: Run | None) -> Iterator[Transfer]:
        numbers = {row.charge_seq for row in events}
        if run and any(row.nanocredits and row.charge_seq is None for row in events):
            # Drawn from the run's hold, so taken by its end.
            numbers.add(run.close_seq)
        for number in sorted(seq for seq in numbers if seq is not None):
            query = ask.TransfersOf(account_id=events[0].account_id, before_seq=number + 1, limit=1)
            yield from self._select(query, Transfer)

    def _movements(self, transfer: Transfer) -> Iterator[Movement]:
        for entry in self._entries(transfer):
            lots: list[Grant] = []
            if entry.grant_id is not None:
                query = ask.GrantNumbered(account_id=entry.account_id, grant_id=entry.grant_id)
                lots = self._select(query, Grant)
            yield shapes.movement(entry, lots[0] if lots else None)


def _wrong_in(run_id: str, user: str | None) -> CallfareError | None:
    """Return what is wrong with the name of a run or a user, None when nothing is."""
    try:
        check_text(run_id, "run_id")
        if user is not None:
            check_user(user)
    except CallfareError as refusal:
        return refusal
    return None


def _owner(run_id: str, rows: list[Run], is_named: bool, account_id: int | None) -> int | CallfareError:  # noqa: FBT001 - of one private caller
    try:
        return _the_one(run_id, rows, is_named, account_id).account_id
    except CallfareError as refusal:
        return refusal


def _the_one(run_id: str, rows: list[Run], is_named: bool, account_id: int | None) -> Run:  # noqa: FBT001 - of two private callers
    if is_named:
        rows = [row for row in rows if row.account_id == account_id]
    if not rows:
        raise RunNotFound(run_id)
    if len(rows) > 1:
        raise RunAmbiguous(run_id, users=len(rows))
    return rows[0]


def _bounds(workflow: Workflow, parts: tuple[EstimatePart, ...]) -> tuple[Credits, Credits]:
    low = sum(part.credits_each.nanocredits * part.at_least for part in parts)
    high = sum(part.credits_each.nanocredits * part.at_most for part in parts)
    declared_low = Credits.of_units(low) if workflow.low is None else workflow.low
    declared_high = Credits.of_units(high) if workflow.high is None else workflow.high
    # Of a range half declared and half from prices that have changed, the declared end stands.
    if workflow.low is None:
        return min(declared_low, declared_high), declared_high
    return declared_low, max(declared_low, declared_high)
