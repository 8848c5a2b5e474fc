"""Any program of calls: its caller sees what a bare client shows, and the ledger has what was served, once."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from callfare import Call, Callfare
from callfare.capture import leftovers, openai_tallies, streams
from callfare.capture.leftovers import LEFTOVERS
from callfare.context import carry
from callfare.usage import openai as usage_openai
from callfare.usage.openai import tokens_in
from tests.sdk.programs import BOOK, Clients, Seen, Served, Step, perform, perform_async, providers, steps_of

# What a program drops, its SDK leaves open, and Python says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

Way = Callable[[Clients, Sequence[Step]], list[Seen]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Who leaves a stream waits until it is settled, however busy the machine; what was dropped goes with its test."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)
    yield
    # pytest keeps what was logged until the next test, which with its tracebacks has what was open when a loop ended.
    caplog.get_records("call").clear()
    gc.collect()


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.all)])
def fare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callfare]:
    (tmp_path / "book.toml").write_text(BOOK)
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    with Callfare(url, books=[tmp_path / "book.toml"]) as fare:
        fare.grant("alice", 1_000_000, key="k")
        yield fare


def one_after_the_other(clients: Clients, steps: Sequence[Step]) -> list[Seen]:
    return [perform(clients.any_of(step.provider), step) for step in steps]


def in_threads(clients: Clients, steps: Sequence[Step]) -> list[Seen]:
    with ThreadPoolExecutor(4) as pool:
        begun = [pool.submit(carry(perform), clients.any_of(step.provider), step) for step in steps]
        return [future.result() for future in begun]


async def one_by_one(clients: Clients, steps: Sequence[Step]) -> list[Seen]:
    return [await perform_async(clients.any_of(step.provider), step) for step in steps]


async def all_at_once(clients: Clients, steps: Sequence[Step]) -> list[Seen]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(perform_async(clients.any_of(step.provider), step)) for step in steps]
    return [task.result() for task in tasks]


def in_a_loop(way: Callable[..., Any]) -> Way:
    return lambda clients, steps: asyncio.run(way(clients, steps))


WAYS: dict[str, tuple[Way, bool]] = {
    "one after the other": (one_after_the_other, False),
    "in threads": (in_threads, False),
    "one by one": (in_a_loop(one_by_one), True),
    "all at once": (in_a_loop(all_at_once), True),
}


@contextmanager
def settled() -> Iterator[None]:
    """Everything that was dropped within is settled."""
    yield
    gc.collect()
    done = threading.Event()
    LEFTOVERS.make_ready()
    LEFTOVERS._waiting.put((lambda: None, done))
    assert done.wait(60)


def told(usage: Any) -> Served:
    """Return a charge's usage as the provider counts it."""
    cached, written = usage.get("cached_input_tokens", 0), usage.get("cache_write_input_tokens", 0)
    return Served(usage.get("input_tokens", 0) - cached - written, cached, written, usage.get("output_tokens", 0))


@pytest.mark.parametrize("count", [24, pytest.param(400, marks=pytest.mark.all)])
@pytest.mark.parametrize("way", list(WAYS))
def test_the_ledger_has_what_the_providers_served_and_callers_see_no_difference(
    fare: Callfare, way: str, count: int, seed: int
) -> None:
    check(fare, way, count, seed)


def lose(*_: object) -> None:
    """Do nothing where a stream should be settled."""


TAKE = openai_tallies.ChatTally.take


def show(tally: openai_tallies.ChatTally, event: object) -> bool:
    """Count a chunk, and hide none."""
    TAKE(tally, event)
    return False


def read_lightly(reading: Any, *_: object) -> dict[str, object]:
    """Leave out what came from the cache."""
    counted = tokens_in(reading)
    counted.pop("cached_input_tokens", None)
    return counted


@pytest.mark.parametrize("fare", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (streams.Watch, ("leave", lose)),
        (openai_tallies.ChatTally, ("take", show)),
        (usage_openai, ("tokens_in", read_lightly)),
    ],
    ids=["a left stream is lost", "a chunk that we asked for is shown", "a cached token is a fresh one"],
)
def test_a_planted_fault_is_found(
    fare: Callfare, place: Any, fault: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, *fault)

    with pytest.raises(AssertionError):
        check(fare, "one after the other", 160, 1)


def check(fare: Callfare, way: str, count: int, seed: int) -> None:
    """Run one program bare and metered, and compare what callers saw, what was served and what the ledger has."""
    perform_all, is_async = WAYS[way]
    steps = steps_of(random.Random(f"{seed} {way}"), count)

    with providers() as bare:
        plain = perform_all(Clients(bare, lambda given: given, random.Random(seed), is_async=is_async), steps)
    with providers() as held, fare.run("programs", user="alice", hold=1000) as run:
        with settled():
            clients = Clients(held, fare.wrap, random.Random(seed), is_async=is_async)
            metered = perform_all(clients, steps)
            del clients
        ledger = Ledger(list(fare.calls(run)))

    for step, seen, expected in zip(steps, metered, plain, strict=True):
        assert (seen.events, seen.error, seen.is_whole) == (expected.events, expected.error, expected.is_whole), step
    assert ledger.count == len(held.served)
    assert set(ledger.charged.values()) <= {1}
    assert ledger.charged.keys() <= held.served.keys()
    for step, seen in zip(steps, metered, strict=True):
        assert seen.ids <= ledger.charged.keys(), step
        for name in seen.ids if seen.is_whole else ():
            provider, served = held.served[name]
            assert (ledger.usage[name], ledger.usd[name]) == (served, served.usd[provider]), step
            assert name not in ledger.estimated, step
    assert fare.verify().is_clean
    assert fare.balance("alice").held.nanocredits == 0


class Ledger:
    """What the ledger has of a run, reply by reply: how often it was charged, its last count, and its dollars.

    count: how many calls were charged; a stream that was dropped before its first event told no id.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.count = sum(call.kind == "usage" for call in calls)
        self.charged: Counter[str] = Counter()
        self.usage: dict[str, Served] = {}
        self.usd: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.estimated: set[str] = set()
        for call in (call for call in calls if call.response_id):
            name = call.response_id
            self.charged[name] += call.kind == "usage"
            self.usage[name] = told(call.usage)
            self.usd[name] += Fraction(str(call.cost))
            is_estimated = call.kind == "usage" and "estimated" in call.flags
            (self.estimated.add if is_estimated else self.estimated.discard)(name)
