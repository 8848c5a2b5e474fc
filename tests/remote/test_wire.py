"""What travels is what was meant: errors by their codes, prices with their edition, commands without a decision."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime

import msgspec
import pytest

from callfare import errors
from callfare.engine.requests import Call, Subject
from callfare.errors import CallfareError
from callfare.facade import open_engine
from callfare.ledger.commands import Command
from callfare.money import Credits
from callfare.pricing.edition import shipped_catalogue
from callfare.remote import sent
from callfare.remote.faults import error_of
from callfare.remote.prices import settings_of
from callfare.server.refusals import facts_of
from callfare.server.wire.prices import Prices

MADE = [
    errors.InsufficientCredit("alice", needed=Credits(3), available=Credits(1)),
    errors.UnpricedModel("gpt-9", reason="no rate"),
    errors.UnpricedModel("gpt-9", reason="no rate", near=["gpt-5", "gpt-4"]),
    errors.UnpricedModel("gpt-9", reason="no rate", step="it is sold by openai", param="provider"),
    errors.Forbidden("no", scope="usage:write"),
    errors.TooManyAttempts(retry_after_s=60),
    errors.GrantCapReached("k", cap=Credits(1), granted=Credits(0), asked=Credits(2), resets_at="tomorrow"),
    errors.RunNotFound("r/1"),
    errors.RunClosed("r/1", outcome="failed"),
    errors.KeyConflict("k"),
    errors.RunAmbiguous("r/1", users=2),
]
# They name places of the server's machine, and are told apart from what a caller can put right.
OWNERS = {"schema_older"}
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CallfareError) and kind.__init__ is CallfareError.__init__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_error_comes_back_as_its_class_with_its_message_and_its_argument(kind):
    error = kind("what is wrong", param="user")

    told = error_of(facts_of(error, "req_1"))

    assert (type(told), told.code, told.param) == (kind, kind.code, "user")
    assert told.__notes__ == ["request req_1"]


@pytest.mark.parametrize("error", MADE, ids=str)
def test_an_error_of_more_than_a_message_comes_back_with_its_numbers(error):
    told = error_of(facts_of(error, "req_1"))

    assert type(told) is type(error)
    assert told.message == error.message
    assert told.facts() == error.facts()


def test_every_kind_of_error_is_tried_here():
    known = {kind.code for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CallfareError)}

    assert {kind.code for kind in KINDS} | {error.code for error in MADE} | OWNERS == known


@pytest.mark.parametrize("error", MADE, ids=str)
def test_a_server_that_says_less_is_understood_as_far_as_it_goes(error):
    told = error_of({"code": error.code, "message": "what is wrong"}, 409)

    assert isinstance(told, CallfareError)
    assert "what is wrong" in told.message


@pytest.mark.parametrize("near", [None, "gpt-5", 7, {"gpt-5": 1}, [7, None, "gpt-5"]], ids=repr)
def test_near_names_that_are_none_are_left_out(near):
    told = error_of({"code": "unpriced_model", "message": "", "model": "gpt-9", "reason": "no rate", "near": near}, 422)

    assert isinstance(told, errors.UnpricedModel)
    assert told.near == (("gpt-5",) if isinstance(near, list) else ())


def test_a_code_of_a_later_version_is_of_the_class_of_its_status():
    told = error_of({"code": "moon_phase", "message": "wrong moon", "param": None}, 409)

    assert (type(told), told.message) == (errors.Conflict, "wrong moon")


def test_prices_come_back_as_they_are_with_every_date_and_attribute(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    markup = {datetime(2020, 1, 1, tzinfo=UTC): "1.2", datetime(2026, 1, 1, tzinfo=UTC): "1.3"}
    engine = open_engine(
        "memory://", [tmp_path / "own.toml"], seed_prices=True, markup=markup, require_user=True, clock=None
    )
    here = engine.settings.assumed()

    there = settings_of(json.loads(Prices.of(here).body()), shipped_catalogue())

    assert there.book.edition == here.book.edition
    assert (there.markups, there.require_user) == (here.markups, True)
    assert [layer.models for layer in there.book.layers] == [layer.models for layer in here.book.layers]
    engine.close()


def test_prices_that_do_not_have_their_edition_are_refused(tmp_path):
    engine = open_engine("memory://", [], seed_prices=True, markup=1, require_user=False, clock=None)
    told = json.loads(Prices.of(engine.settings.assumed()).body())
    told["layers"][0]["models"][0]["rates"][0]["usd"] = "0.01"

    with pytest.raises(errors.Misconfigured, match="edition"):
        settings_of(told, shipped_catalogue())
    engine.close()


@pytest.mark.parametrize("facts", [{}, {"layers": 5}, [], {"layers": [], "markups": [], "requireUser": False}], ids=str)
def test_prices_that_cannot_be_read_are_refused(facts):
    with pytest.raises(errors.Misconfigured):
        settings_of(facts, shipped_catalogue())


def test_a_call_travels_without_anything_that_was_worked_out_here():
    engine = open_engine("memory://", [], seed_prices=True, markup=1, require_user=False, clock=None)

    command = engine.requests.usage(Subject(user="alice"), Call(model="gpt-5-mini", usage={"input_tokens": 1000}))

    facts = sent.facts_of(command)

    assert command.nanocredits == 15_000_000
    assert set(facts) == {"type", "userId", "model", "usage", "callId", "seenAt"}
    engine.close()


def test_a_command_that_only_the_ledger_itself_takes_is_refused():
    class Other(Command, frozen=True, kw_only=True, tag=True):
        """A command of a later version."""

    with pytest.raises(errors.OnlyLocal):
        sent.facts_of(Other())


def test_a_usage_object_that_no_server_takes_is_left_out_and_the_count_is_kept(caplog):
    engine = open_engine("memory://", [], seed_prices=True, markup=1, require_user=False, clock=None)

    call = Call(model="gpt-5-mini", usage={"input_tokens": 1}, raw={"x": "y" * 20_000})
    facts = sent.facts_of(engine.requests.usage(Subject(user="alice"), call))

    assert "raw" not in facts
    assert facts["usage"] == {"input_tokens": "1"}
    assert "left out" in caplog.text
    assert msgspec.json.encode(facts)
    engine.close()


OWN = """
book = "own"

[[model]]
provider = "openai"
name = "gpt-image-9"
basis = ["images"]
source = "our contract"
checked = 2026-11-20
derived.resolution = { from = "size", values = { "1x1" = "small", "2x2" = "large" } }

[[model.rate]]
meter = "images"
usd = "0.123456789"
per = 1
until = 2026-11-23
attributes = { resolution = "small" }

[[model.rate]]
meter = "images"
usd = "2"
per = 1_000
from = 2026-11-23T10:00:00Z
attributes = { resolution = "large" }
"""
