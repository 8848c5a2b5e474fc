"""Ctrl-C at every moment between a provider's answer and its settlement: the call is recorded, once.

Python looks for signals after calls and jumps and at the beginning of functions; here one arrives at the first such
place of callfare's own code after the answer, in the next round at the second, and so on.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

import openai
import pytest
from openai import OpenAI

import callfare
from callfare import Callfare
from callfare.capture.base import is_metered
from callfare.capture.leftovers import LEFTOVERS
from callfare.devtools.fake_openai import FakeOpenAI

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]
_LOOKS = {"CALL", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}
_HOME = callfare.__path__[0]


class Answering(OpenAI):
    """A client that says when its answer is there."""

    has_answered = False

    def post(self, *arguments: Any, **options: Any) -> Any:
        reply = super().post(*arguments, **options)
        type(self).has_answered = True
        return reply


@functools.lru_cache
def instructions(code: CodeType) -> Mapping[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


class Interrupting:
    """Raises KeyboardInterrupt at one of the places after the answer where Python would look for a signal."""

    def __init__(self, place: int) -> None:
        self.left = place
        self.last: dict[int, int] = {}

    def __call__(self, frame: FrameType, _event: str, _argument: object) -> object:
        if not frame.f_code.co_filename.startswith(_HOME) or "devtools" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.within

    def within(self, frame: FrameType, event: str, _argument: object) -> object:
        before = self.last.pop(id(frame), None)
        if event != "opcode":
            return self.within
        self.last[id(frame)] = frame.f_lasti
        if before is not None and instructions(frame.f_code).get(before) in _LOOKS and Answering.has_answered:
            # An answer that is in nobody's hands yet is lost with what called for it.
            is_in_hand = frame.f_code.co_name != "_sent" or ("reply" in frame.f_locals and self.left_hand(frame))
            self.left -= is_in_hand
            if is_in_hand and not self.left:
                raise KeyboardInterrupt
        return self.within

    @staticmethod
    def left_hand(frame: FrameType) -> bool:
        return type(frame.f_locals["reply"]) is not object


def chat(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-5-mini", messages=STORY)


def embed(client: OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input="A lighthouse.")


def stream(client: OpenAI) -> None:
    for _ in client.chat.completions.create(model="gpt-5-mini", messages=STORY, stream=True):
        pass


def read_raw(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(model="gpt-5-mini", messages=STORY) as raw:
        raw.read()


@contextlib.contextmanager
def interrupted(place: int) -> Iterator[Interrupting]:
    interrupting = Interrupting(place)
    Answering.has_answered = False
    sys.settrace(interrupting)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield interrupting
    finally:
        sys.settrace(None)


def settle_all() -> None:
    gc.collect()
    done = threading.Event()
    LEFTOVERS.make_ready()
    LEFTOVERS._waiting.put((lambda: None, done))
    assert done.wait(60)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="where Python looks for signals differs by its version")
@pytest.mark.parametrize("step", [197, pytest.param(31, marks=pytest.mark.all)])
@pytest.mark.parametrize("call", [chat, embed, stream, read_raw])
def test_a_call_that_is_interrupted_after_its_answer_is_recorded_once(
    call: Callable[[OpenAI], None], step: int, seed: int
) -> None:
    place, rounds = 1 + seed % step, 0
    with FakeOpenAI() as fake:
        while True:
            rounds += 1
            with (
                Callfare("memory://") as fare,
                Answering(base_url=fake.base_url, api_key="none", max_retries=0) as bare,
            ):
                fare.grant("alice", 100_000, key="k")
                client = fare.wrap(bare, user="alice")
                with interrupted(place) as interrupting:
                    call(client)
                del client
                settle_all()

                assert (fare.usage("alice").calls, is_metered()) == (1, False), f"interrupted at place {place}"
                assert fare.verify().is_clean
            if interrupting.left > 0:
                break
            place += step
    assert rounds > 2, openai.__version__
