"""The real SDK, the stand-in behind it, and the real ledger: what a wrapped client's calls do to a user's credit."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import AsyncOpenAI, InternalServerError, OpenAI

from callfare import AsyncCallfare, Callfare, Credits, InsufficientCredit, UnattributedWarning, UnpricedModel
from callfare.clock import ManualClock
from callfare.context import carry
from callfare.devtools.fake_openai import FakeOpenAI, Fault
from callfare.errors import LedgerUnavailable, RunClosed, UserRequired

# The SDK warns that the video API will end; old usage must be priced for as long as it is billed.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled")

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]


def test_a_run_pays_for_all_five_kinds_of_call(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 2000, key="k")

    with fare.run("story", user="alice") as run:
        client.chat.completions.create(model="gpt-5-mini", messages=STORY)
        client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="x" * 1000)
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF" + b"\0" * 40_000))
        client.images.generate(model="gpt-image-1", prompt="a lighthouse", size="1024x1536", n=2)
        client.videos.create_and_poll(model="sora-2", prompt="waves", seconds="8", size="1280x720", poll_interval_ms=1)

    calls = {call.operation: call for call in fare.calls(run).items}
    assert set(calls) == {"chat", "speech", "transcription", "image", "video"}
    assert all(call.status == "priced" for call in calls.values())
    assert calls["speech"].credits == Credits("1.2")
    assert calls["image"].credits == Credits("16")
    assert calls["video"].credits == Credits("32")
    total = sum(call.credits.nanocredits for call in calls.values())
    assert fare.balance("alice").available == Credits(2000) - Credits.of_units(total)


def test_a_call_that_credit_cannot_cover_is_refused_before_it_is_made(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
) -> None:
    fare.grant("bob", 20, key="k")

    with (
        pytest.raises(InsufficientCredit) as refusal,
        fare.run("tweet", user="bob", hold=5),
    ):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1536", n=3)

    assert fake.count == 0
    assert refusal.value.user == "bob"
    assert fare.history("bob").items[0].status == "failed"
    assert fare.balance("bob").available == Credits(20)


def test_an_unstated_size_is_held_at_the_dearest_rate(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("bob", 7, key="k")

    with pytest.raises(InsufficientCredit), fare.run("tweet", user="bob", hold=0):
        client.images.generate(model="gpt-image-1", prompt="a cat")

    assert fake.count == 0


def test_parallel_calls_do_not_count_on_the_same_remainder(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("carol", 40, key="k")
    made = []

    def call() -> None:
        try:
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1536")
            made.append(1)
        except InsufficientCredit:
            made.append(0)

    with fare.run("tweet", user="carol", hold=0), ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(carry(call)) for _ in range(12)]:
            job.result()

    assert sum(made) == 5
    assert fake.count == 5
    balance = fare.balance("carol")
    assert (balance.available, balance.debt) == (Credits(0), Credits(0))


def test_a_model_without_a_price_is_refused_inside_a_run(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with pytest.raises(UnpricedModel), fare.run("tweet", user="alice"):
        client.chat.completions.create(model="gpt-unheard-of", messages=STORY)

    assert fake.count == 0


def test_a_misspelt_model_is_refused_inside_a_run_with_the_one_that_was_meant(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
) -> None:
    fare.grant("alice", 100, key="k")

    with pytest.raises(UnpricedModel) as refusal, fare.run("tweet", user="alice"):
        client.chat.completions.create(model="gpt-5-minni", messages=STORY)

    assert fake.count == 0
    assert refusal.value.near[0] == "gpt-5-mini"
    assert "did you mean gpt-5-mini?" in str(refusal.value)


def test_outside_a_run_the_user_of_the_context_pays(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with fare.user("alice"):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert fare.balance("alice").available == Credits(96)


def test_outside_a_run_a_user_without_credit_is_refused(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 1, key="k")

    with pytest.raises(InsufficientCredit), fare.user("bob"):
        client.chat.completions.create(model="gpt-5-mini", messages=STORY)

    assert fake.count == 0


def test_a_call_for_nobody_is_charged_to_unattributed_and_warned_of_once(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 1, key="k")

    with pytest.warns(UnattributedWarning):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
    client.images.generate(model="gpt-image-1", prompt="a dog", size="1024x1024")

    assert fare.balance("unattributed").debt == Credits(8)


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_a_call_for_nobody_can_be_refused(url: str, fake: FakeOpenAI, sdk: Callable[..., OpenAI]) -> None:
    with Callfare(url, require_user=True) as fare:
        fare.grant("alice", 1, key="k")
        client = fare.wrap(sdk())

        with pytest.raises(UserRequired):
            client.chat.completions.create(model="gpt-5-mini", messages=STORY)

    assert fake.count == 0


def test_an_abandoned_stream_is_charged_by_estimate(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with fare.run("tweet", user="alice") as run:
        stream = client.chat.completions.create(model="gpt-5-mini", messages=STORY, stream=True)
        next(stream)
        next(stream)
        next(stream)
        del stream
        gc.collect()

    [call] = fare.calls(run).items
    assert call.flags == ("estimated",)
    assert call.credits > Credits(0)


def test_the_real_count_corrects_an_estimate(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with fare.run("tweet", user="alice") as run:
        stream = client.responses.create(model="gpt-5-mini", input="Tell a story.", stream=True)
        first = next(stream)
        next(stream)
        stream.close()
        client.responses.retrieve(first.response.id)

    estimate, correction = fare.calls(run).items
    assert (estimate.flags, correction.kind) == (("estimated",), "correction")
    charged = sum(call.credits.nanocredits for call in (estimate, correction))
    price = fare.price("gpt-5-mini", correction.usage).credits
    assert Credits.of_units(charged) == price


def test_the_sdks_own_retries_charge_once(fare: Callfare, fake: FakeOpenAI, sdk: Callable[..., OpenAI]) -> None:
    fare.grant("alice", 100, key="k")
    client = fare.wrap(sdk(max_retries=2))
    fake.script(Fault(status=500, retry_after="0"), Fault(status=500, retry_after="0"))

    with fare.run("tweet", user="alice") as run:
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert fake.count == 3
    assert len(fare.calls(run).items) == 1
    assert fare.balance("alice").available == Credits(96)


def test_a_call_that_fails_is_free(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(Fault(status=500))

    with fare.run("tweet", user="alice") as run, pytest.raises(InternalServerError):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert fare.calls(run).items == ()
    assert fare.balance("alice").available == Credits(100)


def test_a_retried_step_charges_once(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    for _ in range(2):
        run = fare.open_run("tweet", user="alice", run_id="wf_1")
        with run.active(), run.step("picture"):
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
    fare.close_run("wf_1")

    calls = fare.calls("wf_1").items
    assert [call.credits for call in calls] == [Credits(4), Credits(0)]
    assert calls[1].flags == ("attempt",)
    assert fare.balance("alice").available == Credits(96)


class TestVideos:
    def test_a_pending_video_is_held_after_its_run_has_ended(self, fare: Callfare, client: OpenAI) -> None:
        fare.grant("alice", 100, key="k")

        with fare.run("video", user="alice", hold=40):
            video = client.videos.create(model="sora-2", prompt="waves", seconds="8", size="1280x720")
        held = fare.balance("alice")
        while video.status not in {"completed", "failed"}:
            video = client.videos.retrieve(video.id)

        assert (held.held, held.available) == (Credits(32), Credits(68))
        balance = fare.balance("alice")
        assert (balance.posted, balance.held) == (Credits(68), Credits(0))

    def test_a_pending_video_leaves_its_run_what_its_hold_has_left(
        self, fare: Callfare, fake: FakeOpenAI, client: OpenAI
    ) -> None:
        fare.grant("alice", 60, key="k")

        run = fare.open_run("video", user="alice", hold=50)
        with run.active():
            client.videos.create(model="sora-2", prompt="waves", seconds="12", size="1280x720")
            with pytest.raises(InsufficientCredit):
                client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1536", n=5)

        assert run.left == Credits(2)
        assert fake.count == 1
        assert fare.balance("alice").debt == Credits(0)

    def test_a_failed_video_is_given_back(self, fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
        fare.grant("alice", 100, key="k")
        fake.script(Fault(job="failed"))

        with fare.run("video", user="alice", hold=40):
            video = client.videos.create(model="sora-2", prompt="waves", seconds="8", size="1280x720")
            while video.status not in {"completed", "failed"}:
                video = client.videos.retrieve(video.id)

        assert fare.balance("alice").available == Credits(100)

    def test_a_video_nobody_saw_end_is_charged_when_its_time_is_over(
        self, fare: Callfare, client: OpenAI, clock: ManualClock
    ) -> None:
        fare.grant("alice", 100, key="k")
        with fare.run("video", user="alice", hold=40) as run:
            client.videos.create(model="sora-2", prompt="waves", seconds="4", size="720x1280")

        clock.advance(25 * 3600)
        fare.grant("alice", 1, key="later")

        [call] = fare.calls(run).items
        assert (call.flags, call.credits) == (("estimated",), Credits(16))
        assert fare.balance("alice").available == Credits(85)

    def test_whichever_process_sees_the_end_settles_once(
        self, tmp_path: Path, sdk: Callable[..., OpenAI], clock: ManualClock
    ) -> None:
        url = f"sqlite:///{tmp_path}/two.db"
        with Callfare(url, clock=clock) as one, Callfare(url, clock=clock) as two:
            one.grant("alice", 100, key="k")
            here = one.wrap(sdk())
            there = two.wrap(sdk())
            with one.run("video", user="alice", hold=40):
                video = here.videos.create(model="sora-2", prompt="waves", seconds="8", size="1280x720")

            while video.status not in {"completed", "failed"}:
                video = there.videos.retrieve(video.id)
            here.videos.retrieve(video.id)

            assert two.balance("alice").posted == Credits(68)
            assert one.verify().is_clean


def test_an_answer_is_never_lost_to_a_ledger_that_is_away(
    tmp_path: Path, fake: FakeOpenAI, sdk: Callable[..., OpenAI], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone.db"
    with Callfare(f"sqlite:///{path}") as fare:
        fare.grant("alice", 100, key="k")
        client = fare.wrap(sdk())
        run = fare.open_run("tweet", user="alice")

        path.rename(tmp_path / "moved.db")
        with run.active():
            image = client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

        assert image.data
        assert "finished calls wait in" in caplog.text
        assert fare.spool().waiting == 1
        with fare.user("alice"), pytest.raises(LedgerUnavailable):
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
        assert fake.count == 1


async def test_async_clients_are_metered_on_the_async_facade(url: str, fake: FakeOpenAI) -> None:
    async with AsyncCallfare(url) as fare:
        await fare.grant("alice", 1000, key="k")
        async with (
            AsyncOpenAI(base_url=fake.base_url, api_key="none") as bare,
            fare.run("carousel", user="alice") as run,
        ):
            client = fare.wrap(bare)
            await asyncio.gather(
                *(client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024") for _ in range(10)),
                client.chat.completions.create(model="gpt-5-mini", messages=STORY),
            )
            stream = await client.chat.completions.create(model="gpt-5-mini", messages=STORY, stream=True)
            async for _ in stream:
                pass

        calls = (await fare.calls(run)).items
        assert len(calls) == 12
        spent = sum(call.credits.nanocredits for call in calls)
        assert (await fare.balance("alice")).available == Credits(1000) - Credits.of_units(spent)
        # A server's ledger is recomputed where it is.
        assert url.startswith("http") or (await fare.verify()).is_clean


async def test_sync_and_async_clients_share_one_run(url: str, fake: FakeOpenAI, sdk: Callable[..., OpenAI]) -> None:
    with Callfare(url) as fare:
        fare.grant("alice", 100, key="k")
        waiting = fare.wrap(sdk())
        async with AsyncOpenAI(base_url=fake.base_url, api_key="none") as bare:
            looping = fare.wrap(bare)
            with fare.run("tweet", user="alice") as run:
                await looping.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
                await asyncio.to_thread(waiting.images.generate, model="gpt-image-1", prompt="a cat", size="1024x1024")

        assert [call.credits for call in fare.calls(run).items] == [Credits(4), Credits(4)]


def test_a_closed_run_tells_what_it_was_charged(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with fare.run("tweet", user="alice") as run:
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert run.receipt is not None
    assert (run.receipt.outcome, run.receipt.charged, run.receipt.given_back) == ("completed", Credits(4), Credits(11))


def test_a_background_response_is_charged_as_what_it_is(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    with fare.run("tweet", user="alice") as run:
        reply = client.responses.create(model="gpt-5-mini", input="Tell a story.", background=True)
        while reply.status not in {"completed", "failed"}:
            reply = client.responses.retrieve(reply.id)

    [call] = fare.calls(run).items
    assert (call.operation, call.status) == ("responses", "priced")
    assert call.credits == fare.price("gpt-5-mini", call.usage).credits


class TestWhatARunNoLongerHolds:
    """The local view of a run must never promise credit that the ledger has given to somebody else."""

    def test_a_call_after_its_run_was_closed_is_refused(self, fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
        fare.grant("alice", 50, key="k")
        run = fare.open_run("tweet", user="alice", hold=40)

        with run.active():
            run.close()
            with pytest.raises(RunClosed):
                client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

        assert fake.count == 0

    def test_a_call_after_its_run_has_expired_is_refused(
        self, fare: Callfare, fake: FakeOpenAI, client: OpenAI, clock: ManualClock
    ) -> None:
        fare.grant("alice", 50, key="k")
        run = fare.open_run("tweet", user="alice", hold=40, ttl_s=60)
        clock.advance(61)

        with run.active(), pytest.raises(RunClosed):
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

        assert fake.count == 0

    def test_a_request_that_fixes_nothing_is_refused_once_the_hold_is_used_up(
        self, fare: Callfare, fake: FakeOpenAI, client: OpenAI
    ) -> None:
        fare.grant("alice", 1, key="k")
        fake.script(Fault(usage={"type": "duration", "seconds": 600}))

        with fare.run("tweet", user="alice", hold=1):
            client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"\0" * 200_000))
            with pytest.raises(InsufficientCredit):
                client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"\0" * 200_000))

        assert fake.count == 1

    def test_a_replayed_record_tells_nothing_new(self, fare: Callfare, client: OpenAI) -> None:
        fare.grant("alice", 60, key="k")
        run = fare.open_run("video", user="alice", hold=50)
        run.record("gpt-image-1", {"images": 1}, attributes={"size": "1024x1024"}, key="once")
        with run.active():
            client.videos.create(model="sora-2", prompt="waves", seconds="8", size="1280x720")

        run.record("gpt-image-1", {"images": 1}, attributes={"size": "1024x1024"}, key="once")

        assert run.left == Credits(14)

    def test_a_correction_gives_the_view_back_what_it_gives_the_hold(
        self, fare: Callfare, client: OpenAI, clock: ManualClock
    ) -> None:
        fare.grant("alice", 100, key="k")
        run = fare.open_run("tweet", user="alice", hold=100)
        with run.active():
            stream = client.responses.create(model="gpt-5-mini", input="long " * 4000, stream=True)
            first = next(stream)
            stream.close()
            clock.advance(1)
            client.responses.retrieve(first.response.id)
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1536", n=12)

        assert fare.balance("alice").debt == Credits(0)


def test_runs_that_end_in_another_order_leave_none_in_force(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="a")
    fare.grant("bob", 100, key="b")
    fare.grant("carol", 100, key="c")
    first, second = fare.run("tweet", user="alice"), fare.run("tweet", user="bob")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)

    with fare.user("carol"):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert [fare.balance(user).available for user in ("alice", "bob", "carol")] == [
        Credits(100), Credits(100), Credits(96),
    ]  # fmt: skip


def test_a_count_beyond_the_range_is_kept_unpriced(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(Fault(usage={"type": "duration", "seconds": 5e11}))

    with fare.run("tweet", user="alice") as run:
        client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"\0" * 200_000))

    [call] = fare.calls(run).items
    assert call.status == "unpriced"


def test_a_retried_step_charges_its_video_once(fare: Callfare, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")

    for _ in range(2):
        run = fare.open_run("video", user="alice", run_id="wf_1", hold=40)
        with run.active(), run.step("film"):
            client.videos.create_and_poll(
                model="sora-2", prompt="waves", seconds="8", size="1280x720", poll_interval_ms=1
            )
    fare.close_run("wf_1")

    first, second = fare.calls("wf_1").items
    assert (first.step, first.credits, first.flags) == ("film", Credits(32), ())
    assert (second.step, second.credits, second.flags) == ("film", Credits(0), ("attempt",))
    assert fare.balance("alice").available == Credits(68)
