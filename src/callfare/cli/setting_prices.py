"""`callfare prices set`: writes rates into a book of one's own, and says what the model has lost by it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from callfare.cli import given, price_stories
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from callfare.cli.session import Session
    from callfare.pricing.edit import NewRate

_RATE = re.compile(r"([a-z_0-9]+)=([0-9]{1,9}(?:\.[0-9]{1,18})?)(?:/([0-9_]{1,16}))?(?:@(.+))?", re.ASCII)
_COUNT = re.compile(r"[0-9][0-9_]{0,15}", re.ASCII)
_ABOVE, _DAILY = "above_input_tokens", "daily"
_PER_MAX = 10**12


def set_prices(
    session: Session,
    model: str | None,
    rates: list[str],
    *,
    provider: str | None,
    attr: list[str],
    source: str | None,
    begins: str | None,
) -> None:
    """Have a model cost this from a day on, by the one book that is named."""
    from callfare.clock import SystemClock, moment_of
    from callfare.engine.price_review import lost
    from callfare.pricing.edit import with_rates
    from callfare.pricing.load import load_layer
    from callfare.pricing.shipped import shipped_layers
    from callfare.store.files import new_file, one_at_a_time

    if model is None or not rates:
        raise InvalidInput(
            "set what? `callfare prices set MODEL METER=USD/PER --provider NAME --source TEXT --book FILE`",
            param="model",
        )
    if not provider:
        raise InvalidInput(f"whose model is {model[:64]}? say it with --provider NAME", param="provider")
    if not source:
        raise InvalidInput("say where it was read, such as a page or a contract, with --source TEXT", param="source")
    if len(session.options.book) != 1:
        raise InvalidInput("name the one book to write with --book FILE; it is made where there is none", param="book")
    (book,) = session.options.book
    attributes = given.pairs(attr, "attr", "size=1024x1536")
    new = [_rate(text, attributes) for text in rates]
    now_us = SystemClock().now_us()
    with one_at_a_time(book):
        written = with_rates(
            _text_of(book),
            name=str(book),
            provider=provider,
            model=model,
            rates=new,
            source=source,
            today=moment_of(now_us).date(),
            begins=_day(begins),
        )
        layer = load_layer(written, name=str(book))
        with new_file(book.resolve(), replaces=True) as out:
            out.write(written.encode())
    below = shipped_layers(has_seed=not session.options.no_seed_prices, catalogue=None)
    found = lost(layer, below, model, provider, now_us)
    answer: Mapping[str, object] = {
        "file": str(book), "edition": layer.edition, "basis": found.basis, "below": found.below, "lacks": found.lacks
    }  # fmt: skip
    session.answer(answer, lambda screen: price_stories.rates_set(screen, book, layer.edition, found))


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


def _day(text: str | None) -> date | None:
    return None if text is None else given.moment(text, "from").date()


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
    above, daily = own.pop(_ABOVE, None), own.pop(_DAILY, None)
    for name in own.keys() & attributes.keys():
        raise InvalidInput(f"{text[:64]} says {name}, and --attr does too", param="attr")
    return NewRate(
        meter=meter,
        usd=Decimal(usd),
        per=per,
        attributes=attributes | own,
        above=None if above is None else _size(above),
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


def _size(text: str) -> int:
    above = int(text.replace("_", "")) if _COUNT.fullmatch(text) else 0
    if not 1 <= above <= _PER_MAX:
        raise InvalidInput(f"{_ABOVE} is {text[:64]!r}; give a whole number from 1 to 10^12", param="rate")
    return above


def _hours(text: str) -> tuple[str, str]:
    from callfare.pricing.hours import are_hours

    begin, _, end = text.partition("-")
    if not are_hours(begin, end):
        raise InvalidInput(f"{_DAILY} is {text[:64]!r}; give hours in UTC such as 16:30-00:30", param="rate")
    return begin, end


def _book_name(file: Path) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", file.stem.lower()).strip("-._") or "own"
