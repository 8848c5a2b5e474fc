"""What every store does with a loaded batch: decide one command after another, then check the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.errors import CallfareError
from callfare.ledger import rules
from callfare.ledger.audit import UsageAudit
from callfare.ledger.decide import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.ledger.rows import Pk, Row
    from callfare.ledger.state import State


def decide_all(
    state: State, commands: Sequence[Command], now_us: int
) -> tuple[list[Receipt | CallfareError], dict[Pk, Row]]:
    """Return an answer for each command, and the last version of every row that they write.

    Raises LedgerCorrupt when a changed row breaks a rule; then nothing may be written.
    """
    answers: list[Receipt | CallfareError] = []
    changed: dict[Pk, Row] = {}
    usage = UsageAudit()
    for command in commands:
        try:
            outcome = decide(state, command, now_us)
        except CallfareError as refusal:
            answers.append(refusal)
            continue
        state.merge(outcome.changes)
        changed |= outcome.changes
        answers.append(outcome.receipt)
        usage.add(command, outcome.receipt)
    changed |= usage.rows(now_us)
    rules.check(state, changed.values())
    return answers, changed
