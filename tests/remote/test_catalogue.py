"""A server that prices by another catalogue than the one shipped: who asks it has that one too."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from genai_prices import types as theirs

from callfare import Callfare
from callfare.errors import Misconfigured
from callfare.facade import open_engine
from callfare.pricing.catalog import compiled
from callfare.pricing.edition import Catalogue, shipped_catalogue
from callfare.remote import prices
from tests.support.serving import served

API = "/api/billing"


@pytest.fixture
def accepted(tmp_path):
    """A catalogue of one model that no other one has."""
    prices = theirs.ModelPrice(input_mtok=Decimal(7), output_mtok=Decimal(8))
    model = theirs.ModelInfo(id="quite-new", match=theirs.ClauseEquals(equals="quite-new"), prices=prices)
    provider = theirs.Provider(id="somebody", name="Somebody", api_pattern="x", models=[model])
    file = tmp_path / "accepted"
    file.write_bytes(compiled(checked=date(2026, 11, 22), providers=[provider]).text)
    return file


@pytest.fixture
def serving(tmp_path, accepted):
    """A server whose ledger prices by that catalogue."""
    engine = open_engine(
        f"sqlite:///{tmp_path}/x.db",
        (),
        seed_prices=True,
        markup=1,
        require_user=False,
        clock=None,
        catalogue=accepted,
    )
    engine.address = None
    with served(engine) as serving:
        yield serving


def told(serving, **query):
    with serving.client() as client:
        return client.get(f"{API}/prices", params=query).json()["catalogue"]


def test_an_app_holds_by_the_servers_catalogue(serving):
    with Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
        price = fare.price("quite-new", {"input_tokens": 1_000_000})
        editions = [layer.edition for layer in fare._engine.settings.book.layers]

    assert str(price.cost) == "7"
    assert editions == [layer.edition for layer in serving.engine.settings.book.layers]


def test_the_text_goes_to_those_who_have_another_one(serving, accepted):
    edition = Catalogue(accepted).edition

    assert told(serving) == {"edition": edition, "text": None}
    assert told(serving, catalogue=edition) == {"edition": edition, "text": None}
    assert told(serving, catalogue=shipped_catalogue().edition)["text"].encode() == accepted.read_bytes()


def test_a_catalogue_is_the_servers_to_say(serving):
    with pytest.raises(Misconfigured, match="catalogue is the server's to say"):
        Callfare(serving.url, api_key=serving.credentials["service"], catalogue="none")


def test_an_app_holds_and_is_charged_by_what_a_server_says_is_taken_off(tmp_path):
    (tmp_path / "ours.toml").write_text(
        'book = "ours"\n[[adjustment]]\nprovider = "anthropic"\ndiscount = "15%"\nsource = "a letter"\n'
        "checked = 2026-11-23\nfrom = 2026-01-01\n",
        encoding="utf-8",
    )
    engine = open_engine(
        f"sqlite:///{tmp_path}/x.db",
        [tmp_path / "ours.toml"],
        seed_prices=True,
        markup=1,
        require_user=False,
        clock=None,
    )
    engine.address = None

    with served(engine) as serving, Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
        price = fare.price("claude-sonnet-4-5", {"input_tokens": 100_000})
        charge = fare.record("claude-sonnet-4-5", {"input_tokens": 100_000}, user="alice", provider="anthropic")
        found = fare.explain(charge.id)
        terms = fare._engine._terms
        assert fare._engine.settings.book.edition == serving.engine.settings.book.edition
        terms.doubt(charge.edition)
        assert not terms.is_due
        terms.doubt(f"{charge.edition},other+12345678")
        assert terms.is_due

    for line in (price.lines[0], charge.lines[0], found.call.lines[0]):
        assert (str(line.rate), str(line.list_rate), line.adjustment) == ("2.55", "3", "-15%")
    assert str(charge.cost) == "0.255"
    assert found.arithmetic[0].startswith("input_tokens: 100000 × $2.55 / 1000000 (-15% of $3) = $0.255")


def test_prices_that_cannot_be_read_are_refused_each_time_and_asked_for_again(serving, monkeypatch):
    def unreadable(*_):
        raise Misconfigured("the server's prices cannot be read; is it of another version?")

    with Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
        with monkeypatch.context() as patch:
            patch.setattr(prices, "settings_of", unreadable)
            for _ in range(2):
                with pytest.raises(Misconfigured, match="of another version"):
                    fare.price("gpt-5-mini", {"input_tokens": 1000})
        price = fare.price("gpt-5-mini", {"input_tokens": 1000})

    assert str(price.cost) == "0.00015"
