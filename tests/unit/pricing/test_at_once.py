"""Threads that ask for a price nobody has asked for before, all at once: they get the same, and it is kept.

Prices and timelines are known by their identity. One that is given out and not kept leaves its identity to whatever is
made next, which then costs what the other one does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from callfare.pricing import PriceBook, book, layer, load_layer
from callfare.pricing.edition import Catalogue, shipped_catalogue
from tests.unit.pricing.books import NOON_US
from tests.unit.pricing.test_adjusting import OURS, theirs

_WAIT_S = 60


def met(function, threads=2):
    """Return a function of which no call returns before so many were made."""
    barrier = Barrier(threads)

    def meeting(*rest, **fields):
        found = function(*rest, **fields)
        barrier.wait(_WAIT_S)
        return found

    return meeting


def asked_twice(ask):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(ask), pool.submit(ask)
        return first.result(_WAIT_S), second.result(_WAIT_S)


def test_two_threads_that_read_a_model_of_the_catalogue_get_the_same(monkeypatch):
    catalogue = Catalogue(shipped_catalogue()._file)
    monkeypatch.setattr(catalogue, "_read", met(catalogue._read))

    [first], [second] = asked_twice(lambda: catalogue.sellers("gpt-5-mini", "openai"))

    assert first is second


def test_two_threads_that_make_a_timeline_get_the_same(monkeypatch):
    below = load_layer(theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))
    monkeypatch.setattr(layer, "timeline_of", met(layer.timeline_of))

    first, second = asked_twice(lambda: below.timelines("m", "anthropic")["anthropic"])

    assert first is second


@pytest.mark.parametrize("provider", ["anthropic", None])
def test_two_threads_that_adjust_a_timeline_get_the_same(monkeypatch, provider):
    below = load_layer(theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))
    whole = PriceBook([load_layer(OURS), below])
    monkeypatch.setattr(book, "adjusted", met(book.adjusted))

    first, second = asked_twice(lambda: whole.entry("m", provider=provider, at_us=NOON_US))

    assert first is second
