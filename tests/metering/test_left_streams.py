"""Streams that nobody finished: charged in their turn, also behind one whose settlement hangs."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from openai import OpenAI

from callfare import Callfare, Credits
from callfare.capture import leftovers
from callfare.capture.leftovers import LEFTOVERS

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
    until.wait(30)
