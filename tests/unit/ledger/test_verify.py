"""Verification of a ledger in memory: what it counts, what it names, and that it blames no ledger that is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.errors import CallfareError
from callfare.ledger.rows import (
    TABLES,
    Account,
    Entry,
    Event,
    Grant,
    Hold,
    Job,
    Key,
    RawUsage,
    Rollup,
    Row,
    Run,
    Transfer,
    User,
    seal_of,
)
from callfare.ledger.verify import Fault, Verification, verify
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import (
    HOUR_S,
    START,
    TOKENS,
    account_number,
    adjust,
    close,
    expire,
    extend,
    grant,
    heard,
    open_run,
    pend,
    record,
    refund,
    settle,
    step,
)
from tests.support.rich import MORE_TOKENS, RAW, write_rich_ledger

Rows = dict[type[Row], list[tuple[Row, int]]]
ALICE = str(account_number("alice"))

# What moves no credit and is the sum of nothing: what a caller asked for, or was shown once.
TOLD_ONCE = {
    (Run, "asked_nanocredits"),
    (Run, "low_nanocredits"),
    (Run, "high_nanocredits"),
    (Event, "held_after_nanocredits"),
}
# The draw shown with a call that drew nothing, in a run that was corrected while open: no other row tells of it.
SHOWN_ONLY = {"response:openai::resp_1#resp_1", "step:done:plan:1#resp_3", "unknown"}


def _is_amount(column: str) -> bool:
    return column.endswith(("nanocredits", "picousd"))


AMOUNTS = [
    (table, column)
    for table in TABLES
    for column in table.__struct_fields__
    if _is_amount(column) and (table, column) not in TOLD_ONCE
]


def _rows_of(books: Books) -> Rows:
    return {table: list(books.store.scan(table)) for table in TABLES}


def _verified(rows: Rows, progress: Callable[[str, int], None] | None = None) -> Verification:
    def scan(table: Any) -> Iterator[Any]:
        return iter(sorted(rows[table], key=lambda pair: pair[0].pk))

    return verify(scan, progress=progress)


def _key(row: Row) -> tuple[str, ...]:
    return tuple(str(part) for part in row.pk[1:])


def _with(rows: Rows, row: Row, other: Row | None) -> Rows:
    """The rows with another one, properly sealed, in the place of one, or with nothing there."""
    table = [pair for pair in rows[type(row)] if pair[0] is not row]
    return {**rows, type(row): table if other is None else [*table, (other, seal_of(other))]}


def _changed(rows: Rows, row: Row, **columns: Any) -> Verification:
    return _verified(_with(rows, row, replace(row, **columns)))


def _find(rows: Rows, table: type[Any], **columns: Any) -> Any:
    return next(row for row, _ in rows[table] if all(getattr(row, name) == value for name, value in columns.items()))


@pytest.fixture
def ledger() -> Books:
    clock = ManualClock(START)
    return Books(MemoryStore(clock), clock)


@pytest.fixture(scope="module")
def rich() -> Rows:
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return _rows_of(books)


# A ledger that is right


def test_an_empty_ledger_is_clean(ledger):
    verification = verify(ledger.store.scan)

    assert verification.is_clean
    assert verification.faults == ()
    assert set(verification.counted.values()) == {0}


def test_a_ledger_with_something_of_everything_is_clean(rich):
    verification = _verified(rich)

    assert verification.faults == ()
    assert (verification.is_clean, verification.fault_count) == (True, 0)
    assert verification.counted == {table.table: len(rich[table]) for table in TABLES}
    assert all(verification.counted.values())


def test_a_ledger_is_still_clean_once_everything_has_expired(ledger):
    write_rich_ledger(ledger)
    ledger.do(grant("alice", 9, key="short", expires_at=START + timedelta(days=3)))
    ledger.advance(hours=24 * 400)
    ledger.do_all(expire("alice"), expire("bob"), expire("carol"))

    verification = verify(ledger.store.scan)

    assert verification.faults == ()
    assert verification.held_nanocredits == 0
    assert all(run.status != "open" for run in ledger.rows(Run))


def test_totals_are_the_sums_of_entries_by_kind_of_account(ledger):
    ledger.do_all(
        grant("alice", 100),
        grant("alice", 20, key="promo", source="promo", expires_at=START + timedelta(hours=1)),
        open_run("r1", hold=30),
        record(5, run_id="r1"),
        grant("bob", 10),
        record(13, user="bob", key="direct"),
    )
    ledger.advance(hours=2)
    ledger.do(expire("alice"))

    verification = verify(ledger.store.scan)

    # Alice's run drew 5 of her promo and expired; the other 15 of it became breakage. Bob owes 3.
    assert verification.totals_nanocredits == {
        "breakage": 15_000_000_000,
        "customer": 100_000_000_000,
        "promo": -20_000_000_000,
        "receivable": -3_000_000_000,
        "revenue": 18_000_000_000,
        "sales": -110_000_000_000,
    }
    assert (verification.held_nanocredits, verification.debt_nanocredits) == (0, 3_000_000_000)


def test_progress_names_each_table_with_its_rows(rich):
    heard_of: dict[str, int] = {}

    _verified(rich, lambda table, count: heard_of.update({table: count}))

    assert heard_of == {table.table: len(rich[table]) for table in TABLES}


@pytest.mark.parametrize("seed", range(60))
def test_no_ledger_that_commands_alone_have_written_is_blamed(ledger, seed):
    _write_anything(ledger, random.Random(seed))

    assert verify(ledger.store.scan).faults == ()


# What was altered


def test_a_broken_seal_is_named_before_all_that_follows_from_it(rich):
    last = _find(rich, Run, run_id="waived")
    rows = {**rich, Run: [pair for pair in rich[Run] if pair[0] is not last]}
    rows[Run].append((replace(last, used_nanocredits=7, calls=1), seal_of(last)))

    verification = _verified(rows)

    assert verification.faults[0] == Fault("runs", _key(last), None, "its seal does not fit what stands in it")
    assert verification.fault_count > 1


def test_at_most_a_hundred_faults_are_shown_and_all_are_counted(rich):
    rows = {table: [(row, seal + 1) for row, seal in pairs] for table, pairs in rich.items()}

    verification = _verified(rows)

    assert len(verification.faults) == 100
    assert verification.fault_count == sum(len(pairs) for pairs in rich.values())


@pytest.mark.parametrize(("table", "column"), AMOUNTS, ids=lambda part: part if isinstance(part, str) else part.table)
def test_no_amount_can_be_altered_and_sealed_again(rich, table, column):
    hidden = [
        _key(row)
        for row, _ in rich[table]
        for change in (1, -1)
        if _changed(rich, row, **{column: _moved(getattr(row, column), change)}).is_clean
    ]

    if column == "used_after_nanocredits":
        hidden = [key for key in hidden if key[1] not in SHOWN_ONLY]
    assert hidden == []


def _moved(amount: int | str | None, change: int) -> int | str:
    return str(int(amount) + change) if isinstance(amount, str) else (amount or 0) + change


@pytest.mark.parametrize(
    "table", [User, Account, Grant, Run, Hold, Transfer, Entry, Event, Rollup], ids=lambda table: table.table
)
def test_no_row_can_be_taken_away_unseen(rich, table):
    unseen = [_key(row) for row, _ in rich[table] if _verified(_with(rich, row, None)).is_clean]

    assert unseen == []


def test_the_keys_of_grants_refunds_and_responses_are_missed(rich):
    unseen = [row.kind for row, _ in rich[Key] if _verified(_with(rich, row, None)).is_clean]

    # Nothing but the key itself tells that a hold was extended, or under which key a run was closed.
    assert set(unseen) == {"extend", "close"}


def test_raw_usage_may_be_dropped(rich):
    assert _verified({**rich, RawUsage: []}).is_clean


# The row that is named


def test_a_missing_transfer_is_named_by_its_number(rich):
    transfer = _find(rich, Transfer, account_id=account_number("alice"), seq=3)

    verification = _verified(_with(rich, transfer, None))

    assert verification.faults[0].table == "transfers" or verification.faults[0].table == "entries"
    assert Fault("transfers", (ALICE, "3"), None, "transfers 3 to 3 are missing") in verification.faults


def test_a_missing_user_is_named_by_the_account(rich):
    user = _find(rich, User, user="bob")

    verification = _verified(_with(rich, user, None))

    assert verification.faults == (Fault("accounts", (str(account_number("bob")),), "account_id", "no user has it"),)


def test_a_second_user_of_an_account_is_named(rich):
    other = User("zoe", account_number("bob"), None, None, 0)
    rows = {**rich, User: [*rich[User], (other, seal_of(other))]}

    verification = _verified(rows)

    assert [(fault.table, fault.key) for fault in verification.faults] == [
        ("identities", ("bob",)),
        ("identities", ("zoe",)),
    ]


def test_a_missing_run_is_named_once(rich):
    run = _find(rich, Run, run_id="done")

    verification = _verified(_with(rich, run, None))

    assert [fault.table for fault in verification.faults if fault.key == (ALICE, "done")] == ["runs"]


def test_a_missing_answer_of_a_response_is_named(rich):
    key = _find(rich, Key, key="response:openai::resp_2")

    verification = _verified(_with(rich, key, None))

    assert [(fault.table, fault.key) for fault in verification.faults] == [("keys", _key(key))]


def test_entries_that_do_not_sum_to_zero_are_named_with_their_transfer(rich):
    entry = _find(rich, Entry, account_kind="sales")

    verification = _changed(rich, entry, amount_nanocredits=entry.amount_nanocredits - 1)

    assert verification.faults[0] == Fault(
        "transfers", (ALICE, str(entry.seq)), None, "its entries sum to -1, not to zero"
    )


def test_credit_that_comes_from_nowhere_is_named(rich):
    """A forged promotion: a transfer with entries that balance, a lot, and totals that agree."""
    account = _find(rich, Account, account_id=account_number("carol"))
    seq = account.last_seq + 1
    forged: dict[type[Row], list[Row]] = {
        Transfer: [Transfer(account.account_id, seq, "grant", 500, 2, None, "gift", 0)],
        Entry: [
            Entry(account.account_id, seq, 0, "promo", None, -500),
            Entry(account.account_id, seq, 1, "customer", seq, 500),
        ],
        Grant: [Grant(account.account_id, seq, "promo", 500, 500, 0, None, "gift", 0, None)],
    }
    rows = _with(rich, account, replace(account, posted_nanocredits=500, last_seq=seq))
    for table, added in forged.items():
        rows[table] = [*rows[table], *((row, seal_of(row)) for row in added)]

    verification = _verified(rows)

    assert [(fault.table, fault.key) for fault in verification.faults] == [
        ("transfers", (str(account.account_id), str(seq)))
    ]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"kind": "gift"}, "kind"),
        ({"run_id": "r9"}, None),
        ({"amount_nanocredits": 1}, "amount_nanocredits"),
        ({"entry_count": 9}, "entry_count"),
    ],
)
def test_a_transfer_that_is_not_what_it_says_is_named(rich, columns, named):
    transfer = _find(rich, Transfer, kind="charge")

    verification = _changed(rich, transfer, **columns)

    assert not verification.is_clean
    if named:
        assert ("transfers", _key(transfer), named) in _places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"nanocredits": 7}, "nanocredits"),
        ({"picousd": 7}, "picousd"),
        ({"lines": "[]"}, "lines"),
        ({"lines": "{"}, "lines"),
        ({"usage": '{"input_tokens":"999","output_tokens":"200"}'}, "lines"),
        ({"usage": '{"input_tokens":"1e9"}'}, "usage"),
        ({"usage": "[]"}, "usage"),
        ({"markup": "2"}, "lines"),
        ({"markup": "9" * 500}, "lines"),
        ({"status": "free"}, "status"),
        ({"status": "unpriced"}, "status"),
        ({"flags": "attempt"}, "nanocredits"),
        ({"flags": "gift"}, "flags"),
        ({"kind": "gift"}, "kind"),
        ({"charge_seq": 1}, "charge_seq"),
        ({"charge_seq": 99}, "charge_seq"),
        ({"charge_seq": None}, "charge_seq"),
        ({"debt_nanocredits": 1}, "debt_nanocredits"),
        ({"debt_nanocredits": -1}, "debt_nanocredits"),
        ({"corrects": "direct-1"}, "corrects"),
        ({"workflow": "story"}, "run_id"),
    ],
)
def test_a_charge_that_is_not_what_it_says_is_named_with_its_column(rich, columns, named):
    event = _find(rich, Event, key="direct-1")

    verification = _changed(rich, event, **columns)

    assert ("events", _key(event), named) in _places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"corrects": "first"}, "corrects"),
        ({"nanocredits": -1}, "nanocredits"),
        ({"counted": "{}"}, "counted"),
        ({"counted": "no"}, "counted"),
        ({"model": "gpt-6"}, "model"),
        ({"at_us": 0}, "at_us"),
        ({"flags": "now_priced"}, "flags"),
    ],
)
def test_a_correction_that_does_not_fit_its_call_is_named_with_its_column(rich, columns, named):
    event = _find(rich, Event, key="guessed#correction")

    verification = _changed(rich, event, **columns)

    assert ("events", _key(event), named) in _places(verification)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"workflow": "tweet"}, None),
        ({"status": "expired"}, "receipt"),
        ({"close_seq": None}, "close_seq"),
        ({"close_seq": 1}, "close_seq"),
        ({"receipt": None}, "receipt"),
        ({"receipt": "{}"}, "receipt"),
        ({"calls": 4}, "calls"),
        ({"unpriced_calls": 4}, "unpriced_calls"),
        ({"held_nanocredits": 4}, "held_nanocredits"),
    ],
)
def test_a_run_that_is_not_what_happened_is_named_with_its_column(rich, columns, named):
    run = _find(rich, Run, run_id="done")

    verification = _changed(rich, run, **columns)

    assert not verification.is_clean
    if named:
        assert ("runs", _key(run), named) in _places(verification)


@pytest.mark.parametrize(
    "column",
    [
        "captured_nanocredits",
        "debt_nanocredits",
        "waived_nanocredits",
        "charged_nanocredits",
        "cost_picousd",
        "calls",
        "unpriced_calls",
        "closed_at_us",
    ],
)
@pytest.mark.parametrize("run_id", ["done", "waived", "over", "left"])
def test_a_forged_receipt_of_a_run_is_named(rich, run_id, column):
    run = _find(rich, Run, run_id=run_id)
    receipt = msgspec.json.decode(run.receipt)
    receipt[column] += 1

    verification = _changed(rich, run, receipt=msgspec.json.encode(receipt).decode())

    assert ("runs", _key(run), "receipt") in _places(verification)


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("purchase", "nanocredits"),
        ("purchase", "paid_picousd"),
        ("purchase", "grant_id"),
        ("second", "repaid_nanocredits"),
        ("refund-1", "taken_nanocredits"),
        ("refund-1", "debt_nanocredits"),
        ("close-1", "captured_nanocredits"),
        ("close-2", "cost_picousd"),
    ],
)
def test_a_forged_answer_is_named(rich, key, column):
    row = _find(rich, Key, key=key)
    receipt = msgspec.json.decode(row.receipt)
    receipt[column] += 1

    verification = _changed(rich, row, receipt=msgspec.json.encode(receipt).decode())

    assert ("keys", _key(row), "receipt") in _places(verification)


def test_a_forged_charge_of_a_pending_job_is_named(rich):
    job = _find(rich, Job, job_id="video-pending")

    verification = _changed(rich, job, charge=job.charge.replace('"nanocredits":9000000000', '"nanocredits":1'))

    assert ("jobs", _key(job), "charge") in _places(verification)


def test_raw_usage_that_is_not_what_was_charged_is_named(rich):
    raw = rich[RawUsage][0][0]

    verification = _changed(rich, raw, raw='{"prompt_tokens":1}')

    assert _places(verification) == [("raw_usage", _key(raw), "raw")]


def test_a_fault_reads_as_a_sentence():
    fault = Fault("runs", ("7", "r1"), "calls", "it is 1 more than its events come to")

    assert str(fault) == "runs (7, r1), calls: it is 1 more than its events come to"


def _places(verification: Verification) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(fault.table, fault.key, fault.column) for fault in verification.faults]


def _write_anything(books: Books, chance: random.Random) -> None:
    """Write sixty commands of any kind; what is refused is refused."""
    for _ in range(60):
        user = chance.choice(["alice", "bob"])
        run_id = chance.choice(["r1", "r2", "r3", None])
        amount = chance.choice([0, 1, "2.5", 7, 20, 45])
        whose: dict[str, Any] = {"run_id": run_id, "user": "" if run_id else user}
        whose["usage"] = chance.choice([TOKENS, MORE_TOKENS, '{"input_tokens":"5"}'])
        key = f"call-{chance.randrange(14)}"
        response = f"resp_{chance.randrange(4)}"
        soon = START + timedelta(microseconds=books.clock.now_us()) - timedelta(microseconds=1_795_435_200_000_000)
        command = chance.choice(
            [
                grant(
                    user,
                    chance.choice([5, 50, 100]),
                    key=f"grant-{chance.randrange(9)}",
                    source=chance.choice(["purchase", "promo", "plan", "adjustment"]),
                    expires_at=chance.choice([None, soon + timedelta(seconds=100)]),
                ),
                open_run(
                    run_id or "r1",
                    user,
                    hold=chance.choice([0, 5, 20, 40]),
                    on_failure=chance.choice(["charge", "waive"]),
                    ttl_s=chance.choice([50, HOUR_S]),
                ),
                record(amount, key=key, raw=chance.choice([None, RAW]), is_estimated=chance.random() < 0.2, **whose),
                record(key=key, is_unpriced=True, **whose),
                heard(amount, response, **whose),
                step(amount, f"step-{chance.randrange(3)}", chance.choice(["", response]), **whose),
                adjust(
                    amount,
                    key=chance.choice([key, "video-0", f"response:openai::{response}"]),
                    kind=chance.choice(["correction", "reprice"]),
                    user=user,
                    usage=whose["usage"],
                    is_unpriced=chance.random() < 0.2,
                ),
                close(run_id or "r1", chance.choice(["completed", "failed"]), key=chance.choice([None, "close-1"])),
                extend(run_id or "r1", chance.choice([1, 10]), key=f"extend-{chance.randrange(6)}"),
                pend(amount, job_id=f"video-{chance.randrange(3)}", ttl_s=chance.choice([60, HOUR_S]), **whose),
                settle(f"video-{chance.randrange(3)}", chance.choice(["completed", "failed"])),
                refund(
                    chance.choice([1, 20]),
                    user=user,
                    key=f"refund-{chance.randrange(5)}",
                    grant_key=f"grant-{chance.randrange(9)}",
                ),
                None,
            ]
        )
        if command is None:
            books.advance(seconds=chance.choice([1, 30, 200, 4000]))
            continue
        try:
            books.do(command)
        except CallfareError:
            continue
