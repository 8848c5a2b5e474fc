"""What a price costs, beside genai-prices and tokencost, on one call that all of them can price, and who prices right.

A price is a rating with its lines, rounded to picodollars and credits. genai-prices is given a usage that is made
already; tokencost prices by the meter, so it is asked three times, in an environment of its own. What it brings we
do not want here. That environment is made once and needs the package registry then; without it there is no such row.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Self

import genai_prices

from bench.ledgers import MODEL, USAGE
from bench.machine import used
from bench.rounds import TINY, Stage
from bench.table import Figure, Row, at_least, at_most
from callfare import Callfare
from callfare.pricing.book import PriceBook
from callfare.pricing.load import load_layer
from callfare.pricing.rating import rate, rate_finished
from callfare.pricing.shipped import shipped_layers
from callfare.usage.quantities import Quantity

_ROOT = Path(__file__).parents[1]
_ENVIRONMENT = _ROOT / ".venv-tokencost"
_TOKENCOST = "tokencost==0.1.26"
_AT = datetime(2026, 11, 22, tzinfo=UTC)
_AT_US = int(_AT.timestamp()) * 1_000_000
_RETIRED_AT = datetime(2025, 6, 1, tzinfo=UTC)
_CALL: dict[str, Quantity] = {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
_SAME_CALL = {"input_tokens": 1200, "cache_read_tokens": 800, "output_tokens": 350}
_USD = Fraction("0.00082")

_Case = tuple[str, dict[str, Quantity], dict[str, str], dict[str, int], dict[str, str], datetime, str]
# Model, usage, attributes; the same as genai-prices has it; when; what its provider charges, worked out by hand.
_CASES: tuple[_Case, ...] = (
    (
        "gpt-5-mini",
        _CALL,
        {},
        _SAME_CALL,
        {},
        _AT,
        "0.00082",
    ),
    (
        "gpt-5-mini",
        _CALL,
        {"service_tier": "batch"},
        _SAME_CALL,
        {"service_tier": "batch"},
        _AT,
        "0.00041",
    ),
    ("o3", {"input_tokens": 10**6}, {}, {"input_tokens": 10**6}, {}, _RETIRED_AT, "10"),
    ("gpt-4o-mini-tts", {"characters": 1000}, {}, {"input_characters": 1000}, {}, _AT, "0.015"),
    (
        "gpt-4o-audio-preview",
        {"input_tokens": 1000, "input_audio_tokens": 900, "output_tokens": 250, "output_audio_tokens": 200},
        {},
        {"input_tokens": 1000, "input_audio_tokens": 900, "output_tokens": 250, "output_audio_tokens": 200},
        {},
        _AT,
        "0.05275",
    ),
    ("gpt-image-1-mini", {"images": 1}, {"size": "1024x1536", "quality": "high"}, {}, {}, _AT, "0.052"),
    ("whisper-1", {"audio_seconds": 90}, {}, {"input_audio_seconds": 90}, {}, _AT, "0.009"),
)


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of prices."""
    book = PriceBook(shipped_layers(has_seed=False, catalogue=None))
    theirs = genai_prices.Usage(input_tokens=1200, cache_read_tokens=800, output_tokens=350)
    with Callfare("memory://") as fare, _tokencost(stage) as tokencost:

        def by_facade() -> object:
            return fare.price(MODEL, USAGE, at=_AT)

        def by_book() -> object:
            return rate(book, model="gpt-5-mini", usage=_CALL, attributes={}, at_us=_AT_US, provider="openai")

        def by_peer() -> object:
            return genai_prices.calc_price(
                theirs, model_ref="gpt-5-mini", provider_id="openai", genai_request_timestamp=_AT
            )

        assert str(fare.price(MODEL, USAGE, at=_AT).credits) == "0.039"
        assert Fraction(by_book().picousd, 10**12) == Fraction(by_peer().total_price) == _USD
        works = {_FACADE: by_facade, _RATE: by_book, _PEER: by_peer}
        rates, spent = _measured(works, stage, tokencost)
    peer = Figure("/s", tuple(rates[_PEER]))
    found = [
        Row(_FACADE, Figure("/s", tuple(rates[_FACADE])), _PEER, peer, client_us=spent[_FACADE]),
        Row(_RATE, Figure("/s", tuple(rates[_RATE])), _PEER, peer, at_least(10), client_us=spent[_RATE]),
        Row("  the same, a call", _us(rates[_RATE]), _PEER, _us(rates[_PEER]), at_most(5, unit=" µs")),
    ]
    if tokencost:
        found.append(
            Row("  the same", Figure("/s", tuple(rates[_RATE])), _TOKENCOST, Figure("/s", tuple(rates[_THREE])))
        )
    return [*found, _reading(stage), _right(book, tokencost)]


def _reading(stage: Stage) -> Row:
    """Return the row of reading a book of many rates of one meter, beside the standard parser of its text alone."""
    head = 'book = "x"\n[[model]]\nprovider = "p"\nname = "m"\nbasis = ["images"]\nsource = "s"\nchecked = 2026-11-22\n'
    rate_of = '[[model.rate]]\nmeter = "images"\nattributes = {{ size = "{0}x{0}" }}\nusd = "0.01"\nper = 1\n'.format
    text = head + "".join(map(rate_of, range(2000)))
    ours_ms, theirs_ms = [], []
    for _ in range(stage.size.rounds):
        theirs_ms.append(_ms(lambda: tomllib.loads(text)))
        ours_ms.append(_ms(lambda: load_layer(text)))
    return Row(
        "a book of 2,000 rates, read",
        Figure(" ms", tuple(ours_ms)),
        "tomllib, its text alone",
        Figure(" ms", tuple(theirs_ms)),
        at_most(5),
    )


def _ms(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


_FACADE = "fare.price, three lines"
_RATE = "rate, as a record does"
_PEER = "genai-prices calc_price"
_THREE = "tokencost, three meters"


def _us(rates: list[float]) -> Figure:
    return Figure(" µs", tuple(1e6 / rate for rate in rates))


def _measured(
    works: dict[str, Callable[[], object]], stage: Stage, tokencost: _Tokencost
) -> tuple[dict[str, list[float]], dict[str, float]]:
    count = stage.size.of(3000)
    rates: dict[str, list[float]] = {work: [] for work in (*works, _THREE)}
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
        if tokencost and number:
            rates[_THREE].append(tokencost.rate(count))
    return rates, spent_us


def _right(book: PriceBook, tokencost: _Tokencost) -> Row:
    """Return the row of how many of some calls are priced as their providers charge them, to the last digit."""
    ours = sum(_ours(book, case) == Fraction(case[-1]) for case in _CASES)
    peers = sum(_theirs(case) == Fraction(case[-1]) for case in _CASES)
    of_all = f" of {len(_CASES)} calls"
    text = f"genai-prices{f'; tokencost {tokencost.right}' if tokencost else ''}"
    return Row("priced right", Figure(of_all, (ours,)), text, Figure(of_all, (peers,)))


def _ours(book: PriceBook, case: _Case) -> Fraction | None:
    model, usage, attributes, _, _, at, _ = case
    found = rate_finished(book, model=model, usage=usage, attributes=attributes, at_us=int(at.timestamp()) * 1_000_000)
    return Fraction(found.picousd, 10**12) if found.status == "priced" else None


def _theirs(case: _Case) -> Fraction | None:
    model, _, _, usage, context, at, _ = case
    with suppress(LookupError, ValueError):
        found = genai_prices.calc_price(
            genai_prices.Usage(**usage),
            model_ref=model,
            provider_id="openai",
            genai_request_timestamp=at,
            price_context=context or None,
        )
        return Fraction(found.total_price)
    return None


class _Tokencost:
    """tokencost in its environment, asked over a pipe. False where there is none."""

    def __init__(self, process: subprocess.Popen[str] | None) -> None:
        self._process = process
        self.right = "" if process is None else self._asked("right")

    def __bool__(self) -> bool:
        return self._process is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()

    def rate(self, count: int) -> float:
        """Return how many calls a second it prices."""
        return float(self._asked(str(count)))

    def _asked(self, question: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(question, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


def _tokencost(stage: Stage) -> _Tokencost:
    if stage.size is TINY:
        return _Tokencost(None)
    python, stamp = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / ".stamp"
    try:
        if not stamp.exists() or stamp.read_text() != _TOKENCOST:
            print(f"making {_ENVIRONMENT.name} with {_TOKENCOST}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", _TOKENCOST], check=True)
            stamp.write_text(_TOKENCOST)
    except (OSError, subprocess.CalledProcessError):
        print(f"{_TOKENCOST} could not be installed, so it is not measured", file=sys.stderr)
        return _Tokencost(None)
    # One case in the form that tokencost can be asked in: tokens of three kinds, at today's price.
    cases = [[case[0], case[3], case[-1]] for case in _CASES]
    return _Tokencost(
        subprocess.Popen(
            [python, "-P", Path(__file__).with_name("tokencost_peer.py"), json.dumps(cases)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
