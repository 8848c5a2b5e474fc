"""The five tools. Each only reads: what moves credit is not here, whatever an argument or a stored name says.

Whose rows a call reaches follows from who asks, by the same rules as over HTTP, and never from an argument alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from callfare.auth.principal import Principal
from callfare.errors import UnknownWorkflow
from callfare.mcp import texts, wire
from callfare.mcp.asker import Asker
from callfare.mcp.names import named
from callfare.mcp.reader import Reader
from callfare.server.rules import API, RULES, Rule

Answer = tuple[str, wire.Answered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool: what it takes, what it answers, and the rule it stands under.

    needs_user: it is about one user, whom whoever is bound to none has to name.
    """

    name: str
    title: str
    description: str
    asks: type[wire.Asked]
    answers: type[wire.Answered]
    rule: Rule
    needs_user: bool
    answer: Callable[[Reader, Asker, Any], Awaitable[Answer]]

    async def call(self, reader: Reader, principal: Principal, arguments: Mapping[str, Any] | None) -> Answer:
        """Return the answer to a call, as text and in its parts.

        Raises Forbidden, NotFound, InvalidInput, LedgerUnavailable.
        """
        asker = Asker(principal=principal, rule=self.rule)
        asker.check()
        return await self.answer(reader, asker, wire.read(self.asks, arguments))

    def input_schema(self, principal: Principal) -> dict[str, Any]:
        """Return the schema of the arguments for whoever asks."""
        schema = wire.schema_of(self.asks)
        if self.needs_user and principal.user is None:
            return schema | {"required": [*schema.get("required", ()), "user_id"]}
        return schema


async def _balance(reader: Reader, asker: Asker, asked: wire.BalanceAsked) -> Answer:
    found = await reader.balance(asker.one_user(asked.user_id))
    return texts.balance(found), wire.Balance.of(found)


async def _usage(reader: Reader, asker: Asker, asked: wire.UsageAsked) -> Answer:
    found = await reader.usage(asker.one_user(asked.user_id), asked.period)
    return texts.usage(found, asked.period), wire.Usage.of(found, asked.period)


async def _estimate(reader: Reader, asker: Asker, asked: wire.EstimateAsked) -> Answer:
    user = asker.user(asked.user_id)
    try:
        found = await reader.estimate(asked.workflow_type, user=user)
    except UnknownWorkflow:
        raise UnknownWorkflow(
            f"no estimate is known for the workflow {named(asked.workflow_type)}; "
            "tweet, thread, carousel, story and video have one, and those that the application declares",
            param="workflow_type",
        ) from None
    return texts.estimate(found, user), wire.Estimate.of(found)


async def _history(reader: Reader, asker: Asker, asked: wire.HistoryAsked) -> Answer:
    user = asker.one_user(asked.user_id)
    page = await reader.history(user, asked.limit, asked.cursor)
    answered = wire.History(user_id=user, runs=[wire.Run.of(run) for run in page.items], next_cursor=page.next_cursor)
    return texts.history(user, page), answered


async def _packages(reader: Reader, asker: Asker, asked: wire.PackagesAsked) -> Answer:
    del asker, asked
    found = await reader.packages()
    return texts.packages(found), wire.Packages.of(found)


_ALL = (
    Tool(
        name="billing_balance",
        title="Credit balance",
        description=(
            "Tell how many prepaid credits a user has left, what open runs hold of them, and any debt. "
            "A credit is one US cent; amounts are exact decimal text. Changes nothing."
        ),
        asks=wire.BalanceAsked,
        answers=wire.Balance,
        rule=RULES["GET", f"{API}/balance"],
        needs_user=True,
        answer=_balance,
    ),
    Tool(
        name="billing_usage",
        title="Usage and spending",
        description=(
            "Tell what a user has spent on AI calls in a period, by workflow type and by model with the units counted: "
            "credits charged and exact US dollars. day, week and month are the last 24 hours, 7 and 30 days. "
            "Changes nothing."
        ),
        asks=wire.UsageAsked,
        answers=wire.Usage,
        rule=RULES["GET", f"{API}/usage"],
        needs_user=True,
        answer=_usage,
    ),
    Tool(
        name="billing_estimate",
        title="Cost estimate of a workflow",
        description=(
            "Tell what a run of a workflow is expected to cost before it starts: the range in credits and US dollars, "
            "its parts, what the estimate rests on, and what the user's completed runs have cost. "
            "Starts nothing and charges nothing."
        ),
        asks=wire.EstimateAsked,
        answers=wire.Estimate,
        rule=RULES["GET", f"{API}/estimate"],
        needs_user=False,
        answer=_estimate,
    ),
    Tool(
        name="billing_history",
        title="Workflow history with costs",
        description=(
            "List a user's workflow runs, newest first: what each was, how it ended, what it cost, when it began, and "
            "its run id. Ask for older ones with the next_cursor of the answer. Changes nothing."
        ),
        asks=wire.HistoryAsked,
        answers=wire.History,
        rule=RULES["GET", f"{API}/runs"],
        needs_user=True,
        answer=_history,
    ),
    Tool(
        name="billing_packages",
        title="Credit packages",
        description=(
            "List the packages of credits for sale, and the plans with credits each month, with their price in US "
            "dollars and what a dollar buys. "
            "Buys nothing: that takes the user, on the application's own page."
        ),
        asks=wire.PackagesAsked,
        answers=wire.Packages,
        rule=RULES["GET", f"{API}/packages"],
        needs_user=False,
        answer=_packages,
    ),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _ALL}
