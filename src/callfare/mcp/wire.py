"""What tools are asked with and answer with, as pydantic models in snake_case: their schemas are what assistants see.

Amounts are exact decimal text with the unit in the name. An argument that is not known is refused: leaving it out of
account would be a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from callfare import answers
from callfare.errors import InvalidInput
from callfare.mcp.names import named
from callfare.money import Credits
from callfare.server.wire.base import CreditsText, QuantityText, UsdText, quantities, text_of

LOW = Credits(100)
RUNS_MAX = 50
_SHOWN_MAX = 100
_MESSAGE_MAX = 200


def _whole(value: object) -> object:
    """Return a whole number that came as 10.0, which in JSON is the same, as the integer that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Asked(BaseModel):
    """The base of arguments: the names that are here, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answered(BaseModel):
    """The base of answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return self.model_dump(mode="json")


UserId = Annotated[StrictStr | None, Field(description="The user to ask about, such as user_123.")]


class AskedOfUser(Asked):
    """Arguments that may name a user."""

    user_id: UserId = None


class BalanceAsked(AskedOfUser):
    """Whose balance."""


class UsageAsked(AskedOfUser):
    """Whose usage, and when."""

    period: Annotated[
        Literal["day", "week", "month", "all"],
        Field(description="The last 24 hours, the last 7 days, the last 30 days, or all there is."),
    ] = "month"


class EstimateAsked(AskedOfUser):
    """Which workflow, and beside whose past runs."""

    workflow_type: Annotated[
        StrictStr,
        Field(
            min_length=1,
            max_length=255,
            description="The kind of run: tweet, thread, carousel, story, video, or one of the application's own.",
        ),
    ]
    user_id: Annotated[
        StrictStr | None, Field(description="A user whose completed runs are told beside the estimate.")
    ] = None


class HistoryAsked(AskedOfUser):
    """Whose runs, how many, and from where on."""

    limit: Annotated[
        StrictInt, BeforeValidator(_whole), Field(ge=1, le=RUNS_MAX, description="How many runs at most.")
    ] = 10
    cursor: Annotated[StrictStr | None, Field(max_length=2048, description="The next_cursor of the answer before.")] = (
        None
    )


class PackagesAsked(Asked):
    """Nothing: packages are the same for everybody."""


A = TypeVar("A", bound=Asked)


def read(kind: type[A], arguments: Mapping[str, Any] | None) -> A:
    """Return the arguments of a call.

    Raises InvalidInput, naming the first thing that is wrong and never its value.
    """
    try:
        return kind.model_validate(dict(arguments or {}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]).encode("ascii", "replace").decode()[:100]
        known = ", ".join(kind.model_fields) or "none"
        if first["type"] == "extra_forbidden":
            raise InvalidInput(f"there is no argument {named(name)}; known are: {known}", param=name) from None
        raise InvalidInput(f"{name}: {first['msg'][:_MESSAGE_MAX]}", param=name) from None


class Balance(Answered):
    """What a user has. available = posted - held; what open runs have spent is part of what is held."""

    user_id: str
    available_credits: CreditsText
    available_usd: UsdText
    posted_credits: CreditsText
    held_credits: CreditsText
    spent_credits: CreditsText
    debt_credits: CreditsText
    is_low: Annotated[bool, Field(description="Fewer than 100 credits are available.")]

    @classmethod
    def of(cls, found: answers.Balance) -> Self:
        """Return a balance as it goes out."""
        return cls(
            user_id=found.user,
            available_credits=str(found.available),
            available_usd=str(found.available.usd),
            posted_credits=str(found.posted),
            held_credits=str(found.held),
            spent_credits=str(found.spent),
            debt_credits=str(found.debt),
            is_low=found.available < LOW,
        )


class Spending(Answered):
    """What calls cost in dollars, and the credits that were charged for them."""

    calls: int
    unpriced_calls: Annotated[int, Field(description="Calls that have no price yet, and are in no amount.")]
    cost_usd: UsdText
    credits: CreditsText


class WorkflowShare(Spending):
    """Spending of one kind of run."""

    workflow_type: Annotated[str, Field(description="Empty for calls outside runs.")]


class ModelShare(Spending):
    """Spending on one model, with the units it counted."""

    model: str
    units: dict[str, QuantityText]


class Usage(Answered):
    """What a user has used from `since` until just before `until`, the costliest first."""

    user_id: str
    period: str
    since: datetime
    until: datetime
    total: Spending
    by_workflow_type: Annotated[list[WorkflowShare], Field(max_length=_SHOWN_MAX)]
    by_model: Annotated[list[ModelShare], Field(max_length=_SHOWN_MAX)]
    workflow_types_left_out: int
    models_left_out: int

    @classmethod
    def of(cls, found: answers.UsageReport, period: str) -> Self:
        """Return a usage report as it goes out: at most 100 rows of a kind, and how many more there are."""
        workflows, models = costliest(found.by_workflow), costliest(found.by_model)
        return cls(
            user_id=found.user,
            period=period,
            since=found.since,
            until=found.until,
            total=Spending(**_spent(found)),
            by_workflow_type=[WorkflowShare(workflow_type=one.name, **_spent(one)) for one in workflows[:_SHOWN_MAX]],
            by_model=[
                ModelShare(model=one.name, units=quantities(one.units), **_spent(one)) for one in models[:_SHOWN_MAX]
            ],
            workflow_types_left_out=max(0, len(workflows) - _SHOWN_MAX),
            models_left_out=max(0, len(models) - _SHOWN_MAX),
        )


def costliest(shares: Iterable[answers.Share]) -> list[answers.Share]:
    """Return shares, the costliest first."""
    return sorted(shares, key=lambda one: (-one.cost.units, -one.calls, one.name))


def _spent(found: answers.Share | answers.UsageReport) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "unpriced_calls": found.unpriced_calls,
        "cost_usd": str(found.cost),
        "credits": str(found.credits),
    }


class EstimatePart(Answered):
    """One kind of call that a run makes, between at_least and at_most times."""

    model: str
    usage: dict[str, QuantityText]
    attributes: dict[str, str]
    at_least: int
    at_most: int
    each_credits: CreditsText


class Estimate(Answered):
    """What a run is expected to cost, and what that rests on."""

    workflow_type: str
    low_credits: CreditsText
    high_credits: CreditsText
    low_usd: UsdText
    high_usd: UsdText
    rests_on: Annotated[str, Field(description="declared: its range is given; parts: today's prices of its calls.")]
    on_failure: Annotated[str, Field(description="charge: a failed run pays for what it used; waive: it does not.")]
    parts: list[EstimatePart]
    past_runs: Annotated[int, Field(description="Completed runs of the user who was named.")]
    past_median_credits: CreditsText | None
    past_highest_credits: CreditsText | None

    @classmethod
    def of(cls, found: answers.Estimate) -> Self:
        """Return an estimate as it goes out."""
        return cls(
            workflow_type=found.workflow,
            low_credits=str(found.low),
            high_credits=str(found.high),
            low_usd=str(found.low.usd),
            high_usd=str(found.high.usd),
            rests_on=found.rests_on,
            on_failure=found.on_failure,
            parts=[
                EstimatePart(
                    model=part.model,
                    usage=quantities(part.usage),
                    attributes=dict(part.attributes),
                    at_least=part.at_least,
                    at_most=part.at_most,
                    each_credits=str(part.credits_each),
                )
                for part in found.parts
            ],
            past_runs=found.past_runs,
            past_median_credits=text_of(found.past_median),
            past_highest_credits=text_of(found.past_highest),
        )


class Run(Answered):
    """A run with what it was charged; low and high are the estimate it began with."""

    run_id: str
    workflow_type: str
    status: str
    charged_credits: CreditsText
    cost_usd: UsdText
    held_credits: CreditsText
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
            cost_usd=str(run.cost),
            held_credits=str(run.held),
            calls=run.calls,
            unpriced_calls=run.unpriced_calls,
            low_credits=text_of(run.low),
            high_credits=text_of(run.high),
            opened_at=run.opened_at,
            closed_at=run.closed_at,
        )


class History(Answered):
    """Runs, newest first; next_cursor asks for older ones, null when there are none."""

    user_id: str
    runs: Annotated[list[Run], Field(max_length=RUNS_MAX)]
    next_cursor: str | None


class Package(Answered):
    """Credits for sale."""

    id: str
    name: str
    credits: CreditsText
    price_usd: UsdText
    credits_per_usd: int


class Plan(Package):
    """Credits for sale, each month. rolls_over: what is left of a month lasts; else it ends with its month."""

    rolls_over: bool


class Packages(Answered):
    """What is for sale: packages of credits, and plans with credits each month. Nothing is bought here."""

    packages: list[Package]
    plans: list[Plan]

    @classmethod
    def of(cls, found: Iterable[answers.Package]) -> Self:
        """Return what is for sale as it goes out."""
        there = list(found)
        return cls(
            packages=[Package(**_offer(one)) for one in there if not isinstance(one, answers.Plan)],
            plans=[Plan(**_offer(one), rolls_over=one.rolls_over) for one in there if isinstance(one, answers.Plan)],
        )


def _offer(one: answers.Package) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "credits": str(one.credits),
        "price_usd": str(one.price),
        "credits_per_usd": one.credits_per_usd,
    }


class Rate(Answered):
    """Dollars for so many of a meter, where all the attributes are reported."""

    meter: str
    usd: str
    per: int
    attributes: dict[str, str]


class ModelPrices(Answered):
    """The rates of a model, and the page they were read from."""

    provider: str
    model: str
    rates: list[Rate]
    edition: str
    source: str
    checked: date


class PriceBook(Answered):
    """The rates in force at an instant. What is charged is cost times the markup."""

    edition: str
    at: datetime
    markup: str
    models: list[ModelPrices]


@cache
def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model in one piece: some hosts do not follow references. Not to be changed.

    That an argument may be null as well as left out is not in it: it only makes the schema harder to follow.
    """
    is_answer = issubclass(kind, Answered)
    schema = kind.model_json_schema(mode="serialization" if is_answer else "validation")
    whole: dict[str, Any] = _inlined(schema, schema.pop("$defs", {}))
    for name, part in whole["properties"].items():
        match part:
            case {"anyOf": [dict(given), {"type": "null"}], "default": None} if not is_answer:
                rest = {key: value for key, value in part.items() if key not in {"anyOf", "default"}}
                whole["properties"][name] = given | rest
    return whole


def _inlined(part: Any, named: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON is what it is
    if isinstance(part, list):
        return [_inlined(one, named) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(named[part["$ref"].rpartition("/")[2]], named)
    # A title repeats the name it stands under; it only costs whoever reads it.
    return {name: _inlined(one, named) for name, one in part.items() if not (name == "title" and isinstance(one, str))}
