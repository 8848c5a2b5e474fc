"""Bodies that the server answers with: calls, charges, prices, estimates, transactions and explanations."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal, Self

from callfare import answers
from callfare.server.wire.answered import Run
from callfare.server.wire.base import (
    Answer,
    CreditsText,
    ErrorFacts,
    Plain,
    QuantityText,
    UsdText,
    quantities,
    text_of,
)
from callfare.usage.quantities import quantity_text


class Line(Answer):
    """One leaf of usage at one rate: quantity × rateUsd / per. rateMeter is the meter whose rate was taken.

    listRateUsd, adjustment: what the provider lists, and the share taken off it or added; null where rateUsd is listed.
    minimum: what was billed in place of quantity, where that is less.
    """

    meter: str
    quantity: QuantityText
    rate_usd: str | None
    per: int
    rate_meter: str
    attributes: dict[str, str]
    cost_usd: UsdText
    credits: CreditsText
    list_rate_usd: str | None
    adjustment: str | None
    minimum: int | None

    @classmethod
    def of(cls, line: answers.Line) -> Self:
        """Return a line as it goes out."""
        return cls(
            meter=line.meter,
            quantity=quantity_text(line.quantity),
            rate_usd=None if line.rate is None else format(line.rate, "f"),
            per=line.per,
            rate_meter=line.rate_meter,
            attributes=dict(line.attributes),
            cost_usd=str(line.cost),
            credits=str(line.credits),
            list_rate_usd=None if line.list_rate is None else format(line.list_rate, "f"),
            adjustment=line.adjustment or None,
            minimum=line.minimum,
        )


class Price(Answer):
    """What a call would cost, by whose price, read where and when. `information` is usage that is not billed.

    ignored: the attributes that select nothing of this model's.
    """

    model: str
    provider: str
    edition: str
    source: str
    checked: date
    ignored: dict[str, str]
    lines: list[Line]
    information: dict[str, QuantityText]
    cost_usd: UsdText
    credits: CreditsText

    @classmethod
    def of(cls, price: answers.Price) -> Self:
        """Return a price as it goes out."""
        return cls(
            model=price.model,
            provider=price.provider,
            edition=price.edition,
            source=price.source,
            checked=price.checked,
            ignored=dict(price.ignored),
            lines=[Line.of(line) for line in price.lines],
            information=quantities(price.information),
            cost_usd=str(price.cost),
            credits=str(price.credits),
        )


class EstimatePart(Answer):
    """One kind of call that a workflow makes, between atLeast and atMost times."""

    model: str
    usage: dict[str, QuantityText]
    attributes: dict[str, str]
    at_least: int
    at_most: int
    each_credits: CreditsText

    @classmethod
    def of(cls, part: answers.EstimatePart) -> Self:
        """Return a part as it goes out."""
        return cls(
            model=part.model,
            usage=quantities(part.usage),
            attributes=dict(part.attributes),
            at_least=part.at_least,
            at_most=part.at_most,
            each_credits=str(part.credits_each),
        )


class Estimate(Answer):
    """What a run is expected to cost, what that rests on, and what the user's past runs have cost."""

    workflow_type: str
    low_credits: CreditsText
    high_credits: CreditsText
    low_usd: UsdText
    high_usd: UsdText
    parts: list[EstimatePart]
    rests_on: str
    on_failure: str
    past_runs: int
    past_median_credits: CreditsText | None
    past_highest_credits: CreditsText | None

    @classmethod
    def of(cls, estimate: answers.Estimate) -> Self:
        """Return an estimate as it goes out."""
        return cls(
            workflow_type=estimate.workflow,
            low_credits=str(estimate.low),
            high_credits=str(estimate.high),
            low_usd=str(estimate.low.usd),
            high_usd=str(estimate.high.usd),
            parts=[EstimatePart.of(part) for part in estimate.parts],
            rests_on=estimate.rests_on,
            on_failure=estimate.on_failure,
            past_runs=estimate.past_runs,
            past_median_credits=text_of(estimate.past_median),
            past_highest_credits=text_of(estimate.past_highest),
        )


class Charge(Answer):
    """A recorded call. leftCredits is what its run's hold has left, null outside a run.

    isSpooled: the ledger is away, and the call is durable in the server's spool; its id is empty then outside a run.
    """

    id: str
    key: str
    run_id: str | None
    model: str
    status: str
    flags: list[str]
    cost_usd: UsdText
    credits: CreditsText
    debt_credits: CreditsText
    left_credits: CreditsText | None
    edition: str
    is_replay: bool
    is_spooled: bool


def charge_facts(charge: answers.Charge) -> dict[str, Any]:
    """Return a charge as it goes out, without the detour over its model: a batch has a thousand of them."""
    return {
        "id": charge.id,
        "key": charge.key,
        "runId": charge.run_id,
        "model": charge.model,
        "status": charge.status,
        "flags": charge.flags,
        "costUsd": str(charge.cost),
        "credits": str(charge.credits),
        "debtCredits": str(charge.debt),
        "leftCredits": None if charge.left is None else str(charge.left),
        "edition": charge.edition,
        "isReplay": charge.is_replay,
        "isSpooled": charge.is_spooled,
    }


class Recorded(Answer):
    """An event of a batch that was taken."""

    status: Literal["recorded"] = "recorded"
    charge: Charge


class Refused(Answer):
    """An event of a batch that was not taken, and why. Its neighbours are not touched by it."""

    status: Literal["refused"] = "refused"
    error: ErrorFacts


class Batch(Answer):
    """An answer for each event of a batch, in their order."""

    recorded: int
    refused: int
    results: list[Recorded | Refused]


class Call(Answer):
    """A call as it stands in the ledger. `kind` is usage, correction, reprice or waiver."""

    id: str
    kind: str
    run_id: str | None
    workflow_type: str
    step: str | None
    provider: str
    model: str
    operation: str
    response_id: str
    status: str
    reason: str | None
    flags: list[str]
    usage: dict[str, QuantityText]
    attributes: dict[str, str]
    lines: list[Line]
    cost_usd: UsdText
    credits: CreditsText
    debt_credits: CreditsText
    edition: str
    metadata: Plain | None
    at: datetime
    recorded_at: datetime

    @classmethod
    def of(cls, call: answers.Call) -> Self:
        """Return a call as it goes out."""
        return cls(
            id=call.id,
            kind=call.kind,
            run_id=call.run_id,
            workflow_type=call.workflow,
            step=call.step,
            provider=call.provider,
            model=call.model,
            operation=call.operation,
            response_id=call.response_id,
            status=call.status,
            reason=call.reason,
            flags=list(call.flags),
            usage=quantities(call.usage),
            attributes=dict(call.attributes),
            lines=[Line.of(line) for line in call.lines],
            cost_usd=str(call.cost),
            credits=str(call.credits),
            debt_credits=str(call.debt),
            edition=call.edition,
            metadata=None if call.metadata is None else dict(call.metadata),
            at=call.at,
            recorded_at=call.recorded_at,
        )


class Calls(Answer):
    """A page of a run's calls, in their order."""

    calls: list[Call]
    next_cursor: str | None


class Transaction(Answer):
    """A transfer as the customer sees it: the change to the posted balance, and to the debt."""

    id: str
    number: int
    kind: str
    amount_credits: CreditsText
    change_credits: CreditsText
    debt_change_credits: CreditsText
    run_id: str | None
    reference: str | None
    at: datetime

    @classmethod
    def of(cls, transaction: answers.Transaction) -> Self:
        """Return a transaction as it goes out."""
        return cls(
            id=transaction.id,
            number=transaction.number,
            kind=transaction.kind,
            amount_credits=str(transaction.amount),
            change_credits=str(transaction.change),
            debt_change_credits=str(transaction.debt_change),
            run_id=transaction.run_id,
            reference=transaction.reference,
            at=transaction.at,
        )


class Transactions(Answer):
    """A page of transfers, newest first."""

    transactions: list[Transaction]
    next_cursor: str | None


class Movement(Answer):
    """One entry of a transfer, with the lot it came from when it is the customer's credit."""

    account: str
    amount_credits: CreditsText
    lot: str | None
    source: str | None
    paid_usd: UsdText | None

    @classmethod
    def of(cls, movement: answers.Movement) -> Self:
        """Return a movement as it goes out."""
        return cls(
            account=movement.account,
            amount_credits=str(movement.amount),
            lot=movement.lot,
            source=movement.source,
            paid_usd=None if movement.paid is None else str(movement.paid),
        )


class Explanation(Answer):
    """Everything behind a charge: what the provider counted, the arithmetic, the run, and the credit that paid."""

    call: Call
    arithmetic: list[str]
    raw: dict[str, Any] | None
    raw_removed_before: datetime | None
    corrections: list[Call]
    run: Run | None
    transfers: list[Transaction]
    movements: list[Movement]

    @classmethod
    def of(cls, explanation: answers.Explanation) -> Self:
        """Return an explanation as it goes out."""
        return cls(
            call=Call.of(explanation.call),
            arithmetic=list(explanation.arithmetic),
            raw=None if explanation.raw is None else dict(explanation.raw),
            raw_removed_before=explanation.raw_removed_before,
            corrections=[Call.of(call) for call in explanation.corrections],
            run=None if explanation.run is None else Run.of(explanation.run),
            transfers=[Transaction.of(transfer) for transfer in explanation.transfers],
            movements=[Movement.of(movement) for movement in explanation.movements],
        )
