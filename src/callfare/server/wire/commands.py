"""What a callfare library elsewhere sends: commands in their order, each as it was asked for, and their receipts.

Nothing in a command is a decision: the server prices, and the ledger decides.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from callfare.server.wire.asked import CloseRun, ExtendRun, Grant, OpenRun, TouchRun, UsageEvent
from callfare.server.wire.base import (
    Amount,
    Answer,
    Asked,
    CreditsText,
    ErrorFacts,
    Moment,
    Plain,
    Quantities,
    Text,
    UsdText,
)
from callfare.server.wire.calls import Line

AccountId = Annotated[
    StrictStr, Field(pattern=r"^[0-9a-hjkmnp-tv-z]{13}$", description="As in the ids of the account's charges.")
]
CallId = Annotated[StrictStr, Field(pattern=r"^call_[0-9a-hjkmnp-tv-z]{26}$")]
Key = Annotated[StrictStr, Field(min_length=1, max_length=255)]
Step = Annotated[StrictStr, Field(max_length=128)]
JobId = Annotated[StrictStr, Field(min_length=1, max_length=512)]


class GrantCommand(Grant):
    """Credit to give a user."""

    type: Literal["grant"]
    key: Key


class OpenRunCommand(OpenRun):
    """A run to open. lowCredits, highCredits, onFailure: of a workflow that only its caller knows.

    parentRunId: a run of the same user that hands over up to fromParentCredits of what its hold has left.
    """

    type: Literal["openRun"]
    run_id: Key
    low_credits: Amount | None = None
    high_credits: Amount | None = None
    on_failure: Literal["charge", "waive"] | None = None
    parent_run_id: Text | None = None
    from_parent_credits: Amount | None = None


class ExtendRunCommand(ExtendRun):
    """Credit to reserve beyond what a run holds."""

    type: Literal["extendRun"]
    run_id: Text
    account_id: AccountId | None = None
    key: Key


class TouchRunCommand(TouchRun):
    """A hold to renew."""

    type: Literal["touchRun"]
    run_id: Text
    account_id: AccountId | None = None


class CloseRunCommand(CloseRun):
    """The end of a run."""

    type: Literal["closeRun"]
    run_id: Text
    account_id: AccountId | None = None
    key: Key | None = None


class _Call(UsageEvent):
    """A call with all that its reporter knows of it.

    seenAt: when it was seen, where the call names no time of its own. raw: the provider's own usage object.
    attempt: tells two tries of one step apart. callId: made by its reporter, for a call that nothing else names.
    """

    account_id: AccountId | None = None
    base_url: Text | None = None
    raw: Plain | None = None
    attempt: Annotated[StrictStr, Field(max_length=128)] = ""
    is_estimated: StrictBool = False
    call_id: CallId | None = None
    seen_at: Moment | None = None


class RecordUsageCommand(_Call):
    """A call that was made."""

    type: Literal["recordUsage"]


class CorrectUsageCommand(Asked):
    """The real count of a call that was recorded by an estimate. model, provider: the estimate's when left out."""

    type: Literal["correctUsage"]
    charge_id: Annotated[StrictStr, Field(min_length=1, max_length=8192)]
    usage: Quantities
    model: Text | None = None
    provider: Text | None = None
    attributes: dict[str, StrictStr] | None = None
    raw: Plain | None = None


class BeginJobCommand(_Call):
    """A long job that a provider has accepted."""

    type: Literal["beginJob"]
    job_id: JobId


class JobUse(Asked):
    """What a job really used."""

    model: Annotated[StrictStr, Field(min_length=1, max_length=255)]
    usage: Quantities
    operation: Text | None = None
    provider: Text | None = None
    base_url: Text | None = None
    attributes: dict[str, StrictStr] | None = None
    raw: Plain | None = None
    seen_at: Moment | None = None


class EndJobCommand(Asked):
    """The end of a long job. jobKey: as its beginning answered. used, jobId: where the provider told."""

    type: Literal["endJob"]
    job_key: Annotated[StrictStr, Field(pattern="^job:", max_length=2048)]
    job_id: JobId | None = None
    outcome: Literal["completed", "failed", "cancelled"]
    used: JobUse | None = None


class ClaimBatchCommand(Asked):
    """Whose a provider's batch is; the first claim stands. batchKeys: of the batch and of the files with its results.

    ttlSeconds: how long the hold lasts from now on of a run that was opened for this batch alone. isKnownOnly: nothing
    is claimed, only what is known is told.
    """

    type: Literal["claimBatch"]
    batch_keys: Annotated[
        list[Annotated[StrictStr, Field(pattern="^batch:", max_length=2048)]], Field(min_length=1, max_length=8)
    ]
    user_id: Text | None = None
    account_id: AccountId | None = None
    run_id: Text | None = None
    ttl_seconds: Annotated[StrictInt, Field(ge=1, le=30 * 24 * 3600)] | None = None
    is_known_only: StrictBool = False


Command = Annotated[
    GrantCommand
    | OpenRunCommand
    | ExtendRunCommand
    | TouchRunCommand
    | CloseRunCommand
    | RecordUsageCommand
    | CorrectUsageCommand
    | BeginJobCommand
    | EndJobCommand
    | ClaimBatchCommand,
    Field(discriminator="type"),
]


class _Receipt(Answer):
    account_id: str
    is_replay: bool


class PostedGrant(_Receipt):
    """A grant as it was posted."""

    type: Literal["grant"] = "grant"
    key: str
    number: int
    source: str
    credits: CreditsText
    repaid_credits: CreditsText
    available_credits: CreditsText
    expires_at: datetime | None


class OpenReceipt(_Receipt):
    """An open run with its hold as it is now."""

    type: Literal["run"] = "run"
    run_id: str
    status: str
    asked_credits: CreditsText
    held_credits: CreditsText
    used_credits: CreditsText
    expires_at: datetime


class HoldReceipt(_Receipt):
    """A run's hold after it was extended or renewed."""

    type: Literal["hold"] = "hold"
    run_id: str
    held_credits: CreditsText
    used_credits: CreditsText
    expires_at: datetime


class CloseReceipt(_Receipt):
    """A settled run."""

    type: Literal["end"] = "end"
    run_id: str
    outcome: str
    captured_credits: CreditsText
    given_back_credits: CreditsText
    debt_credits: CreditsText
    waived_credits: CreditsText
    charged_credits: CreditsText
    cost_usd: UsdText
    calls: int
    unpriced_calls: int
    closed_at: datetime


class ChargeReceipt(_Receipt):
    """A recorded call, line by line, with the hold of its run; null outside one."""

    type: Literal["charge"] = "charge"
    id: str
    run_id: str | None
    status: str
    flags: list[str]
    credits: CreditsText
    cost_usd: UsdText
    debt_credits: CreditsText
    edition: str
    lines: list[Line]
    run_held_credits: CreditsText | None
    run_used_credits: CreditsText | None
    run_expires_at: datetime | None


class JobReceipt(_Receipt):
    """A long job with what is held for it, and the hold of its run; null outside one."""

    type: Literal["job"] = "job"
    job_key: str
    status: str
    held_credits: CreditsText
    run_id: str | None
    run_held_credits: CreditsText | None
    run_used_credits: CreditsText | None
    run_expires_at: datetime | None


class BatchReceipt(_Receipt):
    """Whose a batch is. isOwn: the run was opened for it alone."""

    type: Literal["batch"] = "batch"
    run_id: str | None
    is_own: bool


class Done(Answer):
    """A command that was carried out."""

    status: Literal["done"] = "done"
    receipt: PostedGrant | OpenReceipt | HoldReceipt | CloseReceipt | ChargeReceipt | JobReceipt | BatchReceipt


class NotDone(Answer):
    """A command that was not carried out, and why. Its neighbours are not touched by it."""

    status: Literal["refused"] = "refused"
    error: ErrorFacts


class Results(Answer):
    """An answer for each command, in their order."""

    results: list[Done | NotDone]
