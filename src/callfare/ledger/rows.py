"""The rows a ledger is made of, as immutable values. Holds no rules; it says what stands in each column.

Field order is column order in every store. Amounts are nanocredits or picodollars, instants are microseconds since
1970. History (transfers, entries, events, keys) is only ever added; the others are running state.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import attrgetter

import msgspec

from callfare.ledger.row import PK_OF
from callfare.ledger.row import Pk as Pk  # noqa: PLC0414 - everybody knows it from here
from callfare.ledger.row import Row as Row  # noqa: PLC0414 - everybody knows it from here
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription


class User(Row, frozen=True, gc=False, array_like=True):
    """A person outside; the only row that names one, and the one to change when they ask to be forgotten."""

    table = "identities"
    pk_columns = 1
    user: str
    account_id: int
    email: str | None
    stripe_customer_id: str | None
    created_at_us: int


class Account(Row, frozen=True, gc=False, array_like=True):
    """The totals of one customer; equal to the sums of the entries, the open holds and the receivable."""

    table = "accounts"
    pk_columns = 1
    account_id: int
    posted_nanocredits: int
    held_nanocredits: int
    debt_nanocredits: int
    last_seq: int
    opened_at_us: int

    @property
    def available_nanocredits(self) -> int:
        """What a new hold may take."""
        return self.posted_nanocredits - self.held_nanocredits


class Grant(Row, frozen=True, gc=False, array_like=True):
    """A lot of credit; its id is the number of the transfer that granted it."""

    table = "grants"
    account_id: int
    grant_id: int
    source: str
    amount_nanocredits: int
    remaining_nanocredits: int
    held_nanocredits: int
    paid_picousd: int | None
    reference: str | None
    created_at_us: int
    expires_at_us: int | None
    refunded_nanocredits: int = 0

    @property
    def unheld_nanocredits(self) -> int:
        """The part that no hold has reserved."""
        return self.remaining_nanocredits - self.held_nanocredits


class Run(Row, frozen=True, gc=False, array_like=True):
    """One execution of a workflow, and the hold it draws on while it is open."""

    table = "runs"
    account_id: int
    run_id: str
    workflow: str
    status: str
    on_failure: str
    asked_nanocredits: int
    held_nanocredits: int
    used_nanocredits: int
    debt_nanocredits: int
    charged_nanocredits: int
    cost_picousd: int
    calls: int
    unpriced_calls: int
    low_nanocredits: int | None
    high_nanocredits: int | None
    ttl_s: int
    opened_at_us: int
    expires_at_us: int
    closed_at_us: int | None
    close_seq: int | None
    receipt: str | None
    input: str | None
    fingerprint: int

    @property
    def room_nanocredits(self) -> int:
        """The part of the hold that no usage has drawn yet."""
        return self.held_nanocredits - self.used_nanocredits


class Hold(Row, frozen=True, gc=False, array_like=True):
    """What an open run or a pending job has reserved of one lot; gone once captured, voided or expired."""

    table = "holds"
    pk_columns = 3
    account_id: int
    hold_id: str
    grant_id: int
    amount_nanocredits: int


class Job(Row, frozen=True, gc=False, array_like=True):
    """A long job at a provider, held for until somebody sees its end. `charge` is the usage it will cost."""

    table = "jobs"
    account_id: int
    job_id: str
    run_id: str | None
    status: str
    held_nanocredits: int
    charge: str
    created_at_us: int
    expires_at_us: int
    settled_at_us: int | None


class Transfer(Row, frozen=True, gc=False, array_like=True):
    """Moves credit between accounts of one customer; the entries under it sum to zero."""

    table = "transfers"
    is_history = True
    account_id: int
    seq: int
    kind: str
    amount_nanocredits: int
    entry_count: int
    run_id: str | None
    reference: str | None
    at_us: int


class Entry(Row, frozen=True, gc=False, array_like=True):
    """One side of a transfer. `account_kind` is the customer's credit, the receivable, or an account of the house."""

    table = "entries"
    pk_columns = 3
    is_history = True
    account_id: int
    seq: int
    position: int
    account_kind: str
    grant_id: int | None
    amount_nanocredits: int


class Event(Row, frozen=True, gc=False, array_like=True):
    """A metered call and its charge; its key is its idempotency record."""

    table = "events"
    is_history = True
    account_id: int
    key: str
    kind: str
    corrects: str | None
    run_id: str | None
    workflow: str
    call_number: int
    step: str | None
    provider: str
    base_url: str
    model: str
    operation: str
    response_id: str
    status: str
    flags: str
    reason: str | None
    nanocredits: int
    picousd: int
    debt_nanocredits: int
    charge_seq: int | None
    edition: str
    markup: str
    usage: str
    counted: str | None
    attributes: str
    lines: str
    metadata: str | None
    raw_digest: int | None
    at_us: int
    recorded_at_us: int
    fingerprint: int
    held_after_nanocredits: int
    used_after_nanocredits: int


class RawUsage(Row, frozen=True, gc=False, array_like=True):
    """The provider's own usage object of one event. May be dropped by age; the event keeps its digest."""

    table = "raw_usage"
    is_history = True
    account_id: int
    key: str
    recorded_at_us: int
    raw: str


class Key(Row, frozen=True, gc=False, array_like=True):
    """An idempotency key with the request it stands for and the first answer."""

    table = "keys"
    is_history = True
    account_id: int
    key: str
    kind: str
    fingerprint: int
    receipt: str
    at_us: int


class Rollup(Row, frozen=True, gc=False, array_like=True):
    """Usage of one account in one quarter of an hour or UTC day, for one workflow, model and operation."""

    table = "rollups"
    pk_columns = 7
    account_id: int
    grain: str
    start_us: int
    workflow: str
    provider: str
    model: str
    operation: str
    calls: int
    unpriced_calls: int
    nanocredits: int
    picousd: str
    units: str


class Retention(Row, frozen=True, gc=False, array_like=True):
    """How far back rows of a kind are kept: those recorded before `before_us` may have been removed."""

    table = "retention"
    pk_columns = 1
    kind: str
    before_us: int
    set_at_us: int


class ApiKey(Row, frozen=True, gc=False, array_like=True):
    """A key that a program shows. Of its secret there is a keyed digest only; `pepper` names the key of that.

    `family` is the first of the keys that were rolled one into the next: together they have one daily cap.
    """

    table = "api_keys"
    pk_columns = 1
    key_id: str
    family: str
    mode: str
    label: str
    scopes: str
    digest: str
    pepper: str
    user: str | None
    networks: str | None
    grant_cap_nanocredits: int | None
    created_at_us: int
    expires_at_us: int | None
    revoked_at_us: int | None
    rolled_to: str | None
    used_at_us: int | None

    def is_live(self, now_us: int) -> bool:
        """Tell whether the key is taken at an instant."""
        return self.revoked_at_us is None and (self.expires_at_us is None or now_us < self.expires_at_us)


class KeyDay(Row, frozen=True, gc=False, array_like=True):
    """What the keys of a family have granted in one UTC day; equal to the sum of their audit rows."""

    table = "key_days"
    family: str
    day_us: int
    granted_nanocredits: int


class AuditRow(Row, frozen=True, gc=False, array_like=True):
    """Who asked for a write. Account 0 is the house. Names no person: the account does."""

    table = "audit"
    is_history = True
    account_id: int
    audit_id: str
    at_us: int
    principal: str
    key_id: str | None
    operation: str
    object: str
    request_key: str | None
    request_id: str | None
    state_before: str | None
    state_after: str | None


RAW_USAGE = "raw_usage"
# The account of what belongs to nobody: keys, and who made them.
HOUSE = 0

TABLES: tuple[type[Row], ...] = (
    User,
    Account,
    Grant,
    Run,
    Hold,
    Job,
    Transfer,
    Entry,
    Event,
    RawUsage,
    Key,
    Rollup,
    Retention,
    ApiKey,
    KeyDay,
    AuditRow,
    Order,
    Sale,
    Customer,
    Subscription,
    Delivery,
    Quarantined,
    Installation,
)

PK_OF |= {table: attrgetter("table", *table.__struct_fields__[: table.pk_columns]) for table in TABLES}
_LOWEST: dict[str, str | int] = {"int": -(2**63), "str": ""}
_encode = msgspec.json.Encoder().encode


def lowest_key(table: type[Row]) -> Pk:
    """Return a primary key, without the table's name, that sorts before every row of a table."""
    types = table.__annotations__
    return tuple(_LOWEST[types[name]] for name in table.__struct_fields__[: table.pk_columns])


def seal_of(row: Row) -> int:
    """Return a 64-bit digest of every column, kept beside the row so that a changed value shows."""
    return digest_of(_encode(row))


def digest_of(content: bytes) -> int:
    """Return the signed 64-bit digest of some bytes."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)
