"""Forks in the middle of calls: a child needs nothing that a thread of its parent holds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare
from callfare.capture.recent import RECENT
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.local_run import LocalRun

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]


@contextmanager
def held_by_another_thread(*locks: threading.Lock) -> Iterator[None]:
    held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            may_go_on.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    yield
    may_go_on.set()
    thread.join()


def in_a_child(work: Callable[[], object]) -> int:
    """Return how a forked child ended that did this and nothing else."""
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_makes_calls_in_its_parents_run_whatever_a_thread_of_the_parent_held(
    fake: FakeOpenAI, tmp_path: Path, sdk: Callable[..., OpenAI]
) -> None:
    with Callfare(f"sqlite:///{tmp_path}/ledger.db") as fare:
        fare.grant("alice", 100, key="k")
        client = fare.wrap(sdk(max_retries=0))
        with fare.run("story", user="alice", hold=10) as run:
            client.chat.completions.create(model="gpt-5-mini", messages=STORY)
            local = run._local
            assert isinstance(local, LocalRun)

            with held_by_another_thread(local._gate, RECENT._mutex):
                ended = in_a_child(lambda: client.chat.completions.create(model="gpt-5-mini", messages=STORY))

            assert ended == 0
            assert len(fare.calls(run).items) == 2
