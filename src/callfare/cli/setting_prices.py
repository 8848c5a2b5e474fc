"""`callfare prices set`: writes rates and discounts into a book of one's own, and says what that does to its models."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from callfare.cli import given, price_stories
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from callfare.cli.session import Session
    from callfare.pricing.book import PriceBook
    from callfare.pricing.edit import NewRate
    from callfare.pricing.layer import Layer

_RATE = re.compile(r"([a-z_0-9]+)=([0-9]{1,9}(?:\.[0-9]{1,18})?)(?:/([0-9_]{1,16}))?(?:@(.+))?", re.ASCII)
_SHARE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?%", re.ASCII)
_COUNT = re.compile(r"[0-9][0-9_]{0,15}", re.ASCII)
_ABOVE, _DAILY, _MINIMUM = "above_input_tokens", "daily", "minimum"
_PER_MAX = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Whose prices are set, where that was read, and from which day on, as it was typed; None where it was not."""

    provider: str | None
    source: str | None
    begins: str | None


def set_prices(
    session: Session, model: str | None, rates: list[str], attr: list[str], told: Told, *, ends: str | None
) -> None:
    """Have a model cost this from a day on, by the one book that is named."""
    from callfare.clock import SystemClock
    from callfare.engine.price_review import lost
    from callfare.pricing.edit import with_rates
    from callfare.pricing.shipped import shipped_layers

    if model is None or not rates:
        raise InvalidInput(
            "set what? `callfare prices set MODEL METER=USD/PER --provider NAME --source TEXT --book FILE`",
            param="model",
        )
    if ends is not None:
        raise InvalidInput("--until is for a discount; a rate ends where the next one begins", param="until")
    provider, source, book = _checked(session, told, f"whose model is {model[:64]}?")
    attributes = given.pairs(attr, "attr", "size=1024x1536")
    new = [_rate(text, attributes) for text in rates]
    now_us = SystemClock().now_us()
    layer = _written(
        book,
        lambda text, today: with_rates(
            text,
            name=str(book),
            provider=provider,
            model=model,
            rates=new,
            source=source,
            today=today,
            begins=_day(told.begins, "from"),
        ),
    )
    below = shipped_layers(has_seed=not session.options.no_seed_prices, catalogue=None)
    found = lost(layer, below, model, provider, now_us)
    answer: Mapping[str, object] = {
        "file": str(book), "edition": layer.edition, "basis": found.basis, "below": found.below, "lacks": found.lacks
    }  # fmt: skip
    session.answer(answer, lambda screen: price_stories.rates_set(screen, book, layer.edition, found))


def set_adjustment(
    session: Session,
    model: str | None,
    attr: list[str],
    told: Told,
    *,
    discount: str | None,
    surcharge: str | None,
    ends: str | None,
) -> None:
    """Have all that a provider lists cost so much less, or more, from a day on, by the one book that is named."""
    from datetime import UTC, datetime, time

    from callfare.clock import SystemClock, instant_of
    from callfare.engine.price_review import adjustment_shown, listed
    from callfare.pricing.book import PriceBook
    from callfare.pricing.edit_adjustment import NewAdjustment, with_adjustment
    from callfare.pricing.shipped import shipped_layers

    if model is not None or attr:
        what = "--attr" if model is None else model[:64]
        raise InvalidInput(
            f"a discount is for all that a provider lists, and {what} is not; set the rates of one model instead",
            param="model" if model is not None else "attr",
        )
    if discount is not None and surcharge is not None:
        raise InvalidInput("give --discount or --surcharge, one of the two", param="surcharge")
    provider, source, book = _checked(session, told, "whose prices?")
    below = PriceBook(shipped_layers(has_seed=not session.options.no_seed_prices, catalogue=None))
    kind, percent = ("surcharge", surcharge) if discount is None else ("discount", discount)
    new = NewAdjustment(
        provider=_seller(below, provider),
        kind="discount" if discount is not None else "surcharge",
        percent=_share(percent or "", kind),
        source=source,
        begins=_day(told.begins, "from"),
        ends=_day(ends, "until"),
    )
    if new.begins is not None and new.ends is not None and new.ends <= new.begins:
        raise InvalidInput(f"until {new.ends} is not after from {new.begins}", param="until")
    layer = _written(book, lambda text, today: with_adjustment(text, new, name=str(book), today=today))
    whole = PriceBook([layer, *below.layers])
    begins_us = None if new.begins is None else instant_of(datetime.combine(new.begins, time(), UTC), "from")
    # No two of one provider's begin at once.
    one = next(one for one in layer.adjustments if (one.provider, one.from_us) == (new.provider, begins_us))
    found = adjustment_shown(whole, 0, one, SystemClock().now_us())
    own = [row.model for row in listed(PriceBook([layer]), provider=new.provider)]
    answer: Mapping[str, object] = {"file": str(book), "edition": layer.edition, "adjustment": found, "own": own}
    session.answer(answer, lambda screen: price_stories.adjustment_set(screen, book, found, own))


def _checked(session: Session, told: Told, question: str) -> tuple[str, str, Path]:
    """Return what must be said of every price: whose it is, where it was read, and the book to write."""
    if not told.provider:
        raise InvalidInput(f"{question} say it with --provider NAME", param="provider")
    if not told.source:
        raise InvalidInput("say where it was read, such as a page or a contract, with --source TEXT", param="source")
    if len(session.options.book) != 1:
        raise InvalidInput("name the one book to write with --book FILE; it is made where there is none", param="book")
    (book,) = session.options.book
    return told.provider, told.source, book


def _written(book: Path, change: Callable[[str, date], str]) -> Layer:
    """Return a book after a change of its text, which is written only where it loads. change: of the text, today."""
    from callfare.clock import SystemClock, moment_of
    from callfare.pricing.load import load_layer
    from callfare.store.files import new_file, one_at_a_time

    with one_at_a_time(book):
        written = change(_text_of(book), moment_of(SystemClock().now_us()).date())
        layer = load_layer(written, name=str(book))
        with new_file(book.resolve(), replaces=True) as out:
            out.write(written.encode())
    return layer


def _seller(below: PriceBook, provider: str) -> str:
    """Return the name under which a provider's prices are listed; refuse one that lists none, which is a slip."""
    from callfare.engine.price_review import listed

    sellers = {row.provider.casefold(): row.provider for row in listed(below)}
    # Who sells others' models has prices of its own without being listed.
    sellers |= {name: name for layer in below.layers for name in layer.resellers}
    for layer in below.layers:
        if layer.provider_named(provider) in sellers:
            return sellers[layer.provider_named(provider)]
    near = difflib.get_close_matches(provider.casefold(), sellers, n=1)
    step = f"did you mean {near[0]}?" if near else "`callfare prices list` names whose there are"
    raise InvalidInput(f"no price book has prices of {provider[:64]!r}; {step}", param="provider")


def _share(text: str, what: str) -> str:
    if not _SHARE.fullmatch(text):
        raise InvalidInput(f"{what} is {text[:64]!r}; give a share such as 15% or 12.5%", param=what)
    return text


def _text_of(book: Path) -> str:
    """Return the text of a book that loads, or the beginning of one where there is none."""
    from callfare.pricing.load import load_layer
    from callfare.store.files import unusable

    try:
        if not book.exists():
            return f'book = "{_book_name(book)}"\n'
        text = book.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(error if isinstance(error, OSError) else OSError(str(error)), book, "read") from error
    load_layer(text, name=str(book))
    return text


def _day(text: str | None, what: str) -> date | None:
    """Return a day as it was typed. A time of day is refused, for what is set begins and ends with days in UTC."""
    from datetime import time

    if text is None:
        return None
    moment = given.moment(text, what)
    if moment.time() != time() or moment.utcoffset():
        raise InvalidInput(
            f"{what} is {text[:64]!r}; give a day such as 2027-01-01, which begins at midnight UTC, or write the time "
            "into the book by hand",
            param=what,
        )
    return moment.date()


def _rate(text: str, attributes: dict[str, str]) -> NewRate:
    """Return a rate from `input_tokens=0.25/1000000`, or `images=0.05` for one of what is priced one by one.

    attributes: those of all rates; what stands after an @ is this one's, its size and its hours among them.
    """
    from callfare.pricing.edit import NewRate
    from callfare.usage.quantities import check_usage

    parts = _RATE.fullmatch(text)
    if parts is None:
        raise InvalidInput(f"rate {text[:64]!r} is not of the form input_tokens=0.25/1000000", param="rate")
    meter, usd, many, selected = parts[1], parts[2], parts[3], parts[4]
    check_usage({meter: 1})
    if many is None and meter.endswith(("tokens", "characters")):
        raise InvalidInput(f"{text[:64]} is dollars for how many? such as {meter}={usd}/1000000", param="rate")
    per = 1 if many is None else int(many.replace("_", "") or "0")
    if not 1 <= per <= _PER_MAX:
        raise InvalidInput(f"per is {per}; give a whole number from 1 to 10^12", param="rate")
    own = _selecting(selected, text)
    above, daily, minimum = own.pop(_ABOVE, None), own.pop(_DAILY, None), own.pop(_MINIMUM, None)
    for name in own.keys() & attributes.keys():
        raise InvalidInput(f"{text[:64]} says {name}, and --attr does too", param="attr")
    return NewRate(
        meter=meter,
        usd=Decimal(usd),
        per=per,
        attributes=attributes | own,
        above=None if above is None else _size(above, _ABOVE),
        minimum=None if minimum is None else _size(minimum, _MINIMUM),
        daily=None if daily is None else _hours(daily),
    )


def _selecting(text: str | None, rate: str) -> dict[str, str]:
    """Return what stands after the @ of a rate, such as `size=1024x1536,quality=high`."""
    found: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals and value) or name in found:
            raise InvalidInput(
                f"{rate[:64]} says {part[:64]!r} after the @; write NAME=VALUE, parted by commas, each name once",
                param="rate",
            )
        found[name] = value
    return found


def _size(text: str, what: str) -> int:
    size = int(text.replace("_", "")) if _COUNT.fullmatch(text) else 0
    if not 1 <= size <= _PER_MAX:
        raise InvalidInput(f"{what} is {text[:64]!r}; give a whole number from 1 to 10^12", param="rate")
    return size


def _hours(text: str) -> tuple[str, str]:
    from callfare.pricing.hours import are_hours

    begin, _, end = text.partition("-")
    if not are_hours(begin, end):
        raise InvalidInput(f"{_DAILY} is {text[:64]!r}; give hours in UTC such as 16:30-00:30", param="rate")
    return begin, end


def _book_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", file.stem.lower()).strip("-._") or "own"
