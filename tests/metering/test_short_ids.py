"""Servers that give several replies one id: each call made here counts, once, however it is told of again."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI, OpenAI

from callfare import AsyncCallfare, Callfare, Credits
from callfare.capture import told
from callfare.capture.recent import Recent
from callfare.devtools.fake_openai import FakeOpenAI, Fault
from callfare.ids import names_one_reply

HELLO = [{"role": "user", "content": "Tell a story about a lighthouse."}]
SHORT = ["chatcmpl-523", "resp_523817", "chatcmpl-A1", "1", "chatcmpl-1795000000"]
LONG = "chatcmpl-BrYOXtRFRWTdpYWjMTvLq0CgFiXgn"


@pytest.mark.parametrize(
    "response_id",
    [
        LONG,
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "0f5a1f2e-9a56-4a0a-8b0e-6f0b8a3f0c11",
        "gen-1746000000-Abc",
        "chatcmpl_000001",
        "chatcmpl-1795000000123456789",
        "zqT1aN-XGYn4xN8P9e3d",
    ],
)
def test_an_id_as_providers_give_them_is_one_replys(response_id):
    assert names_one_reply(response_id)


@pytest.mark.parametrize("response_id", [*SHORT, "", "chatcmpl-", "cmpl-A1", "a", "resp_12345", "1795000000"])
def test_an_id_that_the_next_reply_may_have_is_not(response_id):
    assert not names_one_reply(response_id)


@pytest.mark.parametrize("response_id", SHORT)
def test_each_call_of_a_server_that_repeats_its_ids_is_charged(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI, response_id: str
) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(*[Fault(response_id=response_id)] * 3)

    with fare.run("tweet", user="alice") as run:
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        # Another count under the same id: it was kept as a duplicate, uncharged.
        client.chat.completions.create(model="gpt-5-mini", messages=[*HELLO, *HELLO])

    calls = fare.calls(run).items
    assert [(call.status, call.flags) for call in calls] == [("priced", ())] * 3
    assert all(call.credits for call in calls)


def test_each_streamed_call_of_such_a_server_is_charged(fare: Callfare, fake: FakeOpenAI, client: OpenAI) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(*[Fault(response_id="chatcmpl-A1")] * 2)

    with fare.run("tweet", user="alice") as run:
        for _ in range(2):
            for chunk in client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True):
                assert chunk.id == "chatcmpl-A1"

    assert [call.flags for call in fare.calls(run).items] == [(), ()]


def test_a_stream_of_such_a_server_that_is_left_and_taken_up_again_counts_once(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(Fault(response_id="chatcmpl-A1"))

    with fare.run("tweet", user="alice") as run:
        stream = client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True)
        next(stream)
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        list(stream)

    assert fare.balance("alice").held == Credits(0)
    assert len(fare.calls(run).items) == 2


def test_a_reply_that_comes_twice_under_an_id_of_its_own_still_counts_once(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(Fault(response_id=LONG), Fault(response_id=LONG))

    with fare.run("tweet", user="alice") as run:
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)

    assert len(fare.calls(run).items) == 1


def test_what_is_told_by_others_still_counts_once_whatever_its_id(
    fare: Callfare, monkeypatch: pytest.MonkeyPatch
) -> None:
    fare.grant("alice", 100, key="k")
    hear = fare.listener("openai_realtime")
    said = {"id": "resp_7f", "usage": {"input_tokens": 100, "output_tokens": 20}}

    with fare.run("tweet", user="alice") as run:
        for _ in range(2):
            # As in another process, which knows no more than the ledger does.
            monkeypatch.setattr(told, "RECENT", Recent())
            hear({"type": "session.created", "session": {"model": "gpt-realtime"}})
            hear({"type": "response.done", "response": said})

    assert len(fare.calls(run).items) == 1


async def test_async_calls_of_such_a_server_at_once_are_all_charged(fake: FakeOpenAI) -> None:
    fake.script(*[Fault(response_id="chatcmpl-523")] * 8)
    async with AsyncCallfare("memory://") as fare, AsyncOpenAI(base_url=fake.base_url, api_key="x") as bare:
        await fare.grant("alice", 100, key="k")
        client = fare.wrap(bare)
        async with fare.run("tweet", user="alice") as run:
            asked = (client.chat.completions.create(model="gpt-5-mini", messages=HELLO) for _ in range(8))
            await asyncio.gather(*asked)

        assert len((await fare.calls(run)).items) == 8


def test_a_call_of_such_a_server_in_a_step_counts_once_and_its_retry_is_an_attempt(
    fare: Callfare, fake: FakeOpenAI, client: OpenAI
) -> None:
    fare.grant("alice", 100, key="k")
    fake.script(*[Fault(response_id="chatcmpl-A1")] * 2)

    run = fare.open_run("tweet", user="alice", run_id="r1")
    with run.active(), run.step("outline"):
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
    again = fare.open_run("tweet", user="alice", run_id="r1")
    with again.active(), again.step("outline"):
        client.chat.completions.create(model="gpt-5-mini", messages=HELLO)

    charged = [call for call in fare.calls("r1").items if call.credits]
    assert len(charged) == 1


def test_a_ledger_with_such_calls_is_sound(fake: FakeOpenAI) -> None:
    fake.script(*[Fault(response_id="chatcmpl-A1")] * 2)
    with Callfare("memory://") as fare, OpenAI(base_url=fake.base_url, api_key="x") as bare:
        fare.grant("alice", 100, key="k")
        client = fare.wrap(bare)
        with fare.user("alice"):
            client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
            client.chat.completions.create(model="gpt-5-mini", messages=HELLO)

        assert fare.verify().faults == ()
        assert fare.usage("alice").calls == 2
