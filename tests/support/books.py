"""A ledger under test: a store, its clock, and what a test asks of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from callfare.clock import ManualClock
from callfare.errors import CallfareError
from callfare.ledger.commands import Command
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import TABLES, Entry, Event, Grant, Row, Run
from callfare.ledger.view import BalanceView, balance_of
from callfare.money import Credits
from callfare.store.protocol import Look, Snapshot, Store
from tests.support.commands import account_number

NOTHING = BalanceView(
    posted_nanocredits=0, held_nanocredits=0, spent_nanocredits=0, available_nanocredits=0, debt_nanocredits=0
)


class Balance(msgspec.Struct, frozen=True):
    """The balances of a user as decimal text, so that a test writes them as a person would."""

    posted: str
    held: str
    available: str
    debt: str = "0"
    spent: str = "0"


class Books:
    """A store with its clock. `do` raises what a command is refused with; `try_` returns it."""

    def __init__(self, store: Store, clock: ManualClock, reopen: Callable[[], Store] | None = None) -> None:
        self.store = store
        self.clock = clock
        self._reopen = reopen

    def do(self, command: Command) -> Any:
        """Return the receipt of one command, or raise its refusal."""
        answer = self.store.apply([command])[0]
        if isinstance(answer, CallfareError):
            raise answer
        return answer

    def do_all(self, *commands: Command) -> list[Any]:
        """Return the receipts of commands given one after another."""
        return [self.do(command) for command in commands]

    def batch(self, *commands: Command) -> list[Receipt | CallfareError]:
        """Return the answers to commands given together."""
        return self.store.apply(commands)

    def advance(self, *, hours: int = 0, seconds: int = 0) -> None:
        """Move the clock."""
        self.clock.advance(hours * 3600 + seconds)

    def reopened(self) -> Books:
        """Return the same ledger as another process would find it."""
        return self if self._reopen is None else Books(self._reopen(), self.clock, self._reopen)

    # Reading

    def view(self, user: str = "alice") -> BalanceView:
        """Return the balances of a user in nanocredits, all zero for one nobody has heard of."""
        [seen] = self.store.look([Look(user=user)])
        found, whole = _view(seen.account), _view(self.store.snapshot(user))
        # A look leaves out whatever changes nothing.
        assert found == whole, (found, whole)
        return found

    def balance(self, user: str = "alice") -> Balance:
        """Return the balances of a user in credits."""
        view = self.view(user)
        return Balance(
            posted=shown(view.posted_nanocredits),
            held=shown(view.held_nanocredits),
            available=shown(view.available_nanocredits),
            debt=shown(view.debt_nanocredits),
            spent=shown(view.spent_nanocredits),
        )

    def rows(self, table: type[Any]) -> list[Any]:
        """Return every row of a table in the order of its key."""
        return [row for row, _ in self.store.scan(table)]

    def all_rows(self) -> dict[str, list[tuple[Row, int]]]:
        """Return every row of every table with its seal."""
        return {table.table: list(self.store.scan(table)) for table in TABLES}

    def run(self, run_id: str = "r1", user: str = "alice") -> Run:
        """Return one run."""
        return next(run for run in self.rows(Run) if (run.account_id, run.run_id) == (account_number(user), run_id))

    def event(self, key: str = "call-1", user: str = "alice") -> Event:
        """Return one usage event."""
        return next(event for event in self.rows(Event) if (event.account_id, event.key) == (account_number(user), key))

    def lots(self, user: str = "alice") -> list[str]:
        """Return what remains of each of a user's lots, oldest first, in credits."""
        return [shown(lot.remaining_nanocredits) for lot in self.rows(Grant) if lot.account_id == account_number(user)]

    def sums(self, user: str = "alice") -> dict[str, str]:
        """Return the sum of a customer's entries by kind of account, in credits, without the zeros."""
        totals: defaultdict[str, int] = defaultdict(int)
        for entry in self.rows(Entry):
            if entry.account_id == account_number(user):
                totals[entry.account_kind] += entry.amount_nanocredits
        return {kind: shown(amount) for kind, amount in totals.items() if amount}


def shown(nanocredits: int) -> str:
    """Return an amount as decimal credits."""
    return str(Credits.of_units(nanocredits))


def _view(snapshot: Snapshot | None) -> BalanceView:
    if snapshot is None:
        return NOTHING
    return balance_of(snapshot.state, snapshot.account_id, snapshot.spent_nanocredits, snapshot.now_us)
