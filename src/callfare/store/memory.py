"""The memory store: the oracle that every other store must agree with. Loses everything at exit."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from callfare.clock import SystemClock
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger import rollups, rules
from callfare.ledger.audit import UsageAudit
from callfare.ledger.decide import decide
from callfare.ledger.rows import (
    TABLES,
    ApiKey,
    Event,
    Hold,
    RawUsage,
    Row,
    Run,
    User,
    seal_of,
)
from callfare.ledger.state import State
from callfare.store.memory_plans import plan_of
from callfare.store.memory_upkeep import MemoryUpkeep
from callfare.store.protocol import Seen, Snapshot, StoreFacts
from callfare.store.upkeep import incomplete

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk
    from callfare.ledger.verify import Scan
    from callfare.store.protocol import Look, Query, R


class MemoryStore:
    """A ledger in memory, for tests and trials."""

    max_batch = 512

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._state = State()
        # Reads may come in the middle of a write of their own thread, so they hold a lock that lets its holder in.
        self.gate = threading.RLock()
        # What fills it and how far that has come, while it is being filled.
        self.filling: tuple[str, str] | None = None
        self._is_applying = False
        self._batches = 0
        _STORES.add(self)

    def pause(self) -> None:
        """Wait until nobody else writes or reads, and let nobody begin until `resume`: a child inherits whole rows."""
        self.gate.acquire()

    def resume(self) -> None:
        """Go on after `pause`, in the parent as in the child."""
        self.gate.release()

    def create(self) -> bool:
        """Return False: a memory store is always there."""
        return False

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Decide commands one after another, and return an answer for each. When one is a fault, none has happened."""
        before: dict[Pk, Row | None] = {}
        with self.gate:
            if self._is_applying:
                raise LedgerUnavailable("asked from inside a write, and not written; repeat with the same key")
            self._refuse_incomplete()
            try:
                self._is_applying = True
                self._batches += 1
                now_us = self._clock.now_us()
                usage = UsageAudit()
                answers = [self._answer(command, now_us, before, usage) for command in commands]
                self._merge(usage.rows(now_us), before)
            except BaseException:
                self._restore(before)
                raise
            else:
                return answers
            finally:
                self._is_applying = False

    def _answer(
        self, command: Command, now_us: int, before: dict[Pk, Row | None], usage: UsageAudit
    ) -> Receipt | CallfareError:
        try:
            outcome = decide(self._state, command, now_us)
        except CallfareError as refusal:
            return refusal
        rows = outcome.changes.values()
        self._merge(outcome.changes, before)
        rules.check(self._state, rows)
        parts = rollups.fold(row for row in rows if isinstance(row, Event)).items()
        found: dict[Pk, Any] = self._state.rows
        self._merge({pk: part.added_to(found.get(pk)) for pk, part in parts}, before)
        usage.add(command, outcome.receipt)
        return outcome.receipt

    def _merge(self, changes: dict[Pk, Row], before: dict[Pk, Row | None]) -> None:
        for pk, row in changes.items():
            if isinstance(row, Hold):
                before.setdefault(pk, self._state.holds[row.account_id, row.hold_id].get(row.grant_id))
            else:
                before.setdefault(pk, self._state.rows.get(pk))
        self._state.merge(changes)

    def _restore(self, before: dict[Pk, Row | None]) -> None:
        state = State()
        state.put_all(row for row in self._everything() if row.pk not in before)
        state.put_all(row for row in before.values() if row is not None)
        self._state = state

    def snapshot(self, user: str) -> Snapshot | None:
        """Return the user's account as of now, or None when there is none."""
        with self.gate:
            self._refuse_incomplete()
            row = self._state.rows.get(("identities", user))
            if not isinstance(row, User):
                return None
            now_us = self._clock.now_us()
            rows = self._everything()
            spent = sum(
                run.used_nanocredits
                for run in rows
                if isinstance(run, Run)
                and (run.account_id, run.status) == (row.account_id, "open")
                and run.expires_at_us > now_us
            )
            state = State()
            state.put_all(rows)
            return Snapshot(account_id=row.account_id, state=state, spent_nanocredits=spent, now_us=now_us)

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about as of now."""
        return [self._seen(one) for one in asked]

    def _seen(self, asked: Look) -> Seen:
        with self.gate:
            self._refuse_incomplete()
            row = self._state.rows.get(("api_keys", asked.key_id or ""))
            key = row if isinstance(row, ApiKey) else None
            user = asked.user if asked.user is not None or key is None else key.user
            is_hidden = (asked.key_id is not None and key is None) or (key is not None and key.user not in {None, user})
            return Seen(key=key, account=None if is_hidden or user is None else self.snapshot(user))

    def _everything(self) -> list[Row]:
        """Return all rows as of one instant; a write that came in the middle of it has it look again."""
        with self.gate:
            while True:
                batches = self._batches
                lots = [list(lots.values()) for lots in list(self._state.holds.values())]
                rows = [
                    *self._state.rows.values(),
                    *(hold for holds in lots for hold in holds if hold.amount_nanocredits),
                ]
                if batches == self._batches:
                    return rows

    def _rows(self, table: type[R]) -> list[R]:
        return [row for row in self._everything() if isinstance(row, table)]

    def select(self, query: Query) -> list[Row]:
        """Return the rows a query asks for."""
        table, wanted, order, limit = plan_of(query, self._state)
        with self.gate:
            self._refuse_incomplete()
            return sorted((row for row in self._rows(table) if wanted(row)), key=order)[:limit]

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant."""
        with self.gate:
            return [self.select(query) for query in queries]

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table with their seals, in the order of their primary key."""
        self._refuse_incomplete()
        yield from self.scan_filled(table, after)

    def scan_filled(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table, also while the ledger is being filled."""
        with self.gate:
            rows = sorted(self._rows(table), key=lambda row: row.pk)
        for row in rows:
            if after is None or row.pk > after:
                yield row, seal_of(row)

    @contextmanager
    def one_instant(self) -> Iterator[Scan]:
        """Give a scan that sees every table as it stands now."""
        with self.gate:
            self._refuse_incomplete()
            everything = sorted(self._everything(), key=lambda row: row.pk)
            tables: dict[type[Row], list[Any]] = {
                table: [(row, seal_of(row)) for row in everything if isinstance(row, table)] for table in TABLES
            }
        yield lambda table, after=None: (pair for pair in tables[table] if after is None or pair[0].pk > after)

    def facts(self) -> StoreFacts:
        """Return what this store is and how much it holds."""
        with self.gate:
            self._refuse_incomplete()
            count = Counter(row.table for row in self._everything())
            rows = {table.table: count[table.table] for table in TABLES}
        return StoreFacts(url="memory://", engine="memory", schema_version=0, rows=rows)

    def upkeep(self) -> MemoryUpkeep:
        """Return the operator's side of this store."""
        return MemoryUpkeep(self)

    def has_rows(self) -> bool:
        """Return whether there is any row."""
        return bool(self._everything())

    def take(self, rows: Iterable[Row]) -> None:
        """Take rows in as they are."""
        self._state.put_all(rows)

    def drop_raw(self, keys: Iterable[tuple[int, str]], before_us: int) -> int:
        """Remove raw usage objects that are as old as is said, and return how many there were."""
        rows = self._state.rows
        found = [
            pk
            for account_id, key in keys
            if isinstance(row := rows.get(pk := (RawUsage.table, account_id, key)), RawUsage)
            and row.recorded_at_us < before_us
        ]
        for pk in found:
            del rows[pk]
        return len(found)

    def drop_rows(self) -> None:
        """Begin anew without any row, for whoever asks first."""
        self._state = State()
        self.filling = None

    def _refuse_incomplete(self) -> None:
        if self.filling is not None:
            raise incomplete()

    def close(self) -> None:
        """Keep everything: another façade may share this store."""


_STORES: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class _Paused(threading.local):
    """The stores that the thread which forks has paused."""

    def __init__(self) -> None:
        self.stores: list[MemoryStore] = []


_PAUSED = _Paused()


def _before_fork() -> None:
    # In one order everywhere, so that two threads that fork can never wait for each other.
    for store in sorted(_STORES, key=id):
        store.pause()
        _PAUSED.stores.append(store)


def _after_fork() -> None:
    while _PAUSED.stores:
        _PAUSED.stores.pop().resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
