"""The command about prices: what is in force, what it is beside the catalogue, and how it changes."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callfare.checks import check_choice, check_text
from callfare.cli import given, price_stories, show
from callfare.cli.session import Session
from callfare.cli.setting_prices import Told, set_adjustment, set_prices
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callfare.engine.engine import Engine

_ACTIONS = ("list", "show", "diff", "check", "update", "set")
_OPTIONS = {
    "list": {"MODEL", "--provider"},
    "show": {"MODEL", "--provider", "--at"},
    "diff": {"MODEL", "--at", "--days"},
    "check": {"--days"},
    "update": {"--file", "--days"},
    "set": {"MODEL", "--provider", "--attr", "--source", "--from", "--until", "--discount", "--surcharge"},
}
"""What each action takes; what it would pass over is refused."""
_Attr = Annotated[
    list[str] | None, typer.Option("--attr", metavar="NAME=VALUE", help="With set: what selects the rate.")
]
_Source = Annotated[
    str | None, typer.Option("--source", metavar="TEXT", help="With set: the page or contract it was read from.")
]
_Begins = Annotated[
    str | None, typer.Option("--from", metavar="DAY", help="With set: the first day, UTC; the rate before it ends.")
]
_Ends = Annotated[
    str | None, typer.Option("--until", metavar="DAY", help="With set: the first day without the discount.")
]
_Discount = Annotated[
    str | None,
    typer.Option("--discount", metavar="SHARE", help="With set: off all that a provider lists, such as 15%."),
]
_Surcharge = Annotated[
    str | None, typer.Option("--surcharge", metavar="SHARE", help="With set: added to all that a provider lists.")
]
_DAYS = 30
_DAYS_MAX = 3660
_DAY_US = 24 * 3600 * 1_000_000


def prices(
    session: Session,
    action: Annotated[str, typer.Argument(metavar="[ACTION]", help="list, show, diff, check, update or set.")] = "list",
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="With show and set a model; with list and diff a part of one."),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METER=USD/PER...]",
            help="With set: dollars for so many, input_tokens=0.25/1000000; after an @ when, images=0.25@quality=high.",
        ),
    ] = None,
    *,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Whose model, where several sell it.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="With show and diff: what was in force then.")
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", metavar="DAYS", help=f"With diff, check and update: how far back calls are looked at; {_DAYS}."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="With update: where the catalogue is written.")
    ] = None,
    attr: _Attr = None,
    source: _Source = None,
    begins: _Begins = None,
    ends: _Ends = None,
    discount: _Discount = None,
    surcharge: _Surcharge = None,
) -> None:
    """List prices, show one, compare them with the catalogue, or change them.

    Nothing changes by itself: `check` tells what a newer catalogue would change and for which past calls, `update`
    accepts it for this ledger, `set` writes into the book named with --book.
    """
    action = check_choice(action, "action", _ACTIONS)
    for name, text in (("model", model), ("provider", provider)):
        if text is not None:
            check_text(text, name)
    if rate and action != "set":
        raise InvalidInput(f"{action} takes no rate; `callfare prices set MODEL {rate[0]}` does", param="rate")
    said = {
        "MODEL": model, "--provider": provider, "--at": at, "--days": days, "--file": file, "--attr": attr,
        "--source": source, "--from": begins, "--until": ends, "--discount": discount, "--surcharge": surcharge,
    }  # fmt: skip
    _pass_over_nothing(action, said)
    if action == "list":
        _list(session, model, provider)
    elif action == "show":
        _show(session, model, provider, at)
    elif action == "diff":
        _diff(session, model, at, _checked(days))
    elif action == "check":
        _check(session, _checked(days))
    elif action == "update":
        _update(session, file, _checked(days))
    else:
        told = Told(provider=provider, source=source, begins=begins)
        if discount is not None or surcharge is not None:
            set_adjustment(session, model, attr or [], told, discount=discount, surcharge=surcharge, ends=ends)
        else:
            set_prices(session, model, rate or [], attr or [], told, ends=ends)


def _pass_over_nothing(action: str, said: Mapping[str, object]) -> None:
    """Refuse an option that an action does not take. said: the options by name, None or empty where not given."""
    for option, value in said.items():
        if value is not None and value != [] and option not in _OPTIONS[action]:
            takers = [other for other in _ACTIONS if option in _OPTIONS[other]]
            does = f"{show.listed(takers)} {'do' if len(takers) > 1 else 'does'}"
            raise InvalidInput(f"{action} takes no {option}; {does}", param=option.strip("-").lower())


def _checked(days: int | None) -> int:
    if days is None:
        return _DAYS
    if not 0 <= days <= _DAYS_MAX:
        raise InvalidInput(f"days is {days}; give 0 to {_DAYS_MAX}", param="days")
    return days


def _list(session: Session, model: str | None, provider: str | None) -> None:
    from callfare.engine.price_list import priced
    from callfare.engine.price_review import listed

    with session.engine() as engine:
        found = priced(engine.settings.book, model or "", provider, engine.clock.now_us())
        sellers = {row.provider for row in listed(engine.settings.book)} if provider and not found else set[str]()
    if provider and not found and provider.casefold() not in map(str.casefold, sellers):
        near = difflib.get_close_matches(provider.casefold(), sellers, n=1)
        step = f"did you mean {near[0]}?" if near else "`callfare prices list` names whose there are"
        raise InvalidInput(f"no price book has prices of {provider[:64]!r}; {step}", param="provider")
    session.answer({"models": found}, lambda screen: price_stories.listed(screen, found))


def _show(session: Session, model: str | None, provider: str | None, at: str | None) -> None:
    from callfare.clock import instant_of
    from callfare.engine.near import unpriced
    from callfare.engine.price_review import shown

    if model is None:
        raise InvalidInput("show which model? `callfare prices list` names them", param="model")
    with session.engine() as engine:
        at_us = engine.clock.now_us() if at is None else instant_of(given.moment(at, "at"), "at")
        book = engine.settings.book
        found = shown(book, model, provider, at_us)
        reason = book.absence(model, provider=provider, at_us=at_us)
    if not found:
        raise unpriced(book, model, provider=provider, at_us=at_us, reason=reason)
    session.answer({"prices": found}, lambda screen: price_stories.shown(screen, found, reason))


def _diff(session: Session, model: str | None, at: str | None, days: int) -> None:
    from callfare.clock import instant_of
    from callfare.engine import price_review

    with session.engine() as engine:
        book = engine.settings.book
        at_us = engine.clock.now_us() if at is None else instant_of(given.moment(at, "at"), "at")
        found = price_review.beside_catalogue(book, at_us, model or "")
        lower = price_review.without_seed(book)
        past = list(price_review.traffic(engine, lower, _since_us(engine, days)))
        shares = price_review.adjustments(book, at_us)
    answer = {
        "edition": book.edition, "other_edition": lower.edition, "differences": found, "traffic": past,
        "adjustments": shares,
    }  # fmt: skip
    session.answer(answer, lambda screen: price_stories.diff(screen, found, past, days, shares))


def _check(session: Session, days: int) -> None:
    from callfare.engine.price_review import review
    from callfare.engine.price_update import candidate

    with session.engine() as engine:
        _refuse_without_catalogue(engine)
        found = review(engine, candidate(engine), _since_us(engine, days))
    step = session.command("prices", "update")
    session.answer(found, lambda screen: price_stories.review(screen, found, days, next_step=step))


def _update(session: Session, file: Path | None, days: int) -> None:
    from callfare.engine.price_review import review
    from callfare.engine.price_update import accept, candidate, place_of_catalogue
    from callfare.pricing.edition import Catalogue

    with session.engine() as engine:
        place = place_of_catalogue(engine, file)
        _refuse_without_catalogue(engine)
        new = candidate(engine)
        found = review(engine, new, _since_us(engine, days))
        # Where nothing changes, nobody read a price anew: the dates stay too.
        same = [layer for layer in engine.settings.book.layers if isinstance(layer, Catalogue)]
        accept(next((layer for layer in same if layer.edition == new.edition), new), place)
    answer = {"file": str(place), "review": found}
    session.answer(answer, lambda screen: price_stories.updated(screen, found, days, place, is_named=file is not None))


def _since_us(engine: Engine, days: int) -> int:
    return engine.clock.now_us() - days * _DAY_US


def _refuse_without_catalogue(engine: Engine) -> None:
    from callfare.pricing.edition import Catalogue

    if not any(isinstance(layer, Catalogue) for layer in engine.settings.book.layers):
        raise InvalidInput("this ledger is opened without a catalogue, so there is none to update", param="catalogue")
