"""The catalogue as it was accepted: one file of many providers' prices, read when a model is first asked for in it.

The file is made by catalog.py and named by a hash of what it says: its first line tells the edition and how names of
providers and models are meant, each further line is a model. Opening it reads the first line only; a model's rates are
read when that model is priced. Refuses a file whose lines are not those its edition was named after.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from callfare.clock import instant_of, moment_of
from callfare.errors import PriceBookInvalid
from callfare.pricing.layer import ANY_MODEL, Layer, forms_of
from callfare.pricing.rates import ModelPrices, Rate
from callfare.usage.meters import METERS

NAME = "catalogue"
_EDITION_DIGITS = 8
_FILE = "catalogue.jsonl"


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a catalogue says of itself, and how it is asked.

    checked: the day it was made. made_from: the release of its source. attributes: those that some rate depends on.
    provider_names: other names of providers. makers: patterns of models' names, each with the provider that makes them,
    which decides where none is named. stand_ins: a provider, and those whose models it sells at their ordinary rates.
    derived, ordinary: those of each model that says nothing else. left_out: provider, model, and why it has no price.
    """

    edition: str
    checked: date
    made_from: str
    attributes: tuple[str, ...]
    provider_names: dict[str, str]
    makers: tuple[tuple[str, str], ...]
    stand_ins: dict[str, tuple[str, ...]]
    derived: dict[str, tuple[str, dict[str, str]]]
    ordinary: dict[str, tuple[str, ...]]
    left_out: tuple[tuple[str, str, str], ...]


class _Rate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    meter: str
    usd: Decimal
    per: int
    attributes: dict[str, str] = {}
    first_day: date | None = None
    last_day_after: date | None = None
    above: int | None = None
    daily: tuple[int, int] | None = None
    minimum: int | None = None


class _Model(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    provider: str
    model: str
    names: tuple[str, ...]
    patterns: tuple[str, ...]
    basis: tuple[str, ...]
    otherwise: tuple[tuple[str, ...], ...]
    ordinary: dict[str, tuple[str, ...]] | None
    source: str
    rates: msgspec.Raw


_header_of = msgspec.json.Decoder(Header).decode
_models_of = msgspec.json.Decoder(_Model).decode_lines
_rates_of = msgspec.json.Decoder(tuple[_Rate, ...]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class Unsaved(NamedTuple):
    """A catalogue's text that stands in no file yet."""

    text: bytes

    def open(self, _mode: str) -> BinaryIO:
        """Return its bytes as a file has them."""
        return io.BytesIO(self.text)

    def read_bytes(self) -> bytes:
        """Return its bytes."""
        return self.text

    def __str__(self) -> str:
        return "the new catalogue"


@cache
def shipped_catalogue() -> Catalogue:
    """Return the catalogue that came with this version of callfare."""
    return Catalogue(files("callfare.pricing").joinpath("books", _FILE))


class Catalogue(Layer):
    """The layer of an accepted catalogue. Its models are read when the first of them is asked for.

    Raises PriceBookInvalid where the file is none, or is not what its edition was named after.
    """

    def __init__(self, file: Traversable | Path | Unsaved) -> None:
        self._file = file
        self.name = NAME
        self.adjustments = ()
        self.header = self._opened()
        self.edition = self.header.edition
        self._timelines = {}
        self._found: dict[int, ModelPrices] = {}
        self._resold: dict[tuple[str, int], ModelPrices] = {}
        self._compiled: dict[str, list[tuple[re.Pattern[str], int]]] = {}

    @cached_property
    def attribute_names(self) -> frozenset[str]:
        """The attributes that some rate depends on, or that one is derived from."""
        return frozenset(self.header.attributes)

    @cached_property
    def models(self) -> tuple[ModelPrices, ...]:  # type: ignore[override]  # read when asked for, as the rest is
        """All models of the catalogue, with their rates."""
        return tuple(self._prices(number) for number in range(len(self._rows)))

    @property
    def resellers(self) -> frozenset[str]:
        """The providers that sell others' models at those others' prices."""
        return frozenset(self.header.stand_ins)

    @property
    def size(self) -> int:
        """How many models it has prices of."""
        return len(self._rows)

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The provider and the name of each model, without reading its rates."""
        return tuple((row.provider, row.model) for row in self._rows)

    def sold_as(self, provider: str) -> frozenset[str]:
        """Return the providers, in lower case, whose models one sells: its own name, and those it sells for."""
        own = self.provider_named(provider)
        return frozenset({own, *self.header.stand_ins.get(own, ())})

    def sellers(self, model: str, provider: str | None) -> tuple[ModelPrices, ...]:
        """Return the prices of a model, one for each provider that may be meant: its maker where none is named."""
        name = model.casefold()
        if provider is not None:
            found = self._of(name, self.provider_named(provider))
            return () if found is None else (found,)
        for pattern, maker in self._makers:
            if pattern.search(name) and (found := self._of(name, maker)):
                return (found,)
        numbers = next((self._index[form] for form in forms_of(name) if form in self._index), {})
        # Who sells another's models is not meant where that other one sells it too.
        resellers = {
            seller for seller in numbers if not numbers.keys().isdisjoint(self.header.stand_ins.get(seller, ()))
        }
        return tuple(self._prices(number) for seller, number in numbers.items() if seller not in resellers)

    def provider_named(self, provider: str) -> str:
        """Return the catalogue's name of a provider, for any that others have for it."""
        return self.header.provider_names.get(provider.casefold(), provider.casefold())

    def absence(self, model: str, provider: str | None) -> str:
        """Return why a model was left out of the catalogue, as a phrase for people; empty where it was not."""
        wanted = None if provider is None else self.provider_named(provider)
        return next(
            (
                f"the catalogue leaves out {name} of {seller}: {reason}"
                for seller, name, reason in self.header.left_out
                if name in forms_of(model.casefold()) and wanted in (None, seller)
            ),
            "",
        )

    @property
    def text(self) -> bytes:
        """The whole file, once it was found to be what its edition was named after."""
        assert self._rows is not None
        return self._file.read_bytes()

    def _of(self, name: str, provider: str) -> ModelPrices | None:
        """Return what a provider takes for a model, as its own or for somebody else's that it sells."""
        own = self._own(name, provider)
        if own is not None or provider not in self.header.stand_ins:
            return own
        others = (self._own(name, other) for other in self.header.stand_ins[provider])
        found = next((prices for prices in others if prices is not None), None)
        return None if found is None else self._resold.setdefault((provider, id(found)), _resold(found, provider))

    def _own(self, name: str, provider: str) -> ModelPrices | None:
        for form in forms_of(name):
            number = self._index.get(form, {}).get(provider)
            if number is None:
                number = next((number for pattern, number in self._patterns(provider) if pattern.search(form)), None)
            if number is not None:
                return self._prices(number)
        number = self._index.get(ANY_MODEL, {}).get(provider)
        return None if number is None else self._prices(number)

    def _patterns(self, provider: str) -> Sequence[tuple[re.Pattern[str], int]]:
        if provider not in self._compiled:
            self._compiled[provider] = [
                (re.compile(pattern), number)
                for number, row in enumerate(self._rows)
                if row.provider == provider
                for pattern in row.patterns
            ]
        return self._compiled[provider]

    def _prices(self, number: int) -> ModelPrices:
        found = self._found.get(number)
        if found is None:
            try:
                # Of two threads that read it at once both get the same: timelines are known by the identity of prices.
                found = self._found.setdefault(number, self._read(self._rows[number]))
            except (msgspec.DecodeError, AssertionError) as error:
                raise PriceBookInvalid(f"{self._file} is not a catalogue: {error}") from None
        return found

    def _read(self, row: _Model) -> ModelPrices:
        ordinary = self.header.ordinary if row.ordinary is None else row.ordinary
        return ModelPrices(
            provider=row.provider,
            model=row.model,
            basis=row.basis,
            otherwise=row.otherwise,
            rates=tuple(_rate_of(rate) for rate in _rates_of(row.rates)),
            source=row.source,
            checked=self.header.checked,
            derived=self.header.derived if ordinary else {},
            ordinary=ordinary,
            names=row.names,
            patterns=row.patterns,
        )

    def _opened(self) -> Header:
        try:
            with self._file.open("rb") as lines:
                return _header_of(lines.readline())
        except OSError as error:
            raise PriceBookInvalid(f"{self._file} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PriceBookInvalid(f"{self._file} is not a catalogue: {error}") from None

    @cached_property
    def _rows(self) -> list[_Model]:
        try:
            first, _, body = self._file.read_bytes().partition(b"\n")
            header = _header_of(first)
            if header.edition != self.edition or header.edition != _edition_of(header, body):
                raise PriceBookInvalid(f"{self._file} is not what its edition {self.edition} was named after")
            return _models_of(body)
        except OSError as error:
            raise PriceBookInvalid(f"{self._file} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PriceBookInvalid(f"{self._file} is not a catalogue: {error}") from None

    @cached_property
    def _index(self) -> Mapping[str, Mapping[str, int]]:
        index: dict[str, dict[str, int]] = {}
        for number, row in enumerate(self._rows):
            for name in (row.model, *row.names):
                index.setdefault(name.casefold(), {}).setdefault(row.provider, number)
        return index

    @cached_property
    def _makers(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        return tuple((re.compile(pattern), maker) for pattern, maker in self.header.makers)


def catalogue_text(header: Header, models: Iterable[ModelPrices]) -> bytes:
    """Return a catalogue as it is written to its file, under the edition that its lines give it."""
    body = b"".join(_line_of(prices, header) + b"\n" for prices in models)
    named = msgspec.structs.replace(header, edition=_edition_of(header, body))
    return _encode(named) + b"\n" + body


def _edition_of(header: Header, body: bytes) -> str:
    unnamed = msgspec.structs.replace(header, edition="", made_from="", checked=date.min)
    return f"{NAME}+{hashlib.sha256(_encode(unnamed) + body).hexdigest()[:_EDITION_DIGITS]}"


def _line_of(prices: ModelPrices, header: Header) -> bytes:
    row = _Model(
        provider=prices.provider,
        model=prices.model,
        names=prices.names,
        patterns=prices.patterns,
        basis=prices.basis,
        otherwise=prices.otherwise,
        ordinary=None if prices.ordinary == header.ordinary else dict(prices.ordinary),
        source=prices.source,
        rates=msgspec.Raw(b"[" + b",".join(_short(rate) for rate in prices.rates) + b"]"),
    )
    return _encode(row)


def _short(rate: Rate) -> bytes:
    """Return a rate as a list without the parts at its end that say nothing."""
    parts: list[object] = [
        rate.meter,
        str(rate.usd),
        rate.per,
        dict(rate.attributes),
        _day_of(rate.from_us),
        _day_of(rate.until_us),
        rate.above,
        rate.daily,
        rate.minimum,
    ]
    while not parts[-1]:
        parts.pop()
    return _encode(parts)


def _rate_of(row: _Rate) -> Rate:
    assert row.meter in METERS, f"there is no meter {row.meter!r}"
    assert row.usd.is_finite(), f"{row.usd} is no amount"
    assert row.usd >= 0, f"{row.usd} is below nothing"
    assert row.per >= 1, f"per {row.per} is no whole number above 0"
    assert row.minimum is None or row.minimum >= 1, f"minimum {row.minimum} is no whole number above 0"
    return Rate(
        meter=row.meter,
        usd=row.usd,
        per=row.per,
        attributes=row.attributes,
        from_us=_instant_of(row.first_day),
        until_us=_instant_of(row.last_day_after),
        above=row.above,
        daily=row.daily,
        minimum=row.minimum,
    )


def _day_of(instant_us: int | None) -> date | None:
    return None if instant_us is None else moment_of(instant_us).date()


def _instant_of(day: date | None) -> int | None:
    return None if day is None else instant_of(datetime.combine(day, time(), UTC), "a day of the catalogue")


def _resold(prices: ModelPrices, provider: str) -> ModelPrices:
    """Return prices as another provider takes them: its tiers are its own, so only what has no tier.

    What an endpoint of its own takes more for, the maker's prices say for it.
    """
    tiers = prices.ordinary.keys() - {"endpoint"}
    rates = tuple(rate for rate in prices.rates if not rate.attributes.keys() & tiers)
    return replace(prices, provider=provider, rates=rates)
