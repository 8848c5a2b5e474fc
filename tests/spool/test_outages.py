"""The ledger goes away in the middle of everything, and comes back: each finished call is charged once."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from openai import OpenAI

from callfare import Callfare, Credits, LedgerUnavailable
from callfare.devtools.fake_openai import FakeOpenAI
from tests.spool.away import Away

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled")

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]


def test_a_run_goes_on_without_its_ledger_and_is_charged_when_it_is_back(
    fare: Callfare, away: Away, paint: Callable[..., object], back: Callable[[], None]
) -> None:
    with fare.run("tweet", user="alice", hold=20) as run:
        paint()
        away.begin()
        paint()
        charge = run.record(**IMAGE)
        left = run.left

    back()

    assert (charge.is_spooled, charge.credits, charge.left, left) == (True, Credits(4), Credits(8), Credits(8))
    assert run.receipt is None
    assert [call.credits for call in fare.calls(run).items] == [Credits(4)] * 3
    assert fare.calls(run).items[2].id == charge.id
    assert fare.history("alice").items[0].status == "completed"
    assert fare.balance("alice").available == Credits(88)


def test_what_waits_counts_against_the_hold_so_that_no_call_spends_it_again(
    fare: Callfare, away: Away, fake: FakeOpenAI, paint: Callable[..., object]
) -> None:
    with fare.run("tweet", user="alice", hold=9) as run:
        away.begin()
        paint()
        paint()
        with pytest.raises(LedgerUnavailable):
            paint()

        assert run.left == Credits(1)
        assert fake.count == 2


def test_nothing_starts_while_the_ledger_is_away(
    fare: Callfare, away: Away, fake: FakeOpenAI, paint: Callable[..., object]
) -> None:
    away.begin()

    with pytest.raises(LedgerUnavailable):
        fare.open_run("tweet", user="alice")
    with pytest.raises(LedgerUnavailable), fare.user("alice"):
        paint()
    with pytest.raises(LedgerUnavailable):
        fare.grant("alice", 1, key="more")

    assert fake.count == 0
    assert fare.spool().waiting == 0


def test_a_call_outside_a_run_is_recorded_for_a_user_nobody_has_met(
    fare: Callfare, away: Away, back: Callable[[], None]
) -> None:
    away.begin()
    charge = fare.record(**IMAGE, user="bob", key="mine")
    back()

    assert (charge.id, charge.key, charge.is_spooled) == ("", "mine", True)
    assert fare.balance("bob").debt == Credits(4)
    assert fare.record(**IMAGE, user="bob", key="mine").is_replay


def test_an_estimate_that_waits_is_corrected_by_the_count_that_comes(
    fare: Callfare, away: Away, client: OpenAI, back: Callable[[], None]
) -> None:
    with fare.run("tweet", user="alice", hold=50) as run:
        stream = client.responses.create(model="gpt-5-mini", input="Tell a story.", stream=True)
        first = next(stream)
        next(stream)
        away.begin()
        stream.close()
        gc.collect()
        client.responses.retrieve(first.response.id)

    back()

    estimate, correction = fare.calls(run).items
    assert (estimate.flags, correction.kind) == (("estimated",), "correction")
    charged = sum(call.credits.nanocredits for call in (estimate, correction))
    assert Credits.of_units(charged) == fare.price("gpt-5-mini", correction.usage).credits


def test_a_video_that_begins_and_ends_during_an_outage_is_charged_once(
    fare: Callfare, away: Away, client: OpenAI, back: Callable[[], None]
) -> None:
    with fare.run("video", user="alice", hold=40) as run:
        away.begin()
        video = client.videos.create(model="sora-2", prompt="waves", seconds="8", size="1280x720")
        left = run.left
        while video.status not in {"completed", "failed"}:
            video = client.videos.retrieve(video.id)

    back()

    assert left == Credits(8)
    assert [call.credits for call in fare.calls(run).items] == [Credits(32)]
    balance = fare.balance("alice")
    assert (balance.available, balance.held) == (Credits(68), Credits(0))


def test_it_is_delivered_by_itself_once_the_ledger_answers_somebody(
    fare: Callfare, away: Away, paint: Callable[..., object]
) -> None:
    with fare.run("tweet", user="alice", hold=20):
        away.begin()
        paint()
    away.end()

    fare.grant("alice", 1, key="more")

    thread = fare._engine.delivery._thread
    if thread is not None:
        thread.join(60)
    fare._engine.store.close()
    assert fare.spool().waiting == 0
    assert fare.balance("alice").available == Credits(97)
