"""Prices a second, beside the price library of the genai-prices project, on a call that both can price."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime

import genai_prices

from bench.ledgers import MODEL, USAGE
from bench.machine import used
from bench.rounds import Stage
from bench.table import Figure, Row
from callfare import Callfare
from callfare.pricing.load import seed_book
from callfare.pricing.rating import rate

_AT = datetime(2026, 11, 22, tzinfo=UTC)
_AT_US = int(_AT.timestamp()) * 1_000_000


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of prices."""
    book = seed_book()
    theirs = genai_prices.Usage(input_tokens=1200, cache_read_tokens=800, output_tokens=350)
    with Callfare("memory://") as fare:

        def by_facade() -> object:
            return fare.price(MODEL, USAGE, at=_AT)

        def by_book() -> object:
            return rate(book, model=MODEL, usage=USAGE, attributes={}, at_us=_AT_US)

        def by_peer() -> object:
            return genai_prices.calc_price(theirs, model_ref=MODEL, provider_id="openai", genai_request_timestamp=_AT)

        assert str(fare.price(MODEL, USAGE, at=_AT).credits) == "0.039"
        assert genai_prices.calc_price(theirs, model_ref=MODEL, provider_id="openai").total_price > 0
        works = {"fare.price, three lines": by_facade, "rate, as a record does": by_book, "genai-prices": by_peer}
        rates, spent = _measured(works, stage)
    peer = Figure("/s", tuple(rates.pop("genai-prices")))
    return [
        Row(work, Figure("/s", tuple(found)), "genai-prices calc_price", peer, client_us=spent[work])
        for work, found in rates.items()
    ]


def _measured(works: dict[str, Callable[[], object]], stage: Stage) -> tuple[dict[str, list[float]], dict[str, float]]:
    count = stage.size.of(3000)
    rates: dict[str, list[float]] = {work: [] for work in works}
    spent_us: dict[str, float] = {}
    for number in range(stage.size.rounds + 1):
        for work, price in works.items():
            gc.collect()
            before, begin = used(), time.perf_counter()
            for _ in range(count):
                price()
            wall_s = time.perf_counter() - begin
            if number:
                rates[work].append(count / wall_s)
            spent_us[work] = used().since(before).client_s / count * 1e6
    return rates, spent_us
