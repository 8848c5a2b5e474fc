"""Prices: asked without effect, dated, marked up, from one's own books; and calls that had none, priced later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from callfare import Callfare, Credits, Usd
from callfare.errors import InvalidAmount, InvalidTime, Misconfigured, MissingAttribute, PriceBookInvalid, UnpricedModel
from tests.facade.doors import START, balance, chat, image, texts

OWN = """
book = "own"

[[model]]
provider = "openai"
name = "gpt-9"
basis = ["input_tokens"]
source = "our contract"
checked = 2026-11-20

[[model.rate]]
meter = "input_tokens"
usd = "3"
per = 1_000
until = 2026-11-23

[[model.rate]]
meter = "input_tokens"
usd = "2"
per = 1_000
from = 2026-11-23
"""


@pytest.fixture
def own_book(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


# Asked


async def test_a_price_is_worked_out_line_by_line(fare):
    price = await fare.price("gpt-5-mini", {"input_tokens": 1_000_000, "output_tokens": 500_000})

    assert texts(price, "model", "cost", "credits") == ("gpt-5-mini", "0.45", "45")
    assert price.edition.startswith("seed-2024+")
    assert [(line.meter, line.quantity, line.rate, line.per, line.rate_meter) for line in price.lines] == [
        ("input_tokens", 1_000_000, Decimal("0.15"), 1_000_000, "input_tokens"),
        ("output_tokens", 500_000, Decimal("0.60"), 1_000_000, "output_tokens"),
    ]
    assert [texts(line, "cost", "credits") for line in price.lines] == [("0.15", "15"), ("0.3", "30")]


async def test_parts_take_the_rate_of_their_whole_and_say_so(fare):
    price = await fare.price(
        "GPT-5-Mini-2025-08-07",
        {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 100, "reasoning_tokens": 60},
    )

    assert {(line.meter, line.quantity, line.rate_meter) for line in price.lines} == {
        ("input_tokens", 600, "input_tokens"),
        ("cached_input_tokens", 400, "input_tokens"),
        ("output_tokens", 40, "output_tokens"),
        ("reasoning_tokens", 60, "output_tokens"),
    }
    assert texts(price, "cost", "credits") == ("0.00021", "0.021")


async def test_what_is_reported_beside_the_basis_is_information(fare):
    usage = {"images": 2, "output_tokens": 6240, "input_tokens": 30}

    price = await fare.price("gpt-image-1", usage, attributes={"size": "1536x1024"})

    assert texts(price, "cost", "credits") == ("0.16", "16")
    assert price.information == {"output_tokens": 6240, "input_tokens": 30}
    assert price.lines[0].attributes == {"size": "1536x1024"}


async def test_a_float_of_seconds_is_taken_exactly(fare):
    price = await fare.price("whisper-1", {"audio_seconds": 8.470000267028809})

    assert price.lines[0].quantity == Fraction("8.470000267028809")
    assert texts(price, "cost", "credits") == ("0.000847000027", "0.084700003")


async def test_a_size_stands_for_the_resolution_it_has(fare):
    price = await fare.price("sora-2", {"video_seconds": 8}, attributes={"size": "1280x720"})

    assert texts(price, "cost", "credits") == ("0.32", "32")


@pytest.mark.parametrize(
    ("usage", "attributes"), [({"images": 1}, None), ({"images": 1}, {}), ({"images": 1}, {"quality": "high"})], ids=str
)
async def test_a_price_that_depends_on_what_was_not_given_is_not_guessed(fare, usage, attributes):
    with pytest.raises(MissingAttribute) as caught:
        await fare.price("gpt-image-1", usage, attributes=attributes)

    assert caught.value.param == "size"
    assert "1024x1024, 1024x1536, 1536x1024" in caught.value.message


@pytest.mark.parametrize(
    ("model", "usage", "attributes"),
    [
        ("unheard-of", {"input_tokens": 1}, {}),
        ("gpt-5-mini", {"images": 1}, {}),
        ("gpt-image-1", {"images": 1}, {"size": "1x1"}),
    ],
    ids=["model", "basis", "attribute"],
)
async def test_what_has_no_price_is_refused_with_the_reason(fare, model, usage, attributes):
    with pytest.raises(UnpricedModel) as caught:
        await fare.price(model, usage, attributes=attributes)

    assert caught.value.model == model
    assert caught.value.reason in caught.value.message
    assert caught.value.message.endswith("add a rate for it to a price book")


async def test_a_misspelt_model_is_answered_with_those_that_were_probably_meant(fare):
    with pytest.raises(UnpricedModel) as caught:
        await fare.price("gpt-5-minni", {"input_tokens": 1}, provider="openai")

    facts = caught.value.facts()
    assert facts.pop("near") == list(caught.value.near)
    assert caught.value.near[0] == "gpt-5-mini"
    assert facts == {
        "code": "unpriced_model",
        "message": "gpt-5-minni has no price: no price book names gpt-5-minni of openai; did you mean gpt-5-mini? "
        "If not, add a rate for it to a price book",
        "param": "model",
        "model": "gpt-5-minni",
        "reason": "no price book names gpt-5-minni of openai",
    }


async def test_asking_for_a_price_leaves_no_trace(fare, ledger):
    await fare.price("gpt-5-mini", {"input_tokens": 1})

    assert not ledger.path.exists() or ledger.is_remote
    assert set(map(len, ledger.rows().values())) == {0}


async def test_what_is_charged_is_what_was_priced(alice):
    usage = {"input_tokens": 1234, "cached_input_tokens": 1000, "output_tokens": 777, "reasoning_tokens": 512}

    price = await alice.price("gpt-5-mini", usage)
    charge = await alice.record("gpt-5-mini", usage, user="alice")

    assert (charge.lines, charge.cost, charge.credits, charge.edition) == (
        price.lines, price.cost, price.credits, price.edition,
    )  # fmt: skip
    assert texts(charge, "cost", "credits") == ("0.0006513", "0.06513")


async def test_a_call_that_used_nothing_costs_nothing(alice):
    charge = await chat(alice, 0, 0, user="alice")

    assert (charge.status, *texts(charge, "cost", "credits")) == ("priced", "0", "0")
    assert await balance(alice) == ("100", "0", "0", "100", "0")


async def test_the_smallest_use_is_charged_to_the_last_place(alice):
    charge = await chat(alice, 1, 0, user="alice")

    assert texts(charge, "cost", "credits") == ("0.00000015", "0.000015")
    assert await balance(alice) == ("99.999985", "0", "0", "99.999985", "0")


# Markup


async def test_a_markup_multiplies_credits_and_leaves_the_cost(ledger):
    fare = ledger.open(markup="1.5")

    price = await fare.price("gpt-image-1", {"images": 1}, attributes={"size": "1024x1536"})

    assert texts(price, "cost", "credits") == ("0.08", "12")


async def test_a_dated_markup_is_that_of_the_time_of_the_call(ledger):
    fare = ledger.open(markup={START - timedelta(days=1): Decimal("1.5"), START: "2"})
    await fare.grant("alice", 100, key="welcome")

    before = await image(fare, user="alice", at=START - timedelta(days=2))
    between = await image(fare, user="alice", at=START - timedelta(microseconds=1))
    after = await image(fare, user="alice")

    assert [str(charge.credits) for charge in (before, between, after)] == ["8", "12", "16"]
    assert {str(charge.cost) for charge in (before, between, after)} == {"0.08"}


async def test_a_markup_is_part_of_what_a_run_is_expected_to_cost(ledger):
    fare = ledger.open(markup=2)
    fare.workflow("cover", parts=[
        {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1536"}, "at_most": 3},
    ])  # fmt: skip

    assert texts(await fare.estimate("cover"), "low", "high") == ("16", "48")


@pytest.mark.parametrize(
    "markup", [1.5, True, 0, -1, "0", "1e3", "NaN", Decimal("Infinity"), 1001, None, [], {START: 0.5}], ids=repr
)
def test_a_markup_that_is_no_factor_is_refused(markup):
    with pytest.raises(InvalidAmount):
        Callfare("memory://", markup=markup)


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01", 0], ids=str)  # noqa: DTZ001 - naive on purpose
def test_a_markup_without_a_time_of_its_own_is_refused(moment):
    with pytest.raises(InvalidTime):
        Callfare("memory://", markup={moment: 2})


# Books of one's own


async def test_a_book_of_ones_own_prices_what_the_shipped_one_does_not_name(ledger, own_book):
    fare = ledger.open(books=[own_book])

    now = await fare.price("gpt-9", {"input_tokens": 500})
    then = await fare.price("gpt-9", {"input_tokens": 500}, at=datetime(2026, 11, 22, 23, 59, tzinfo=UTC))
    shipped = await fare.price("gpt-5-mini", {"input_tokens": 1_000_000})

    assert [str(price.cost) for price in (now, then, shipped)] == ["1", "1.5", "0.15"]
    assert now.edition.startswith("own+")
    assert shipped.edition.startswith("seed-2024+")


async def test_the_shipped_book_can_be_left_out(ledger, own_book):
    fare = ledger.open(books=[str(own_book)], seed_prices=False)

    price = await fare.price("gpt-5-mini", {"input_tokens": 1_000_000})

    assert (str(price.cost), price.edition.partition("+")[0]) == ("0.25", "catalogue")


async def test_the_catalogue_can_be_left_out(ledger, own_book):
    fare = ledger.open(books=[str(own_book)], seed_prices=False, catalogue="none")

    with pytest.raises(UnpricedModel):
        await fare.price("gpt-5-mini", {"input_tokens": 1})


async def test_a_model_the_seed_does_not_name_is_priced_by_the_catalogue(ledger):
    fare = ledger.open()

    price = await fare.price("claude-sonnet-4-5", {"input_tokens": 1000, "output_tokens": 100})

    assert (str(price.cost), price.edition.partition("+")[0]) == ("0.0045", "catalogue")


async def test_a_catalogue_in_the_environment_is_taken(ledger, monkeypatch):
    monkeypatch.setenv("CALLFARE_CATALOGUE", "none")
    fare = ledger.open()

    with pytest.raises(UnpricedModel):
        await fare.price("claude-sonnet-4-5", {"input_tokens": 1000})


def test_a_catalogue_accepted_beside_the_ledger_is_taken_and_another_file_is_refused(tmp_path):
    (tmp_path / "callfare.db.catalogue").write_text("{}\n", encoding="utf-8")

    with pytest.raises(PriceBookInvalid, match="is not a catalogue"):
        Callfare(f"sqlite:///{tmp_path}/callfare.db")


@pytest.mark.parametrize("book", ["missing.toml", "."], ids=str)
def test_a_book_that_cannot_be_read_is_refused_when_the_ledger_is_opened(tmp_path, book):
    with pytest.raises(PriceBookInvalid) as caught:
        Callfare("memory://", books=[tmp_path / book])

    assert "cannot be read" in caught.value.message


@pytest.mark.parametrize("books", ["prices.toml", b"prices.toml", 5, [5], [None], ["a\0b"], None], ids=repr)
def test_books_that_are_no_list_of_paths_are_refused(books):
    with pytest.raises(Misconfigured) as caught:
        Callfare("memory://", books=books)

    assert caught.value.param == "books"


# Calls without a price


async def test_a_call_without_a_price_is_kept_flagged_and_free_for_now(alice):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=20)

    charge = await run.record("gpt-9", {"input_tokens": 1000})
    receipt = await run.close()

    assert (charge.status, *texts(charge, "cost", "credits", "left")) == ("unpriced", "0", "0", "20")
    assert [(line.meter, line.quantity, line.rate) for line in charge.lines] == [("input_tokens", 1000, None)]
    assert (receipt.calls, receipt.unpriced_calls) == (1, 1)
    (call,) = (await alice.calls("r1")).items
    assert "gpt-9" in call.reason


async def test_a_finished_call_that_lacks_an_attribute_is_kept_unpriced(alice):
    charge = await alice.record("gpt-image-1", {"images": 1}, user="alice")

    assert charge.status == "unpriced"
    assert await balance(alice) == ("100", "0", "0", "100", "0")


async def test_repricing_charges_calls_whose_price_is_known_now(alice, ledger, own_book):
    await alice.record("gpt-9", {"input_tokens": 100}, user="alice")
    await alice.record("gpt-9", {"input_tokens": 100}, user="alice", at=START - timedelta(days=1))
    await alice.record("gpt-8", {"input_tokens": 100}, user="alice")

    repriced = await ledger.open(books=[own_book]).reprice()

    # 100 tokens at 2 dollars a thousand today, at 3 dollars yesterday.
    assert (repriced.priced, repriced.still_unpriced, repriced.credits) == (2, 1, Credits(50))
    assert await balance(alice) == ("50", "0", "0", "50", "0")
    report = await alice.usage("alice")
    assert (report.calls, report.unpriced_calls, report.credits) == (3, 1, Credits(50))


async def test_repricing_again_changes_nothing(alice, ledger, own_book):
    await alice.record("gpt-9", {"input_tokens": 100}, user="alice")
    await ledger.open(books=[own_book]).reprice()
    before = ledger.rows()

    again = await ledger.open(books=[own_book]).reprice()

    assert (again.priced, again.still_unpriced, again.credits) == (0, 0, Credits(0))
    assert ledger.rows() == before


async def test_repricing_draws_on_the_run_while_it_is_open_and_directly_when_it_has_ended(alice, ledger, own_book):
    going = await alice.open_run("story", user="alice", run_id="going", hold=30)
    ended = await alice.open_run("story", user="alice", run_id="ended", hold=30)
    await going.record("gpt-9", {"input_tokens": 100})
    await ended.record("gpt-9", {"input_tokens": 100})
    await ended.close()

    await ledger.open(books=[own_book]).reprice()

    assert await balance(alice) == ("80", "30", "20", "50", "0")
    runs = {run.run_id: run for run in (await alice.history("alice")).items}
    assert [(str(run.charged), str(run.cost), run.unpriced_calls) for run in (runs["going"], runs["ended"])] == [
        ("20", "0.2", 0), ("20", "0.2", 0),
    ]  # fmt: skip


async def test_a_key_with_hash_marks_does_not_stand_in_the_way_of_repricing(alice, ledger, own_book):
    await alice.record("gpt-9", {"input_tokens": 100}, user="alice", key="a")
    await alice.record("gpt-9", {"input_tokens": 200}, user="alice", key="a#reprice")
    await alice.record("gpt-9", {"input_tokens": 300}, user="alice", key="a#correction")

    repriced = await ledger.open(books=[own_book]).reprice()

    assert (repriced.priced, repriced.credits) == (3, Credits(120))
    assert (await alice.balance("alice")).debt == Credits(20)


async def test_repricing_an_attempt_costs_the_house_and_not_the_user(alice, ledger, own_book):
    request = {"workflow": "story", "user": "alice", "run_id": "r1", "hold": 30}
    run = await alice.open_run(**request)
    await run.record("gpt-9", {"input_tokens": 100}, step="one")
    await (await ledger.open().open_run(**request)).record("gpt-9", {"input_tokens": 150}, step="one")

    repriced = await ledger.open(books=[own_book]).reprice()

    assert (repriced.priced, repriced.credits) == (2, Credits(20))
    (summary,) = (await alice.history("alice")).items
    assert (summary.charged, summary.cost, summary.unpriced_calls) == (Credits(20), Usd("0.5"), 0)


async def test_repricing_a_run_that_was_waived_is_paid_by_the_house(alice, ledger, own_book):
    alice.workflow("kind", low=10, high=20, on_failure="waive")
    run = await alice.open_run("kind", user="alice", run_id="r1")
    await run.record("gpt-9", {"input_tokens": 100})
    await run.close("failed")

    await ledger.open(books=[own_book]).reprice()

    assert await balance(alice) == ("100", "0", "0", "100", "0")
