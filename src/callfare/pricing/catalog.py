"""The prices of genai-prices, as a catalogue of ours: each rate resolved once, for every date and hour that differs.

genai-prices is taken as a table and never asked for the price of a call. What its units, tiers and dates say is kept
exactly; where it would answer with nothing, or with the ordinary price for a tier it does not know, the catalogue has
no rate, so that the call is unpriced. Models billed in units that callfare does not count are left out, and it is said
why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from itertools import pairwise

from genai_prices import types as theirs
from genai_prices.data_snapshot import get_snapshot
from genai_prices.data_units import unit_data

from callfare.clock import instant_of
from callfare.pricing.edition import Header, catalogue_text
from callfare.pricing.layer import ANY_MODEL
from callfare.pricing.rates import ORDINARY_TIERS, ModelPrices, Rate
from callfare.pricing.shares import Share, shares_of
from callfare.pricing.timeline import DAY_S, attribute_names
from callfare.usage.meters import LINEAGE

_METERS = {
    "input_mtok": "input_tokens",
    "cache_read_mtok": "cached_input_tokens",
    "cache_write_mtok": "cache_write_input_tokens",
    "cache_write_5m_mtok": "cache_write_5m_input_tokens",
    "cache_write_1h_mtok": "cache_write_1h_input_tokens",
    "input_audio_mtok": "input_audio_tokens",
    "cache_audio_read_mtok": "cached_input_audio_tokens",
    "input_image_mtok": "input_image_tokens",
    "cache_image_read_mtok": "cached_input_image_tokens",
    "input_video_mtok": "input_video_tokens",
    "cache_video_read_mtok": "cached_input_video_tokens",
    "output_mtok": "output_tokens",
    "output_reasoning_mtok": "reasoning_tokens",
    "output_audio_mtok": "output_audio_tokens",
    "output_image_mtok": "output_image_tokens",
    "output_video_mtok": "output_video_tokens",
    "input_mchars": "characters",
    "audio_hours": "audio_seconds",
    "input_audio_hours": "audio_seconds",
    "input_document_kpages": "pages",
    "input_annotated_document_kpages": "annotated_pages",
    "web_searches_kcount": "web_searches",
    "storage_searches_kcount": "file_searches",
    "code_executions_kcount": "code_executions",
}
_PER_OF = {_METERS[unit["price_key"]]: int(unit["per"]) for unit in unit_data.values() if unit["price_key"] in _METERS}
_TOKENS = ("input_tokens", "output_tokens", "calls")

# What providers call themselves elsewhere: in SDKs, in traces, in other libraries.
_PROVIDER_NAMES = {
    "amazon-bedrock": "aws",
    "aws-bedrock": "aws",
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure-openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google-genai": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "grok": "x-ai",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together-ai": "together",
    "together_ai": "together",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
# The tier that served a call decides what it is processed as.
_DERIVED = {
    "processing": (
        "service_tier",
        dict.fromkeys(ORDINARY_TIERS, "standard") | {tier: tier for tier in ("batch", "fast", "flex", "priority")},
    )
}
_ORDINARY: Mapping[str, tuple[str, ...]] = {"processing": ("standard",)}
# What Anthropic charges more for without genai-prices knowing it, and what it charges nothing for, as its pages say.
_ORDINARY_OF: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "anthropic": {"region": ("global",), "speed": ("standard",)},
}
_FREE_OF = {"anthropic": (Rate(meter="web_fetches", usd=Decimal(0), per=1),)}
# These tell what they charged; that stands before any table. OpenRouter passes on what makers charge, at one tier.
_TELLS_ITS_CHARGE = ("openrouter", "x-ai")
_HAS_NO_TIERS = "openrouter"
_CHARGED = Rate(meter="billed_usd", usd=Decimal(1), per=1)
# The least that a call is billed for, which genai-prices cannot say: the meter, how much of it, and where that is said.
_TEN_SECONDS = ("audio_seconds", 10, "https://console.groq.com/docs/speech-to-text")
_MINIMUM_OF = {("groq", name): _TEN_SECONDS for name in ("whisper-large-v3", "whisper-large-v3-turbo")}
_LONG_AGO = date(2000, 1, 1)

Amount = Decimal | theirs.TieredPrices


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A catalogue that was made just now: its text, as the file of an edition has it, and its source's release."""

    text: bytes
    made_from: str


def installed() -> str:
    """Return the release of genai-prices that is installed."""
    return f"genai-prices {version('genai-prices')}"


def compiled(*, checked: date, providers: Sequence[theirs.Provider] | None = None) -> Compiled:
    """Return the catalogue that the installed genai-prices makes.

    checked: the day it is made. providers: theirs; those of the installed release when None.
    """
    providers = get_snapshot().providers if providers is None else providers
    left_out: list[tuple[str, str, str]] = []
    models = [prices for provider in providers for prices in _models_of(provider, checked, left_out)]
    names = sorted({name for prices in models for name in attribute_names(prices, prices.rates)})
    header = Header(
        edition="",
        checked=checked,
        made_from=installed(),
        attributes=tuple(names),
        provider_names=_PROVIDER_NAMES,
        makers=tuple(
            (_pattern_of(provider.model_match), provider.id) for provider in providers if provider.model_match
        ),
        stand_ins={
            provider.id: tuple(provider.fallback_model_providers)
            for provider in providers
            if provider.fallback_model_providers
        },
        derived=_DERIVED,
        ordinary=dict(_ORDINARY),
        left_out=tuple(left_out),
    )
    return Compiled(text=catalogue_text(header, models), made_from=header.made_from)


def _models_of(provider: theirs.Provider, checked: date, left_out: list[tuple[str, str, str]]) -> Iterator[ModelPrices]:
    """Yield the models of a provider, those that are left out told apart with their reason."""
    names = _names_of(provider)
    for model in provider.models:
        reason = _uncounted(model)
        if reason:
            left_out += [(provider.id, name, reason) for name in names[model.id]]
        else:
            yield _prices_of(provider, model, names[model.id], checked)
    if provider.id in _TELLS_ITS_CHARGE:
        yield ModelPrices(
            provider=provider.id,
            model=ANY_MODEL,
            basis=(_CHARGED.meter,),
            rates=(_CHARGED,),
            source=_source_of(provider),
            checked=checked,
        )


def _prices_of(provider: theirs.Provider, model: theirs.ModelInfo, names: Sequence[str], checked: date) -> ModelPrices:
    tells_its_charge, has_tiers = provider.id in _TELLS_ITS_CHARGE, provider.id != _HAS_NO_TIERS
    shares = shares_of(provider.id, model.id)
    asked = _variants_of(model) if has_tiers else []
    rates = [rate for variant in (_ORDINARILY, *asked) for rate in _rates_of(model, variant)]
    basis = _basis_of(rates)
    rates += [
        replace(rate, attributes=dict(one.attributes)) for one in (_ORDINARILY, *asked) for rate in _free_of(provider)
    ]
    listed = tuple(rates)
    rates += [rate for share in shares for rate in share.of(listed)]
    least, minimum, *said_at = _MINIMUM_OF.get((provider.id, model.id), ("", None))
    rates = [replace(rate, minimum=minimum) if rate.meter == least else rate for rate in rates]
    return ModelPrices(
        provider=provider.id,
        model=model.id,
        basis=(_CHARGED.meter,) if tells_its_charge else basis,
        otherwise=(basis,) if tells_its_charge else (),
        rates=(*rates, *(_charged(has_tiers=has_tiers) if tells_its_charge else ())),
        source="; ".join([_source_of(provider), *said_at, *dict.fromkeys(_told(share) for share in shares)]),
        checked=checked,
        derived=_DERIVED if has_tiers else {},
        ordinary=_ordinary_of(model, _ORDINARY_OF.get(provider.id, {}), shares) if has_tiers else {},
        names=tuple(name for name in names if name != model.id),
        patterns=tuple(_pattern_of(clause) for clause in _alternatives(model.match) if _name_in(clause) is None),
    )


def _charged(*, has_tiers: bool) -> tuple[Rate, ...]:
    """Return the rate of what a provider says it charged, at each tier: a charge is one whichever tier it is of."""
    tiers = sorted(set(_DERIVED["processing"][1].values()) - {"standard"}) if has_tiers else []
    return (_CHARGED, *(replace(_CHARGED, attributes={"processing": tier}) for tier in tiers))


def _free_of(provider: theirs.Provider) -> tuple[Rate, ...]:
    return _FREE_OF.get(provider.id, ())


def _source_of(provider: theirs.Provider) -> str:
    return (provider.pricing_urls or ["https://github.com/pydantic/genai-prices"])[0]


def _told(share: Share) -> str:
    return f"{share.attribute} {share.value}: {share.source}, {share.checked}"


def _uncounted(model: theirs.ModelInfo) -> str:
    """Return why a model cannot be priced by what callfare counts; empty when it can."""
    named = {key for prices in _all_prices(model) for key, amount in vars(prices).items() if amount is not None}
    if not named:
        return "genai-prices has no price for it"
    strange = sorted(named - _METERS.keys())
    return f"it is billed by {' and '.join(strange)}, which callfare does not count" if strange else ""


def _all_prices(model: theirs.ModelInfo) -> Iterator[theirs.ModelPrice]:
    yield from [model.prices] if isinstance(model.prices, theirs.ModelPrice) else [row.prices for row in model.prices]
    yield from [variant.prices for variant in model.price_variants or ()]


def _basis_of(rates: Iterable[Rate]) -> tuple[str, ...]:
    """Return what a model is billed by: what has a rate, and tokens and calls besides, so that none of them is free."""
    roots = {LINEAGE[rate.meter][-1] for rate in rates}
    if roots <= {"characters", "calls"}:
        return ("characters", "calls")
    return (*_TOKENS, *sorted(roots - set(_TOKENS)))


# Tiers and the like


@dataclass(frozen=True, slots=True)
class _Variant:
    """A way of asking for a model that has prices of its own: our attributes for it, and what genai-prices calls it."""

    attributes: tuple[tuple[str, str], ...]
    context: tuple[tuple[str, str], ...]


_ORDINARILY = _Variant((), ())


def _variants_of(model: theirs.ModelInfo) -> list[_Variant]:
    """Return the variants of a model, each once, without those that only name the ordinary case."""
    found = {
        attributes: _Variant(attributes, tuple(variant.when.items()))
        for variant in model.price_variants or ()
        if (attributes := _attributes_of(variant)) and vars(variant.prices)
    }
    return list(found.values())


def _attributes_of(variant: theirs.PriceVariant) -> tuple[tuple[str, str], ...]:
    """Return our attributes for a variant: whatever decides how a call is processed is told by one attribute."""
    ours = {"processing" if name == "service_tier" else name: value for name, value in variant.when.items()}
    return tuple(sorted((name, value) for name, value in ours.items() if value not in ORDINARY_TIERS))


def _ordinary_of(
    model: theirs.ModelInfo, of_provider: Mapping[str, tuple[str, ...]], shares: Sequence[Share]
) -> dict[str, tuple[str, ...]]:
    ordinary = {name: set(values) for name, values in (*_ORDINARY.items(), *of_provider.items())}
    for share in shares:
        ordinary.setdefault(share.attribute, set()).update(share.ordinary)
    for variant in model.price_variants or ():
        for name, value in _attributes_of(variant):
            values = ordinary.setdefault(name, {"standard"})
            values |= set() if vars(variant.prices) else {value}
    return {name: tuple(sorted(values)) for name, values in sorted(ordinary.items())}


# Dates, hours and amounts


def _rates_of(model: theirs.ModelInfo, variant: _Variant) -> list[Rate]:
    """Return the rates of a model asked for in one way, each for as long as it stays what it is."""
    days = sorted(
        {starts.start_date for starts in _constraints(model) if isinstance(starts, theirs.StartDateConstraint)}
    )
    seconds = sorted({0, *(second for hours in _constraints(model) for second in _bounds_of(hours))})
    stretches = [(first, after) for first, after in pairwise((None, *days, None))]
    # Key by key: what it costs in each stretch, hour by hour.
    found: dict[str, list[tuple[Amount | None, ...]]] = {}
    for number, (first, _) in enumerate(stretches):
        for hour, second in enumerate(seconds):
            at = datetime.combine(first or _LONG_AGO, time(), UTC) + timedelta(seconds=second)
            for key, amount in _amounts_at(model, variant, at).items():
                costs = found.setdefault(_METERS[key], [(None,) * len(seconds)] * len(stretches))
                costs[number] = (*costs[number][:hour], amount, *costs[number][hour + 1 :])
    return [
        rate
        for meter, costs in found.items()
        for first, last in _runs(costs)
        for rate in _dated(meter, costs[first], seconds, variant, (stretches[first][0], stretches[last][1]))
    ]


def _amounts_at(model: theirs.ModelInfo, variant: _Variant, at: datetime) -> dict[str, Amount]:
    """Return all amounts in force; none for a variant that did not exist then, which is not the ordinary price."""
    context = dict(variant.context)
    if context and not any(
        row.when == context and (row.constraint is None or row.constraint.active(at))
        for row in model.price_variants or ()
    ):
        return {}
    amounts = {key: amount for key, amount in vars(model.get_prices(at, context)).items() if amount is not None}
    by_meter: dict[str, set[str]] = {}
    for key, amount in amounts.items():
        by_meter.setdefault(_METERS[key], set()).add(str(amount))
    assert all(len(told) == 1 for told in by_meter.values()), f"{model.id} has two prices for one meter: {by_meter}"
    return amounts


def _constraints(model: theirs.ModelInfo) -> Iterator[theirs.StartDateConstraint | theirs.TimeOfDateConstraint]:
    rows = [] if isinstance(model.prices, theirs.ModelPrice) else model.prices
    yield from (row.constraint for row in (*rows, *(model.price_variants or ())) if row.constraint is not None)


def _bounds_of(constraint: theirs.StartDateConstraint | theirs.TimeOfDateConstraint) -> Iterator[int]:
    """Yield the seconds of the UTC day at which hours begin and end."""
    if isinstance(constraint, theirs.TimeOfDateConstraint):
        for hour in (constraint.start_time, constraint.end_time):
            moment = datetime.combine(_LONG_AGO, hour, hour.tzinfo or UTC).astimezone(UTC)
            yield moment.hour * 3600 + moment.minute * 60 + moment.second


def _runs(costs: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Yield the first and last positions of neighbours that are the same."""
    first = 0
    for number in range(1, len(costs) + 1):
        if number == len(costs) or costs[number] != costs[first]:
            yield first, number - 1
            first = number


def _dated(
    meter: str,
    hourly: tuple[Amount | None, ...],
    seconds: Sequence[int],
    variant: _Variant,
    days: tuple[date | None, date | None],
) -> Iterator[Rate]:
    """Yield the rates of a meter in a stretch of time, hour by hour where the hours differ."""
    ends = (*seconds[1:], DAY_S)
    for begin, last in _runs(hourly):
        amount = hourly[begin]
        if amount is None:
            continue
        for above, usd in _tiers_of(amount):
            yield Rate(
                meter=meter,
                usd=usd,
                per=_PER_OF[meter],
                attributes=dict(variant.attributes),
                from_us=_instant_of(days[0]),
                until_us=_instant_of(days[1]),
                above=above,
                daily=None if last - begin + 1 == len(seconds) else (seconds[begin], ends[last]),
            )


def _tiers_of(amount: Amount) -> Iterator[tuple[int | None, Decimal]]:
    if isinstance(amount, theirs.TieredPrices):
        yield None, amount.base
        yield from ((tier.start, tier.price) for tier in amount.tiers)
    else:
        yield None, amount


def _instant_of(day: date | None) -> int | None:
    return None if day is None else instant_of(datetime.combine(day, time(), UTC), "start_date")


# Names


def _names_of(provider: theirs.Provider) -> dict[str, list[str]]:
    """Return the names that lead to each model by themselves; a name that several match leads to the first of them."""
    names: dict[str, list[str]] = {model.id: [] for model in provider.models}
    given = [_name_in(clause) for model in provider.models for clause in _alternatives(model.match)]
    for name in dict.fromkeys(name for name in given if name is not None):
        names[next(model.id for model in provider.models if model.is_match(name))].append(name)
    return names


def _alternatives(clause: theirs.MatchLogic) -> Iterator[theirs.MatchLogic]:
    if isinstance(clause, theirs.ClauseOr):
        for part in clause.or_:
            yield from _alternatives(part)
    else:
        yield clause


def _name_in(clause: theirs.MatchLogic) -> str | None:
    return clause.equals.lower() if isinstance(clause, theirs.ClauseEquals) else None


def _pattern_of(clause: theirs.MatchLogic) -> str:
    """Return the regular expression that finds what a clause matches, in lower case."""
    match clause:
        case theirs.ClauseEquals(equals=text):
            return rf"\A{re.escape(text.lower())}\Z"
        case theirs.ClauseStartsWith(starts_with=text):
            return rf"\A{re.escape(text.lower())}"
        case theirs.ClauseEndsWith(ends_with=text):
            return rf"{re.escape(text.lower())}\Z"
        case theirs.ClauseContains(contains=text):
            return re.escape(text.lower())
        case theirs.ClauseRegex(regex=pattern):
            return f"(?:{pattern})"
        case theirs.ClauseOr(or_=parts):
            return f"(?:{'|'.join(_pattern_of(part) for part in parts)})"
        case theirs.ClauseAnd(and_=parts):
            return r"\A" + "".join(rf"(?=[\s\S]*?{_pattern_of(part)})" for part in parts)
