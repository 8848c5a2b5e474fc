"""What a server tells, as the façade answers it: amounts exact, times aware, the same classes as from a ledger here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from callfare.answers import (
    ApiKeyShown,
    AuditEntry,
    Balance,
    Call,
    Estimate,
    EstimatePart,
    Explanation,
    Line,
    Movement,
    NewApiKey,
    Package,
    Plan,
    Price,
    RunSummary,
    Share,
    Transaction,
    UsageReport,
)
from callfare.money import Credits, Usd
from callfare.usage.quantities import Quantity, parse_quantity

Facts = Mapping[str, Any]


def balance(facts: Facts) -> Balance:
    """Return a balance."""
    return Balance(
        user=facts["userId"],
        posted=Credits(facts["postedCredits"]),
        held=Credits(facts["heldCredits"]),
        spent=Credits(facts["spentCredits"]),
        available=Credits(facts["availableCredits"]),
        debt=Credits(facts["debtCredits"]),
    )


def _share(facts: Facts, name: str) -> Share:
    return Share(
        name=facts[name],
        calls=facts["calls"],
        unpriced_calls=facts["unpricedCalls"],
        cost=Usd(facts["costUsd"]),
        credits=Credits(facts["credits"]),
        units=units(facts["units"]),
    )


def usage(facts: Facts) -> UsageReport:
    """Return a usage report."""
    total = facts["total"]
    return UsageReport(
        user=facts["userId"],
        since=moment(facts["since"]),
        until=moment(facts["until"]),
        tz=facts["timeZone"],
        calls=total["calls"],
        unpriced_calls=total["unpricedCalls"],
        cost=Usd(total["costUsd"]),
        credits=Credits(total["credits"]),
        by_workflow=tuple(_share(share, "workflowType") for share in facts["byWorkflow"]),
        by_model=tuple(_share(share, "model") for share in facts["byModel"]),
        by_day=tuple(_share(share, "day") for share in facts["byDay"]),
    )


def run(facts: Facts) -> RunSummary:
    """Return a run of a history."""
    return RunSummary(
        run_id=facts["runId"],
        workflow=facts["workflowType"],
        status=facts["status"],
        charged=Credits(facts["chargedCredits"]),
        held=Credits(facts["heldCredits"]),
        cost=Usd(facts["costUsd"]),
        calls=facts["calls"],
        unpriced_calls=facts["unpricedCalls"],
        low=amount(facts["lowCredits"]),
        high=amount(facts["highCredits"]),
        opened_at=moment(facts["openedAt"]),
        closed_at=moment_or_none(facts["closedAt"]),
    )


def line(facts: Facts) -> Line:
    """Return a line of a charge."""
    return Line(
        meter=facts["meter"],
        quantity=parse_quantity(facts["quantity"]),
        rate=None if facts["rateUsd"] is None else Decimal(facts["rateUsd"]),
        per=facts["per"],
        rate_meter=facts["rateMeter"],
        attributes=facts["attributes"],
        cost=Usd(facts["costUsd"]),
        credits=Credits(facts["credits"]),
        list_rate=None if facts.get("listRateUsd") is None else Decimal(facts["listRateUsd"]),
        adjustment=facts.get("adjustment") or "",
        minimum=facts.get("minimum"),
    )


def price(facts: Facts) -> Price:
    """Return what a call would cost."""
    return Price(
        model=facts["model"],
        provider=facts["provider"],
        edition=facts["edition"],
        source=facts["source"],
        checked=date.fromisoformat(facts["checked"]),
        ignored=facts["ignored"],
        lines=tuple(map(line, facts["lines"])),
        information=units(facts["information"]),
        cost=Usd(facts["costUsd"]),
        credits=Credits(facts["credits"]),
    )


def estimate(facts: Facts) -> Estimate:
    """Return what a run is expected to cost."""
    return Estimate(
        workflow=facts["workflowType"],
        low=Credits(facts["lowCredits"]),
        high=Credits(facts["highCredits"]),
        parts=tuple(
            EstimatePart(
                model=part["model"],
                usage=units(part["usage"]),
                attributes=part["attributes"],
                at_least=part["atLeast"],
                at_most=part["atMost"],
                credits_each=Credits(part["eachCredits"]),
            )
            for part in facts["parts"]
        ),
        rests_on=facts["restsOn"],
        on_failure=facts["onFailure"],
        past_runs=facts["pastRuns"],
        past_median=amount(facts["pastMedianCredits"]),
        past_highest=amount(facts["pastHighestCredits"]),
    )


def call(facts: Facts) -> Call:
    """Return a call as it stands in the ledger."""
    return Call(
        id=facts["id"],
        kind=facts["kind"],
        run_id=facts["runId"],
        workflow=facts["workflowType"],
        step=facts["step"],
        provider=facts["provider"],
        model=facts["model"],
        operation=facts["operation"],
        response_id=facts["responseId"],
        status=facts["status"],
        reason=facts["reason"],
        flags=tuple(facts["flags"]),
        usage=units(facts["usage"]),
        attributes=facts["attributes"],
        lines=tuple(map(line, facts["lines"])),
        cost=Usd(facts["costUsd"]),
        credits=Credits(facts["credits"]),
        debt=Credits(facts["debtCredits"]),
        edition=facts["edition"],
        metadata=facts["metadata"],
        at=moment(facts["at"]),
        recorded_at=moment(facts["recordedAt"]),
    )


def transaction(facts: Facts) -> Transaction:
    """Return a transfer as its customer sees it."""
    return Transaction(
        id=facts["id"],
        number=facts["number"],
        kind=facts["kind"],
        amount=Credits(facts["amountCredits"]),
        change=Credits(facts["changeCredits"]),
        debt_change=Credits(facts["debtChangeCredits"]),
        run_id=facts["runId"],
        reference=facts["reference"],
        at=moment(facts["at"]),
    )


def explanation(facts: Facts) -> Explanation:
    """Return everything behind a charge."""
    return Explanation(
        call=call(facts["call"]),
        arithmetic=tuple(facts["arithmetic"]),
        raw=facts["raw"],
        raw_removed_before=moment_or_none(facts["rawRemovedBefore"]),
        corrections=tuple(map(call, facts["corrections"])),
        run=None if facts["run"] is None else run(facts["run"]),
        transfers=tuple(map(transaction, facts["transfers"])),
        movements=tuple(
            Movement(
                account=move["account"],
                amount=Credits(move["amountCredits"]),
                lot=move["lot"],
                source=move["source"],
                paid=None if move["paidUsd"] is None else Usd(move["paidUsd"]),
            )
            for move in facts["movements"]
        ),
    )


def package(facts: Facts) -> Package:
    """Return credits for sale."""
    return Package(
        id=facts["id"],
        name=facts["name"],
        credits=Credits(facts["credits"]),
        price=Usd(facts["priceUsd"]),
        credits_per_usd=facts["creditsPerUsd"],
    )


def plan(facts: Facts) -> Plan:
    """Return credits for each month."""
    return Plan(
        id=facts["id"],
        name=facts["name"],
        credits=Credits(facts["credits"]),
        price=Usd(facts["priceUsd"]),
        credits_per_usd=facts["creditsPerUsd"],
        rolls_over=facts["rollsOver"],
    )


def for_sale(facts: Facts) -> tuple[Package, ...]:
    """Return packages, then plans. A server of before there were plans tells of none."""
    return (*map(package, facts["packages"]), *map(plan, facts.get("plans", ())))


def new_key(facts: Facts) -> NewApiKey:
    """Return a key that was just made."""
    return NewApiKey(
        id=facts["id"],
        key=facts["key"],
        mode=facts["mode"],
        label=facts["label"],
        scopes=tuple(facts["scopes"]),
        user=facts["userId"],
        networks=tuple(facts["networks"]),
        grant_cap=amount(facts["grantCapCredits"]),
        created_at=moment(facts["createdAt"]),
        expires_at=moment_or_none(facts["expiresAt"]),
        replaces=facts["replaces"],
        is_replay=facts["isReplay"],
    )


def key(facts: Facts) -> ApiKeyShown:
    """Return what may be shown of a key."""
    return ApiKeyShown(
        id=facts["id"],
        status=facts["status"],
        mode=facts["mode"],
        label=facts["label"],
        scopes=tuple(facts["scopes"]),
        user=facts["userId"],
        networks=tuple(facts["networks"]),
        grant_cap=amount(facts["grantCapCredits"]),
        created_at=moment(facts["createdAt"]),
        expires_at=moment_or_none(facts["expiresAt"]),
        revoked_at=moment_or_none(facts["revokedAt"]),
        rolled_to=facts["rolledTo"],
        last_used_at=moment_or_none(facts["lastUsedAt"]),
    )


def audit_entry(facts: Facts) -> AuditEntry:
    """Return who asked for a write."""
    return AuditEntry(
        id=facts["id"],
        at=moment(facts["at"]),
        principal=facts["principal"],
        key_id=facts["keyId"],
        operation=facts["operation"],
        user=facts["userId"],
        object=facts["object"],
        request_key=facts["requestKey"],
        request_id=facts["requestId"],
        before=facts["before"],
        after=facts["after"],
    )


def amount(text: str | None) -> Credits | None:
    """Return an amount, None for None."""
    return None if text is None else Credits(text)


def units(facts: Mapping[str, str]) -> dict[str, Quantity]:
    """Return quantities from their exact text."""
    return {meter: parse_quantity(quantity) for meter, quantity in facts.items()}


def moment(text: str) -> datetime:
    """Return a time."""
    return datetime.fromisoformat(text)


def moment_or_none(text: str | None) -> datetime | None:
    """Return a time, None for None."""
    return None if text is None else datetime.fromisoformat(text)
