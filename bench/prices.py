"""What pricing a call costs, against the plain integer arithmetic that it comes down to."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from benchmarks.table import Row
from callfare.pricing.load import seed_book
from callfare.pricing.rating import rate

USAGE = {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
AT_US = 1_795_000_000_000_000
BATCH = 2000


def _best_us(function: Callable[[], object]) -> float:
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(BATCH):
            function()
        times.append((time.perf_counter() - start) / BATCH)
    return median(times) * 1e6


def _by_hand() -> int:
    return (400 * 150_000 + 800 * 150_000 + 350 * 600_000) * 100 // 1000


def rows() -> list[Row]:
    """Return the table rows of pricing."""
    book = seed_book()
    priced_us = _best_us(lambda: rate(book, model="gpt-5-mini", usage=USAGE, attributes={}, at_us=AT_US))
    hand_us = _best_us(_by_hand)
    return [
        Row(
            "price of a call, three lines",
            f"{priced_us:.1f} us",
            "bare integers",
            f"{hand_us:.2f} us",
            priced_us / hand_us,
        )
    ]
