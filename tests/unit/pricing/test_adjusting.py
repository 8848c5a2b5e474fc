"""Adjustments: what a provider takes off all that it lists, exact, dated, and told beside the list price."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, Inexact, localcontext

import pytest

from callfare.errors import PriceBookInvalid
from callfare.pricing import PriceBook, load_layer, rate
from callfare.pricing.shipped import shipped_layers
from tests.unit.pricing.books import NOON_US, at, model

OURS = """
book = "ours"

[[adjustment]]
provider = "anthropic"
discount = "15%"
source = "agreement of 2026-11-20"
checked = 2026-11-23
"""
_HEAD = '[[model]]\nsource = "a page"\nchecked = 2026-11-20\n'


def book_of(*texts):
    return PriceBook([load_layer(text) for text in texts])


def theirs(*rates, name="m", basis='["input_tokens"]', provider="anthropic"):
    return f'book = "theirs"\n{_HEAD}{model(name, basis, *rates, provider=provider)}'


def cost_usd(book, model, at_us=NOON_US, **usage):
    provider = usage.pop("provider", None)
    attributes = usage.pop("attributes", {})
    found = rate(book, model=model, usage=usage, attributes=attributes, at_us=at_us, provider=provider)
    assert found.status == "priced", found.reason
    return Decimal(found.picousd) / 10**12


def dated(percent, *, begins="", ends="", book="ours", kind="discount", provider="anthropic"):
    bounds = (f"from = {begins}\n" if begins else "") + (f"until = {ends}\n" if ends else "")
    return (
        f'book = "{book}"\n[[adjustment]]\nprovider = "{provider}"\n{kind} = "{percent}"\nsource = "a letter"\n'
        f"checked = 2026-11-23\n{bounds}"
    )


MTOK = 1_000_000


def test_a_discount_is_taken_off_every_rate_of_a_provider():
    book = PriceBook([load_layer(OURS), *shipped_layers(has_seed=True, catalogue=None)])

    # 3 in, 0.30 read, 3.75 and 6 written, 15 out of a million each; 85 of a hundred of them.
    assert cost_usd(book, "claude-sonnet-4-5", input_tokens=100_000) == Decimal("0.255")
    read = cost_usd(book, "claude-sonnet-4-5", input_tokens=100_000, cached_input_tokens=100_000)
    assert read == Decimal("0.0255")
    assert cost_usd(book, "claude-sonnet-4-5", cache_write_5m_input_tokens=100_000) == Decimal("0.31875")
    assert cost_usd(book, "claude-sonnet-4-5", cache_write_1h_input_tokens=100_000) == Decimal("0.51")
    assert cost_usd(book, "claude-sonnet-4-5", output_tokens=100_000) == Decimal("1.275")


def test_others_pay_what_they_paid_under_the_edition_they_had():
    layers = shipped_layers(has_seed=True, catalogue=None)
    book, plain = PriceBook([load_layer(OURS), *layers]), PriceBook(layers)

    for name, provider in (
        ("gpt-5-mini", None),
        ("gemini-2.5-pro", None),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
    ):
        now = book.entry(name, provider=provider, at_us=NOON_US)
        before = plain.entry(name, provider=provider, at_us=NOON_US)
        assert now is not None
        assert before is not None
        assert (now.rates, now.edition) == (before.rates, before.edition)


def test_a_line_tells_the_list_price_and_what_was_taken_off():
    book = book_of(OURS, theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))

    found = rate(book, model="m", usage={"input_tokens": 7}, attributes={}, at_us=NOON_US)

    (line,) = found.lines
    assert (line.rate, line.list_rate, line.adjustment, line.per) == (Decimal("2.55"), Decimal(3), "-15%", MTOK)
    ours, below = book.layers
    assert found.edition == f"{below.edition},{ours.edition}"


def test_an_entry_leads_to_both_pages():
    book = book_of(OURS, theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))

    entry = book.entry("m", at_us=NOON_US)

    assert entry is not None
    assert entry.source == "a page, 2026-11-20; -15% by ours: agreement of 2026-11-20"
    assert entry.checked == date(2026, 11, 23)


def test_a_discount_holds_from_its_day_until_its_end():
    book = book_of(
        dated("15%", begins="2026-12-01", ends="2027-03-01"),
        theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'),
    )

    def paid(*day):
        return cost_usd(book, "m", at(*day), input_tokens=MTOK)

    assert (paid(2026, 11, 30, 23, 59, 59), paid(2026, 12, 1)) == (Decimal(3), Decimal("2.55"))
    assert (paid(2027, 2, 28, 23, 59, 59), paid(2027, 3, 1)) == (Decimal("2.55"), Decimal(3))
    before = book.entry("m", at_us=at(2026, 11, 30))
    assert before is not None
    assert before.edition == book.layers[1].edition


def test_a_discount_follows_a_list_price_that_changes_below_it():
    below = theirs(
        'meter = "input_tokens"; usd = "3"; per = 1_000_000; until = 2026-06-01',
        'meter = "input_tokens"; usd = "2"; per = 1_000_000; from = 2026-06-01',
    )

    book = book_of(OURS, below)

    assert cost_usd(book, "m", at(2026, 5, 31), input_tokens=MTOK) == Decimal("2.55")
    assert cost_usd(book, "m", at(2026, 6, 1), input_tokens=MTOK) == Decimal("1.7")


def test_a_discount_holds_at_every_hour_size_and_tier():
    below = theirs(
        'meter = "input_tokens"; usd = "2"; per = 1_000_000; daily = ["08:00", "20:00"]',
        'meter = "input_tokens"; usd = "1"; per = 1_000_000; daily = ["20:00", "08:00"]',
        'meter = "input_tokens"; usd = "4"; per = 1_000_000; above_input_tokens = 1000',
        'meter = "input_tokens"; usd = "0.5"; per = 1_000_000; attributes = { tier = "flex" }',
    )

    book = book_of(OURS, below)

    assert cost_usd(book, "m", at(2026, 1, 1, 12), input_tokens=100) == Decimal("0.00017")
    assert cost_usd(book, "m", at(2026, 1, 1, 22), input_tokens=100) == Decimal("0.000085")
    assert cost_usd(book, "m", at(2026, 1, 1, 12), input_tokens=2000) == Decimal("0.0068")
    assert cost_usd(book, "m", at(2026, 1, 1), input_tokens=100, attributes={"tier": "flex"}) == Decimal("0.0000425")


def test_what_ones_own_book_lists_itself_is_what_one_pays():
    own = OURS + _HEAD + model("m", '["input_tokens"]', 'meter = "input_tokens"; usd = "1"; per = 1_000_000',
                               provider="anthropic")  # fmt: skip

    book = book_of(own, theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))

    assert cost_usd(book, "m", input_tokens=MTOK) == 1


def test_of_two_books_that_adjust_the_upper_ones_holds_alone():
    below = theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000')

    book = book_of(dated("10%", begins="2026-06-01"), dated("50%", book="older"), below)

    assert cost_usd(book, "m", at(2026, 5, 31), input_tokens=MTOK) == Decimal("1.5")
    assert cost_usd(book, "m", at(2026, 6, 1), input_tokens=MTOK) == Decimal("2.7")


def test_no_percent_stands_before_a_discount_below_and_leaves_the_list_price():
    below = theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000')

    book = book_of(dated("0%"), dated("50%", book="older"), below)

    assert cost_usd(book, "m", input_tokens=MTOK) == 3
    assert rate(book, model="m", usage={"input_tokens": 1}, attributes={}, at_us=0).lines[0].adjustment == ""


def test_a_surcharge_is_added():
    book = book_of(dated("10%", kind="surcharge"), theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))

    assert cost_usd(book, "m", input_tokens=MTOK) == Decimal("3.3")


def test_all_of_it_off_is_priced_at_nothing_and_not_unpriced():
    book = book_of(dated("100%"), theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000'))

    found = rate(book, model="m", usage={"input_tokens": MTOK}, attributes={}, at_us=NOON_US)

    assert (found.status, found.picousd, found.lines[0].adjustment) == ("priced", 0, "-100%")


def test_no_digit_of_a_share_or_a_rate_is_lost():
    usd = "123456789.123456789123456789"

    book = book_of(dated("12.345678%"), theirs(f'meter = "input_tokens"; usd = "{usd}"; per = 1_000_000'))

    entry = book.entry("m", at_us=NOON_US)
    assert entry is not None
    # 123456789123456789123456789 × 87654322 = 10821521146913579146913579136092058, with 26 digits after the point.
    assert entry.rates[0].usd == Decimal("108215211.46913579146913579136092058")


def test_the_price_that_a_reply_tells_is_not_made_less():
    layers = shipped_layers(has_seed=True, catalogue=None)
    book = PriceBook([load_layer(dated("15%", provider="openrouter")), *layers])

    paid = cost_usd(book, "openai/gpt-5-mini", provider="openrouter", billed_usd=2)

    assert paid == 2


@pytest.mark.parametrize("provider", ["aws", "bedrock", "Amazon-Bedrock"])
def test_a_provider_may_be_named_as_others_name_it(provider):
    layers = shipped_layers(has_seed=True, catalogue=None)
    book = PriceBook([load_layer(dated("15%", provider=provider)), *layers])

    assert book.entry("amazon.nova-micro-v1:0", provider="aws", at_us=NOON_US).rates[0].adjustment == "-15%"


def test_who_sells_anothers_models_has_its_own_discount():
    layers = shipped_layers(has_seed=True, catalogue=None)
    book = PriceBook([load_layer(dated("15%", provider="azure")), *layers])

    assert book.entry("gpt-4o", provider="azure", at_us=NOON_US).rates[0].adjustment == "-15%"
    assert book.entry("gpt-4o", provider="openai", at_us=NOON_US).rates[0].adjustment == ""


def test_an_adjustment_changes_the_edition_of_its_book_and_order_does_not():
    first, second = dated("15%", ends="2026-06-01"), dated("10%", begins="2026-06-01").partition("\n")[2]

    one = load_layer(first + second)
    other = load_layer('book = "ours"\n' + second + first.partition("\n")[2])

    assert one.edition == other.edition
    assert load_layer(first).edition != one.edition
    assert load_layer(dated("15.0%", ends="2026-06-01")).edition == load_layer(first).edition


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (dated("15"), "line 4: discount is '15'; give a share from 0% to 100%"),
        (dated("-15%"), "line 4: discount is '-15%'"),
        (dated("101%"), "line 4: discount is '101%'"),
        (dated("1e1%"), "line 4: discount is '1e1%'"),
        (dated("nan%"), "line 4: discount is 'nan%'"),
        (dated("\uff11%"), "line 4: discount is"),
        (dated("0.1234567%"), "line 4: discount is"),
        (dated("15%").replace('"15%"', "15"), "line 4: discount is 15; give text in quotes"),
        (dated("15%").replace('"15%"', "0.15"), "line 4: discount is 0.15; give text in quotes"),
        (dated("15%").replace("discount", "rebate"), "unknown key 'rebate'"),
        (dated("15%") + 'surcharge = "1%"\n', "either a discount or a surcharge"),
        (dated("15%").replace('source = "a letter"\n', ""), "source is missing"),
        (dated("15%").replace("checked = 2026-11-23\n", ""), "checked is missing"),
        (dated("15%").replace('provider = "anthropic"\n', ""), "provider is missing"),
        (dated("15%", begins="2026-06-01", ends="2026-06-01"), "until is not after from"),
        (
            dated("15%") + dated("10%", begins="2027-01-01").partition("\n")[2],
            "line 7: this adjustment of anthropic ove",
        ),
        (
            dated("15%") + dated("10%", provider="Anthropic").partition("\n")[2],
            "line 7: this adjustment of Anthropic ove",
        ),
        ('book = "ours"\nadjustment = 1\n', "adjustment is 1; give a list"),
        ('book = "ours"\nadjustment = []\n', "adjustment is not a list of tables"),
    ],
)
def test_what_could_be_misread_is_refused_where_it_stands(text, fault):
    with pytest.raises(PriceBookInvalid) as refused:
        load_layer(text)

    assert fault in str(refused.value)


@pytest.mark.parametrize("share", ["12.345678%", "100%", "0.000001%"])
def test_a_discount_is_the_same_whatever_arithmetic_the_thread_that_reads_it_has_chosen(share):
    below = theirs('meter = "input_tokens"; usd = "3"; per = 1_000_000')
    plain = rate(book_of(dated(share), below), model="m", usage={"input_tokens": MTOK}, attributes={}, at_us=NOON_US)

    with localcontext() as context:
        context.prec, context.traps[Inexact] = 3, True
        book = book_of(dated(share), below)
        found = rate(book, model="m", usage={"input_tokens": MTOK}, attributes={}, at_us=NOON_US)

    assert found == plain
    assert found.lines[0].adjustment == f"-{share}"
