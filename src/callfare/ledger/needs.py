"""What a batch of commands must find loaded before it is decided. Pure; errs on the side of loading more."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from callfare.ledger.commands import (
    AdjustUsage,
    AuditNote,
    ClaimBatch,
    CloseRun,
    Command,
    ExpireDue,
    ExtendRun,
    GrantCredit,
    MakeKey,
    NoteCheck,
    NoteKeyUse,
    OpenRun,
    PendJob,
    RecordUsage,
    RefundGrant,
    RevokeKey,
    RollKey,
    SettleJob,
    TouchRun,
)
from callfare.ledger.receipts import GrantReceipt
from callfare.ledger.rows import HOUSE, Key, Row
from callfare.ledger.sale_commands import (
    ClaimCustomer,
    ClaimDelivery,
    ClaimQuarantined,
    DropCustomer,
    LinkCustomer,
    MirrorSubscription,
    MoveOrder,
    NoteFact,
    OpenOrder,
    Quarantine,
    SettleDelivery,
    SettleSale,
    TakeDelivery,
)
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.ledger.sales import grant_key_of, reversal_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from callfare.ledger.state import State


class Subject(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whom a command is about: a user by name, an account by number, a run or a job by id.

    is_of_house: it is about what the house keeps besides.
    """

    user: str | None = None
    account_id: int | None = None
    run_id: str | None = None
    job_id: str | None = None
    is_of_house: bool = False


def subject_of(command: Command) -> Subject:
    """Return whom a command is about."""
    # By a table: this is asked several times for each command of a batch, and a match tries one class after another.
    return _SUBJECTS[type(command)](command)


_SUBJECTS: dict[type[Command], Callable[[Any], Subject]] = {
    RecordUsage: lambda it: Subject(user=it.user, account_id=it.account_id, run_id=it.run_id),
    PendJob: lambda it: Subject(
        user=it.charge.user, account_id=it.charge.account_id, run_id=it.charge.run_id, job_id=it.charge.key
    ),
    GrantCredit: lambda it: Subject(user=it.user),
    RefundGrant: lambda it: Subject(user=it.user),
    OpenRun: lambda it: Subject(user=it.user, run_id=it.run_id),
    ExtendRun: lambda it: Subject(account_id=it.account_id, run_id=it.run_id),
    TouchRun: lambda it: Subject(account_id=it.account_id, run_id=it.run_id),
    CloseRun: lambda it: Subject(account_id=it.account_id, run_id=it.run_id),
    SettleJob: lambda it: Subject(account_id=it.account_id, job_id=it.job_id),
    AdjustUsage: lambda it: Subject(account_id=it.account_id),
    ClaimBatch: lambda it: Subject(user=it.user, account_id=it.account_id, run_id=it.run_id, is_of_house=True),
    ExpireDue: lambda it: Subject(account_id=it.account_id),
    MakeKey: lambda _: Subject(account_id=HOUSE),
    RollKey: lambda _: Subject(account_id=HOUSE),
    RevokeKey: lambda _: Subject(account_id=HOUSE),
    NoteCheck: lambda _: Subject(account_id=HOUSE),
    NoteKeyUse: lambda _: Subject(account_id=HOUSE),
    OpenOrder: lambda it: Subject(user=it.user),
    MoveOrder: lambda it: Subject(user=it.user),
    SettleSale: lambda it: Subject(user=it.user),
    ClaimCustomer: lambda it: Subject(user=it.user),
    LinkCustomer: lambda it: Subject(user=it.user),
    DropCustomer: lambda it: Subject(user=it.user),
    MirrorSubscription: lambda it: Subject(user=it.user),
    TakeDelivery: lambda _: Subject(account_id=HOUSE),
    ClaimDelivery: lambda _: Subject(account_id=HOUSE),
    SettleDelivery: lambda _: Subject(account_id=HOUSE),
    Quarantine: lambda _: Subject(account_id=HOUSE),
    ClaimQuarantined: lambda _: Subject(account_id=HOUSE),
    NoteFact: lambda _: Subject(account_id=HOUSE),
}


def parted(commands: Sequence[Command]) -> tuple[list[RecordUsage], list[Command]]:
    """Return the most common commands apart from the others: usage of a known run under a key that was made for it.

    They need their run and the event under their key, and nothing else.
    """
    plain: list[RecordUsage] = []
    others: list[Command] = []
    for command in commands:
        if (
            isinstance(command, RecordUsage)
            and command.repeat == "never"
            and command.run_id is not None
            and command.account_id is not None
            and not command.user
        ):
            plain.append(command)
        else:
            others.append(command)
    return plain, others


def events_and_keys(command: Command) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys under which a command may find usage events and earlier answers of its account."""
    match command:
        case RecordUsage(repeat="never"):
            return (command.key,), ()
        case RecordUsage():
            names = (command.key, command.response_key) if command.response_key else (command.key,)
            return (*names, command.other_key), names
        case AdjustUsage(key=key):
            return (key, f"{key}#correction", f"{key}#reprice"), ()
        case SettleJob(job_id=key):
            return (key, f"{key}#correction", f"{key}#reprice"), ()
        case ClaimBatch(names=names):
            return (), names
        case PendJob():
            return (command.charge.key,), (command.step_key,) if command.step_key else ()
        case GrantCredit(key=str(key)) | ExtendRun(key=str(key)) | CloseRun(key=str(key)):
            return (key,), (key,)
        case RefundGrant():
            return (command.key,), (command.key, command.grant_key)
        case MakeKey() | RollKey():
            return (), (command.key,)
        case OpenOrder():
            return (command.key,), (command.key,)
        case SettleSale():
            return (), (grant_key_of(command.sale_id), reversal_key_of(command.sale_id, command.seen_version))
        case _:
            return (), ()


def api_keys_named(command: Command) -> tuple[str, ...]:
    """Return the public ids of the API keys that a command reads or changes."""
    match command:
        case GrantCredit(audit=AuditNote(key_id=str(key_id))):
            return (key_id,)
        case MakeKey() | RevokeKey() | NoteKeyUse():
            return (command.key_id,)
        case RollKey():
            return command.key_id, command.new_key_id
        case _:
            return ()


def sale_rows_named(command: Command, account_ids: Iterable[int]) -> Iterator[tuple[type[Row], int, str]]:
    """Yield the rows about buying credits that a command reads or changes: their table, account and name."""
    match command:
        case TakeDelivery() | ClaimDelivery() | SettleDelivery():
            yield Delivery, HOUSE, command.message_id
        case Quarantine() | ClaimQuarantined():
            yield Quarantined, HOUSE, command.item_id
        case NoteFact():
            yield Installation, HOUSE, command.name
        case SettleSale(claims=str(item_id)):
            yield Quarantined, HOUSE, item_id
        case _:
            pass
    message_id: str | None = getattr(command, "message_id", None)
    if message_id is not None:
        yield Delivery, HOUSE, message_id
    for account_id in account_ids:
        yield from ((table, account_id, name) for table, name in _named_by(command))


def _named_by(command: Command) -> Iterator[tuple[type[Row], str]]:
    """Yield the rows of its own account that a command about buying credits names."""
    if isinstance(command, MoveOrder | SettleSale | MirrorSubscription):
        yield Order, command.order_id
    if isinstance(command, SettleSale):
        yield Sale, command.sale_id
    elif isinstance(command, MirrorSubscription):
        yield Subscription, command.subscription
    elif isinstance(command, ClaimCustomer | LinkCustomer | DropCustomer):
        yield Customer, command.mode


def lot_named(command: Command, account_id: int, state: State) -> int | None:
    """Return the number of the lot that a command is about, used up or not, once what names it is loaded."""
    if isinstance(command, SettleSale):
        sale = state.rows.get(("sales", account_id, command.sale_id))
        return sale.grant_id if isinstance(sale, Sale) else None
    if not isinstance(command, RefundGrant):
        return None
    row = state.rows.get(("keys", account_id, command.grant_key))
    if not isinstance(row, Key) or row.kind != "grant":
        return None
    return msgspec.json.decode(row.receipt, type=GrantReceipt).grant_id


def withholding(state: State, account_id: int) -> list[Sale]:
    """Return the loaded sales of an account whose lots are withheld, for their holds are wanted too."""
    sales = (state.rows[pk] for pk in state.walked.get(("sales", account_id), ()))
    return [sale for sale in sales if isinstance(sale, Sale) and sale.withheld_nanocredits]


def accounts_touched(commands: Sequence[Command], state: State, now_us: int) -> set[int]:
    """Return the accounts whose totals a batch may read or change, given the users, runs and jobs it named.

    Usage that fits the hold of its open run touches no account; that is what keeps runs apart from each other.
    """
    touched: set[int] = set()
    drawn: defaultdict[tuple[int, str], int] = defaultdict(int)
    for command in commands:
        if isinstance(command, RecordUsage) and command.run_id is not None:
            for account_id in state.owners.get(("runs", command.run_id), ()):
                drawn[account_id, command.run_id] += command.nanocredits
        else:
            touched |= accounts_named(subject_of(command), state)
    for (account_id, run_id), nanocredits in drawn.items():
        run = state.rows["runs", account_id, run_id]
        fits = run.status == "open" and run.expires_at_us > now_us and nanocredits <= run.room_nanocredits  # type: ignore[attr-defined]  # rows under "runs" are runs
        if not fits:
            touched.add(account_id)
    return touched


def accounts_named(subject: Subject, state: State) -> set[int]:
    """Return the accounts that a command names, directly or by its user, run or job."""
    named: set[int] = {HOUSE} if subject.is_of_house else set()
    if subject.account_id is not None:
        named.add(subject.account_id)
    row = state.rows.get(("identities", subject.user)) if subject.user else None
    if row is not None:
        named.add(row.account_id)  # type: ignore[attr-defined]  # rows under "identities" are users
    for table, name in (("runs", subject.run_id), ("jobs", subject.job_id)):
        if name is not None:
            named |= state.owners.get((table, name), set()) | state.expected.get((table, name), set())
    return named


def expect(command: Command, named: set[int], state: State) -> None:
    """Note that a run or a job may come about on these accounts, for the commands that follow in the batch."""
    if isinstance(command, OpenRun):
        state.expected["runs", command.run_id] |= named
    elif isinstance(command, PendJob):
        state.expected["jobs", command.charge.key] |= named
