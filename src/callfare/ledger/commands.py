"""What can be asked of a ledger. A command carries checked values only; whoever builds it has done the checking.

`new_account_id` is the number the user's account gets if it does not exist yet. `fingerprint` stands for the
request: the same key with another fingerprint is a conflict.
"""

from __future__ import annotations

import msgspec


class AuditNote(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Who asks for a command, kept in the same transaction as its effect.

    One note stands for one command, or for all usage that one request records.

    principal: `key:` with its public id, `user` (the account says which), or `local`. operation: what they asked for.
    """

    id: str
    principal: str
    key_id: str | None
    operation: str
    request_id: str | None = None


class Command(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag=True, omit_defaults=True):
    """The base of all commands. audit: who asks, None where nobody is asked; a refusal and a repeat leave no trace."""

    audit: AuditNote | None = None


class GrantCredit(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Give a user a lot of credit."""

    user: str
    new_account_id: int
    key: str
    nanocredits: int
    source: str
    paid_picousd: int | None
    reference: str | None
    expires_at_us: int | None
    fingerprint: int


class OpenRun(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Start a run under a hold; its run id is its key.

    `asked` is the hold as its caller named it: low, high or an amount. Only who passes the request on needs it.
    `parent` is a run of the same account that hands over up to `from_parent_nanocredits` of what its hold has left; the
    rest comes out of what is available.
    """

    user: str
    new_account_id: int
    run_id: str
    workflow: str
    on_failure: str
    hold_nanocredits: int
    low_nanocredits: int | None
    high_nanocredits: int | None
    ttl_s: int
    input: str | None
    fingerprint: int
    asked: str = ""
    parent: str | None = None
    from_parent_nanocredits: int = 0


class ExtendRun(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Reserve more credit for an open run."""

    run_id: str
    account_id: int | None
    key: str
    by_nanocredits: int


class TouchRun(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Renew the hold of an open run for its time to live."""

    run_id: str
    account_id: int | None


class CloseRun(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Settle a run: capture what it used, give the rest of its hold back."""

    run_id: str
    account_id: int | None
    outcome: str
    key: str | None


class RecordUsage(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Record one metered call and charge it, to its run or directly.

    `repeat` says what another request under the same key is: "conflict" an error, "attempt" a later try of one step,
    "duplicate" a provider's response id seen again. The latter two are kept under `other_key`, uncharged. "never"
    stands by a key that was made for this very command, so that only its own repeat can be found under it.
    `response_key` names the provider's response where the key itself does not. `ordinal`, `attempt` and `is_dated` (its
    reporter named its time) are for whoever passes the request on; the fingerprint stands for them.
    """

    key: str
    user: str
    new_account_id: int
    account_id: int | None
    run_id: str | None
    repeat: str
    other_key: str
    response_key: str | None
    step: str | None
    provider: str
    base_url: str
    model: str
    operation: str
    response_id: str
    status: str
    reason: str | None
    is_estimated: bool
    nanocredits: int
    picousd: int
    edition: str
    markup: str
    usage: str
    attributes: str
    lines: str
    metadata: str | None
    raw: str | None
    at_us: int
    fingerprint: int
    ordinal: int = 1
    attempt: str = ""
    is_dated: bool = False


class AdjustUsage(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Put another rating in place of a recorded one: a real count for an estimate, a price for an unpriced call.

    `kind` is "correction" or "reprice". The difference is charged or given back. `model` and `provider` are what it was
    rated by, for whoever passes the request on.
    """

    account_id: int
    key: str
    kind: str
    status: str
    nanocredits: int
    picousd: int
    edition: str
    markup: str
    usage: str
    attributes: str
    lines: str
    raw: str | None
    model: str = ""
    provider: str = ""


class PendJob(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Hold what a long job will cost until somebody sees its end. The key of `charge` is the job's id.

    `step_key` names the call within its step, None outside one; a second job under it is a later attempt, uncharged.
    """

    charge: RecordUsage
    ttl_s: int
    step_key: str | None = None


class SettleJob(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """End a long job: charge it when completed, give its hold back when failed.

    `account_id` is None where whoever saw the end does not know whose job it is.
    """

    account_id: int | None = None
    job_id: str
    outcome: str
    charge: RecordUsage | None


class ClaimBatch(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Say whose a provider's batch is, under the names its results are read by. The first claim stands for good.

    `names` are keys, of the batch and of its files; those that are new get the owner of those that are known.
    `run_id` is a run of the account, None for none. `ttl_s` is what the hold of a run lives from now on that was opened
    for this batch alone, None for any other run.
    `is_known_only`: nothing is claimed; a batch that nobody has claimed is an error.
    """

    names: tuple[str, ...]
    user: str = ""
    new_account_id: int = 0
    account_id: int | None = None
    run_id: str | None = None
    ttl_s: int | None = None
    is_known_only: bool = False


class RefundGrant(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Take back a lot that was paid back to the customer; what was spent of it becomes debt."""

    user: str
    key: str
    grant_key: str
    nanocredits: int
    fingerprint: int


class ExpireDue(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Settle whatever of an account is past its time. Changes no balance that a reader could see."""

    account_id: int


class MakeKey(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Make an API key. A repeat under the same key gets the first answer, without the secret."""

    key: str
    key_id: str
    mode: str
    label: str
    scopes: str
    digest: str
    pepper: str
    user: str | None
    networks: str | None
    grant_cap_nanocredits: int | None
    expires_at_us: int | None
    fingerprint: int


class RollKey(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Make a key that takes another's place; the old one holds for `overlap_s` more seconds."""

    key: str
    key_id: str
    new_key_id: str
    digest: str
    pepper: str
    overlap_s: int
    fingerprint: int


class RevokeKey(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """End a key at once. Repeating it changes nothing."""

    key_id: str


class NoteCheck(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Note that somebody has the whole ledger recomputed. Writes nothing but who asked."""


class NoteKeyUse(Command, frozen=True, gc=False, kw_only=True, tag=True):
    """Note when a key was last used."""

    key_id: str
    at_us: int
