"""Commands that write: make a ledger, grant credit, rate again what had no price."""

from __future__ import annotations

from typing import Annotated

import typer

from callfare.cli import given, stories
from callfare.cli.reading import UserArgument
from callfare.cli.session import Session
from callfare.errors import LedgerUnavailable


def init(session: Session) -> None:
    """Make the ledger if there is none, and say where it is."""
    session.refuse_passing()
    with session.engine() as engine:
        is_new = engine.store.create()
        facts = engine.store.facts()
    path = facts.url.removeprefix("sqlite:///")
    said = "made a new ledger at" if is_new else "there is a ledger at"
    answer = {"path": path, "url": facts.url, "schema_version": facts.schema_version, "is_new": is_new}
    session.answer(answer, lambda screen: screen.line(f"{said} {path}"))


def grant(
    session: Session,
    user: UserArgument,
    credits: Annotated[
        str, typer.Argument(metavar="CREDITS", help="How many, such as 2000 or 18.5.", show_default=False)
    ],
    *,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Names this grant for ever; repeating it grants nothing more."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="SOURCE", help="purchase, promo, plan or adjustment.")
    ] = "adjustment",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="When what is left expires: a date or a time.")
    ] = None,
) -> None:
    """Give a user credit. Makes the ledger if there is none."""
    from callfare.ids import new_id

    used_key = new_id("grant") if key is None else key
    amount = given.credits_text(credits)
    expires_at = None if expires is None else given.moment(expires, "expires")
    session.refuse_passing()
    with session.fare() as fare:
        try:
            receipt = fare.grant(
                user,
                amount,
                key=used_key,
                source=source,  # type: ignore[arg-type]  # the façade checks it
                expires_at=expires_at,
            )
        except LedgerUnavailable as error:
            # Whether it was written is not known; with its key the grant can be repeated safely.
            error.message = f"{error.message}: --key {used_key}"
            raise
    session.answer(receipt, lambda screen: stories.grant(screen, receipt))


def reprice(session: Session) -> None:
    """Rate and charge what had no price when it was called."""
    with session.fare() as fare:
        found = fare.reprice()
    session.answer(found, lambda screen: stories.repriced(screen, found, session.command("doctor")))
