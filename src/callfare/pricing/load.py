"""Reads price books from TOML. Refuses whatever a person could mistake for a price; each error names file and line.

Refused: amounts that are not plain decimal text, `per` below one, unknown meters and keys, rates outside the basis,
a basis without rates, missing sources, impossible dates, duplicate models, and rates that would apply at the same time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from callfare.clock import instant_of
from callfare.errors import InvalidTime, PriceBookInvalid
from callfare.pricing.book import PriceBook
from callfare.pricing.hours import are_hours, minutes_of
from callfare.pricing.layer import Layer
from callfare.pricing.locate import line_of
from callfare.pricing.overlaps import first_overlap
from callfare.pricing.rates import Adjustment, ModelPrices, Rate
from callfare.pricing.timeline import DAY_S
from callfare.usage.meters import LINEAGE, METERS

_BOOK_KEYS = {"book", "description", "model", "adjustment"}
_MODEL_KEYS = {"provider", "name", "names", "basis", "otherwise", "source", "checked", "rate", "derived", "ordinary"}
_RATE_KEYS = {"meter", "per", "usd", "from", "until", "attributes", "above_input_tokens", "daily", "minimum"}
_ADJUSTMENT_KEYS = {"provider", "discount", "surcharge", "source", "checked", "from", "until"}
_DERIVED_KEYS = {"from", "values"}
_PER_MAX = 10**12
_SHOWN_LENGTH_MAX = 80
_USD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", re.ASCII)
_PERCENT_MAX = 100
_ALL_TIMES_US = 2**63
_BOOK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_Value = TypeVar("_Value")


@cache
def seed_book() -> PriceBook:
    """Return the price table that callfare was specified with: it stands above all others that are shipped."""
    return load_book(_shipped("seed.toml"), name="books/seed.toml")


@cache
def media_layer() -> Layer:
    """Return the rates that the catalogue lacks: images, video, speech, transcripts, and models that were retired."""
    return load_layer(_shipped("media.toml"), name="books/media.toml")


def _shipped(name: str) -> str:
    return files("callfare.pricing").joinpath("books", name).read_text(encoding="utf-8")


def load_book(source: Path | str, *, layer: str | None = None, name: str | None = None) -> PriceBook:
    """Return the price book in a file, or in TOML text, as a book of one layer.

    layer: the layer's name; the book's own when None. name: what errors call the text; the path of a file when None.

    Raises PriceBookInvalid, naming file and line.
    """
    return PriceBook([load_layer(source, layer=layer, name=name)])


def load_layer(source: Path | str, *, layer: str | None = None, name: str | None = None) -> Layer:
    """Return the price book in a file, or in TOML text, as a layer to be put above or below others.

    Raises PriceBookInvalid, naming file and line.
    """
    if isinstance(source, str):
        return _Reader(source, name or "price book").layer(layer)
    shown = name or str(source)
    try:
        # Some editors put a mark before the text.
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PriceBookInvalid(f"{shown}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise PriceBookInvalid(f"{shown} cannot be read: {error.strerror}") from error
    return _Reader(text, shown).layer(layer)


class _Reader:
    """One price book being read. Every refusal is placed on the line of the key that causes it."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        # The parser counts and joins lines this way too, so that lines here are lines there.
        self._lines_text = text.replace("\r\n", "\n")

    def layer(self, name: str | None) -> Layer:
        table = self._parsed()
        self._only(table, _BOOK_KEYS, ())
        own_name = self._text_at(table, "book", ())
        if not _BOOK_NAME.fullmatch(name or own_name):
            self._refuse(("book",), f"book is {name or own_name!r}; use lower-case letters, digits, '.', '_' and '-'")
        if "description" in table:
            self._text_at(table, "description", ())
        adjustments = self._adjustments(table)
        # A book may do with adjustments alone.
        rows = self._rows(table, "model", ()) if "model" in table or not adjustments else []
        models = [self._model(row, ("model", index)) for index, row in enumerate(rows)]
        seen: set[tuple[str, str]] = set()
        for index, prices in enumerate(models):
            for name_taken in (prices.model, *prices.names):
                key = (prices.provider.casefold(), name_taken.casefold())
                if key in seen:
                    self._refuse(("model", index, "name"), f"{name_taken} of {prices.provider} stands twice")
                seen.add(key)
        return Layer(name or own_name, models, adjustments)

    def _parsed(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            line = int(place[1]) if place else self._lines_text.count("\n") + 1
            raise PriceBookInvalid(f"{self._name}, line {line}: not TOML: {error}") from None
        except (ValueError, RecursionError) as error:
            raise PriceBookInvalid(f"{self._name}, line 1: not TOML that can be read: {error}") from None

    def _adjustments(self, table: Mapping[str, Any]) -> list[Adjustment]:
        rows = self._rows(table, "adjustment", ()) if "adjustment" in table else []
        found = [self._adjustment(row, ("adjustment", index)) for index, row in enumerate(rows)]
        taken: dict[str, list[int]] = {}
        for number, one in enumerate(found):
            taken.setdefault(one.provider.casefold(), []).append(number)
        for numbers in taken.values():
            numbers.sort(key=lambda number: _bounds(found[number]))
            for before, after in pairwise(numbers):
                if _bounds(found[before])[1] > _bounds(found[after])[0]:
                    self._refuse(
                        ("adjustment", max(before, after)),
                        f"this adjustment of {found[after].provider} overlaps another; end one where the other begins",
                    )
        return found

    def _adjustment(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> Adjustment:
        self._only(row, _ADJUSTMENT_KEYS, path)
        kinds = [kind for kind in ("discount", "surcharge") if kind in row]
        if len(kinds) != 1:
            self._refuse(path, "an adjustment is either a discount or a surcharge; give one of the two")
        kind = kinds[0]
        text = self._text_at(row, kind, path)
        parts = _PERCENT.fullmatch(text)
        if parts is None or Decimal(parts[1]) > _PERCENT_MAX:
            self._refuse((*path, kind), f"{kind} is {_shown(text)}; give a share from 0% to {_PERCENT_MAX}%")
        percent = Decimal(parts[1])
        from_us, until_us = self._span(row, path)
        return Adjustment(
            provider=self._text_at(row, "provider", path),
            percent=percent.copy_negate() if kind == "discount" and percent else percent,
            source=self._text_at(row, "source", path),
            checked=self._day(row, path),
            from_us=from_us,
            until_us=until_us,
        )

    def _span(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[int | None, int | None]:
        """Return the first instant at which something holds and the first at which it no longer does."""
        from_us, until_us = self._instant(row, "from", path), self._instant(row, "until", path)
        if from_us is not None and until_us is not None and from_us >= until_us:
            self._refuse((*path, "until"), "until is not after from")
        return from_us, until_us

    def _model(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> ModelPrices:
        self._only(row, _MODEL_KEYS, path)
        basis = self._basis(self._at(row, "basis", list, path), (*path, "basis"))
        otherwise = self._otherwise(row, path)
        billed = [*basis, *(meter for instead in otherwise for meter in instead)]
        rows = self._rows(row, "rate", path)
        rates = [self._rate(rate, (*path, "rate", index), billed) for index, rate in enumerate(rows)]
        rated = {rate.meter for rate in rates if rate.above is None}
        for meter in billed:
            if meter not in rated:
                self._refuse((*path, "basis"), f"the basis names {meter}, which has no rate")
        self._no_overlaps(rates, path)
        ordinary = self._ordinary(row, path)
        return ModelPrices(
            provider=self._text_at(row, "provider", path),
            model=self._text_at(row, "name", path),
            basis=basis,
            rates=tuple(rates),
            source=self._text_at(row, "source", path),
            checked=self._day(row, path),
            derived=self._derived(row, rates, ordinary, path),
            ordinary=ordinary,
            otherwise=otherwise,
            names=self._names(row, path),
        )

    def _names(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[str, ...]:
        names = row.get("names", [])
        if not isinstance(names, list) or not all(
            isinstance(name, str) and name.strip() and name.isprintable() for name in names
        ):
            self._refuse((*path, "names"), "names is not a list of other names of the model, in printable text")
        return tuple(names)

    def _otherwise(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[tuple[str, ...], ...]:
        place = (*path, "otherwise")
        bases = row.get("otherwise", [])
        if not isinstance(bases, list) or not all(isinstance(basis, list) for basis in bases):
            self._refuse(place, 'otherwise is not a list of lists of meters, such as [["characters"]]')
        return tuple(self._basis(basis, place) for basis in bases)

    def _ordinary(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> dict[str, tuple[str, ...]]:
        """Return the values of attributes that select nothing, in lower case."""
        place = (*path, "ordinary")
        table = row.get("ordinary", {})
        if not isinstance(table, dict):
            self._refuse(place, "ordinary is not a table")
        for name, values in table.items():
            if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
                self._refuse((*place, name), f"ordinary.{name} is not a list of texts")
        return {name: tuple(value.casefold() for value in values) for name, values in table.items()}

    def _basis(self, basis: list[Any], place: tuple[str | int, ...]) -> tuple[str, ...]:
        if not basis:
            self._refuse(place, "the basis is empty; name the meters the model is billed by")
        for meter in basis:
            self._known_meter(meter, place)
        for meter in basis:
            if basis.count(meter) > 1:
                self._refuse(place, f"the basis names {meter} twice")
            for whole in LINEAGE[meter][1:]:
                if whole in basis:
                    self._refuse(place, f"the basis names {meter} and {whole}, which includes it; name {whole} only")
        return tuple(basis)

    def _rate(self, row: Mapping[str, Any], path: tuple[str | int, ...], basis: Collection[str]) -> Rate:
        self._only(row, _RATE_KEYS, path)
        meter = self._known_meter(self._at(row, "meter", str, path), (*path, "meter"))
        if not set(LINEAGE[meter]) & set(basis):
            self._refuse(
                (*path, "meter"), f"{meter} is outside the basis, {', '.join(basis)}, and would never be billed"
            )
        per = self._at(row, "per", int, path)
        if not 1 <= per <= _PER_MAX:
            self._refuse((*path, "per"), f"per is {_shown(per)}; give a whole number from 1 to 10^12")
        from_us, until_us = self._span(row, path)
        return Rate(
            meter=meter,
            usd=self._usd(row, path),
            per=per,
            attributes=self._texts(row.get("attributes", {}), (*path, "attributes")),
            from_us=from_us,
            until_us=until_us,
            above=self._above(row, path),
            daily=self._daily(row, path),
            minimum=self._minimum(row, meter, path),
        )

    def _above(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> int | None:
        if "above_input_tokens" not in row:
            return None
        above = self._at(row, "above_input_tokens", int, path)
        if not 1 <= above <= _PER_MAX:
            self._refuse(
                (*path, "above_input_tokens"), f"above_input_tokens is {_shown(above)}; give a whole number above 0"
            )
        return above

    def _minimum(self, row: Mapping[str, Any], meter: str, path: tuple[str | int, ...]) -> int | None:
        """Return the least that a call is billed for; of a meter with parts that would be said of each part."""
        if "minimum" not in row:
            return None
        minimum = self._at(row, "minimum", int, path)
        place = (*path, "minimum")
        if not 1 <= minimum <= _PER_MAX:
            self._refuse(place, f"minimum is {_shown(minimum)}; give a whole number from 1 to 10^12")
        if any(one.parent == meter for one in METERS.values()):
            self._refuse(place, f"{meter} has parts, which are billed one by one; a minimum is for a meter without any")
        return minimum

    def _daily(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[int, int] | None:
        """Return the hours of the UTC day in which a rate holds, as seconds."""
        if "daily" not in row:
            return None
        hours = self._at(row, "daily", list, path)
        if len(hours) != 2 or not are_hours(*hours):  # noqa: PLR2004 - a pair
            self._refuse((*path, "daily"), 'daily is no pair of hours in UTC, such as ["16:30", "00:30"]')
        begin, end = (minutes_of(hour) * 60 for hour in hours)
        return begin % DAY_S, end

    def _usd(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> Decimal:
        usd = self._at(row, "usd", str, path)
        if not _USD.fullmatch(usd):
            fault = "is negative" if re.fullmatch(r"-[0-9.]+", usd) else 'is not a plain decimal such as "0.15"'
            self._refuse(
                (*path, "usd"),
                f"usd {usd!r} {fault}; write dollars with at most 9 digits before and 18 after the point",
            )
        return Decimal(usd)

    def _day(self, row: Mapping[str, Any], path: tuple[str | int, ...]) -> date:
        checked = self._at(row, "checked", date, path)
        if isinstance(checked, datetime):
            self._refuse((*path, "checked"), "checked is a time; give the day, such as 2026-11-20")
        return checked

    def _instant(self, row: Mapping[str, Any], key: str, path: tuple[str | int, ...]) -> int | None:
        """Return a bound in microseconds since 1970: a day begins at midnight UTC, a time must have its zone."""
        if key not in row:
            return None
        moment = self._at(row, key, date, path)
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, time(), UTC)
        try:
            return instant_of(moment, key)
        except InvalidTime as error:
            self._refuse((*path, key), error.message)

    def _derived(
        self,
        row: Mapping[str, Any],
        rates: list[Rate],
        ordinary: Mapping[str, tuple[str, ...]],
        path: tuple[str | int, ...],
    ) -> dict[str, tuple[str, Mapping[str, str]]]:
        """Return how attributes are read from others: only into values that some rate has, or that are ordinary."""
        tables = row.get("derived", {})
        place = (*path, "derived")
        if not isinstance(tables, dict):
            self._refuse(place, "derived is not a table")
        derived: dict[str, tuple[str, Mapping[str, str]]] = {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._refuse((*place, name), f"derived.{name} is not a table")
            self._only(table, _DERIVED_KEYS, (*place, name))
            values = self._texts(self._at(table, "values", dict, (*place, name)), (*place, name, "values"))
            source = self._text_at(table, "from", (*place, name))
            if source == name or not values:
                self._refuse((*place, name), f"derived.{name} needs another attribute to read from, and values")
            rated = {rate.attributes[name] for rate in rates if name in rate.attributes} | {*ordinary.get(name, ())}
            for key, value in values.items():
                if value not in rated:
                    self._refuse((*place, name, "values", key), f"no rate has {name} {value!r}")
            derived[name] = (source, {key.casefold(): value for key, value in values.items()})
        return derived

    def _no_overlaps(self, rates: list[Rate], path: tuple[str | int, ...]) -> None:
        """Refuse two rates of a meter of which a call could meet both and neither is the more particular."""
        index = first_overlap(rates)
        if index is not None:
            self._refuse(
                (*path, "rate", index),
                f"this rate for {rates[index].meter} overlaps another; end one where the other begins",
            )

    def _known_meter(self, meter: object, path: tuple[str | int, ...]) -> str:
        if not isinstance(meter, str) or meter not in METERS:
            self._refuse(path, f"there is no meter {meter!r}; docs/reference/meters.md lists them")
        return meter

    def _texts(self, table: object, path: tuple[str | int, ...]) -> dict[str, str]:
        """Return a table of texts with its values in lower case, as reported ones are compared."""
        if not isinstance(table, dict):
            self._refuse(path, f"{path[-1]} is not a table")
        for key, value in table.items():
            if not isinstance(value, str) or not all(text and text.isprintable() for text in (key, value)):
                self._refuse((*path, key), f"{path[-1]} {key!r} must be text, printable and not empty")
        return {key: value.casefold() for key, value in table.items()}

    def _rows(self, table: Mapping[str, Any], key: str, path: tuple[str | int, ...]) -> list[dict[str, Any]]:
        rows = self._at(table, key, list, path)
        if not rows or not all(isinstance(row, dict) for row in rows):
            self._refuse((*path, key), f"{key} is not a list of tables; begin each with [[…{key}]]")
        return rows

    def _text_at(self, table: Mapping[str, Any], key: str, path: tuple[str | int, ...]) -> str:
        text = self._at(table, key, str, path)
        if not text.strip() or not text.isprintable():
            self._refuse((*path, key), f"{key} is empty or not printable")
        return text

    def _at(self, table: Mapping[str, Any], key: str, kind: type[_Value], path: tuple[str | int, ...]) -> _Value:
        """Return a required value of a kind; a boolean is not a number."""
        if key not in table:
            self._refuse(path, f"{key} is missing")
        value = table[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self._refuse((*path, key), f"{key} is {_shown(value)}; give {_KINDS[kind]}")
        return value

    def _only(self, table: Mapping[str, Any], known: Collection[str], path: tuple[str | int, ...]) -> None:
        for key in table:
            if key not in known:
                self._refuse((*path, key), f"unknown key {key!r}; known are {', '.join(sorted(known))}")

    def _refuse(self, path: tuple[str | int, ...], fault: str) -> NoReturn:
        raise PriceBookInvalid(f"{self._name}, line {line_of(self._lines_text, path)}: {fault}")


_KINDS: Mapping[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    list: "a list",
    dict: "a table",
    date: "a date without quotes, such as 2026-11-20",
}


def _shown(value: object) -> str:
    """Return a value as an error shows it, however large: Python refuses to write numbers of thousands of digits."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > _PER_MAX**2:
        return "a number of more than twenty-four digits"
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[: _SHOWN_LENGTH_MAX - 1]}…"


def _bounds(one: Adjustment) -> tuple[int, int]:
    """Return when an adjustment begins and ends; before and after all times where it has no bound."""
    return (
        -_ALL_TIMES_US if one.from_us is None else one.from_us,
        _ALL_TIMES_US if one.until_us is None else one.until_us,
    )
