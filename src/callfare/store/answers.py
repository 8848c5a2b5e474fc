"""Which statement answers which question, and with rows of which table; the same for every SQL store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from callfare.ledger.rows import (
    Account,
    ApiKey,
    AuditRow,
    Entry,
    Event,
    Grant,
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
from callfare.ledger.state import State
from callfare.store import protocol as ask
from callfare.store.protocol import Query, R, Seen, Snapshot

ANSWERS: dict[type[Query], tuple[str, type[Row]]] = {
    ask.UserNamed: ("user_named", User),
    ask.UserOf: ("user_of", User),
    ask.RunsNamed: ("runs_named", Run),
    ask.RunsAmong: ("runs_among", Run),
    ask.JobsNamed: ("jobs_named", Job),
    ask.RunsOf: ("runs_of", Run),
    ask.EventsOfRun: ("events_of_run", Event),
    ask.EventsBetween: ("events_between", Event),
    ask.EventNamed: ("event_named", Event),
    ask.UnpricedEvents: ("unpriced_events", Event),
    ask.RawOf: ("raw_of", RawUsage),
    ask.TransfersOf: ("transfers_of", Transfer),
    ask.EntriesOf: ("entries_of", Entry),
    ask.GrantNumbered: ("grant_numbered", Grant),
    ask.KeyNamed: ("key_named", Key),
    ask.RetentionOf: ("retention_of", Retention),
    ask.RollupsOf: ("rollups_of", Rollup),
    ask.ApiKeyNamed: ("api_key_named", ApiKey),
    ask.ApiKeysAfter: ("api_keys_after", ApiKey),
    ask.KeyDayOf: ("key_day_of", KeyDay),
    ask.AuditBefore: ("audit_before", AuditRow),
    ask.AuditOf: ("audit_of", AuditRow),
    ask.OrderNamed: ("load_orders", Order),
    ask.OrdersOf: ("orders_of", Order),
    ask.UnsettledOrders: ("unsettled_orders", Order),
    ask.SaleNamed: ("load_sales", Sale),
    ask.SalesPaidBy: ("sales_paid_by", Sale),
    ask.CustomerOf: ("load_customers", Customer),
    ask.SubscriptionNamed: ("load_subscriptions", Subscription),
    ask.SubscriptionsOf: ("subscriptions_of", Subscription),
    ask.LiveSubscriptions: ("live_subscriptions", Subscription),
    ask.DeliveryNamed: ("load_inbox", Delivery),
    ask.InboxDue: ("inbox_due", Delivery),
    ask.QuarantineAfter: ("quarantine_after", Quarantined),
    ask.FactNamed: ("load_installation", Installation),
}


_KEY_COLUMNS = len(ApiKey.__struct_fields__)
_ACCOUNT_ENDS = _KEY_COLUMNS + len(Account.__struct_fields__)


def seen(values: Sequence[Any], now_us: int, whole: Callable[[str], Snapshot | None]) -> Seen:
    """Return what a look has found: a key, totals, the user, what open runs have spent, and whether anything is due.

    whole: finds a user's account with everything that is due.
    """
    key, totals = values[:_KEY_COLUMNS], values[_KEY_COLUMNS:_ACCOUNT_ENDS]
    user, spent, is_due = values[_ACCOUNT_ENDS:]
    account = None
    if is_due:
        account = whole(user)
    elif totals[0] is not None:
        state = State()
        state.find(Account(*totals))
        account = Snapshot(account_id=totals[0], state=state, spent_nanocredits=int(spent), now_us=now_us)
    return Seen(key=None if key[0] is None else ApiKey(*key), account=account)


def rows_of(cursor: Iterable[tuple[Any, ...]], table: type[R]) -> list[R]:
    """Return the rows of an answer."""
    return [table(*values) for values in cursor]
