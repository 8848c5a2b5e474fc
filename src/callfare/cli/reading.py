"""Commands that read. None of them writes to a ledger or makes one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from callfare.cli import given, stories
from callfare.cli.session import Session
from callfare.clock import instant_of
from callfare.errors import ChargeNotFound, MissingAttribute, UnknownWorkflow, UnpricedModel

if TYPE_CHECKING:
    from callfare.answers import Balance, Explanation
    from callfare.callfare import Callfare
    from callfare.cli.screen import Screen

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", help="How many to show, at most 200.")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Where to go on, as an earlier page said.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)]
UsageArgument = Annotated[
    list[str],
    typer.Argument(metavar="METER=QUANTITY...", help="What was used, such as input_tokens=1200.", show_default=False),
]


_SHIPPED = "tweet, thread, carousel, story and video"


def balance(session: Session, user: UserArgument) -> None:
    """Show what a user has: available, held, spent, debt."""
    with session.fare() as fare:
        found = fare.balance(user)
        is_known = is_heard_of(fare, found)
    session.answer(found, lambda screen: stories.balance(screen, found))
    if not is_known:
        session.unheard_of(user)


def is_heard_of(fare: Callfare, balance: Balance) -> bool:
    """Whether the ledger has anything of a user: credit, a transfer, a run or a call; zeros are told of anybody."""
    user = balance.user
    if balance.posted or balance.held or balance.debt:
        return True
    return bool(fare.transactions(user, 1).items or fare.history(user, 1).items or fare.usage(user, "all").calls)


def usage(
    session: Session,
    user: UserArgument,
    *,
    period: Annotated[
        str, typer.Option("--period", metavar="PERIOD", help="day, week, month (the last 24 hours, 7, 30 days) or all.")
    ] = "month",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From this date or time on, in place of a period.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Until just before this date or time.")
    ] = None,
    tz: Annotated[str, typer.Option("--tz", metavar="ZONE", help="Whose days, such as Europe/Vienna.")] = "UTC",
) -> None:
    """Show a user's usage by workflow, model and day."""
    from callfare.engine.usage_report import zone_of

    zone = zone_of(tz)
    with session.fare() as fare:
        found = fare.usage(
            user,
            period,  # type: ignore[arg-type]  # the façade checks it
            since=None if since is None else given.moment(since, "since", zone),
            until=None if until is None else given.moment(until, "until", zone),
            tz=tz,
        )
    session.answer(found, lambda screen: stories.usage(screen, found, session.command("doctor")))


def history(session: Session, user: UserArgument, limit: LimitOption = 10, cursor: CursorOption = None) -> None:
    """List a user's runs and what they cost, newest first."""
    with session.fare() as fare:
        page = fare.history(user, limit, cursor)
    session.answer(page, lambda screen: stories.history(screen, user, page))
    session.more(page.next_cursor, "history", "--limit", str(limit), operand=user)


def calls(
    session: Session,
    run: RunArgument,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="Whose run, where several users have one of this id."),
    ] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List the calls of a run, each with its charge."""
    with session.fare() as fare:
        page = fare.calls(run, user=user, limit=limit, cursor=cursor)
    session.answer(page, lambda screen: stories.calls(screen, run, page))
    whose = [] if user is None else [f"--user={user}"]
    session.more(page.next_cursor, "calls", "--limit", str(limit), *whose, operand=run)


def transactions(session: Session, user: UserArgument, limit: LimitOption = 20, cursor: CursorOption = None) -> None:
    """List every transfer of a user's credit, newest first."""
    with session.fare() as fare:
        page = fare.transactions(user, limit, cursor)
    session.answer(page, lambda screen: stories.transactions(screen, user, page))
    session.more(page.next_cursor, "transactions", "--limit", str(limit), operand=user)


def estimate(
    session: Session,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="tweet, thread, carousel, story or video.", show_default=False)
    ],
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Show beside it what this user's runs have cost.")
    ] = None,
) -> None:
    """Show what a run of a workflow is expected to cost."""
    with session.fare() as fare:
        try:
            found = fare.estimate(workflow, user=user)
        except UnknownWorkflow:
            raise UnknownWorkflow(
                f"the command line knows no workflow {workflow!r}: it knows those that come with callfare, {_SHIPPED}; "
                "others stand in the file that CALLFARE_WORKFLOWS_FILE names, or in an application's own code",
                param="workflow",
            ) from None
    session.answer(found, lambda screen: stories.estimate(screen, user, found))


def price(
    session: Session,
    model: ModelArgument,
    usage: UsageArgument,
    attr: Annotated[
        list[str] | None,
        typer.Option("--attr", metavar="NAME=VALUE", help="What selects among rates, such as size=1024x1536."),
    ] = None,
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="At the rates of this date or time.")] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Whose price, where several sell the model.")
    ] = None,
) -> None:
    """Show what a call would cost, line by line."""
    used = given.pairs(usage, "usage", "input_tokens=1200")
    attributes = given.pairs(attr or (), "attr", "size=1024x1536")
    instant = None if at is None else given.moment(at, "at")
    with session.fare() as fare:
        try:
            found = fare.price(model, used, attributes=attributes, at=instant, provider=provider)
        except MissingAttribute as error:
            example = _value_with_a_rate(session, model, provider, instant, error.param or "")
            raise MissingAttribute(f"{error.message}, such as --attr {example}", param=error.param) from None
        except UnpricedModel as error:
            if provider is not None or error.param != "provider":
                raise
            step = "name one with --provider"
            raise UnpricedModel(error.model, reason=error.reason, step=step, param="provider") from None
    session.answer(found, lambda screen: stories.price(screen, found))


def explain(
    session: Session,
    charge: Annotated[
        str, typer.Argument(metavar="CHARGE", help="The charge's id, as `callfare calls` shows it.", show_default=False)
    ],
) -> None:
    """Tell a charge's story, from raw usage to card payment."""
    with session.fare() as fare:
        try:
            found = fare.explain(charge)
        except ChargeNotFound:
            _check_ledger(session)
            raise
    session.answer(found, lambda screen: _explained(screen, session, found))


def _explained(screen: Screen, session: Session, found: Explanation) -> None:
    from callfare.cli.charge_story import charge_story

    call = found.call
    charge_story(
        screen,
        found,
        reprice=session.reprice(),
        prices=session.showing_prices(call.model, provider=call.provider, at=call.at),
        unopened=session.unopened(call.edition),
    )


def _value_with_a_rate(session: Session, model: str, provider: str | None, at: datetime | None, name: str) -> str:
    """Return an attribute with a value that a model's price has a rate for: `size=1024x1024`."""
    with session.engine() as engine:
        at_us = engine.clock.now_us() if at is None else instant_of(at, "at")
        entry = engine.settings.book.entry(model, provider=provider, at_us=at_us)
    values = sorted(row.attributes[name] for row in (entry.rates if entry else ()) if name in row.attributes)
    return f"{name}={values[0] if values else 'VALUE'}"


def _check_ledger(session: Session) -> None:
    """Return when there is a ledger at all: an id that cannot be one is refused before any ledger is opened.

    Raises LedgerNotFound.
    """
    from callfare.store.protocol import UserOf

    with session.engine() as engine:
        if engine.elsewhere is None:
            engine.store.select(UserOf(account_id=0))
