"""Streams that nobody finished: charged in their turn, also behind one whose settlement hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare, Credits
from callfare.capture import leftovers
from callfare.capture.leftovers import LEFTOVERS
from callfare.devtools.fake_openai import FakeOpenAI

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_a_stream_that_is_left_while_another_hangs_is_charged_in_its_turn(
    fare: Callfare, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    fare.grant("alice", 100, key="k")
    may_go_on = threading.Event()
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 0)
    LEFTOVERS.make_ready()
    LEFTOVERS.leave(partial(hang, may_go_on))

    with fare.run("tweet", user="alice") as run:
        stream = client.chat.completions.create(model="gpt-5-mini", messages=STORY, stream=True)
        next(stream)
        del stream
    before = fare.calls(run).items
    may_go_on.set()
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)
    LEFTOVERS.leave(lambda: None)

    [call] = fare.calls(run).items
    assert before == ()
    assert set(call.flags) == {"estimated", "late"}
    assert call.credits > Credits(0)


def hang(until: threading.Event) -> None:
    until.wait(120)


# What is left waits until the process ends: handlers of its end run last in, first out.
LEAVING = """
import asyncio, atexit, sys, threading
from openai import AsyncOpenAI
from callfare import Callfare
from callfare.capture.leftovers import LEFTOVERS

async def leave(client):
    stream = await client.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "Tell a story."}], stream=True
    )
    await anext(stream)

async def leave_many(client):
    is_ending = threading.Event()
    atexit.register(is_ending.set)
    LEFTOVERS.make_ready()
    LEFTOVERS.leave(is_ending.wait)
    for _ in range(10):
        await leave(client)

fare = Callfare(sys.argv[1])
asyncio.run(leave_many(fare.wrap(AsyncOpenAI(base_url=sys.argv[2], api_key="none"), user="alice")))
"""


def test_streams_that_an_event_loop_dropped_are_charged_before_the_process_ends(
    fake: FakeOpenAI, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with Callfare(url) as fare:
        fare.grant("alice", 100, key="k")

    subprocess.run([sys.executable, "-c", LEAVING, url, fake.base_url], check=True, timeout=120, stderr=subprocess.PIPE)

    with Callfare(url) as fare:
        assert fare.usage("alice").calls == 10
