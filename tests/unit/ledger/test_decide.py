"""The door of the ledger: pure, exact about what it changes, and dependent on nothing that was not loaded."""

from __future__ import annotations

import pytest

from callfare.errors import CallfareError, InsufficientCredit, LedgerCorrupt
from callfare.ledger import rules
from callfare.ledger.commands import Command
from callfare.ledger.decide import decide
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import Account, Entry, Grant, Hold, Key, Row, Run, Transfer, User, seal_of
from callfare.ledger.state import Draft, State
from tests.support.commands import (
    START_US,
    account_number,
    adjust,
    close,
    expire,
    extend,
    grant,
    nano,
    open_run,
    pend,
    record,
    refund,
    settle,
    touch,
)

ALICE = account_number("alice")


def after(*commands: Command, now_us: int = START_US) -> State:
    """Return the state that commands lead to."""
    state = State()
    for command in commands:
        state.merge(decide(state, command, now_us).changes)
    return state


def rows_of(state: State) -> dict[object, Row]:
    """Return a copy of what a state holds."""
    return state.rows | {hold.pk: hold for lots in state.holds.values() for hold in lots.values()}


EVERY_KIND = [
    grant(key="more"),
    open_run("r2", hold=5),
    record(3, run_id="r1"),
    record(3, user="alice", key="direct"),
    extend("r1", 5),
    touch("r1"),
    close("r1"),
    pend(5, run_id="r1"),
    settle("job"),
    adjust(1, key="first"),
    refund(10),
    expire(),
]

NAMES = [f"{number}-{type(command).__name__}" for number, command in enumerate(EVERY_KIND)]


@pytest.fixture
def state() -> State:
    return after(grant(), open_run("r1"), record(2, run_id="r1", key="first"), pend(5, user="alice", job_id="job"))


@pytest.mark.parametrize("command", EVERY_KIND, ids=NAMES)
def test_a_decision_leaves_the_state_it_was_given(state, command):
    before = rows_of(state)

    outcome = decide(state, command, START_US + 60_000_000)

    assert isinstance(outcome.receipt, Receipt)
    assert rows_of(state) == before


@pytest.mark.parametrize("command", EVERY_KIND, ids=NAMES)
def test_the_same_state_and_command_decide_the_same(state, command):
    assert decide(state, command, START_US) == decide(state, command, START_US)


def test_a_refusal_leaves_the_state_it_was_given(state):
    before = rows_of(state)

    with pytest.raises(InsufficientCredit):
        decide(state, open_run("r2", hold=1000), START_US)

    assert rows_of(state) == before


def test_a_decision_names_every_row_it_writes():
    outcome = decide(State(), grant("alice", 500), START_US)

    assert [type(row) for row in outcome.changes.values()] == [User, Account, Grant, Entry, Entry, Transfer, Key]


def test_a_hold_that_ends_is_written_as_nothing():
    outcome = decide(after(grant(), open_run("r1")), close("r1"), START_US)

    assert [row.amount_nanocredits for row in outcome.changes.values() if isinstance(row, Hold)] == [0]


def test_two_decisions_on_one_state_do_not_see_each_other():
    state = after(grant("alice", 100))

    first = decide(state, open_run("r1", hold=60), START_US)
    second = decide(state, open_run("r2", hold=60), START_US)

    assert {first.receipt.status, second.receipt.status} == {"open"}
    state.merge(first.changes)
    with pytest.raises(CallfareError):
        decide(state, open_run("r2", hold=60), START_US)


def test_what_was_not_loaded_is_a_fault_of_ours_and_no_answer():
    state = State()
    state.put(User("alice", ALICE, None, None, START_US))

    with pytest.raises(AssertionError, match="was not loaded"):
        decide(state, grant(), START_US)


def test_a_draft_walks_what_is_loaded_and_what_it_wrote():
    state = after(grant("alice", 5, key="one"))
    draft = Draft(state)
    draft.put(Grant(ALICE, 9, "promo", 7, 7, 0, None, None, START_US, None))

    assert [lot.grant_id for lot in draft.grants(ALICE)] == [1, 9]
    assert Draft(state).grants(ALICE) == [state.rows["grants", ALICE, 1]]


def test_a_draft_sees_the_holds_it_changed_and_no_empty_ones():
    state = after(grant("alice", 5), open_run("r1", hold=3))
    draft = Draft(state)
    draft.put(Hold(ALICE, "r1", 1, 0))
    draft.put(Hold(ALICE, "r1", 2, 4))

    assert [hold.grant_id for hold in draft.holds(ALICE, "r1")] == [2]


# The rules that are checked before anything is written


def changed(row: Row, state: State) -> State:
    state.put(row)
    return state


def account(posted: int, held: int, debt: int = 0) -> Account:
    return Account(ALICE, posted, held, debt, 1, START_US)


@pytest.mark.parametrize(
    "row",
    [
        account(nano(100), -1),
        account(nano(100), nano(101)),
        account(-1, 0),
        account(nano(100), 0, -1),
        account(nano(99), 0),
        account(nano(101), 0),
        account(nano(100), nano(1)),
        Grant(ALICE, 1, "purchase", nano(100), nano(100), nano(101), None, None, START_US, None),
        Grant(ALICE, 1, "purchase", nano(100), nano(100), -1, None, None, START_US, None),
    ],
)
def test_a_row_out_of_bounds_is_refused(row):
    state = changed(row, after(grant("alice", 100)))

    with pytest.raises(LedgerCorrupt):
        rules.check(state, [row])


def test_an_open_run_that_has_drawn_more_than_it_holds_is_refused():
    state = after(grant("alice", 100), open_run("r1", hold=40))
    run = state.rows["runs", ALICE, "r1"]
    assert isinstance(run, Run)

    with pytest.raises(LedgerCorrupt, match="r1"):
        rules.check(
            state,
            [Run(*[nano(41) if name == "used_nanocredits" else getattr(run, name) for name in run.__struct_fields__])],
        )


def test_what_commands_lead_to_keeps_the_rules():
    state = after(grant("alice", 100), open_run("r1", hold=40), record(50, run_id="r1"), close("r1"))

    rules.check(state, rows_of(state).values())


# Seals


def test_every_column_changes_the_seal():
    row = Grant(ALICE, 1, "purchase", 5, 4, 3, 2, "pi_1", START_US, None)
    others = [
        Grant(
            *[
                ("x" if isinstance(value, str) else 77) if place == column else value
                for place, value in enumerate(values)
            ]
        )
        for column in range(len(row.__struct_fields__))
        for values in [[getattr(row, name) for name in row.__struct_fields__]]
    ]

    assert len({seal_of(other) for other in [row, *others]}) == len(others) + 1


def test_a_value_that_moves_to_the_next_column_changes_the_seal():
    assert seal_of(User("ab", 1, "c", None, 1)) != seal_of(User("a", 1, "bc", None, 1))
    assert seal_of(User("a", 1, "x", None, 1)) != seal_of(User("a", 1, None, "x", 1))


def test_a_seal_is_a_signed_64_bit_number():
    seals = [seal_of(User(f"user-{number}", number, None, None, number)) for number in range(200)]

    assert all(-(2**63) <= seal < 2**63 for seal in seals)
    assert any(seal < 0 for seal in seals)
