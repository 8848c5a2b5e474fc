"""Routes that read: packages, balance, usage, prices, estimates, runs, calls, transactions and explanations."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, TypeAdapter
from starlette.responses import Response

from callfare.engine import shapes
from callfare.ids import account_text
from callfare.server.caller import Caller, read
from callfare.server.routing import Routes, answer, answer_facts
from callfare.server.rules import API
from callfare.server.wire import answered, asked, calls

UserId = Annotated[str | None, Query(alias="userId", description="Left out, the user whom the credential is bound to.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=8192, description="The nextCursor of the page before.")]

_PRICE = TypeAdapter(asked.PriceQuestion)
_RECENT = 10


async def list_packages(caller: Caller) -> Response:
    """List what is for sale: packages of credits, and plans with credits each month."""
    return answer(answered.Packages.of(caller.engine.reports.packages()))


async def get_balance(caller: Caller, user_id: UserId = None) -> Response:
    """Tell what a user has: posted, held, spent in open runs, available, and debt."""
    balance = caller.engine.reports.balance_in(caller.one_user(user_id), caller.account)
    return answer_facts(answered.balance_facts(balance))


async def get_usage(
    caller: Caller,
    *,
    user_id: UserId = None,
    period: Annotated[
        str, Query(description="day, week or month, which are the last 24 hours, 7 and 30 days; or all.")
    ] = "month",
    since: Annotated[AwareDatetime | None, Query(description="In place of a period: from then on.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="In place of now: before then.")] = None,
    time_zone: Annotated[str, Query(alias="timeZone", description="Whose days byDay tells of.")] = "UTC",
) -> Response:
    """Tell a user's balance, and their spending in a period: in total, by workflow, by model with units, by day."""
    user, reports = caller.one_user(user_id), caller.engine.reports

    def find() -> answered.Usage:
        report = reports.usage(user, period, since=since, until=until, tz=time_zone)
        recent = reports.history(user, _RECENT, None)
        return answered.Usage.of(report, period=period, balance=reports.balance(user), recent=recent.items)

    return answer(await caller.engine.read_async(find))


async def list_transactions(
    caller: Caller, user_id: UserId = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the transfers of a user's credit, newest first."""
    user, reports = caller.one_user(user_id), caller.engine.reports
    page = await caller.engine.read_async(lambda: reports.transactions(user, limit, cursor))
    return answer(
        calls.Transactions(
            transactions=[calls.Transaction.of(item) for item in page.items], next_cursor=page.next_cursor
        )
    )


async def get_estimate(
    caller: Caller,
    workflow_type: Annotated[str, Query(alias="workflowType", max_length=255)],
    user_id: UserId = None,
) -> Response:
    """Tell what a run of a workflow is expected to cost, and what the user's past runs have cost."""
    user, reports = caller.user(user_id), caller.engine.reports
    return answer(calls.Estimate.of(await caller.engine.read_async(lambda: reports.estimate(workflow_type, user))))


async def price_call(caller: Caller) -> Response:
    """Tell what a call would cost, line by line, without any effect."""
    question, reports = read(_PRICE, await caller.body()), caller.engine.reports
    found = await caller.engine.read_async(
        lambda: reports.price(
            question.model, question.usage, question.attributes, question.at, provider=question.provider
        )
    )
    return answer(calls.Price.of(found))


async def list_runs(caller: Caller, user_id: UserId = None, limit: Limit = 10, cursor: Cursor = None) -> Response:
    """List a user's runs, newest first."""
    user, reports = caller.one_user(user_id), caller.engine.reports
    page = await caller.engine.read_async(lambda: reports.history(user, limit, cursor))
    return answer(answered.Runs(runs=[answered.Run.of(run) for run in page.items], next_cursor=page.next_cursor))


async def get_run(caller: Caller, user_id: UserId = None) -> Response:
    """Tell how a run stands."""
    user, run_id, engine = caller.user(user_id), caller.path("run_id"), caller.engine
    row = await engine.glance_async(lambda: engine.reports.find_run(run_id, user))
    run = answered.Run.of(shapes.run(row, engine.clock.now_us()))
    return answer(answered.KnownRun(**run.model_dump(by_alias=False), account_id=account_text(row.account_id)))


async def list_calls(caller: Caller, user_id: UserId = None, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List a run's calls in their order."""
    user, run_id, reports = caller.user(user_id), caller.path("run_id"), caller.engine.reports
    page = await caller.engine.read_async(lambda: reports.calls(run_id, user, limit, cursor))
    return answer(calls.Calls(calls=[calls.Call.of(call) for call in page.items], next_cursor=page.next_cursor))


async def explain_charge(caller: Caller, user_id: UserId = None) -> Response:
    """Tell everything behind a charge: raw usage, prices, arithmetic, run, transfers, lots and payments."""
    user, charge, reports = caller.user(user_id), caller.path("charge_id"), caller.engine.reports
    return answer(calls.Explanation.of(await caller.engine.read_async(lambda: reports.explain(charge, user))))


def add_reading(routes: Routes) -> None:
    """Add the routes that read."""
    routes.add("GET", f"{API}/packages", list_packages, answers=answered.Packages)
    routes.add("GET", f"{API}/balance", get_balance, answers=answered.Balance, has_account=True, is_hot=True)
    routes.add("GET", f"{API}/usage", get_usage, answers=answered.Usage)
    routes.add("GET", f"{API}/transactions", list_transactions, answers=calls.Transactions)
    routes.add("GET", f"{API}/estimate", get_estimate, answers=calls.Estimate)
    routes.add("POST", f"{API}/price", price_call, answers=calls.Price, asks=_PRICE)
    routes.add("GET", f"{API}/runs", list_runs, answers=answered.Runs)
    routes.add("GET", f"{API}/runs/{{run_id}}", get_run, answers=answered.KnownRun)
    routes.add("GET", f"{API}/runs/{{run_id}}/calls", list_calls, answers=calls.Calls)
    routes.add("GET", f"{API}/charges/{{charge_id}}", explain_charge, answers=calls.Explanation)
