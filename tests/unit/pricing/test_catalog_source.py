"""The catalogue against genai-prices itself: the same models by the same names, the same amounts at any hour."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version

import pytest
from genai_prices import Usage
from genai_prices import types as theirs
from genai_prices.data_snapshot import get_snapshot

from callfare.pricing import PriceBook, rate_finished
from callfare.pricing.catalog import compiled
from callfare.pricing.edition import Catalogue, shipped_catalogue
from tests.unit.pricing.books import at

PROVIDERS = get_snapshot().providers
MADE_FROM = shipped_catalogue().header.made_from
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
SAME_RELEASE = pytest.mark.skipif(
    f"genai-prices {version('genai-prices')}" != MADE_FROM, reason=f"the shipped catalogue was made from {MADE_FROM}"
)


def priced_by_both():
    """Yield the provider and the model of all that is in the catalogue, but what tells its own charge."""
    names = set(shipped_catalogue().names)
    for provider in PROVIDERS:
        for model in provider.models:
            if (provider.id, model.id) in names and provider.id != "openrouter":
                yield provider, model


def contexts_of(model):
    yield {}, {}
    for variant in model.price_variants or ():
        ((name, value),) = variant.when.items()
        yield dict(variant.when), {name: value}


@SAME_RELEASE
def test_the_shipped_catalogue_is_what_its_source_makes():
    made = compiled(checked=shipped_catalogue().header.checked)

    assert made.text == shipped_catalogue()._file.read_bytes()


@SAME_RELEASE
def test_every_name_leads_to_the_model_it_leads_to_at_the_source():
    catalogue = shipped_catalogue()
    priced = set(catalogue.names)
    own_models = {id(model): provider.id for provider in PROVIDERS for model in provider.models}
    for provider in PROVIDERS:
        for name in {name for model in provider.models for name in _names_in(model.match)} | {"nobody-s-model-7"}:
            expected = provider.find_model(name, all_providers=PROVIDERS)
            found = [prices.model for prices in catalogue.sellers(name, provider.id)]
            if expected is None or (own_models[id(expected)], expected.id) not in priced:
                assert found in ([], ["*"]), (provider.id, name)
            else:
                assert found == [expected.id], (provider.id, name)


def _names_in(clause):
    """Yield names that a clause matches, made from what it says."""
    match clause:
        case theirs.ClauseEquals(equals=text):
            yield text
        case theirs.ClauseStartsWith(starts_with=text):
            yield from (text, f"{text}-extra", f"{text}-2026-03-05")
        case theirs.ClauseContains(contains=text):
            yield from (text, f"x-{text}", f"{text}:x")
        case theirs.ClauseOr(or_=parts):
            for part in parts:
                yield from _names_in(part)


@SAME_RELEASE
def test_calls_cost_what_the_source_says_at_any_date_and_hour():
    chance = random.Random(20261122)
    book = PriceBook([shipped_catalogue()])
    compared = 0
    for provider, model in priced_by_both():
        for context, attributes in contexts_of(model):
            moment = BEGIN + timedelta(seconds=chance.randrange(4 * 365 * 24 * 3600))
            read = chance.choice([7, 199_999, 200_000, 200_001, 272_001, 600_000])
            cached, written, wrote = read // 3, read // 4, chance.randrange(10_000)
            ours = rate_finished(
                book,
                model=model.id if (own := _own_name(provider, model)) is None else own,
                provider=provider.id,
                usage={
                    "input_tokens": read,
                    "cached_input_tokens": cached,
                    "cache_write_input_tokens": written,
                    "output_tokens": wrote,
                },
                attributes=attributes,
                at_us=at(*moment.timetuple()[:6]),
            )
            if ours.status == "unpriced":
                continue
            usage = Usage(input_tokens=read, cache_read_tokens=cached, cache_write_tokens=written, output_tokens=wrote)
            expected = model.calc_price(
                usage, provider, genai_request_timestamp=moment, price_context=context
            ).total_price
            cost = sum(Fraction(line.rate) * line.quantity / line.per for line in ours.lines)
            assert abs(cost - Fraction(expected)) < Fraction(1, 10**18), (provider.id, model.id, context, moment)
            compared += 1

    assert compared > 1000


def _own_name(provider, model):
    """Return a name that leads to a model, None when its id does."""
    if provider.find_model(model.id) is model:
        return None
    return next(name for name in _names_in(model.match) if provider.find_model(name) is model)


def a_model(**more):
    prices = more.pop("prices", theirs.ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2)))
    return theirs.ModelInfo(id="m", match=theirs.ClauseEquals(equals="m"), prices=prices, **more)


def catalogue_of(tmp_path, *models):
    provider = theirs.Provider(id="somebody", name="Somebody", api_pattern="x", models=list(models))
    file = tmp_path / "catalogue"
    file.write_bytes(compiled(checked=date(2026, 11, 22), providers=[provider]).text)
    return Catalogue(file)


def test_a_price_that_changes_gives_another_edition_and_a_release_alone_does_not(tmp_path, monkeypatch):
    first = catalogue_of(tmp_path, a_model()).edition
    monkeypatch.setattr("callfare.pricing.catalog.installed", lambda: "genai-prices 0.2.99")
    again = catalogue_of(tmp_path, a_model()).edition
    dearer = catalogue_of(tmp_path, a_model(prices=theirs.ModelPrice(input_mtok=Decimal("1.01")))).edition

    assert again == first
    assert dearer != first


@pytest.mark.parametrize(
    ("prices", "reason"),
    [
        (theirs.ModelPrice(), "genai-prices has no price for it"),
        (
            theirs.ModelPrice(input_mtok=Decimal(1), requests_kcount=Decimal(5)),
            "it is billed by requests_kcount, which callfare does not count",
        ),
        (
            theirs.ModelPrice(input_mtok=Decimal(1), new_thing_mtok=Decimal(5)),
            "it is billed by new_thing_mtok, which callfare does not count",
        ),
    ],
)
def test_a_model_billed_by_what_callfare_does_not_count_is_left_out(tmp_path, prices, reason):
    catalogue = catalogue_of(tmp_path, a_model(prices=prices))

    assert catalogue.names == ()
    assert catalogue.header.left_out == (("somebody", "m", reason),)
    assert catalogue.absence("M", None) == f"the catalogue leaves out m of somebody: {reason}"


def test_a_variant_costs_nothing_known_before_it_began(tmp_path):
    variant = theirs.PriceVariant(
        when={"service_tier": "flex"},
        prices=theirs.ModelPrice(input_mtok=Decimal("0.5")),
        constraint=theirs.StartDateConstraint(start_date=date(2026, 10, 12)),
    )
    book = PriceBook([catalogue_of(tmp_path, a_model(price_variants=[variant]))])

    def status(*day):
        flex = {"service_tier": "flex"}
        return rate_finished(book, model="m", usage={"output_tokens": 9}, attributes=flex, at_us=at(*day)).status

    assert (status(2026, 10, 11, 23, 59, 59), status(2026, 10, 12)) == ("unpriced", "priced")
