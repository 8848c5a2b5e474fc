"""The time that metering adds to a call of the real OpenAI SDK, besides its commit.

Batches of calls by a bare client and by a wrapped one take turns, both on a transport that answers at once without a
socket. From the difference the time inside the committer's `commit` is taken off: the hand-over, the store, the waking.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import httpx2
import openai

from bench.ledgers import CREDITS, HOLD, quiet
from bench.machine import used
from bench.rounds import Stage
from bench.table import Figure, Row, at_most
from callfare import AsyncCallfare, Callfare

_BATCH = 20
_BATCHES = 25
_ANSWER = {
    "id": "chatcmpl-{}",
    "object": "chat.completion",
    "created": 1_795_000_000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 350,
        "total_tokens": 1550,
        "prompt_tokens_details": {"cached_tokens": 800},
    },
}
_MESSAGES: Any = [{"role": "user", "content": "Is it so?"}]


def _transport() -> httpx2.MockTransport:
    numbers = iter(range(10**9))

    def answer(_: httpx2.Request) -> httpx2.Response:
        # An id of its own for each answer: the same response charges once.
        return httpx2.Response(200, content=json.dumps(_ANSWER | {"id": f"chatcmpl-{next(numbers)}"}).encode())

    return httpx2.MockTransport(answer)


class _Commits:
    """Stands before a committer's two ways in, and adds up the time inside."""

    def __init__(self, committer: Any) -> None:
        self.total_s = 0.0
        commit, commit_async = committer.commit, committer.commit_async

        def timed(command: Any) -> Any:
            begin = time.perf_counter()
            try:
                return commit(command)
            finally:
                self.total_s += time.perf_counter() - begin

        async def timed_async(command: Any) -> Any:
            begin = time.perf_counter()
            try:
                return await commit_async(command)
            finally:
                self.total_s += time.perf_counter() - begin

        committer.commit, committer.commit_async = timed, timed_async


class _Batches:
    """Times of one kind of client's batches, a call each, and its processor time."""

    def __init__(self, name: str, commits: _Commits) -> None:
        self.name = name
        self._commits = commits
        self.bare: list[list[float]] = []
        self.added: list[list[float]] = []
        self.client_us: list[float] = []

    async def one_round(
        self, bare: Callable[[], Awaitable[Any]], wrapped: Callable[[], Awaitable[Any]], batches: int
    ) -> None:
        """Let both clients make so many batches in turn."""
        bare_times, added = [], []
        gc.collect()
        for _ in range(batches):
            alone_s, alone_cpu_s = await self._batch(bare)
            commits_s = self._commits.total_s
            with_s, with_cpu_s = await self._batch(wrapped)
            bare_times.append(alone_s * 1e6)
            added.append((with_s - alone_s - (self._commits.total_s - commits_s) / _BATCH) * 1e6)
            self.client_us.append((with_cpu_s - alone_cpu_s) * 1e6)
        self.bare.append(bare_times)
        self.added.append(added)

    @staticmethod
    async def _batch(call: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
        before, begin = used(), time.perf_counter()
        for _ in range(_BATCH):
            await call()
        wall_s = time.perf_counter() - begin
        return wall_s / _BATCH, used().since(before).client_s / _BATCH

    def row(self) -> Row:
        """Return the row; the first round is not kept."""
        return Row(
            work=f"added to a wrapped call, {self.name}",
            figure=Figure(" µs", tuple(median(times) for times in self.added[1:])),
            against="the bare call",
            peer=Figure(" µs", tuple(median(times) for times in self.bare[1:])),
            bar=at_most(100, unit=" µs"),
            client_us=median(self.client_us),
        )


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of wrapped calls."""
    batches = stage.size.of(_BATCHES)
    return [await _sync(stage.size.rounds, batches), await _async(stage.size.rounds, batches)]


async def _sync(rounds: int, batches: int) -> Row:
    with (
        Callfare("memory://") as fare,
        openai.OpenAI(api_key="none", max_retries=0, http_client=httpx2.Client(transport=_transport())) as client,
    ):
        with quiet():
            fare.grant("user", CREDITS, key="k")
        metered = fare.wrap(client)
        times = _Batches("sync", _Commits(fare._engine._committer))

        async def bare() -> Any:
            return client.chat.completions.create(model="gpt-5-mini", messages=_MESSAGES, max_tokens=400)

        async def wrapped() -> Any:
            return metered.chat.completions.create(model="gpt-5-mini", messages=_MESSAGES, max_tokens=400)

        with fare.run("bench", user="user", hold=HOLD):
            for _ in range(rounds + 1):
                await times.one_round(bare, wrapped, batches)
        assert fare.usage("user", "all").calls == (rounds + 1) * batches * _BATCH
        assert fare.verify().is_clean
    return times.row()


async def _async(rounds: int, batches: int) -> Row:
    async with (
        AsyncCallfare("memory://") as fare,
        openai.AsyncOpenAI(
            api_key="none", max_retries=0, http_client=httpx2.AsyncClient(transport=_transport())
        ) as client,
    ):
        with quiet():
            await fare.grant("user", CREDITS, key="k")
        metered = fare.wrap(client)
        times = _Batches("async", _Commits(fare._engine._committer))

        async def bare() -> Any:
            return await client.chat.completions.create(model="gpt-5-mini", messages=_MESSAGES, max_tokens=400)

        async def wrapped() -> Any:
            return await metered.chat.completions.create(model="gpt-5-mini", messages=_MESSAGES, max_tokens=400)

        async with fare.run("bench", user="user", hold=HOLD):
            for _ in range(rounds + 1):
                await times.one_round(bare, wrapped, batches)
        assert (await fare.usage("user", "all")).calls == (rounds + 1) * batches * _BATCH
        assert (await fare.verify()).is_clean
    return times.row()
