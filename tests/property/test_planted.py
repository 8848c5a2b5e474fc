"""The suite itself: for each law a fault is planted, and a story, an auditor or a rule of the ledger must notice.

A checker that has never been seen to fail checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from callfare.clock import ManualClock
from callfare.errors import CallfareError, LedgerCorrupt
from callfare.ledger import charges, decide, expiry, grants, holds, jobs, rollups, runs, settle, transfers
from callfare.ledger.accounts import CUSTOMER
from callfare.ledger.rows import Account, Entry, Event
from callfare.ledger.state import Draft
from callfare.ledger.verify import verify
from callfare.store import sqlite
from callfare.store.memory import MemoryStore
from callfare.store.sqlite import SqliteStore
from tests.property.ledgers import Ledgers, effort
from tests.scenarios.interpreter import Story, read
from tests.support import commands as make
from tests.support import seeds
from tests.support.audit import faults
from tests.support.books import Books
from tests.support.commands import START, close, grant, nano, open_run, record

STORIES = Path(__file__).parents[1] / "scenarios"
NOTICED = (AssertionError, LedgerCorrupt)

Plant = Callable[[pytest.MonkeyPatch], None]


def everywhere(monkeypatch: pytest.MonkeyPatch, name: str, planted: Any, *modules: ModuleType) -> None:
    """Put something in place of a name in every module that has it."""
    for module in modules:
        monkeypatch.setattr(module, name, planted)


# What is planted


def drop_a_nanocredit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conserved: one side of a transfer is a nanocredit short."""
    real = Draft.put

    def put(self: Draft, row: Any) -> None:
        if isinstance(row, Entry) and row.account_kind != CUSTOMER and row.amount_nanocredits > 0:
            row = replace(row, amount_nanocredits=row.amount_nanocredits - 1)
        real(self, row)

    monkeypatch.setattr(Draft, "put", put)


def forget_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conserved: the house's side of a transfer is not written."""
    real = Draft.put

    def put(self: Draft, row: Any) -> None:
        if not (isinstance(row, Entry) and row.account_kind == "revenue"):
            real(self, row)

    monkeypatch.setattr(Draft, "put", put)


def drop_the_debt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody spends what is not there: what nothing covers is swallowed."""
    real = charges.draw

    def draw(draft: Any, run: Any, nanocredits: int, now_us: int) -> Any:
        there = run.room_nanocredits + draft.account(run.account_id).available_nanocredits
        return real(draft, run, min(nanocredits, there), now_us)

    monkeypatch.setattr(charges, "draw", draw)


def open_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody spends what is not there: a run starts whatever is available."""

    def open_run(draft: Any, account: Any, command: Any, now_us: int) -> Any:
        plenty = replace(account, posted_nanocredits=2**62, debt_nanocredits=0)
        return real(draft, plenty, command, now_us)

    real = runs.open_run
    monkeypatch.setattr(runs, "open_run", open_run)


def release_a_hold_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody spends what is not there: a hold that ends frees its amount twice."""
    real = holds.void

    def void(draft: Any, account_id: int, hold_id: str) -> int:
        released = real(draft, account_id, hold_id)
        account = draft.account(account_id)
        freed = min(released, account.held_nanocredits)
        draft.put(replace(account, held_nanocredits=account.held_nanocredits - freed))
        return released

    monkeypatch.setattr(holds, "void", void)


def keep_a_hold_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody spends what is not there: the end of a run frees nothing."""

    def void(draft: Any, account_id: int, hold_id: str) -> int:
        return sum(hold.amount_nanocredits for hold in draft.holds(account_id, hold_id))

    monkeypatch.setattr(holds, "void", void)


def owe_beside_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody spends what is not there: the next credit does not pay the debt."""
    monkeypatch.setattr(grants, "repay", lambda draft, account_id, now_us: 0)


def charge_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: what was recorded before is not looked for."""
    monkeypatch.setattr(charges, "earlier_charge", lambda draft, account_id, command: (None, None))


def charge_every_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: a response is not looked for under its own id."""
    monkeypatch.setattr(charges, "_event_of_response", lambda draft, account_id, command: None)


def charge_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: a step that is tried again is charged again."""

    def keep(draft: Any, account_id: int, run: Any, command: Any, *, flag: str, now_us: int) -> Any:
        return charges.charge(
            draft, account_id, run, replace(command, key=command.other_key, response_key=None), now_us
        )

    monkeypatch.setattr(charges, "keep_uncharged", keep)


def grant_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: keys are not recalled."""
    everywhere(monkeypatch, "recall", lambda *arguments, **named: None, decide, runs)


def take_any_request_under_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: a key answers any request."""
    real = decide.recall

    def recall(draft: Any, account_id: int, key: str, answer: Any, *, kind: str, fingerprint: int) -> Any:
        row = draft.key(account_id, key)
        return real(draft, account_id, key, answer, kind=kind, fingerprint=row.fingerprint if row else fingerprint)

    everywhere(monkeypatch, "recall", recall, decide, runs)


def use_a_key_up_by_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: what a refused command wrote before it was refused is kept."""
    real = decide._dispatch

    def dispatch(draft: Any, command: Any, now_us: int) -> Any:
        try:
            return real(draft, command, now_us)
        except CallfareError:
            draft._state.merge(draft.changed)
            raise

    def ensure(draft: Any, user: str, new_account_id: int, now_us: int) -> Any:
        account = opened(draft, user, new_account_id, now_us)
        draft.put(replace(account, last_seq=account.last_seq))
        return account

    opened = decide.ensure_account
    monkeypatch.setattr(decide, "_dispatch", dispatch)
    monkeypatch.setattr(decide, "ensure_account", ensure)


def forget_that_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expiry: nothing that is due is settled before a decision."""
    monkeypatch.setattr(decide, "expire_due", lambda draft, account_id, now_us: None)


def expire_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expiry: a lot expires whole, with what runs hold of it."""

    def expire_lot(draft: Any, grant: Any, now_us: int) -> None:
        gone = grant.remaining_nanocredits
        legs = [(CUSTOMER, grant.grant_id, -gone), ("breakage", None, gone)]
        transfers.post(draft, grant.account_id, "breakage", legs, now_us=now_us)

    monkeypatch.setattr(grants, "expire_lot", expire_lot)


def give_back_to_an_expired_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expiry: what a hold gives back after the expiry can be spent."""
    monkeypatch.setattr(grants, "expire_lots", lambda draft, account_id, now_us: None)
    monkeypatch.setattr(expiry.grants, "expire_lot", lambda draft, grant, now_us: None)


def spend_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lots: the order of grants decides, and neither expiry nor promotion."""
    monkeypatch.setattr(holds, "spending_order", lambda lot: lot.grant_id)


def lose_what_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded: usage after the end is written and charged to nobody."""
    monkeypatch.setattr(charges, "take", lambda draft, account_id, nanocredits, now_us, *, run, key: (0, None))


def forget_pending_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded: a job that nobody saw the end of is dropped."""

    def expire_job(draft: Any, job: Any, now_us: int) -> None:
        jobs._end(draft, job, "failed", jobs._charge_of(job), now_us)

    monkeypatch.setattr(expiry, "expire_job", expire_job)


def waive_by_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explainable: a waived run is not posted, only left out."""
    monkeypatch.setattr(settle, "_waive", lambda draft, run, now_us: None)


def count_roll_ups_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explainable: a roll-up that exists is added to itself."""
    real = rollups.Part.added_to
    monkeypatch.setattr(rollups.Part, "added_to", lambda part, row: real(part, row and real(part, row)))


def share_keys_between_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoped: whoever used a key first answers everybody."""
    real = Draft.key

    def key(self: Draft, account_id: int, name: str) -> Any:
        mine = real(self, account_id, name)
        return mine or next(
            (row for row in self._state.rows.values() if row.pk[0] == "keys" and row.pk[2] == name), None
        )

    monkeypatch.setattr(Draft, "key", key)


def let_anyone_close_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoped: a run is found by its id alone."""

    def run_of(draft: Any, run_id: str, account_id: int | None) -> Any:
        return draft.run(draft.owners_of("runs", run_id)[0], run_id)

    monkeypatch.setattr(decide, "_run_of", run_of)


PLANTED: tuple[tuple[Plant, str], ...] = (
    (drop_a_nanocredit, "below_the_hold"),
    (forget_an_entry, "below_the_hold"),
    (drop_the_debt, "debt_is_paid_first"),
    (open_without_looking, "refused_before_it_starts"),
    (release_a_hold_twice, "parallel_runs_share"),
    (keep_a_hold_for_ever, "below_the_hold"),
    (owe_beside_credit, "debt_is_paid_first"),
    (charge_every_report, "every_request_twice"),
    (charge_every_response, "one_response_two_reports"),
    (charge_every_attempt, "a_retried_step"),
    (grant_every_time, "every_request_twice"),
    (take_any_request_under_a_key, "same_key_other_request"),
    (use_a_key_up_by_a_refusal, "an_unknown_user_is_refused"),
    (forget_that_time_passes, "credit_expires_by_itself"),
    (expire_what_is_held, "a_hold_outlives_expiry"),
    (give_back_to_an_expired_lot, "a_hold_outlives_expiry"),
    (spend_the_oldest_first, "soonest_expiry_first"),
    (lose_what_comes_late, "late_usage"),
    (forget_pending_jobs, "a_video_nobody_came_back_for"),
    (waive_by_forgetting, "a_failed_run_is_waived"),
    (count_roll_ups_twice, "a_run_of_many_kinds"),
    (share_keys_between_users, "same_key_other_request"),
    (let_anyone_close_a_run, "two_users_one_run_id"),
)


@pytest.fixture
def memory() -> Books:
    clock = ManualClock(START)
    return Books(MemoryStore(clock), clock)


def play(books: Books, name: str) -> None:
    story = Story(books)
    for line in read(STORIES / f"{name}.ledger"):
        story.play(line)


@pytest.mark.parametrize(("plant", "story"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_fault_is_noticed_by_a_story(memory, monkeypatch, plant, story):
    plant(monkeypatch)

    with pytest.raises(NOTICED):
        play(memory, story)


@pytest.mark.parametrize("story", sorted({story for _, story in PLANTED}))
def test_without_the_fault_the_story_goes_well(memory, story):
    play(memory, story)


# Faults of a store


class ReadsBeforeItLocks(SqliteStore):
    """Decides on what it read before it had the lock; `meanwhile` is what another process does in between."""

    def meanwhile(self) -> None:
        """Do nothing."""

    def _apply(self, connection: Any, commands: Any, *, is_careful: bool = True) -> Any:
        loader = sqlite.Loader(connection, self._sql, self._clock.now_us())
        state = loader.load(commands)
        self.meanwhile()
        connection.execute("BEGIN IMMEDIATE")
        answers, changed = sqlite.decide_all(state, commands, self._clock.now_us())
        self._write(connection, changed.values(), state.found)
        connection.execute("COMMIT")
        return answers


def test_deciding_before_the_lock_is_held_is_noticed(tmp_path, clock):
    path = str(tmp_path / "callfare.db")
    hasty, other = ReadsBeforeItLocks(path, clock=clock), SqliteStore(path, clock=clock)
    hasty.create()
    hasty.apply([grant("alice", 100)])
    hasty.meanwhile = lambda: other.apply([open_run("r1", hold=60)])  # type: ignore[method-assign]

    answers = hasty.apply([open_run("r2", hold=60)])

    assert not isinstance(answers[0], CallfareError)
    assert faults(hasty) != []
    assert not verify(hasty.scan).is_clean


class CommitsInTwoParts(SqliteStore):
    """Commits events first and the rest after; here the process dies in between."""

    def _write(self, connection: Any, rows: Any, found: Any) -> None:
        rows = list(rows)
        super()._write(connection, [row for row in rows if isinstance(row, Event)], found)
        connection.execute("COMMIT")
        raise InterruptedError


def test_a_transaction_that_is_split_is_noticed(tmp_path, clock):
    store = SqliteStore(str(tmp_path / "callfare.db"), clock=clock)
    store.create()
    store.apply([grant("alice", 100), open_run("r1")])
    split = CommitsInTwoParts(str(tmp_path / "callfare.db"), clock=clock)

    with pytest.raises(InterruptedError):
        split.apply([record(5, run_id="r1")])

    assert faults(store) != []
    assert not verify(store.scan).is_clean


class ForgetsWhatIsDue(SqliteStore):
    """Does not load abandoned runs unless a command names them."""

    def _apply(self, connection: Any, commands: Any, *, is_careful: bool = True) -> Any:
        self._sql = {**self._sql, "load_due_runs": self._sql["load_due_runs"].replace("'open'", "'nothing'")}
        return super()._apply(connection, commands)


def test_a_store_that_differs_from_memory_is_noticed():
    def planted() -> Ledgers:
        def wrap(store: SqliteStore) -> SqliteStore:
            return ForgetsWhatIsDue(str(store.file.path), clock=store._clock)

        return Ledgers(wrap=wrap)

    # The first failure will do, and need not be small.
    quick = settings(effort(400), phases=(Phase.generate,), report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seed(seeds.chosen)(planted), settings=quick)


def test_money_in_floats_is_noticed(memory):
    """7 tokens at 0.29 dollars a thousand are 0.203 credits; in floats they come to a nanocredit less."""
    exact = record("0.203", user="alice", usage='{"input_tokens":"7"}')
    in_floats = int(7 * 0.29 / 1000 * 100 * 1e9)
    assert (exact.nanocredits, in_floats) == (203_000_000, 202_999_999)

    memory.do(replace(exact, nanocredits=in_floats))

    assert not verify(memory.store.scan).is_clean


def test_an_account_that_says_too_much_is_refused_before_it_is_written(memory, monkeypatch):
    real = Draft.put

    def put(self: Draft, row: Any) -> None:
        real(self, replace(row, posted_nanocredits=row.posted_nanocredits + 1) if isinstance(row, Account) else row)

    monkeypatch.setattr(Draft, "put", put)

    with pytest.raises(LedgerCorrupt):
        memory.do(grant("alice", 100))
    assert memory.rows(Account) == []


def test_the_auditor_agrees_with_verify_on_a_ledger_without_faults(memory):
    memory.do_all(grant("alice", 100), open_run("r1"), record(5, run_id="r1"), close("r1"), make.expire())

    assert faults(memory.store) == []
    assert verify(memory.store.scan).is_clean
    assert memory.view().posted_nanocredits == nano(95)
