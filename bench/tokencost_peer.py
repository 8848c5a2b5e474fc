"""Prices with tokencost, in the environment that `bench/prices.py` makes; a count is answered by calls a second."""

from __future__ import annotations

import json
import sys
import time

from tokencost import calculate_cost_by_tokens


def price(model, usage):
    """Return what tokencost makes of a usage: the fresh, the cached and the written tokens, each by itself."""
    cached = usage.get("cache_read_tokens", 0)
    counts = {"input": usage.get("input_tokens", 0) - cached, "cached": cached, "output": usage.get("output_tokens", 0)}
    return sum(calculate_cost_by_tokens(count, model, kind) for kind, count in counts.items() if count)


def is_right(model, usage, usd):
    try:
        return str(price(model, usage).normalize()) == usd
    except Exception:  # noqa: BLE001 - whatever it raises, it is no price
        return False


def main():
    cases = json.loads(sys.argv[1])
    for line in sys.stdin:
        if line.strip() == "right":
            right = sum(is_right(model, usage, usd) for model, usage, usd in cases)
            print(f"{right} of {len(cases)}", flush=True)
            continue
        count = int(line)
        model, usage, _ = cases[0]
        begin = time.perf_counter()
        for _ in range(count):
            price(model, usage)
        print(count / (time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    main()
