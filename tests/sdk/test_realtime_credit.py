"""Realtime sessions and credit: refused before they open, ended when nothing is left, and what remains is a debt."""

from __future__ import annotations

import contextlib

import openai
import pytest

from callfare import Callfare
from callfare.capture.recent import RECENT
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, RunClosed, UnpricedModel
from callfare.money import Credits
from tests.capture.realtime import HELLO, SECOND_OF_SOUND, SILENCE

# Text in costs $4 a million, sound in 32, either from the cache 0.40, text out 16, sound out 64. A credit is a cent.


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids are those of one test."""
    RECENT._ids.clear()


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def fare():
    with Callfare("memory://") as ledger:
        yield ledger


@pytest.fixture
def client(fake, fare):
    with openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        yield fare.wrap(bare)


def speak(connection, times):
    """Speak for a second, as often as this, and read each response."""
    for _ in range(times):
        connection.input_audio_buffer.append(audio=SECOND_OF_SOUND)
        connection.input_audio_buffer.append(audio=SILENCE)
        while connection.recv().type != "response.done":
            pass


def test_without_credit_no_session_is_opened(fake, fare, client):
    with (
        fare.user("alice"),
        pytest.raises(InsufficientCredit),
        client.realtime.connect(model="gpt-realtime"),
    ):
        pass

    assert fake.count == 0


def test_within_a_run_a_model_without_a_price_opens_no_session(fake, fare, client):
    fare.grant("alice", 100, key="k")

    with (
        fare.run("story", user="alice", hold=1),
        pytest.raises(UnpricedModel),
        client.realtime.connect(model="nobodys-model"),
    ):
        pass

    assert fake.count == 0


def test_a_session_ends_before_a_response_that_would_cost_more_than_is_left(fare, client):
    # The first costs 0.1392 credits, the second 0.1856.
    fare.grant("alice", "0.5", key="k")

    with (
        fare.user("alice"),
        client.realtime.connect(model="gpt-realtime") as connection,
        pytest.raises(InsufficientCredit) as refused,
    ):
        speak(connection, 5)

    # Two were paid for; for the third as much as the second cost was not there.
    balance = fare.balance("alice")
    assert (fare.usage("alice").calls, balance.available, balance.debt) == (2, Credits("0.1752"), Credits(0))
    assert refused.value.needed == Credits("0.1856")
    assert fare.verify().is_clean


def test_within_a_run_the_hold_is_extended_until_that_is_refused(fare, client):
    fare.grant("alice", "0.5", key="k")

    with (
        fare.run("story", user="alice", hold="0.1") as run,
        client.realtime.connect(model="gpt-realtime") as connection,
        pytest.raises(InsufficientCredit) as refused,
    ):
        speak(connection, 5)

    balance = fare.balance("alice")
    assert (refused.value.user, len(fare.calls(run).items)) == ("alice", 2)
    assert (balance.available, balance.held, balance.debt) == (Credits("0.1752"), Credits(0), Credits(0))
    assert fare.verify().is_clean


def test_what_the_first_response_costs_beyond_what_was_there_is_a_debt(fare, client):
    fare.grant("alice", "0.1", key="k")

    with (
        fare.user("alice"),
        client.realtime.connect(model="gpt-realtime") as connection,
        contextlib.suppress(InsufficientCredit),
    ):
        speak(connection, 2)

    balance = fare.balance("alice")
    assert (fare.usage("alice").calls, balance.available, balance.debt) == (1, Credits(0), Credits("0.0392"))
    assert fare.verify().is_clean


def test_a_response_that_is_asked_for_is_refused_by_the_most_it_may_cost(fare, client):
    # Four hundred tokens of sound at $64 a million are 2.56 credits. Two of text in, 57 and 42 of sound out are 0.3608.
    fare.grant("alice", "2.5", key="k")

    with fare.user("alice"), client.realtime.connect(model="gpt-realtime") as connection:
        connection.conversation.item.create(item=HELLO)
        with pytest.raises(InsufficientCredit):
            connection.response.create(response={"max_output_tokens": 400})
        connection.response.create(response={"max_output_tokens": 300})
        while connection.recv().type != "response.done":
            pass

    assert fare.usage("alice").calls == 1
    assert fare.balance("alice").available == Credits("2.1392")


def test_a_session_that_breaks_is_charged_by_estimate(fake, fare, client):
    fare.grant("alice", 10, key="k")
    fake.script(Fault(drop_after=6))

    with (
        fare.run("story", user="alice", hold=1) as run,
        contextlib.suppress(Exception),
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        connection.conversation.item.create(item=HELLO)
        connection.response.create()
        for _ in connection:
            pass

    [call] = fare.calls(run).items
    # Two tokens in at $4 a million, three of text out at 16, one of sound at 64.
    assert (call.credits, call.flags) == (Credits("0.012"), ("estimated",))
    assert fare.verify().is_clean


def test_a_session_that_outlives_its_run_is_charged_late_and_ends(fare, client):
    fare.grant("alice", 10, key="k")
    run = fare.run("story", user="alice", hold=1)

    with contextlib.ExitStack() as stack:
        with run:
            connection = stack.enter_context(client.realtime.connect(model="gpt-realtime"))
        with pytest.raises(RunClosed):
            speak(connection, 2)

    assert fare.usage("alice").calls == 1
    assert fare.verify().is_clean
