"""Faults planted in the metering of batches: each law of theirs has a test that sees it broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from openai import OpenAI

from callfare import Callfare
from callfare.capture.batch_calls import Hearing, Making
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.engine.batches import Batches, BatchTicket, _Owner, claim_of
from callfare.ledger import batches as ledger_batches
from tests.metering import test_batches as suite


@pytest.fixture
def url() -> str:
    return "memory://"


@pytest.fixture
def fare(url: str) -> Iterator[Callfare]:
    """A ledger whose books may be wrong at the end."""
    with Callfare(url) as fare:
        fare.grant("alice", 10, key="k")
        yield fare


def seen(test: Callable[[], object]) -> bool:
    """Tell whether a test fails."""
    try:
        test()
    except (AssertionError, ValueError, pytest.fail.Exception):
        return True
    return False


def test_that_a_batch_is_not_bounded_is_seen(fare: Callfare, client: OpenAI, fake: FakeOpenAI, monkeypatch):
    monkeypatch.setattr(Batches, "_most", lambda *_: 1)

    with fare.user("alice"):
        assert seen(lambda: suite.test_a_batch_holds_the_most_it_can_cost(fare, client))
        assert seen(lambda: suite.test_a_batch_that_cannot_be_paid_is_refused_before_it_is_made(fare, client, fake))


def test_that_batches_count_on_the_same_credit_is_seen(fare: Callfare, client: OpenAI, fake: FakeOpenAI, monkeypatch):
    def checked(self, intents, *, provider, user=None):
        subject, run = self._metering.whom(user)
        self._metering._check_account(subject, self._most(intents, run))
        return BatchTicket(self, subject)

    monkeypatch.setattr(Batches, "admit", checked)

    assert seen(lambda: suite.test_batches_do_not_count_on_the_same_credit(fare, client, fake))


def test_that_the_reader_pays_is_seen(fare: Callfare, client: OpenAI, monkeypatch):
    def reader(self, name, user):
        return _Owner(None, claim_of(name, self._metering.whom(user)[0]))

    monkeypatch.setattr(Batches, "_owner", reader)
    monkeypatch.setattr("callfare.finished.Finished.first", None)

    assert seen(lambda: suite.test_results_are_charged_to_whoever_made_the_batch(fare, client))


def test_that_a_later_claim_stands_too_is_seen(fare: Callfare, client: OpenAI, sdk, monkeypatch):
    monkeypatch.setattr(ledger_batches, "_known", lambda *_: None)

    assert seen(lambda: suite.test_what_was_made_elsewhere_is_charged_to_the_first_who_reads_it(fare, client, sdk))
    assert seen(lambda: suite.test_results_are_charged_to_whoever_made_the_batch(fare, client))


def test_that_nothing_is_given_back_is_seen(fare: Callfare, client: OpenAI, fake: FakeOpenAI, monkeypatch):
    monkeypatch.setattr(_Owner, "closing", lambda *_: None)

    with fare.user("alice"):
        assert seen(lambda: suite.test_a_cancelled_batch_gives_back_what_was_held(fare, client))
        assert seen(lambda: suite.test_results_are_charged_to_whoever_made_the_batch(fare, client))


def test_that_a_part_of_the_results_passes_for_all_is_seen(fare: Callfare, client: OpenAI, fake, monkeypatch):
    monkeypatch.setattr(Hearing, "_news", lambda _, settlement: replace(settlement.told, outcome="completed"))

    with fare.user("alice"):
        assert seen(lambda: suite.test_an_expired_batch_with_results_is_held_until_they_are_read(fare, client, fake))


def test_that_a_refused_batch_keeps_its_hold_is_seen(fare: Callfare, client: OpenAI, fake, monkeypatch):
    monkeypatch.setattr(Making, "apply", lambda *_: None)

    with fare.user("alice"):
        assert seen(lambda: suite.test_a_batch_that_the_provider_refuses_gives_its_hold_back(fare, client, fake))


def test_that_the_run_hands_nothing_over_is_seen(fare: Callfare, client: OpenAI, monkeypatch):
    opening = Batches._opening

    def apart(*arguments):
        return replace(opening(*arguments), from_parent_nanocredits=0)

    monkeypatch.setattr(Batches, "_opening", apart)

    with pytest.raises(Exception, match="alice needs"):
        suite.test_a_batch_takes_its_hold_out_of_the_run_it_is_made_in(fare, client)
