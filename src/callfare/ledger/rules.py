"""The invariants of an account, checked on every batch before it is written. A breach is a fault of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.errors import LedgerCorrupt
from callfare.ledger.rows import Account, Grant, Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callfare.ledger.rows import Row
    from callfare.ledger.state import State


def check(state: State, changes: Iterable[Row]) -> None:
    """Return when every changed row, and every account with changed totals, keeps the rules.

    Raises LedgerCorrupt naming the first row that does not.
    """
    for row in changes:
        if isinstance(row, Account):
            _check_account(state, row)
        elif isinstance(row, Run):
            if row.status == "open" and not 0 <= row.used_nanocredits <= row.held_nanocredits:
                raise LedgerCorrupt(f"run {row.run_id} has drawn more than it holds: {row}")
        elif isinstance(row, Grant) and not 0 <= row.held_nanocredits <= row.remaining_nanocredits:
            raise LedgerCorrupt(f"lot {row.grant_id} of account {row.account_id} holds more than remains: {row}")


def _check_account(state: State, account: Account) -> None:
    if not 0 <= account.held_nanocredits <= account.posted_nanocredits or account.debt_nanocredits < 0:
        raise LedgerCorrupt(f"account {account.account_id} is out of bounds: {account}")
    lots = [state.rows[pk] for pk in state.walked.get(("grants", account.account_id), ())]
    remaining = sum(lot.remaining_nanocredits for lot in lots if isinstance(lot, Grant))
    held = sum(lot.held_nanocredits for lot in lots if isinstance(lot, Grant))
    if (remaining, held) != (account.posted_nanocredits, account.held_nanocredits):
        raise LedgerCorrupt(f"account {account.account_id} differs from its lots: {account} {remaining=} {held=}")
