"""Connections cut in the middle of a write: every repeat ends in the first answer, and nothing happens twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.receipts import ChargeReceipt, GrantReceipt
from callfare.ledger.rows import Account, Event
from callfare.ledger.verify import verify
from callfare.store.postgres import PostgresStore
from tests.support.audit import faults
from tests.support.commands import close, extend, grant, nano, open_run, record
from tests.support.fixtures import address, give_back
from tests.support.proxy import CUTS, Cutter, cutting


@pytest.fixture
def direct(tmp_path) -> Iterator[PostgresStore]:
    """A ledger in which alice has 1000 credits, without anything in between."""
    store = PostgresStore(address("postgres", tmp_path))
    store.apply([grant("alice", 1000), open_run("r1", hold=0)])
    yield store
    found = [*faults(store), *verify(store.scan).faults]
    store.close()
    give_back(tmp_path)
    assert found == []


def through(direct: PostgresStore, cutter: Cutter) -> PostgresStore:
    return PostgresStore(direct._url.replace(f":{urlsplit(direct._url).port}/", f":{cutter.port}/"))


class NthWrite:
    """Cuts at the n-th request that a connection makes after it was armed."""

    def __init__(self) -> None:
        self.left = -1
        self.where = ""

    def arm(self, left: int, where: str) -> None:
        self.left, self.where = left, where

    def __call__(self, request: bytes) -> str:
        self.left -= 1
        return self.where if self.left == -1 else ""


@pytest.mark.parametrize("where", CUTS)
def test_a_cut_at_any_request_is_repeated_and_happens_once(direct, where):
    wish = NthWrite()
    count = 0
    with cutting(urlsplit(direct._url).port, wish) as cutter:
        store = through(direct, cutter)
        store.apply([record(1, run_id="r1", key="warm")])
        while True:
            wish.arm(count, where)
            (answer,) = store.apply([record(1, run_id="r1", key=f"call-{count}")])
            assert isinstance(answer, ChargeReceipt)
            count += 1
            if len(cutter.cuts) < count:
                break
        store.close()

    assert len(cutter.cuts) >= 3
    assert sum(1 for _ in direct.scan(Event)) == count + 1


def test_an_answer_that_was_lost_after_the_commit_is_given_by_the_repeat(direct):
    wish = NthWrite()
    replays = 0
    with cutting(urlsplit(direct._url).port, wish) as cutter:
        store = through(direct, cutter)
        store.apply([record(1, user="alice", key="warm")])
        for count in range(40):
            wish.arm(count, "before the answer")
            (answer,) = store.apply([grant("alice", 1, key=f"grant {count}")])
            assert isinstance(answer, GrantReceipt)
            replays += answer.is_replay
        store.close()

    assert replays >= 1


def test_random_cuts_lose_nothing_and_double_nothing(direct, seed, rounds):
    chance = random.Random(seed)
    count, failed = 60 * rounds, 0
    with cutting(urlsplit(direct._url).port, lambda _: chance.choice(CUTS) if chance.random() < 0.05 else "") as cutter:
        store = through(direct, cutter)
        for number in range(count):
            commands = [grant("alice", 1, key=f"g{number}"), record(1, run_id="r1", key=f"c{number}")]
            while True:
                try:
                    answers = store.apply([*commands, extend("r1", 1, key=f"e{number}")])
                except LedgerUnavailable:
                    failed += 1
                else:
                    break
            assert not any(isinstance(answer, CallfareError) for answer in answers)
        store.close()

    (receipt,) = direct.apply([close("r1")])
    (account,) = [row for row, _ in direct.scan(Account)]
    print(f"--seed={seed}: {len(cutter.cuts)} cuts, {count} batches answered, {failed} calls failed")
    assert receipt.charged_nanocredits == nano(count)
    assert account.posted_nanocredits == nano(1000)
    assert len(cutter.cuts) > 15 * rounds
