"""Batches of calls at a provider: whose each is, whoever reads its results. Pure.

A batch is known by its id there, before anybody knows whose it is; so its name stands with the house. The first claim
binds it, in one row that no second transaction can write. Refuses to move credit: that is the run's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callfare.errors import NotFound, RunNotFound
from callfare.ledger import holds
from callfare.ledger.accounts import ensure_account
from callfare.ledger.expiry import expire_due
from callfare.ledger.keys import again, remember
from callfare.ledger.receipts import BatchReceipt
from callfare.ledger.rows import HOUSE, digest_of

if TYPE_CHECKING:
    from callfare.ledger.commands import ClaimBatch
    from callfare.ledger.state import Draft

BATCH = "batch"
"""The kind of key row that says whose a batch is."""


def claim(draft: Draft, command: ClaimBatch, now_us: int) -> BatchReceipt:
    """Return whose a batch is: whoever claimed it first, and from now on under all its names.

    Raises NotFound where only a known batch was asked for, or its account is unknown; RunNotFound.
    """
    known = _known(draft, command)
    if known is None and command.is_known_only:
        raise NotFound("nobody has claimed this batch", param="names")
    owner = known or _first(draft, command, now_us)
    for name in command.names:
        if draft.key(HOUSE, name) is None:
            remember(draft, HOUSE, name, owner, kind=BATCH, fingerprint=digest_of(name.encode()), now_us=now_us)
    return owner if known is None else again(known)


def _known(draft: Draft, command: ClaimBatch) -> BatchReceipt | None:
    rows = [draft.key(HOUSE, name) for name in command.names]
    return next((msgspec.json.decode(row.receipt, type=BatchReceipt) for row in rows if row is not None), None)


def _first(draft: Draft, command: ClaimBatch, now_us: int) -> BatchReceipt:
    """Return the owner that the first claim names, with its run's hold made to last."""
    account_id = command.account_id
    if account_id is None:
        account_id = ensure_account(draft, command.user, command.new_account_id, now_us).account_id
    elif not draft.knows(account_id):
        raise NotFound(f"there is no account {account_id}", param="account_id")
    if command.run_id is not None:
        expire_due(draft, account_id, now_us)
        run = draft.run(account_id, command.run_id)
        if run is None:
            raise RunNotFound(command.run_id)
        if run.status == "open" and command.ttl_s is not None:
            draft.put(holds.lasting(run, command.ttl_s, now_us))
    return BatchReceipt(account_id=account_id, run_id=command.run_id, is_own=command.ttl_s is not None)
