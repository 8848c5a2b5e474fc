"""What a store is. Its meaning is the conformance suite in tests/conformance, which every store passes unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from callfare.ledger.rows import ApiKey, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from callfare.errors import CallfareError
    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk
    from callfare.ledger.state import State
    from callfare.ledger.verify import Scan
    from callfare.store.upkeep import Upkeep

R = TypeVar("R", bound=Row)


class Query(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A question with a bounded answer. `answers` is the kind of row it returns."""


class UserNamed(Query, frozen=True, gc=False, kw_only=True):
    """The row of one user: none or one."""

    user: str


class UserOf(Query, frozen=True, gc=False, kw_only=True):
    """The user behind an account: none or one."""

    account_id: int


class RunsNamed(Query, frozen=True, gc=False, kw_only=True):
    """The runs with this id, of any account."""

    run_id: str


class RunsAmong(Query, frozen=True, gc=False, kw_only=True):
    """The runs with one of these ids, of any account. run_ids: a JSON array of texts, none of them twice."""

    run_ids: str


class RunsOf(Query, frozen=True, gc=False, kw_only=True):
    """Runs of an account, newest first, that were opened before a point."""

    account_id: int
    before_us: int
    before_run_id: str
    limit: int


class EventsOfRun(Query, frozen=True, gc=False, kw_only=True):
    """Usage of a run in the order of its calls, after a point."""

    account_id: int
    run_id: str
    after_number: int
    after_key: str
    limit: int


class EventsBetween(Query, frozen=True, gc=False, kw_only=True):
    """Usage of an account that happened at or after `since_us` and before `until_us`."""

    account_id: int
    since_us: int
    until_us: int


class EventNamed(Query, frozen=True, gc=False, kw_only=True):
    """The event under a key: none or one."""

    account_id: int
    key: str


class UnpricedEvents(Query, frozen=True, gc=False, kw_only=True):
    """Unpriced usage that nothing has repriced yet, of all accounts, after a point."""

    after_account_id: int
    after_key: str
    limit: int


class RawOf(Query, frozen=True, gc=False, kw_only=True):
    """The provider's own usage object of an event: none or one."""

    account_id: int
    key: str


class RetentionOf(Query, frozen=True, gc=False, kw_only=True):
    """How far back rows of a kind are kept: none or one."""

    kind: str


class TransfersOf(Query, frozen=True, gc=False, kw_only=True):
    """Transfers of an account, newest first, with a number below `before_seq`."""

    account_id: int
    before_seq: int
    limit: int


class EntriesOf(Query, frozen=True, gc=False, kw_only=True):
    """The entries of one transfer."""

    account_id: int
    seq: int


class GrantNumbered(Query, frozen=True, gc=False, kw_only=True):
    """One lot, used up or not: none or one."""

    account_id: int
    grant_id: int


class KeyNamed(Query, frozen=True, gc=False, kw_only=True):
    """What is recorded under an idempotency key: none or one."""

    account_id: int
    key: str


class JobsNamed(Query, frozen=True, gc=False, kw_only=True):
    """The jobs with this id, of any account."""

    job_id: str


class RollupsOf(Query, frozen=True, gc=False, kw_only=True):
    """Roll-ups of an account and grain that start at or after `since_us` and before `until_us`."""

    account_id: int
    grain: str
    since_us: int
    until_us: int


class ApiKeyNamed(Query, frozen=True, gc=False, kw_only=True):
    """The API key of a public id: none or one."""

    key_id: str


class ApiKeysAfter(Query, frozen=True, gc=False, kw_only=True):
    """API keys in the order of their ids, after one."""

    after_key_id: str
    limit: int


class KeyDayOf(Query, frozen=True, gc=False, kw_only=True):
    """What a family of keys has granted in a UTC day: none or one."""

    family: str
    day_us: int


class AuditBefore(Query, frozen=True, gc=False, kw_only=True):
    """Audit rows of every account, newest first, before one."""

    before_id: str
    limit: int


class AuditOf(Query, frozen=True, gc=False, kw_only=True):
    """Audit rows of one account, newest first, before one."""

    account_id: int
    before_id: str
    limit: int


class OrderNamed(Query, frozen=True, gc=False, kw_only=True):
    """One order: none or one."""

    account_id: int
    order_id: str


class OrdersOf(Query, frozen=True, gc=False, kw_only=True):
    """Orders of an account, newest first."""

    account_id: int
    limit: int


class UnsettledOrders(Query, frozen=True, gc=False, kw_only=True):
    """Orders whose end nobody has seen, last moved before a time, of all accounts, after a point."""

    before_us: int
    after_account_id: int
    after_order_id: str
    limit: int


class SaleNamed(Query, frozen=True, gc=False, kw_only=True):
    """A payment and what was granted for it: none or one."""

    account_id: int
    sale_id: str


class SalesPaidBy(Query, frozen=True, gc=False, kw_only=True):
    """What was granted for a payment of the processor's."""

    payment: str


class CustomerOf(Query, frozen=True, gc=False, kw_only=True):
    """Whom the processor knows a user as in a mode: none or one."""

    account_id: int
    mode: str


class SubscriptionNamed(Query, frozen=True, gc=False, kw_only=True):
    """One plan: none or one."""

    account_id: int
    subscription: str


class SubscriptionsOf(Query, frozen=True, gc=False, kw_only=True):
    """The plans of an account, the latest last."""

    account_id: int


class LiveSubscriptions(Query, frozen=True, gc=False, kw_only=True):
    """Plans that have not ended, of all accounts, after a point."""

    after_account_id: int
    after_subscription: str
    limit: int


class DeliveryNamed(Query, frozen=True, gc=False, kw_only=True):
    """One message of the processor's: none or one."""

    account_id: int
    message_id: str


class InboxDue(Query, frozen=True, gc=False, kw_only=True):
    """Messages that wait and that nobody has claimed now, the longest waiting first."""

    now_us: int
    limit: int


class QuarantineAfter(Query, frozen=True, gc=False, kw_only=True):
    """What is or was in quarantine, in the order of its ids, after one."""

    after_item_id: str
    limit: int


class FactNamed(Query, frozen=True, gc=False, kw_only=True):
    """A fact about this installation: none or one."""

    account_id: int
    name: str


class Look(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a request must know before anything else: the API key that it shows, and whose balance it asks for.

    key_id: None where no key is shown. user: None for whom the key is bound to.
    """

    key_id: str | None = None
    user: str | None = None


class Snapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An account with what is due, read in one transaction at one instant."""

    account_id: int
    state: State
    spent_nanocredits: int
    now_us: int


class Seen(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a look has found: the row of the key, and the account, which is None for whoever the key may not see."""

    key: ApiKey | None
    account: Snapshot | None


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to know of a store: its address, engine, schema and how many rows each table has."""

    url: str
    engine: str
    schema_version: int
    rows: dict[str, int]


class Store(Protocol):
    """A place to keep a ledger. Safe to share between threads; after a fork each process starts afresh."""

    max_batch: int

    def create(self) -> bool:
        """Make sure the ledger exists at the newest schema; return whether it was made just now."""
        ...

    def apply(self, commands: Sequence[Command]) -> list[Receipt | CallfareError]:
        """Decide commands one after another in one transaction and return an answer for each.

        A refusal is an answer and never fails its neighbours. When this raises, nothing was written, or it is not
        known whether it was: repeat with the same keys. Raises LedgerNotFound, LedgerUnavailable, LedgerCorrupt.
        """
        ...

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about as of now, in as few round trips as there can be.

        Of an account that has nothing due it holds the totals alone.
        """
        ...

    def select(self, query: Query) -> list[Row]:
        """Return the rows a query asks for."""
        ...

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Return the rows that each query asks for, all as of one instant."""
        ...

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table with their seals, in the order of their primary key, at bounded memory."""
        ...

    def one_instant(self) -> AbstractContextManager[Scan]:
        """Give a scan of whole tables that sees all of them at one instant, whatever is written meanwhile."""
        ...

    def upkeep(self) -> Upkeep:
        """Return the operator's side of this store: what is done to a ledger as a whole."""
        ...

    def facts(self) -> StoreFacts:
        """Return what this store is and how much it holds."""
        ...

    def close(self) -> None:
        """Give back files and connections. Closing twice is harmless."""
        ...
