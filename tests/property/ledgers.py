"""Any commands, on a memory ledger and on one that is kept at once, under one clock: what the state machine is made of.

Names, keys and runs are few, so that commands meet: the same key twice, a run of another user, a job that is over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from callfare.clock import ManualClock, moment_of
from callfare.errors import CallfareError
from callfare.ledger.commands import Command, GrantCredit, OpenRun, PendJob, RecordUsage
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import TABLES, Account, Row
from callfare.ledger.verify import verify
from callfare.store.memory import MemoryStore
from callfare.store.protocol import Store
from tests.support import commands as make
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.fixtures import give_back, open_store

# Here files need not survive power loss, and a disk that must make sure of it would take most of the time.
_FAST = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
USERS = ("alice", "bob", "\u00e9ve")

# CALLFARE_EXAMPLES multiplies what is tried: 1 takes some seconds, 100 belongs to a night.
EXAMPLES = int(os.environ.get("CALLFARE_EXAMPLES", "1"))
# CALLFARE_SHRINK=1 makes a failure small, which takes minutes: more than a test may hang in the default run.
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("CALLFARE_SHRINK") else (Phase.generate,)


def effort(examples: int, steps: int = 50) -> settings:
    """Return Hypothesis settings for so many examples, multiplied by CALLFARE_EXAMPLES."""
    return settings(
        max_examples=examples * EXAMPLES,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )


users = st.sampled_from(USERS)
run_ids = st.sampled_from(["r1", "r2", "r3", "r4", "r5", "r6"])
keys = st.sampled_from([f"key-{number}" for number in range(16)])
responses = st.sampled_from(["resp_1", "resp_2", "resp_3"])
job_ids = st.sampled_from(["video-1", "video-2", "video-3"])
amounts = st.one_of(st.integers(0, 30), st.sampled_from(["0.000000001", "0.333333333", "7.5", "19.999999999", "90"]))
some = st.one_of(st.integers(1, 60), st.sampled_from(["0.000000001", "12.345678901"]))
usages = st.sampled_from([make.TOKENS, make.TOKENS, '{"input_tokens":"7"}', '{"audio_seconds":"8.47"}'])
outcomes = st.sampled_from(["completed", "failed", "failed", "cancelled"])
lifetimes_s = st.sampled_from([60, 3600, 86400])


class Names:
    """What has been given a name so far, so that commands are mostly about something that is there."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self.calls: list[tuple[str, str]] = []
        self.grants: list[tuple[str, str]] = []
        self.jobs: list[tuple[str, str]] = []

    def learn(self, command: Command, receipt: Any) -> None:
        """Remember what an accepted command brought."""
        names = {make.account_number(user): user for user in USERS}
        user = names.get(receipt.account_id, "")
        if isinstance(command, OpenRun):
            self.runs.append((command.run_id, user))
        elif isinstance(command, RecordUsage):
            self.calls.append((receipt.key, user))
        elif isinstance(command, GrantCredit):
            self.grants.append((command.key, user))
        elif isinstance(command, PendJob):
            self.jobs.append((command.charge.key, user))
            self.calls.append((command.charge.key, user))


def _mostly(known: list[tuple[str, str]], fresh: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    """A known name with its user, and now and then any name with any user."""
    anything = st.tuples(fresh, users)
    return st.one_of(*[st.sampled_from(known)] * 6, anything) if known else anything


def grants(clock: ManualClock) -> st.SearchStrategy[Command]:
    """Lots of every source, with and without an expiry."""

    def build(user: str, amount: make.Amount, key: str, source: str, hours: int | None) -> GrantCredit:
        expires_at = None if hours is None else moment_of(clock.now_us()) + timedelta(hours=hours)
        return make.grant(user, amount, key=key, source=source, expires_at=expires_at)

    sources = st.sampled_from(["purchase", "promo", "plan", "adjustment"])
    return st.builds(build, users, some, keys, sources, st.sampled_from([None, None, 1, 2, 24]))


def subjects(names: Names) -> st.SearchStrategy[dict[str, Any]]:
    """A run of an account, a run by its bare id, a run that a user claims, or a user."""
    run = _mostly(names.runs, run_ids)
    return st.one_of(
        *[run.map(lambda pair: {"run_id": pair[0], "account_id": make.account_number(pair[1])})] * 3,
        run.map(lambda pair: {"run_id": pair[0]}),
        run.map(lambda pair: {"run_id": pair[0], "user": pair[1]}),
        st.fixed_dictionaries({"user": users}),
    )


@st.composite
def charges(draw: st.DrawFn, names: Names) -> RecordUsage:
    """Calls of every kind: priced or not, estimated, of a step, known by their response."""
    whom, amount = draw(subjects(names)), draw(amounts)
    kind = draw(st.sampled_from(["key", "key", "estimate", "unpriced", "response", "step"]))
    if kind == "response":
        return make.heard(amount, draw(responses), usage=draw(usages), **whom)
    if kind == "step":
        return make.step(amount, "plan", draw(responses), usage=draw(usages), **whom)
    return make.record(
        amount,
        key=draw(keys),
        usage=draw(usages),
        is_estimated=kind != "key",
        is_unpriced=kind == "unpriced",
        **whom,
    )


@st.composite
def steering(draw: st.DrawFn, names: Names) -> Command:
    """What is done to runs besides calls."""
    run_id, user = draw(_mostly(names.runs, run_ids))
    number = make.account_number(user) if draw(st.integers(0, 3)) else None
    kind = draw(st.sampled_from(["open", "open", "under", "claim", "extend", "touch", "close", "close"]))
    if kind == "open":
        on_failure = draw(st.sampled_from(["charge", "waive"]))
        fresh, user = draw(run_ids), draw(users)
        return make.open_run(fresh, user, hold=draw(amounts), on_failure=on_failure, ttl_s=draw(lifetimes_s))
    if kind == "under":
        return make.open_run(
            draw(run_ids), user, hold=draw(amounts), ttl_s=draw(lifetimes_s), parent=run_id, from_parent=draw(amounts)
        )
    if kind == "claim":
        ttl_s = draw(st.one_of(st.none(), lifetimes_s))
        named = st.lists(st.sampled_from(["b1", "b2", "f1"]), min_size=1, max_size=2, unique=True)
        is_known_only = draw(st.booleans())
        return make.claim(*draw(named), user=user, run_id=run_id, ttl_s=ttl_s, is_known_only=is_known_only)
    if kind == "extend":
        return make.extend(run_id, draw(some), key=draw(keys), account_id=number)
    if kind == "touch":
        return make.touch(run_id, account_id=number)
    return make.close(run_id, draw(outcomes), key=draw(st.one_of(st.none(), keys)), account_id=number)


@st.composite
def jobs(draw: st.DrawFn, names: Names) -> Command:
    """The beginning and the end of long jobs."""
    if not names.jobs or draw(st.booleans()):
        whom = draw(subjects(names))
        return make.pend(draw(amounts), job_id=draw(job_ids), ttl_s=draw(lifetimes_s), **whom)
    job_id, user = draw(_mostly(names.jobs, job_ids))
    real = draw(st.one_of(st.none(), amounts))
    charge = None if real is None else make.record(real, key=job_id, user="unattributed")
    number = make.account_number(user) if draw(st.booleans()) else None
    return make.settle(job_id, draw(st.sampled_from(["completed", "failed"])), charge, account_id=number)


@st.composite
def afterthoughts(draw: st.DrawFn, names: Names) -> Command:
    """Corrections, repricings and refunds."""
    if draw(st.integers(0, 2)):
        key, user = draw(_mostly(names.calls, keys))
        kind = draw(st.sampled_from(["correction", "correction", "reprice"]))
        return make.adjust(draw(amounts), key=key, kind=kind, user=user, usage=draw(usages))
    granted, user = draw(_mostly(names.grants, keys))
    return make.refund(draw(some), user=user, key=f"refund {draw(keys)}", grant_key=granted)


def commands(clock: ManualClock, names: Names) -> st.SearchStrategy[Command]:
    """Any command that the checks let through."""
    return st.one_of(
        grants(clock),
        steering(names),
        steering(names),
        charges(names),
        charges(names),
        charges(names),
        jobs(names),
        afterthoughts(names),
        st.builds(make.expire, users),
    )


def told(answers: list[Receipt | CallfareError]) -> list[object]:
    """Return answers so that they can be compared: receipts as they are, refusals by everything they say."""
    return [answer.facts() if isinstance(answer, CallfareError) else answer for answer in answers]


class Ledgers(RuleBasedStateMachine):
    """Memory and a kept store, asked the same. A batch is given to the kept one at once and to memory one by one."""

    accepted = Bundle("accepted")

    def __init__(self, kind: str = "sqlite", wrap: Callable[[Any], Store] = lambda store: store) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="callfare-", dir=_FAST if _FAST.is_dir() else None))
        self.clock = ManualClock(make.START)
        self.memory = Books(MemoryStore(self.clock), self.clock)
        self.kept = Books(wrap(open_store(kind, self.folder, self.clock)), self.clock)
        self.names = Names()
        self._ask(make.grant("alice", 100, key="first"), make.grant("bob", 30, key="first"))

    def _rows(self) -> dict[str, list[tuple[Row, int]]]:
        rows = self.memory.all_rows()
        assert self.kept.all_rows() == rows
        return rows

    def _ask(self, *batch: Command) -> list[Receipt | CallfareError]:
        answers = self.kept.batch(*batch)
        alone = [self.memory.batch(command)[0] for command in batch]
        assert told(answers) == told(alone), (told(answers), told(alone))
        for command, answer in zip(batch, answers, strict=True):
            if not isinstance(answer, CallfareError):
                self.names.learn(command, answer)
        return answers

    @rule(target=accepted, choice=st.data())
    def one_command(self, choice: Any) -> Any:
        """A refusal leaves no trace; an acceptance can be repeated."""
        command = choice.draw(commands(self.clock, self.names))
        before = self._rows()
        (answer,) = self._ask(command)
        if isinstance(answer, CallfareError):
            assert self._rows() == before
            return multiple()
        return command

    @rule(choice=st.data())
    def a_batch(self, choice: Any) -> None:
        """Given together, commands do what they do one by one."""
        self._ask(*choice.draw(st.lists(commands(self.clock, self.names), min_size=3, max_size=12)))

    @rule(command=accepted)
    def the_same_again(self, command: Command) -> None:
        """What has a key of its own is answered again, and writes nothing but what time has done."""
        (answer,) = self._ask(command)
        if isinstance(command, GrantCredit | RecordUsage) and not self._is_ambiguous(command):
            assert isinstance(answer, Receipt), answer
            assert answer.is_replay

    def _is_ambiguous(self, command: GrantCredit | RecordUsage) -> bool:
        """A bare run id that another user has come to use as well says no longer whose run is meant."""
        run_id = getattr(command, "run_id", None)
        is_bare = run_id is not None and getattr(command, "account_id", None) is None and not command.user
        return is_bare and sum(name == run_id for name, _ in set(self.names.runs)) > 1

    @rule(seconds=st.sampled_from([1, 59, 60, 1800, 3600, 7200, 90000]))
    def time_goes_by(self, seconds: int) -> None:
        """Time passes, and nothing is written."""
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1, 600]))
    def the_clock_steps_back(self, seconds: int) -> None:
        """A machine's clock is set."""
        self.clock.advance(-seconds)

    @rule(user=users)
    def somebody_settles_what_is_due(self, user: str) -> None:
        """Settling changes nothing that a reader could see."""
        before = self.memory.view(user)
        self._ask(make.expire(user))
        assert self.memory.view(user) == before

    @rule()
    def the_ledger_is_opened_again(self) -> None:
        """Nothing that was answered is lost when a process ends."""
        self.kept.store.close()

    @invariant()
    def both_stores_hold_the_same(self) -> None:
        """Row for row and seal for seal."""
        self._rows()

    @invariant()
    def readers_see_the_same_and_nothing_below_zero(self) -> None:
        """What is due counts as settled for a reader."""
        for user in USERS:
            view = self.memory.view(user)
            assert self.kept.view(user) == view
            assert 0 <= view.spent_nanocredits <= view.held_nanocredits <= view.posted_nanocredits, view
            assert view.available_nanocredits >= 0, view
            assert view.debt_nanocredits == 0 or view.available_nanocredits == 0, view

    @invariant()
    def credits_are_conserved(self) -> None:
        """Every row follows from history."""
        found = faults(self.memory.store)
        assert not found, found

    def teardown(self) -> None:
        """The product's own auditor agrees at the end."""
        try:
            found = verify(self.kept.store.scan).faults
            assert not found, found
            assert sum(len(self.memory.rows(table)) for table in TABLES) >= len(self.memory.rows(Account))
        finally:
            self.kept.store.close()
            give_back(self.folder)
            shutil.rmtree(self.folder)
