"""How the memory store answers a query: which table, which rows, in which order, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from callfare.ledger.orders import UNSETTLED
from callfare.ledger.rows import (
    HOUSE,
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
from callfare.store import protocol as ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from callfare.ledger.rows import Pk
    from callfare.ledger.state import State
    from callfare.store.protocol import Query


def plan_of(query: Query, state: State) -> tuple[type[Row], Callable[[Any], bool], Callable[[Any], Any], int | None]:
    """Return the table a query reads, which rows it wants, in which order, and how many."""
    match query:
        case ask.UserNamed(user=user):
            return User, lambda row: row.user == user, _by_pk, None
        case ask.UserOf(account_id=account):
            return User, lambda row: row.account_id == account, _by_pk, None
        case ask.RunsNamed(run_id=name):
            return Run, lambda row: row.run_id == name, _by_pk, None
        case ask.RunsAmong(run_ids=names):
            wanted = set(msgspec.json.decode(names))
            return Run, lambda row: row.run_id in wanted, lambda row: (row.run_id, row.account_id), None
        case ask.JobsNamed(job_id=name):
            return Job, lambda row: row.job_id == name, _by_pk, None
        case ask.RunsOf(account_id=account, before_us=before_us, before_run_id=name, limit=limit):
            return (
                Run,
                lambda row: row.account_id == account and (row.opened_at_us, row.run_id) < (before_us, name),
                lambda row: (-row.opened_at_us, (*(-ord(letter) for letter in row.run_id), 1)),
                limit,
            )
        case ask.EventsOfRun(account_id=account, run_id=name, after_number=number, after_key=key, limit=limit):
            return (
                Event,
                lambda row: (
                    (row.account_id, row.run_id) == (account, name) and (row.call_number, row.key) > (number, key)
                ),
                lambda row: (row.call_number, row.key),
                limit,
            )
        case ask.EventsBetween(account_id=account, since_us=since_us, until_us=until_us):
            return (
                Event,
                lambda row: row.account_id == account and since_us <= row.at_us < until_us,
                lambda row: (row.at_us, row.key),
                None,
            )
        case ask.UnpricedEvents(after_account_id=account, after_key=key, limit=limit):
            return (
                Event,
                lambda row: (
                    row.status == "unpriced"
                    and row.kind == "usage"
                    and (row.account_id, row.key) > (account, key)
                    and ("events", row.account_id, f"{row.key}#reprice") not in state.rows
                ),
                _by_pk,
                limit,
            )
        case ask.TransfersOf(account_id=account, before_seq=seq, limit=limit):
            return (
                Transfer,
                lambda row: row.account_id == account and row.seq < seq,
                lambda row: -row.seq,
                limit,
            )
        case ask.RollupsOf(account_id=account, grain=grain, since_us=since_us, until_us=until_us):
            return (
                Rollup,
                lambda row: (row.account_id, row.grain) == (account, grain) and since_us <= row.start_us < until_us,
                _by_pk,
                None,
            )
        case _:
            return _access_plan(query)


def _access_plan(query: Query) -> tuple[type[Row], Callable[[Any], bool], Callable[[Any], Any], int | None]:
    """Return the plan of a query about API keys, and about who asked for what."""
    match query:
        case ask.ApiKeysAfter(after_key_id=key_id, limit=limit):
            return ApiKey, lambda row: row.key_id > key_id, _by_pk, limit
        case ask.AuditBefore(before_id=audit_id, limit=limit):
            return AuditRow, lambda row: row.audit_id < audit_id, _by_audit_id, limit
        case ask.AuditOf(account_id=account, before_id=audit_id, limit=limit):
            return (
                AuditRow,
                lambda row: row.account_id == account and row.audit_id < audit_id,
                _by_audit_id,
                limit,
            )
        case _:
            return _sale_plan(query)


def _sale_plan(query: Query) -> tuple[type[Row], Callable[[Any], bool], Callable[[Any], Any], int | None]:
    """Return the plan of a query about buying credits."""
    match query:
        case ask.OrdersOf(account_id=account, limit=limit):
            return Order, lambda row: row.account_id == account, _by_newest, limit
        case ask.UnsettledOrders(before_us=before_us, after_account_id=account, after_order_id=name, limit=limit):
            return (
                Order,
                lambda row: (
                    row.state in UNSETTLED
                    and row.moved_at_us < before_us
                    and (row.account_id, row.order_id) > (account, name)
                ),
                _by_pk,
                limit,
            )
        case ask.SalesPaidBy(payment=payment):
            return Sale, lambda row: row.payment == payment, _by_pk, None
        case ask.SubscriptionsOf(account_id=account):
            return (
                Subscription,
                lambda row: row.account_id == account,
                lambda row: (row.created_at_us, row.subscription),
                None,
            )
        case ask.LiveSubscriptions(after_account_id=account, after_subscription=name, limit=limit):
            return (
                Subscription,
                lambda row: row.ended_at_us is None and (row.account_id, row.subscription) > (account, name),
                _by_pk,
                limit,
            )
        case ask.InboxDue(now_us=now_us, limit=limit):
            return (
                Delivery,
                lambda row: (row.account_id, row.state) == (HOUSE, "waiting") and row.claimed_until_us <= now_us,
                lambda row: (row.claimed_until_us, row.message_id),
                limit,
            )
        case ask.QuarantineAfter(after_item_id=item_id, limit=limit):
            return Quarantined, lambda row: row.item_id > item_id, _by_pk, limit
        case _:
            return _named(query)


def _by_newest(row: Order) -> tuple[int, tuple[int, ...]]:
    return -row.created_at_us, (*(-ord(letter) for letter in row.order_id), 1)


def _named(query: Query) -> tuple[type[Row], Callable[[Any], bool], Callable[[Any], Any], int | None]:
    """Return the plan of a query that names its rows by the first columns of their key."""
    tables: dict[type[Query], type[Row]] = {
        ask.EventNamed: Event,
        ask.RawOf: RawUsage,
        ask.RetentionOf: Retention,
        ask.EntriesOf: Entry,
        ask.GrantNumbered: Grant,
        ask.KeyNamed: Key,
        ask.ApiKeyNamed: ApiKey,
        ask.KeyDayOf: KeyDay,
        ask.OrderNamed: Order,
        ask.SaleNamed: Sale,
        ask.CustomerOf: Customer,
        ask.SubscriptionNamed: Subscription,
        ask.DeliveryNamed: Delivery,
        ask.FactNamed: Installation,
    }
    names = tuple(getattr(query, field) for field in query.__struct_fields__)
    return tables[type(query)], lambda row: row.pk[1 : 1 + len(names)] == names, _by_pk, None


def _by_audit_id(row: AuditRow) -> tuple[int, ...]:
    """Put the newest id first. Ids made by callfare are all of one length."""
    return (*(-ord(letter) for letter in row.audit_id), 1)


def _by_pk(row: Row) -> Pk:
    return row.pk
