"""Commands for buyers: what is for sale, where it is paid, and where payments are seen."""

from __future__ import annotations

from typing import Annotated

import typer

from callfare.cli import stories
from callfare.cli.session import Session

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)]
EmailOption = Annotated[
    str | None, typer.Option("--email", metavar="ADDRESS", help="Where Stripe writes to; what is known if not given.")
]


def packages(session: Session) -> None:
    """List what is for sale: packages of credits, and plans with credits each month."""
    with session.fare() as fare:
        found = fare.packages()
    session.answer(found, lambda screen: stories.packages(screen, found))


def checkout(
    session: Session,
    user: UserArgument,
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="A package or a plan, as `packages` lists it.", show_default=False)
    ],
    *,
    email: EmailOption = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Names this checkout; repeating it gives the same one.")
    ] = None,
) -> None:
    """Begin to buy, and say where it is paid. Credit comes once it is paid.

    Stripe is asked with STRIPE_SECRET_KEY, which `.env.local` may hold; with --server the server asks.
    """
    session.refuse_passing()
    with session.fare() as fare:
        url = fare.checkout(user, package, email=email, key=key)
    session.answer({"url": url}, lambda screen: screen.line(url))


def portal(session: Session, user: UserArgument, *, email: EmailOption = None) -> None:
    """Say where a user sees what they paid, changes their card and ends a plan. The address lasts for minutes."""
    session.refuse_passing()
    with session.fare() as fare:
        url = fare.portal(user, email=email)
    session.answer({"url": url}, lambda screen: screen.line(url))
