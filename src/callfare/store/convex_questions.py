"""Which rows of Convex answer which question: a range of an index for each. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from callfare.ledger.rows import (
    HOUSE,
    TABLES,
    Account,
    ApiKey,
    AuditRow,
    Entry,
    Event,
    Grant,
    Hold,
    Job,
    Key,
    KeyDay,
    RawUsage,
    Retention,
    Rollup,
    Row,
    Run,
    Transfer,
    User,
)
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.store import protocol as ask
from callfare.store.convex_tables import BY_KEY, layout_of
from callfare.store.protocol import Query

Value: TypeAlias = str | int | None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose index begins with `eq`, between `low` and `high`: each the first values of what follows there.

    An empty bound bounds nothing. now: which bound is the present instant. limit: 0 for no limit.
    """

    table: type[Row]
    index: str = BY_KEY
    eq: tuple[Value, ...] = ()
    low: tuple[Value, ...] = ()
    is_low_in: bool = False
    high: tuple[Value, ...] = ()
    is_high_in: bool = False
    is_descending: bool = False
    now: str | None = None
    limit: int = 0

    def told(self) -> dict[str, Any]:
        """Return the range as our functions take it."""
        return {
            "table": layout_of(self.table).name,
            "index": self.index,
            "eq": list(self.eq),
            "low": list(self.low),
            "isLowIn": self.is_low_in,
            "high": list(self.high),
            "isHighIn": self.is_high_in,
            "isDescending": self.is_descending,
            "now": self.now,
            "limit": self.limit,
        }

    def at(self, now_us: int) -> Range:
        """Return the range with the present instant in its place."""
        if self.now is None:
            return self
        bound = {self.now: (now_us,)}
        return msgspec.structs.replace(self, now=None, **bound)

    def _place(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return where a row stands behind `eq` in the index."""
        return tuple(values[place] for place in layout_of(self.table).places(self.index)[len(self.eq) :])

    def after(self, values: tuple[Value, ...], limit: int = 0) -> Range:
        """Return what comes after a row of this range."""
        place = self._place(values)
        if self.is_descending:
            return msgspec.structs.replace(self, high=place, is_high_in=False, limit=limit)
        return msgspec.structs.replace(self, low=place, is_low_in=False, limit=limit)

    def up_to(self, values: tuple[Value, ...]) -> Range:
        """Return what comes before a row of this range, and the row."""
        place = self._place(values)
        if self.is_descending:
            return msgspec.structs.replace(self, low=place, is_low_in=True)
        return msgspec.structs.replace(self, high=place, is_high_in=True)


def named(table: type[Row], *key: Value) -> Range:
    """Return the rows whose primary key begins so: one, when all of it is given."""
    return Range(table=table, eq=key)


_BY_NAME = {table.table: table for table in TABLES}

# What the loader of a batch asks, by the names that statements have in SQL; the present instant is left out.
_LOADS: dict[str, Callable[..., Range]] = {
    "user_named": lambda user: named(User, user),
    "user_of": lambda account: Range(table=User, index="byAccount", eq=(account,)),
    "runs_named": lambda run_id: Range(table=Run, index="byName", eq=(run_id,)),
    "jobs_named": lambda job_id: Range(table=Job, index="byName", eq=(job_id,)),
    "event_named": lambda account, key: named(Event, account, key),
    "key_named": lambda account, key: named(Key, account, key),
    "api_key_named": lambda key_id: named(ApiKey, key_id),
    "key_day_of": lambda family, day_us: named(KeyDay, family, day_us),
    "grant_numbered": lambda account, grant_id: named(Grant, account, grant_id),
    "load_account": lambda account: named(Account, account),
    "load_grants": lambda account: Range(table=Grant, index="byRemaining", eq=(account,), low=(0,)),
    "load_due_runs": lambda account: Range(
        table=Run, index="byStatus", eq=(account, "open"), is_high_in=True, now="high"
    ),
    "load_due_jobs": lambda account: Range(
        table=Job, index="byStatus", eq=(account, "pending"), is_high_in=True, now="high"
    ),
    "load_holds": lambda account, hold_id: named(Hold, account, hold_id),
    "load_run": lambda account, run_id: named(Run, account, run_id),
}
_TIMED = frozenset({"load_due_runs", "load_due_jobs"})


def load(name: str, values: tuple[Any, ...]) -> Range:
    """Return what a loader asks for by the name of a statement; `load_TABLE` is a row by its primary key."""
    if name in _LOADS:
        return _LOADS[name](*(values[:-1] if name in _TIMED else values))
    return named(_BY_NAME[name.removeprefix("load_")], *values)


def spent(account_id: int) -> Range:
    """Return the open runs of an account that are not due."""
    return Range(table=Run, index="byStatus", eq=(account_id, "open"), now="low")


def _since(since: int, until: int) -> dict[str, Any]:
    return {"low": (since,), "is_low_in": True, "high": (until,)}


_QUERIES: dict[type[Query], Callable[[Any], Range]] = {
    ask.UserNamed: lambda q: named(User, q.user),
    ask.UserOf: lambda q: Range(table=User, index="byAccount", eq=(q.account_id,)),
    ask.RunsNamed: lambda q: Range(table=Run, index="byName", eq=(q.run_id,)),
    ask.JobsNamed: lambda q: Range(table=Job, index="byName", eq=(q.job_id,)),
    ask.RunsOf: lambda q: Range(
        table=Run,
        index="byOpening",
        eq=(q.account_id,),
        high=(q.before_us, q.before_run_id),
        is_descending=True,
        limit=q.limit,
    ),
    ask.EventsOfRun: lambda q: Range(
        table=Event,
        index="byRun",
        eq=(q.account_id, q.run_id),
        low=(q.after_number, q.after_key),
        limit=q.limit,
    ),
    ask.EventsBetween: lambda q: Range(
        table=Event, index="byTime", eq=(q.account_id,), **_since(q.since_us, q.until_us)
    ),
    ask.EventNamed: lambda q: named(Event, q.account_id, q.key),
    ask.UnpricedEvents: lambda q: Range(
        table=Event,
        index="byStatus",
        eq=("unpriced", "usage"),
        low=(q.after_account_id, q.after_key),
        limit=q.limit,
    ),
    ask.RawOf: lambda q: named(RawUsage, q.account_id, q.key),
    ask.RetentionOf: lambda q: named(Retention, q.kind),
    ask.TransfersOf: lambda q: Range(
        table=Transfer, eq=(q.account_id,), high=(q.before_seq,), is_descending=True, limit=q.limit
    ),
    ask.EntriesOf: lambda q: named(Entry, q.account_id, q.seq),
    ask.GrantNumbered: lambda q: named(Grant, q.account_id, q.grant_id),
    ask.KeyNamed: lambda q: named(Key, q.account_id, q.key),
    ask.RollupsOf: lambda q: Range(table=Rollup, eq=(q.account_id, q.grain), **_since(q.since_us, q.until_us)),
    ask.ApiKeyNamed: lambda q: named(ApiKey, q.key_id),
    ask.ApiKeysAfter: lambda q: Range(table=ApiKey, low=(q.after_key_id,), limit=q.limit),
    ask.KeyDayOf: lambda q: named(KeyDay, q.family, q.day_us),
    ask.AuditBefore: lambda q: Range(
        table=AuditRow, index="byId", high=(q.before_id,), is_descending=True, limit=q.limit
    ),
    ask.AuditOf: lambda q: Range(
        table=AuditRow, eq=(q.account_id,), high=(q.before_id,), is_descending=True, limit=q.limit
    ),
}

_SALES: dict[type[Query], Callable[[Any], Range]] = {
    ask.OrderNamed: lambda q: named(Order, q.account_id, q.order_id),
    ask.OrdersOf: lambda q: Range(
        table=Order, index="byCreation", eq=(q.account_id,), is_descending=True, limit=q.limit
    ),
    ask.SaleNamed: lambda q: named(Sale, q.account_id, q.sale_id),
    ask.SalesPaidBy: lambda q: Range(table=Sale, index="byPayment", eq=(q.payment,)),
    ask.CustomerOf: lambda q: named(Customer, q.account_id, q.mode),
    ask.SubscriptionNamed: lambda q: named(Subscription, q.account_id, q.subscription),
    ask.SubscriptionsOf: lambda q: Range(table=Subscription, index="byCreation", eq=(q.account_id,)),
    ask.LiveSubscriptions: lambda q: Range(
        table=Subscription,
        index="byEnd",
        eq=(None,),
        low=(q.after_account_id, q.after_subscription),
        limit=q.limit,
    ),
    ask.DeliveryNamed: lambda q: named(Delivery, q.account_id, q.message_id),
    ask.InboxDue: lambda q: Range(
        table=Delivery,
        index="byClaim",
        eq=(HOUSE, "waiting"),
        high=(q.now_us,),
        is_high_in=True,
        limit=q.limit,
    ),
    ask.QuarantineAfter: lambda q: Range(table=Quarantined, eq=(HOUSE,), low=(q.after_item_id,), limit=q.limit),
    ask.FactNamed: lambda q: named(Installation, q.account_id, q.name),
}


def query(question: Query) -> Range:
    """Return the rows that a question of `Store.select` is about."""
    kind = type(question)
    return (_QUERIES.get(kind) or _SALES[kind])(question)
