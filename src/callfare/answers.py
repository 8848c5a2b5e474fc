"""What callfare answers: immutable values in Credits, Usd and aware UTC datetimes, and by `plain` as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from callfare.money import Credits, Usd
from callfare.usage.quantities import Quantity, quantity_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The balances of a user. available = posted - held; `spent` is the part of `held` that open runs have used.

    debt: what providers did that nothing covered; the next credit of any kind pays it first.
    """

    user: str
    posted: Credits
    held: Credits
    spent: Credits
    available: Credits
    debt: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantReceipt:
    """Credit that was granted; `repaid` of it went to an older debt."""

    user: str
    key: str
    credits: Credits
    repaid: Credits
    available: Credits
    expires_at: datetime | None
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One leaf of usage at one rate: quantity × rate / per. `rate_meter` is the meter whose rate was taken.

    list_rate, adjustment: what the provider lists, and the share that was taken off it or added, such as -15%; None and
    empty where the rate is the listed one. minimum: what was billed in place of the quantity, where that is less.
    """

    meter: str
    quantity: Quantity
    rate: Decimal | None
    per: int
    rate_meter: str
    attributes: Mapping[str, str]
    cost: Usd
    credits: Credits
    list_rate: Decimal | None = None
    adjustment: str = ""
    minimum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a call costs, without having been made. `information` is reported usage that is not billed.

    provider: whose price it is. source, checked: where it was read, and when. ignored: the attributes that were given
    and select nothing of this model's.
    """

    model: str
    provider: str
    edition: str
    source: str
    checked: date
    ignored: Mapping[str, str]
    lines: tuple[Line, ...]
    information: Mapping[str, Quantity]
    cost: Usd
    credits: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A recorded call. `left` is what its run's hold has left, None outside a run.

    status: "priced" or "unpriced". flags: any of late, estimated, attempt, duplicate, waived.
    is_spooled: the ledger is away, and the call waits in the spool, priced here. Its debt is not known yet; nor is,
    outside a run, its id, which is empty then.
    """

    id: str
    key: str
    run_id: str | None
    model: str
    status: str
    flags: tuple[str, ...]
    lines: Sequence[Line]
    cost: Usd
    credits: Credits
    debt: Credits
    left: Credits | None
    edition: str
    is_replay: bool
    is_spooled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call as it stands in the ledger. `kind` is usage, correction, reprice or waiver."""

    id: str
    kind: str
    run_id: str | None
    workflow: str
    step: str | None
    provider: str
    model: str
    operation: str
    response_id: str
    status: str
    reason: str | None
    flags: tuple[str, ...]
    usage: Mapping[str, Quantity]
    attributes: Mapping[str, str]
    lines: Sequence[Line]
    cost: Usd
    credits: Credits
    debt: Credits
    edition: str
    metadata: Mapping[str, Any] | None
    at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReceipt:
    """A run's hold after it was extended or renewed."""

    run_id: str
    held: Credits
    used: Credits
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReceipt:
    """A run that has ended. charged = captured + debt + what long jobs took; given_back went back to the lots."""

    run_id: str
    outcome: str
    charged: Credits
    captured: Credits
    given_back: Credits
    debt: Credits
    waived: Credits
    cost: Usd
    calls: int
    unpriced_calls: int
    closed_at: datetime
    key: str
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run in a history. `low` and `high` are the estimate it began with, where there was one."""

    run_id: str
    workflow: str
    status: str
    charged: Credits
    held: Credits
    cost: Usd
    calls: int
    unpriced_calls: int
    low: Credits | None
    high: Credits | None
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transfer as the customer sees it: `change` to the posted balance, and `debt_change` to the debt."""

    id: str
    number: int
    kind: str
    amount: Credits
    change: Credits
    debt_change: Credits
    run_id: str | None
    reference: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key that was just made. `key` is shown this once, and None to a repeat; its repr leaves it out.

    id: the part of it that may be shown. grant_cap: what it may grant in a UTC day, None without a bound.
    """

    id: str
    key: str | None = field(repr=False)
    mode: str
    label: str
    scopes: tuple[str, ...]
    user: str | None
    networks: tuple[str, ...]
    grant_cap: Credits | None
    created_at: datetime
    expires_at: datetime | None
    replaces: str | None
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyShown:
    """What may be shown of an API key. status: active, rolled (another has its place), expired or revoked.

    last_used_at: to the minute.
    """

    id: str
    status: str
    mode: str
    label: str
    scopes: tuple[str, ...]
    user: str | None
    networks: tuple[str, ...]
    grant_cap: Credits | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rolled_to: str | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserToken:
    """A token with which a user asks about themselves until it expires; its repr leaves the token out."""

    token: str = field(repr=False)
    user: str
    scopes: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who asked for a write. principal: `key:` with its id, `user` or `local`. user: whose account, None for the house.

    before, after: the part that changed, as JSON, where that is small.
    """

    id: str
    at: datetime
    principal: str
    key_id: str | None
    operation: str
    user: str | None
    object: str
    request_key: str | None
    request_id: str | None
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Usage under one name: a workflow, a model or a day."""

    name: str
    calls: int
    unpriced_calls: int
    cost: Usd
    credits: Credits
    units: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """Usage of a user from `since` until just before `until`; days are those of the zone `tz`."""

    user: str
    since: datetime
    until: datetime
    tz: str
    calls: int
    unpriced_calls: int
    cost: Usd
    credits: Credits
    by_workflow: tuple[Share, ...]
    by_model: tuple[Share, ...]
    by_day: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatePart:
    """One kind of call that a workflow makes, priced: between `at_least` and `at_most` of them."""

    model: str
    usage: Mapping[str, Quantity]
    attributes: Mapping[str, str]
    at_least: int
    at_most: int
    credits_each: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run of a workflow is expected to cost, and what that rests on.

    rests_on: "declared" or "parts". past_runs, past_median and past_highest tell of completed runs of the user asked
    about; None where no user was named or none has completed.
    """

    workflow: str
    low: Credits
    high: Credits
    parts: tuple[EstimatePart, ...]
    rests_on: str
    on_failure: str
    past_runs: int
    past_median: Credits | None
    past_highest: Credits | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Credits for sale. `credits_per_usd` is the value shown to buyers, floored to a whole credit."""

    id: str
    name: str
    credits: Credits
    price: Usd
    credits_per_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Package):
    """Credits for each month. rolls_over: what is left of a month lasts; else it ends with its month."""

    rolls_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One entry of a transfer, with the lot it came from when it is the customer's credit."""

    account: str
    amount: Credits
    lot: str | None
    source: str | None
    paid: Usd | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything behind a charge: what the provider counted, the arithmetic, the run, and the credit that paid."""

    call: Call
    arithmetic: tuple[str, ...]
    raw: Mapping[str, Any] | None
    raw_removed_before: datetime | None
    corrections: tuple[Call, ...]
    run: RunSummary | None
    transfers: tuple[Transaction, ...]
    movements: tuple[Movement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """What `reprice` did: calls that have a price now, those that still have none, and what was charged for it."""

    priced: int
    still_unpriced: int
    credits: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that stands in its file. digest: of its content; taken_at: all that was answered before is in it."""

    path: str
    taken_at: datetime
    row_count: int
    rows: Mapping[str, int]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A ledger that was filled from a backup. fault_count: what `verify` found, which the backup had in it already."""

    path: str
    taken_at: datetime
    row_count: int
    rows: Mapping[str, int]
    digest: str
    fault_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledCall:
    """What waits in a spool, or was refused by the ledger when it was delivered; `reason` is empty while it waits.

    kind: usage, correction, job, job_end, run_end or batch. `model` and `cost` are those of usage and jobs.
    """

    kind: str
    key: str
    run_id: str | None
    model: str
    cost: Usd
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolReport:
    """What a ledger's spool holds: how much waits, since when and at what cost, and what the ledger has refused.

    folder: None for a ledger without a spool. refused: the first fifty. damaged: files with lines that cannot be read.
    """

    folder: str | None
    waiting: int
    oldest_at: datetime | None
    cost: Usd
    refused_count: int
    refused: tuple[SpooledCall, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a delivery of the spool did; `waiting` is what living processes still have in theirs."""

    delivered: int
    refused: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An export that stands in its file. resumed_after: how many of its rows were there before."""

    path: str
    kind: str
    format: str
    row_count: int
    resumed_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Raw usage objects recorded before an instant: removed, or counted in a dry run. months: how many, by month."""

    before: datetime
    row_count: int
    months: Mapping[str, int]
    is_dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """The schema of a ledger before and after. is_pending: steps are left to do, which a check does not do."""

    before: int
    after: int
    newest: int
    is_pending: bool


def plain(value: object) -> Any:  # noqa: ANN401 - JSON is what it is
    """Return any answer as JSON values: amounts and quantities as exact decimal strings, times in RFC 3339."""
    if isinstance(value, Credits | Usd):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value) if one.compare}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    if isinstance(value, Fraction):
        return quantity_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value
