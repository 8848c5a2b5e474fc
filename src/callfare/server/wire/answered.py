"""Bodies that the server answers with: balances, usage, grants and runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from callfare import answers
from callfare.clock import moment_of
from callfare.ledger.receipts import OpenReceipt
from callfare.money import Credits
from callfare.server.wire.base import Answer, CreditsText, QuantityText, UsdText, quantities, text_of


class Package(Answer):
    """Credits for sale."""

    id: str
    name: str
    credits: CreditsText
    price_usd: UsdText
    credits_per_usd: int

    @classmethod
    def of(cls, package: answers.Package) -> Self:
        """Return a package as it goes out."""
        return cls(
            id=package.id,
            name=package.name,
            credits=str(package.credits),
            price_usd=str(package.price),
            credits_per_usd=package.credits_per_usd,
        )


class Plan(Package):
    """Credits for sale, each month. rollsOver: what is left of a month lasts; else it ends with its month."""

    rolls_over: bool

    @classmethod
    def of(cls, package: answers.Package) -> Self:
        """Return a plan as it goes out."""
        assert isinstance(package, answers.Plan), package
        facts = Package.of(package).model_dump()
        return cls(**facts, rolls_over=package.rolls_over)


class Packages(Answer):
    """What is for sale: packages of credits, and plans with credits each month."""

    packages: list[Package]
    plans: list[Plan]

    @classmethod
    def of(cls, found: Iterable[answers.Package]) -> Self:
        """Return what is for sale as it goes out."""
        there = list(found)
        return cls(
            packages=[Package.of(one) for one in there if not isinstance(one, answers.Plan)],
            plans=[Plan.of(one) for one in there if isinstance(one, answers.Plan)],
        )


class Address(Answer):
    """Where to go on."""

    url: str


class Received(Answer):
    """A message was taken."""

    received: bool


class Balance(Answer):
    """What a user has. availableCredits = postedCredits - heldCredits."""

    user_id: str
    posted_credits: CreditsText
    held_credits: CreditsText
    spent_credits: CreditsText
    available_credits: CreditsText
    available_usd: UsdText
    debt_credits: CreditsText

    @classmethod
    def of(cls, balance: answers.Balance) -> Self:
        """Return a balance as it goes out."""
        return cls.model_validate(balance_facts(balance))


def balance_facts(balance: answers.Balance) -> dict[str, str]:
    """Return a balance as it goes out."""
    return {
        "userId": balance.user,
        "postedCredits": str(balance.posted),
        "heldCredits": str(balance.held),
        "spentCredits": str(balance.spent),
        "availableCredits": str(balance.available),
        "availableUsd": str(balance.available.usd),
        "debtCredits": str(balance.debt),
    }


class Spending(Answer):
    """What calls cost, and what was charged for them."""

    calls: int
    unpriced_calls: int
    cost_usd: UsdText
    credits: CreditsText


def _counted(share: answers.Share) -> dict[str, Any]:
    return {
        "calls": share.calls,
        "unpriced_calls": share.unpriced_calls,
        "cost_usd": str(share.cost),
        "credits": str(share.credits),
        "units": quantities(share.units),
    }


class WorkflowShare(Spending):
    """Spending of one kind of workflow, with the units it counted; empty for calls outside runs."""

    workflow_type: str
    units: dict[str, QuantityText]


class ModelShare(Spending):
    """Spending on one model, with the units it counted."""

    model: str
    units: dict[str, QuantityText]


class DayShare(Spending):
    """Spending of one day of the zone that was asked for, with the units it counted."""

    day: str
    units: dict[str, QuantityText]


class Run(Answer):
    """A run in a history. lowCredits and highCredits are the estimate it began with."""

    run_id: str
    workflow_type: str
    status: str
    charged_credits: CreditsText
    held_credits: CreditsText
    cost_usd: UsdText
    calls: int
    unpriced_calls: int
    low_credits: CreditsText | None
    high_credits: CreditsText | None
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, run: answers.RunSummary) -> Self:
        """Return a run as it goes out."""
        return cls(
            run_id=run.run_id,
            workflow_type=run.workflow,
            status=run.status,
            charged_credits=str(run.charged),
            held_credits=str(run.held),
            cost_usd=str(run.cost),
            calls=run.calls,
            unpriced_calls=run.unpriced_calls,
            low_credits=text_of(run.low),
            high_credits=text_of(run.high),
            opened_at=run.opened_at,
            closed_at=run.closed_at,
        )


class KnownRun(Run):
    """A run, with the number of its account as it stands in the ids of its charges."""

    account_id: str


class Usage(Answer):
    """A user's usage in a period, with the balance as it is now and the latest runs."""

    user_id: str
    period: str
    since: datetime
    until: datetime
    time_zone: str
    balance: Balance
    total: Spending
    by_workflow: list[WorkflowShare]
    by_model: list[ModelShare]
    by_day: list[DayShare]
    recent_workflows: list[Run]

    @classmethod
    def of(
        cls,
        report: answers.UsageReport,
        *,
        period: str,
        balance: answers.Balance,
        recent: tuple[answers.RunSummary, ...],
    ) -> Self:
        """Return a usage report as it goes out."""
        return cls(
            user_id=report.user,
            period=period,
            since=report.since,
            until=report.until,
            time_zone=report.tz,
            balance=Balance.of(balance),
            total=Spending(
                calls=report.calls,
                unpriced_calls=report.unpriced_calls,
                cost_usd=str(report.cost),
                credits=str(report.credits),
            ),
            by_workflow=[WorkflowShare(workflow_type=share.name, **_counted(share)) for share in report.by_workflow],
            by_model=[ModelShare(model=share.name, **_counted(share)) for share in report.by_model],
            by_day=[DayShare(day=share.name, **_counted(share)) for share in report.by_day],
            recent_workflows=[Run.of(run) for run in recent],
        )


class Runs(Answer):
    """A page of runs, newest first."""

    runs: list[Run]
    next_cursor: str | None


class GrantReceipt(Answer):
    """Credit that was granted; repaidCredits went to an older debt."""

    user_id: str
    key: str
    credits: CreditsText
    repaid_credits: CreditsText
    available_credits: CreditsText
    expires_at: datetime | None
    is_replay: bool

    @classmethod
    def of(cls, receipt: answers.GrantReceipt) -> Self:
        """Return a grant as it goes out."""
        return cls(
            user_id=receipt.user,
            key=receipt.key,
            credits=str(receipt.credits),
            repaid_credits=str(receipt.repaid),
            available_credits=str(receipt.available),
            expires_at=receipt.expires_at,
            is_replay=receipt.is_replay,
        )


class OpenedRun(Answer):
    """A run that was opened, with its hold as it is now. Its id is its idempotency key."""

    run_id: str
    user_id: str
    workflow_type: str
    status: str
    held_credits: CreditsText
    used_credits: CreditsText
    expires_at: datetime
    is_replay: bool

    @classmethod
    def of(cls, receipt: OpenReceipt, *, user: str, workflow: str) -> Self:
        """Return an opened run as it goes out."""
        return cls(
            run_id=receipt.run_id,
            user_id=user,
            workflow_type=workflow,
            status=receipt.status,
            held_credits=str(Credits.of_units(receipt.held_nanocredits)),
            used_credits=str(Credits.of_units(receipt.used_nanocredits)),
            expires_at=moment_of(receipt.expires_at_us),
            is_replay=receipt.is_replay,
        )


class Hold(Answer):
    """A run's hold after it was extended or renewed."""

    run_id: str
    held_credits: CreditsText
    used_credits: CreditsText
    expires_at: datetime

    @classmethod
    def of(cls, hold: answers.HoldReceipt) -> Self:
        """Return a hold as it goes out."""
        return cls(
            run_id=hold.run_id,
            held_credits=str(hold.held),
            used_credits=str(hold.used),
            expires_at=hold.expires_at,
        )


class ClosedRun(Answer):
    """A run that has ended: what it was charged, and what went back."""

    run_id: str
    outcome: str
    charged_credits: CreditsText
    captured_credits: CreditsText
    given_back_credits: CreditsText
    debt_credits: CreditsText
    waived_credits: CreditsText
    cost_usd: UsdText
    calls: int
    unpriced_calls: int
    closed_at: datetime
    key: str
    is_replay: bool

    @classmethod
    def of(cls, receipt: answers.RunReceipt) -> Self:
        """Return an ended run as it goes out."""
        return cls(
            run_id=receipt.run_id,
            outcome=receipt.outcome,
            charged_credits=str(receipt.charged),
            captured_credits=str(receipt.captured),
            given_back_credits=str(receipt.given_back),
            debt_credits=str(receipt.debt),
            waived_credits=str(receipt.waived),
            cost_usd=str(receipt.cost),
            calls=receipt.calls,
            unpriced_calls=receipt.unpriced_calls,
            closed_at=receipt.closed_at,
            key=receipt.key,
            is_replay=receipt.is_replay,
        )
