"""Bodies that are sent to the server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from callfare.server.wire.base import Amount, Asked, Moment, Plain, Quantities, Text, UserId


class Grant(Asked):
    """Credit to give a user. The Idempotency-Key names it for ever."""

    user_id: UserId
    credits: Amount
    source: Literal["purchase", "promo", "plan", "adjustment"] = "adjustment"
    expires_at: Moment | None = None


class OpenRun(Asked):
    """A run to open under a hold. holdCredits: low or high of the workflow's estimate, or an amount."""

    user_id: UserId | None = None
    workflow_type: Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["story"])]
    run_id: Text | None = None
    hold_credits: Literal["low", "high"] | Amount = "low"
    ttl_seconds: StrictInt = 3600
    input: Plain | None = None


class ExtendRun(Asked):
    """Credit to reserve beyond what a run holds."""

    credits: Amount
    user_id: UserId | None = None


class TouchRun(Asked):
    """A hold to renew."""

    user_id: UserId | None = None


class CloseRun(Asked):
    """How a run ended."""

    outcome: Literal["completed", "failed", "cancelled"] = "completed"
    user_id: UserId | None = None


class UsageEvent(Asked):
    """A call that was made. Charged to its run where it names one, else to its user.

    Its key, or its step with the number of the call in it, makes it charge once; so does its responseId.
    """

    model: Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["gpt-5-mini"])]
    usage: Quantities
    user_id: UserId | None = None
    run_id: Text | None = None
    key: Text | None = None
    step: Annotated[StrictStr, Field(max_length=128)] | None = None
    ordinal: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)] = 1
    operation: Text | None = None
    provider: Text | None = None
    response_id: Annotated[StrictStr, Field(max_length=512)] | None = None
    attributes: dict[str, StrictStr] | None = None
    metadata: Plain | None = None
    at: Moment | None = None


class CloudEvent(BaseModel):
    """A usage event in the form of CloudEvents 1.0: `subject` is the user, `time` when it happened, `data` the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    source: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    type: Literal["callfare.usage"]
    subject: UserId | None = None
    time: Moment | None = None
    datacontenttype: Literal["application/json"] | None = None
    # What CloudEvents calls data.
    carried: Annotated[UsageEvent, Field(alias="data")]


class PriceQuestion(Asked):
    """A call that has not been made. provider: whose price; its maker's where there is none."""

    model: Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["gpt-5-mini"])]
    usage: Quantities
    attributes: dict[str, StrictStr] | None = None
    at: Moment | None = None
    provider: Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["openai"])] | None = None


class Checkout(Asked):
    """A package to buy."""

    user_id: UserId | None = None
    email: Text | None = None
    package_id: Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["credits_2000"])]


class Portal(Asked):
    """A customer who wants to see their payments."""

    user_id: UserId | None = None
    email: Text | None = None
