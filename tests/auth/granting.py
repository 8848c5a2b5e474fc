"""A program that grants by one key as fast as it can.

    python -m tests.auth.granting URL NAME GRANTS PLANT

Prints how many grants were accepted. A plant is a fault that some check must notice.
"""

from __future__ import annotations

import sys
from typing import Any

from callfare.errors import GrantCapReached
from callfare.ledger import access
from callfare.ledger.rows import AuditRow
from callfare.ledger.state import Draft
from callfare.store.open import open_store
from tests.support.commands import asked_by, grant
from tests.support.patience import be_patient


def count_in_memory() -> None:
    """The cap is counted by each process for itself, not in the transaction."""
    granted: dict[str, int] = {}

    def count_grant(draft: Draft, key_id: str, nanocredits: int, now_us: int) -> None:
        row = draft.api_key(key_id)
        granted[key_id] = granted.get(key_id, 0) + nanocredits
        if granted[key_id] > row.grant_cap_nanocredits:
            raise GrantCapReached(key_id, cap=None, granted=None, asked=None, resets_at="")

    access.count_grant = count_grant


def leave_the_audit_for_later() -> None:
    """The audit row is not written with its effect; whoever ends before has written none."""
    real = Draft.put

    def put(self: Draft, row: Any) -> None:
        if not isinstance(row, AuditRow):
            real(self, row)

    Draft.put = put  # type: ignore[method-assign]


def take_ended_keys() -> None:
    """A key that was revoked is taken like any other."""
    access.ApiKey.is_live = lambda self, now_us: True  # type: ignore[method-assign]


def main() -> None:
    url, name, grants, plant = sys.argv[1:]
    if plant:
        globals()[plant]()
    store = open_store(url, None)
    accepted = 0
    for number in range(int(grants)):
        command = asked_by(grant(f"{name}-{number % 3}", 1, key=f"{name}-{number}"), "key00001", number=number)
        (answer,) = store.apply([command])
        accepted += not isinstance(answer, Exception)
    store.close()
    print(accepted)


if __name__ == "__main__":
    be_patient()
    main()
