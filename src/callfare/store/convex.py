"""The Convex store: our functions in a deployment, reached over HTTP; any number of processes may share it.

A batch is decided here on rows that were read, and written by one function there, which first compares all that was
read. Where something has changed meanwhile the batch is decided again, on fresh rows. So a write whose answer was lost
is sent again without harm, and a batch that is decided again finds its own keys.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import contextmanager
from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from callfare.clock import elapsed_s
from callfare.errors import (
    CallfareError,
    InvalidInput,
    LedgerCorrupt,
    LedgerNotFound,
    LedgerUnavailable,
    Misconfigured,
    SchemaNewer,
    SchemaOlder,
)
from callfare.ids import jitter, new_id
from callfare.ledger import rollups
from callfare.ledger.orders import UNSETTLED
from callfare.ledger.rows import TABLES, Event, Hold, Rollup, Row, seal_of
from callfare.ledger.sale_rows import Order
from callfare.store import upkeep
from callfare.store.batch import decide_all
from callfare.store.convex_answers import check_rows, checked, unreadable
from callfare.store.convex_http import ConvexClient, Deployment, FunctionFailed, Wire, fault_of
from callfare.store.convex_load import ConvexLoader, Pages
from callfare.store.convex_pages import Reading, pages_of
from callfare.store.convex_questions import Range, named, query
from callfare.store.convex_tables import fingerprint, layout_of, schema_number, size_of
from callfare.store.convex_upkeep import ConvexUpkeep
from callfare.store.gate import Gate
from callfare.store.protocol import (
    EventNamed,
    Look,
    RunsAmong,
    RunsNamed,
    Seen,
    Snapshot,
    StoreFacts,
    UnpricedEvents,
    UnsettledOrders,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk
    from callfare.ledger.verify import Scan
    from callfare.store.protocol import Query, R

_TRIES = 12
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 30, 1000
# Convex allows one transaction 4,096 index ranges, 16,000 documents, and 16 MiB each way. While somebody reads the
# whole ledger at one instant each write takes another range and document, and three may do so at once.
_RANGES_MAX, _WRITES_MAX, _BYTES_MAX = 1000, 3000, 6 * 1024 * 1024
_RANGES_PER_CALL = 1000
_ROLLED_MAX = 8192
# What is done to a ledger as a whole goes through pages that nobody waits for with a call of theirs.
_PAGE_DEADLINES = 3
_PAGE_ROWS = 200


class ConvexStore:
    """A ledger in a Convex deployment. `clock` replaces the deployment's when it is given.

    deadline_s: how long one batch or one read may take before the ledger counts as unavailable.
    """

    max_batch = 128

    def __init__(self, deployment: Deployment, *, clock: Clock | None = None, deadline_s: int = 10) -> None:
        self._client = ConvexClient(deployment, layout=fingerprint())
        self._clock = clock
        self._deadline_s = deadline_s
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._gate = Gate()
        # Numbers of accounts by their users: they never change, and are looked up all the same.
        self._accounts: dict[str, int] = {}
        # Roll-ups as this process wrote them last.
        self._rolled: dict[Pk, Rollup] = {}

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            self._start_afresh()

    def create(self) -> bool:
        """Make the ledger where there is none; return whether it is new."""
        self._after_fork()
        return bool(self.write("create", {"by": new_id("store")}))

    def close(self) -> None:
        """Close all connections. The store opens them again when it is used again."""
        self._client.close()

    def read(self, name: str, args: dict[str, Any], ends_at_s: float | None = None) -> Wire:
        """Return what a query of ours answers."""
        with self._faults_told():
            return checked(name, self._client.read(name, args, ends_at_s or elapsed_s() + self._deadline_s))

    def write(self, name: str, args: dict[str, Any], ends_at_s: float | None = None) -> Wire:
        """Return what a mutation of ours answers. It may have been done more than once."""
        with self._faults_told():
            return checked(name, self._client.write(name, args, ends_at_s or elapsed_s() + self._deadline_s))

    def _read_page(self, name: str, args: dict[str, Any]) -> Wire:
        return self.read(name, args, elapsed_s() + self._deadline_s * _PAGE_DEADLINES)

    def _write_page(self, name: str, args: dict[str, Any]) -> Wire:
        return self.write(name, args, elapsed_s() + self._deadline_s * _PAGE_DEADLINES)

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        """Have what the functions throw become ours."""
        try:
            yield
        except FunctionFailed as failed:
            told = _FAULTS.get(failed.code)
            place = self._client.deployment.shown
            raise (told(failed, place) if told else fault_of(failed)) from failed

    # Writing

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Decide commands one after another in one transaction, and return an answer for each.

        A batch that is too large for one transaction of Convex is halved; then the halves stand one after the other.
        """
        self._after_fork()
        with self._gate.passed():
            return self._apply_alone(commands, elapsed_s() + self._deadline_s)

    def _apply_alone(self, commands: Sequence[Command], ends_at_s: float) -> list[Receipt | CallfareError]:
        for attempt in range(_TRIES):
            answers = self._try(commands, ends_at_s, is_careful=attempt > 0)
            if answers is not None:
                return answers
            self._rolled.clear()
            pause_s = jitter(min(_FIRST_PAUSE_MS * 2**attempt, _LONGEST_PAUSE_MS)) / 1000
            if elapsed_s() + pause_s > ends_at_s:
                break
            threading.Event().wait(pause_s)
        raise LedgerUnavailable("others changed the same rows under every attempt; retry with the same key")

    def _try(
        self, commands: Sequence[Command], ends_at_s: float, *, is_careful: bool
    ) -> list[Receipt | CallfareError] | None:
        """Apply a batch in one transaction; return None when something it was decided on has changed.

        is_careful: what is all but certain is looked up too: that no event has a key which was made for it, and that
        roll-ups are as this process left them.
        """

        def asked(ranges: Sequence[Range], now_us: int | None) -> tuple[int, list[Pages]]:
            return self._ask(ranges, now_us, ends_at_s)

        loader = ConvexLoader(asked, self._clock, self._accounts, is_careful=is_careful)
        state = loader.load(commands)
        try:
            answers, changed = decide_all(state, commands, loader.now_us)
        except (AssertionError, LedgerCorrupt):
            # Pages of several instants may contradict each other without anything being wrong.
            if loader.calls > 1 and not self._stands(loader, [], ends_at_s):
                return None
            raise
        if not changed:
            # A refusal holds when all that it rests on was read at one instant.
            return answers if loader.calls == 1 or self._stands(loader, [], ends_at_s) else None
        written = [_written(row, loader.seal_of(row)) for row in changed.values()]
        # A hold that came and went within the batch was never there.
        writes = [write for write in written if not write["isGone"] or write["was"] is not None]
        rolled = self._fold([row for row in changed.values() if isinstance(row, Event)], loader, writes)
        if len(commands) > 1 and _is_large(loader, writes):
            middle = len(commands) // 2
            halves = (commands[:middle], commands[middle:])
            return [answer for half in halves for answer in self._apply_alone(half, ends_at_s)]
        if not self._stands(loader, writes, ends_at_s):
            return None
        if len(self._rolled) + len(rolled) > _ROLLED_MAX:
            self._rolled.clear()
        self._rolled |= rolled
        return answers

    def _stands(self, loader: ConvexLoader, writes: list[dict[str, Any]], ends_at_s: float) -> bool:
        """Write rows when all that the loader read still stands; return whether it does."""
        stands: bool = self.write("apply", {"checks": loader.checks(), "writes": writes}, ends_at_s)
        return stands

    def _fold(self, events: list[Event], loader: ConvexLoader, writes: list[dict[str, Any]]) -> dict[Pk, Rollup]:
        """Add events to their roll-ups, add these to what is written, and return them as they will be."""
        parts = rollups.fold(events)
        before: dict[Pk, Rollup | None] = {pk: self._rolled.get(pk) for pk in parts}
        seals = {pk: seal_of(row) for pk, row in before.items() if row is not None}
        unknown = [pk for pk, row in before.items() if row is None]
        if unknown:
            for row in loader.more([named(Rollup, *pk[1:]) for pk in unknown], Rollup):
                before[row.pk] = row
                seals[row.pk] = loader.seal_of(row) or 0
        after = {pk: part.added_to(before[pk]) for pk, part in parts.items()}
        writes.extend(_written(row, seals.get(pk)) for pk, row in after.items())
        return after

    # Reading

    def _ask(
        self, ranges: Sequence[Range], now_us: int | None, ends_at_s: float, *, is_filling: bool = False
    ) -> tuple[int, list[Pages]]:
        """Return the rows of ranges, as many calls as it takes; where one is enough, all are of one instant."""
        answers: list[Pages] = [[] for _ in ranges]
        left = list(enumerate(ranges))
        while left:
            now, later = left[:_RANGES_PER_CALL], left[_RANGES_PER_CALL:]
            told = self._select([wanted for _, wanted in now], now_us, ends_at_s, is_filling=is_filling)
            now_us = told["nowUs"]
            left = []
            for (place, wanted), page in zip(now, told["answers"], strict=True):
                rows, wanted_now = page["rows"], wanted.at(told["nowUs"])
                if page["isDone"]:
                    answers[place].append((wanted_now, rows))
                elif rows:
                    answers[place].append((wanted_now.up_to(tuple(rows[-1])), rows))
                    limit = wanted.limit and wanted.limit - len(rows)
                    left.append((place, wanted_now.after(tuple(rows[-1]), limit)))
                else:
                    left.append((place, wanted_now))
            left += later
        return now_us or 0, answers

    def _select(
        self, ranges: Sequence[Range], now_us: int | None, ends_at_s: float | None = None, *, is_filling: bool = False
    ) -> Wire:
        """Return what one call tells of ranges: a stretch of each, all of rows of its table."""
        args = {"ranges": [wanted.told() for wanted in ranges], "nowUs": now_us, "isFilling": is_filling}
        told = self.read("select", args, ends_at_s)
        if len(told["answers"]) != len(ranges):
            raise unreadable()
        for wanted, stretch in zip(ranges, told["answers"], strict=True):
            check_rows(wanted.table, stretch["rows"], wanted.limit)
        return told

    def _ask_page(self, ranges: Sequence[Range], now_us: int | None) -> tuple[int, list[Pages]]:
        return self._ask(ranges, now_us, elapsed_s() + self._deadline_s * _PAGE_DEADLINES)

    def _ask_now(self, ranges: Sequence[Range], now_us: int | None) -> tuple[int, list[Pages]]:
        return self._ask(ranges, now_us, elapsed_s() + self._deadline_s)

    def snapshot(self, user: str) -> Snapshot | None:
        """Return the user's account as of now, or None when there is none."""
        return self.look([Look(user=user)])[0].account

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about as of now: all of one instant."""
        self._after_fork()
        return ConvexLoader(self._ask_now, self._clock, self._accounts).look(asked)

    def select(self, query: Query) -> list[Row]:
        """Return the rows a query asks for."""
        return self.select_all([query])[0]

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant."""
        self._after_fork()
        if len(queries) == 1 and isinstance(queries[0], UnpricedEvents):
            return [list(self._unpriced(queries[0]))]
        if len(queries) == 1 and isinstance(queries[0], UnsettledOrders):
            return [list(self._unsettled(queries[0]))]
        parts = [_parts_of(question) for question in queries]
        ranges = [query(part) for part in chain.from_iterable(parts)]
        told = self._select(ranges, None)
        if all(page["isDone"] for page in told["answers"]):
            answers = [page["rows"] for page in told["answers"]]
        else:
            with self._reading() as reading:
                answers = [list(reading.rows(wanted)) for wanted in ranges]
        found = ([wanted.table(*columns) for *columns, _ in rows] for wanted, rows in zip(ranges, answers, strict=True))
        return [list(chain.from_iterable(islice(found, len(part)))) for part in parts]

    def _unpriced(self, question: UnpricedEvents) -> Iterator[Row]:
        """Yield unpriced events that nothing has repriced: their prices would be events beside them."""
        found, after = 0, question
        while True:
            [page] = self._ask_now([query(after)], None)[1]
            events = [Event(*columns) for _, rows in page for *columns, _ in rows]
            later = [EventNamed(account_id=event.account_id, key=f"{event.key}#reprice") for event in events]
            repriced = self._ask_now([query(wanted) for wanted in later], None)[1] if later else []
            for event, pages in zip(events, repriced, strict=True):
                if not any(rows for _, rows in pages) and found < question.limit:
                    found += 1
                    yield event
            if found == question.limit or len(events) < question.limit:
                return
            last = events[-1]
            after = UnpricedEvents(after_account_id=last.account_id, after_key=last.key, limit=question.limit)

    def _unsettled(self, question: UnsettledOrders) -> Iterator[Row]:
        """Yield orders whose end nobody has seen and that were not moved lately, a page of each state at a time."""
        after = (question.after_account_id, question.after_order_id)
        ranges = [Range(table=Order, index="byState", eq=(state,), low=after, limit=_PAGE_ROWS) for state in UNSETTLED]
        by_state = [self._rows_from(wanted) for wanted in ranges]
        orders = merge(*by_state, key=lambda row: row.pk)
        wanted = (row for row in orders if isinstance(row, Order) and row.moved_at_us < question.before_us)
        yield from islice(wanted, question.limit)

    def _rows_from(self, wanted: Range) -> Iterator[Row]:
        """Yield the rows of a range, as many at a time as its limit says."""
        while True:
            [pages] = self._ask_now([wanted], None)[1]
            rows = [row for _, page in pages for row in page]
            yield from (wanted.table(*columns) for *columns, _ in rows)
            if len(rows) < wanted.limit:
                return
            wanted = wanted.after(tuple(rows[-1]), wanted.limit)

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table with their seals, in the order of their primary key, a page at a time."""
        self._after_fork()
        yield from pages_of(table, after, self._ask_page)

    @contextmanager
    def _reading(self) -> Iterator[Reading]:
        self._after_fork()
        reading = Reading(self._read_page, self._write_page)
        try:
            yield reading
        finally:
            reading.end()

    @contextmanager
    def one_instant(self) -> Iterator[Scan]:
        """Give a scan that sees every table as it stands now: writes keep for it what they change."""
        with self._reading() as reading:
            yield reading.scan

    def upkeep(self) -> ConvexUpkeep:
        """Return the operator's side of this store."""
        self._after_fork()

        def asked(ranges: Sequence[Range], now_us: int | None) -> tuple[int, list[Pages]]:
            ends_at_s = elapsed_s() + self._deadline_s * _PAGE_DEADLINES
            return self._ask(ranges, now_us, ends_at_s, is_filling=True)

        return ConvexUpkeep(self._read_page, self._write_page, ask=self._ask_page, ask_filling=asked)

    def facts(self) -> StoreFacts:
        """Return what this store is and how much it holds. Convex has no count: all rows are gone through there."""
        number = self.read("schema", {})
        if number is None:
            raise _not_found()
        rows = {table.table: self._count(table) for table in TABLES}
        return StoreFacts(url=self._client.deployment.shown, engine="Convex", schema_version=number, rows=rows)

    def _count(self, table: type[Row]) -> int:
        total = 0
        told: Wire = {"count": 0, "end": []}
        while told["end"] is not None:
            told = self._read_page("count", {"table": layout_of(table).name, "low": told["end"]})
            total += told["count"]
        return total


def _written(row: Row, was: int | None) -> dict[str, Any]:
    """Return a row as our functions take it. A hold of nothing is one that has gone."""
    values = [*astuple(row), seal_of(row)]
    is_gone = isinstance(row, Hold) and not row.amount_nanocredits
    return {"table": layout_of(type(row)).name, "values": values, "was": was, "isGone": is_gone}


def _is_large(loader: ConvexLoader, writes: list[dict[str, Any]]) -> bool:
    """Tell whether a batch comes near what Convex allows one transaction."""
    checks = loader.checks()
    # What is shown with a user is looked up again: the user, and after a change of a plan all plans.
    shown = sum({"accounts": 1, "subscriptions": 2}.get(write["table"], 0) for write in writes)
    read = sum(len(check["seals"]) for check in checks)
    return (
        len(checks) + len(writes) + shown > _RANGES_MAX
        or max(len(writes), read) > _WRITES_MAX
        or sum(size_of(write["values"]) for write in writes) > _BYTES_MAX
        or loader.read_bytes() > _BYTES_MAX
    )


def _not_found() -> LedgerNotFound:
    return LedgerNotFound("the deployment holds no ledger; `callfare init` makes it")


def _schema(failed: FunctionFailed, place: str) -> CallfareError:
    found = failed.found or 0
    if found < schema_number():
        return SchemaOlder(place, found=found, newest=schema_number())
    return SchemaNewer(f"{place} has schema {found}, this callfare knows {schema_number()}; upgrade callfare")


def _layout(failed: FunctionFailed, place: str) -> CallfareError:
    if (failed.found or 0) > schema_number():
        return Misconfigured(f"{place} has the functions of a newer callfare; upgrade callfare")
    return Misconfigured(
        f"{place} has the functions of another callfare; run `callfare convex init`, then `npx convex deploy`, "
        "then `callfare migrate`"
    )


_FAULTS: dict[str, Callable[[FunctionFailed, str], CallfareError]] = {
    "not_found": lambda *_: _not_found(),
    "incomplete": lambda *_: upkeep.incomplete(),
    "schema": _schema,
    "overtaken": lambda *_: upkeep.overtaken(),
    "other_source": lambda *_: upkeep.other_source(),
    "not_empty": lambda *_: upkeep.not_empty(),
    "rule": lambda failed, _: LedgerCorrupt(
        f"a rule of the ledger was broken, and nothing was written: {failed.message}"
    ),
    "too_late": lambda failed, _: LedgerUnavailable(f"{failed.message}; begin again"),
    "unauthorized": lambda _, place: Misconfigured(
        f"{place} does not take this secret; set CALLFARE_CONVEX_SECRET to the deployment's"
    ),
    "secret_unset": lambda _, place: Misconfigured(
        f"{place} has no secret; run `npx convex env set CALLFARE_CONVEX_SECRET …` with 24 characters or more"
    ),
    "layout": _layout,
    "not_throwaway": lambda _, place: Misconfigured(
        f"{place} is not there to be thrown away; for one that is, run "
        "`npx convex env set CALLFARE_CONVEX_THROWAWAY yes`"
    ),
    "busy": lambda failed, _: LedgerUnavailable(f"{failed.message}; begin again when one of them has ended"),
    "misused": lambda failed, _: InvalidInput(f"the functions refused what was asked: {failed.message}"),
}


def _parts_of(question: Query) -> list[Query]:
    """Return the questions that together ask for the same rows in the same order, each about one range."""
    if not isinstance(question, RunsAmong):
        return [question]
    return [RunsNamed(run_id=run_id) for run_id in sorted(msgspec.json.decode(question.run_ids))]
