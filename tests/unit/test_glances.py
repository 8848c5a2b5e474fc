"""Glances: short reads for asyncio callers, by threads that stay; and turns: long work a little at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from callfare.engine.glances import Glances
from callfare.engine.turns import Turns


@pytest.fixture(params=[(1, 64), (4, 1)], ids=["file", "server"])
def glances(request):
    threads, together = request.param
    glances = Glances(threads=threads, together=together)
    yield glances
    glances.close()


async def test_every_caller_gets_the_answer_to_its_own_question(glances):
    answers = await asyncio.gather(*(glances.read(lambda number=number: number * 2) for number in range(200)))

    assert answers == [number * 2 for number in range(200)]


async def test_a_read_that_fails_fails_for_its_caller_alone(glances):
    def fail():
        raise ValueError("torn")

    first, second, third = await asyncio.gather(
        glances.read(lambda: 1), glances.read(fail), glances.read(lambda: 3), return_exceptions=True
    )

    assert (first, third) == (1, 3)
    assert isinstance(second, ValueError)


async def test_reads_run_beside_the_loop(glances):
    assert await glances.read(threading.get_ident) != threading.get_ident()


async def test_a_cancelled_caller_leaves_the_others_their_answers(glances):
    go = threading.Event()
    waiting = asyncio.create_task(glances.read(go.wait))
    others = [asyncio.create_task(glances.read(lambda: 7)) for _ in range(3)]
    await asyncio.sleep(0)

    waiting.cancel()
    go.set()

    assert await asyncio.gather(*others) == [7, 7, 7]
    assert waiting.cancelled() or await asyncio.gather(waiting, return_exceptions=True)


async def test_closing_answers_what_was_asked_and_a_later_read_begins_again(glances):
    asked = [asyncio.create_task(glances.read(lambda number=number: number)) for number in range(5)]
    await asyncio.sleep(0)

    await asyncio.to_thread(glances.close)

    assert await asyncio.gather(*asked) == [0, 1, 2, 3, 4]
    assert await glances.read(lambda: "again") == "again"


def test_two_loops_share_the_threads(glances):
    async def ask():
        return await glances.read(lambda: 5)

    assert [asyncio.run(ask()), asyncio.run(ask())] == [5, 5]


async def test_short_work_has_its_turn_between_the_parts_of_long_work():
    turns, done = Turns(), []

    async def short():
        while len(done) < 100:
            done.append("short")
            await asyncio.sleep(0)

    beside = asyncio.create_task(short())
    answers = await turns.each(lambda number: done.append("long") or number, list(range(100)))
    beside.cancel()

    assert answers == list(range(100))
    assert "short" in done[done.index("long") : len(done) - done[::-1].index("long")]
