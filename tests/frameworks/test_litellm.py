"""litellm itself tells of its calls. It asks for another major of OpenAI's SDK, and so for its own environment."""

from __future__ import annotations

import threading

import litellm
import pytest

from callfare import Callfare, Credits

pytestmark = pytest.mark.filterwarnings("default")
HELLO = [{"role": "user", "content": "hi there"}]


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch):
    """What litellm has once been given it keeps."""
    for kept in ("input_callback", "success_callback", "failure_callback", "_async_success_callback"):
        monkeypatch.setattr(litellm, kept, [])


def test_calls_of_litellms_are_charged_once_each(stand_in, monkeypatch):
    told = threading.Semaphore(0)
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        listener = fare.listener("litellm", user="alice")
        heard = listener.log_success_event

        def hear(**options):
            heard(**options)
            told.release()

        monkeypatch.setattr(listener, "log_success_event", hear)
        monkeypatch.setattr(litellm, "callbacks", [listener])
        where = {"model": "openai/gpt-5-mini", "messages": HELLO, "api_base": stand_in.base_url, "api_key": "none"}

        litellm.completion(**where)
        assert told.acquire(timeout=60)
        list(litellm.completion(**where, stream=True, stream_options={"include_usage": True}))
        assert told.acquire(timeout=60)

        assert fare.usage("alice").calls == 2


def test_streams_of_litellms_without_a_count_are_their_runs_and_not_free(stand_in, monkeypatch):
    told = threading.Semaphore(0)
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        listener = fare.listener("litellm")
        heard = listener.log_success_event

        def hear(**options):
            heard(**options)
            told.release()

        monkeypatch.setattr(listener, "log_success_event", hear)
        monkeypatch.setattr(litellm, "callbacks", [listener])
        where = {"model": "openai/gpt-5-mini", "messages": HELLO, "api_base": stand_in.base_url, "api_key": "none"}

        with fare.run("story", user="alice") as run:
            list(litellm.completion(**where, stream=True))
            assert told.acquire(timeout=60)

        (call,) = fare.calls(run).items
        assert (call.status, call.flags, call.usage["input_tokens"]) == ("priced", ("estimated",), 2)
        assert call.credits > Credits(0)
