"""Every reply is read and priced as was worked out by hand, in every form it comes in."""

from __future__ import annotations

from fractions import Fraction

import pytest
from msgspec.structs import replace

from callfare.pricing import PriceBook, rate_finished
from callfare.pricing.shipped import shipped_layers
from callfare.usage.extract import read
from callfare.usage.meters import LINEAGE
from tests.truth import (
    anthropic_replies,
    bedrock_replies,
    cohere_replies,
    google_replies,
    huggingface_replies,
    mistral_replies,
    ollama_replies,
    openai_replies,
    session_replies,
    sibling_replies,
    xai_replies,
)

BOOK = PriceBook(shipped_layers(has_seed=False, catalogue=None))
REPLIES = (
    openai_replies,
    anthropic_replies,
    google_replies,
    bedrock_replies,
    session_replies,
    sibling_replies,
    ollama_replies,
    cohere_replies,
    huggingface_replies,
    xai_replies,
    mistral_replies,
)
CASES = [case for replies in REPLIES for case in replies.CASES]
FREE = [case for case in CASES if {usd for _, _, usd, _ in case.lines} == {"0"}]
FORMS = [
    pytest.param(case, reply, id=f"{case.provider}, {case.name}, {type(reply).__name__}")
    for case in CASES
    for reply in case.replies
]


def reading_of(case, reply):
    return read(case.operation, reply, model=case.model, usage=case.fixed, attributes=case.asked, reader=case.reader)


def rating_of(case, reading):
    return rate_finished(
        BOOK,
        model=reading.model,
        usage=reading.usage,
        attributes=reading.attributes,
        at_us=case.at_us,
        provider=case.provider,
    )


@pytest.mark.parametrize(("case", "reply"), FORMS)
def test_a_reply_is_read_whole_and_counted_once(case, reply):
    reading = reading_of(case, reply)

    assert not reading.incomplete
    for root, total in case.totals.items():
        assert reading.usage[root] == total


@pytest.mark.parametrize(("case", "reply"), FORMS)
def test_a_reply_costs_what_was_worked_out_line_by_line(case, reply):
    rating = rating_of(case, reading_of(case, reply))

    assert (rating.status, rating.reason) == ("priced", "")
    billed = {line.meter: (line.quantity, Fraction(line.rate) / line.per) for line in rating.lines}
    assert billed == {meter: (quantity, Fraction(usd) / per) for meter, quantity, usd, per in case.lines}
    exact = sum((Fraction(line.rate) * line.quantity / line.per for line in rating.lines), Fraction(0))
    assert exact == case.cost_usd
    assert abs(Fraction(rating.picousd, 10**12) - case.cost_usd) <= Fraction(len(rating.lines), 2 * 10**12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider}, {case.name}")
def test_the_lines_by_hand_sum_to_what_the_provider_says(case):
    for root, total in case.totals.items():
        lines = [quantity for meter, quantity, _, _ in case.lines if LINEAGE[meter][-1] == root]
        assert sum(lines) == total or case.lines[0][0] == "billed_usd"


@pytest.mark.parametrize("case", FREE, ids=lambda case: f"{case.provider}, {case.name}")
def test_what_is_free_is_so_where_it_was_answered_and_nowhere_else(case):
    reading = reading_of(case, case.replies[0])

    for elsewhere in ({}, {"region": "cloud"}):
        rating = rating_of(case, replace(reading, attributes=elsewhere))
        assert (rating.status, "region" in rating.reason) == ("unpriced", True)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in FREE], ids=lambda case: f"{case.provider}, {case.name}"
)
def test_a_wrong_price_would_be_seen(case):
    reading = reading_of(case, case.replies[0])
    largest = max(reading.usage, key=lambda meter: reading.usage[meter])

    more = rating_of(case, replace(reading, usage=dict(reading.usage) | {largest: reading.usage[largest] + 1000}))

    assert Fraction(more.picousd, 10**12) != case.cost_usd or largest in more.information
