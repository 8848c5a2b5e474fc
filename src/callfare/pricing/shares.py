"""Shares of a price that genai-prices lacks: tiers and endpoints priced as so much less or more than the ordinary rate.

Read from shares.toml when a catalogue is made, and worked out there into rates like any other, exact and dated.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from callfare.clock import instant_of
from callfare.pricing.adjusting import net_usd
from callfare.pricing.rates import Rate
from callfare.usage.meters import LINEAGE

_TOKENS = frozenset(name for name, lineage in LINEAGE.items() if lineage[-1] in {"input_tokens", "output_tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What some models of a provider cost where an attribute has a value: their rates, raised or lowered by a share.

    ordinary: values of the attribute that select nothing. meters: those it is of; unchanged: those that cost the same
    there. stacks: it is taken of the rates of tiers too. from_us: the first instant at which it holds.
    """

    provider: str
    models: frozenset[str]
    attribute: str
    value: str
    ordinary: tuple[str, ...]
    percent: Decimal
    meters: frozenset[str]
    unchanged: frozenset[str]
    stacks: bool
    from_us: int | None
    source: str
    checked: date

    def of(self, rates: Iterable[Rate]) -> Iterator[Rate]:
        """Yield the rates that hold where the attribute has the value."""
        for rate in rates:
            if (rate.attributes and not self.stacks) or self.attribute in rate.attributes:
                continue
            if rate.meter in self.meters or rate.meter in self.unchanged:
                begins_us = max(filter(None, (rate.from_us, self.from_us)), default=None)
                if rate.until_us is not None and begins_us is not None and begins_us >= rate.until_us:
                    continue
                usd = rate.usd if rate.meter in self.unchanged else net_usd(rate.usd, self.percent)
                yield replace(
                    rate, usd=usd, attributes={**rate.attributes, self.attribute: self.value}, from_us=begins_us
                )


def shares_of(provider: str, model: str) -> list[Share]:
    """Return the shares that a model of a provider has."""
    return [share for share in all_shares() if share.provider == provider and model in share.models]


@cache
def all_shares() -> tuple[Share, ...]:
    """Return all shares there are."""
    text = files("callfare.pricing").joinpath("books", "shares.toml").read_text(encoding="utf-8")
    return tuple(_share(row) for row in tomllib.loads(text)["share"])


def _share(row: Mapping[str, Any]) -> Share:
    (kind,) = {"discount", "surcharge"} & row.keys()
    percent = Decimal(row[kind].removesuffix("%"))
    begins = row.get("from")
    return Share(
        provider=row["provider"],
        models=frozenset(row["models"]),
        attribute=row["attribute"],
        value=row["value"],
        ordinary=tuple(row.get("ordinary", ())),
        percent=percent.copy_negate() if kind == "discount" else percent,
        meters=frozenset(row.get("meters", _TOKENS)),
        unchanged=frozenset(row.get("unchanged", ())),
        stacks=row.get("stacks", False),
        from_us=None if begins is None else instant_of(datetime.combine(begins, time(), UTC), "from"),
        source=row["source"],
        checked=row["checked"],
    )
