"""Loads what a batch touches from SQLite: single look-ups on prepared statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callfare.ledger.access import day_of
from callfare.ledger.commands import AdjustUsage, ExtendRun, OpenRun, SettleJob
from callfare.ledger.jobs import hold_id
from callfare.ledger.needs import (
    accounts_named,
    accounts_touched,
    api_keys_named,
    events_and_keys,
    expect,
    lot_named,
    parted,
    sale_rows_named,
    subject_of,
    withholding,
)
from callfare.ledger.rows import Account, ApiKey, Event, Grant, Hold, Job, Key, KeyDay, Run, User
from callfare.ledger.sales import dispute_hold
from callfare.ledger.state import State
from callfare.store.answers import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import apsw

    from callfare.ledger.commands import Command
    from callfare.store.protocol import R


class Loader:
    """Fills a State with what commands touch, by single look-ups on prepared statements."""

    def __init__(
        self, connection: apsw.Connection, sql: dict[str, str], now_us: int, *, is_careful: bool = True
    ) -> None:
        self.state = State()
        self._is_careful = is_careful
        self._connection = connection
        self._sql = sql
        self._now_us = now_us

    def _put(self, name: str, values: tuple[Any, ...], table: type[R]) -> list[R]:
        rows = rows_of(self._connection.execute(self._sql[name], values), table)
        for row in rows:
            self.state.find(row)
        return rows

    def load(self, commands: Sequence[Command]) -> State:
        """Return the state that the commands are decided on."""
        plain, others = parted(commands)
        for usage in plain:
            if ("runs", usage.account_id, usage.run_id) not in self.state.rows:
                self._put("load_run", (usage.account_id, usage.run_id), Run)
            if self._is_careful:
                self._put("event_named", (usage.account_id, usage.key), Event)
        subjects = [subject_of(command) for command in others]
        for user in {subject.user for subject in subjects if subject.user}:
            self.user(user)
        for subject in set(subjects):
            if subject.run_id is not None:
                self._runs(subject.run_id, subject.account_id)
            if subject.job_id is not None:
                self._put("jobs_named", (subject.job_id,), Job)
        for command, subject in zip(others, subjects, strict=True):
            named = accounts_named(subject, self.state)
            expect(command, named, self.state)
            self._earlier(command, named)
            self._api_keys(command)
            if isinstance(command, ExtendRun):
                # Its refusal names the user, whom the command does not.
                for account_id in named - self.state.names.keys():
                    self._put("user_of", (account_id,), User)
        for account_id in sorted(accounts_touched(commands, self.state, self._now_us)):
            self.account(account_id)
        return self.state

    def user(self, user: str) -> int | None:
        """Load a user's row, and return the number of the account."""
        rows = self._put("user_named", (user,), User)
        return rows[0].account_id if rows else None

    def _api_keys(self, command: Command) -> None:
        for key_id in api_keys_named(command):
            for row in self._put("api_key_named", (key_id,), ApiKey):
                self._put("key_day_of", (row.family, day_of(self._now_us)), KeyDay)

    def _runs(self, run_id: str, account_id: int | None) -> None:
        if account_id is None:
            self._put("runs_named", (run_id,), Run)
        else:
            self._put("load_run", (account_id, run_id), Run)

    def _earlier(self, command: Command, account_ids: Collection[int]) -> None:
        """Load what may already be recorded under the keys of a command, and the runs that a change of it moves."""
        for table, owner, name in sale_rows_named(command, account_ids):
            self._put(f"load_{table.table}", (owner, name), table)
        events, keys = events_and_keys(command)
        for account_id in account_ids:
            for key in events:
                self._put("event_named", (account_id, key), Event)
            for key in keys:
                for row in self._put("key_named", (account_id, key), Key):
                    if row.kind == "response":
                        self._put("event_named", (account_id, row.receipt), Event)
            if isinstance(command, AdjustUsage | SettleJob):
                self._moved_runs(account_id, command)
            elif isinstance(command, OpenRun) and command.parent is not None:
                self._runs(command.parent, account_id)
            lot = lot_named(command, account_id, self.state)
            if lot is not None:
                self._put("grant_numbered", (account_id, lot), Grant)

    def _moved_runs(self, account_id: int, command: AdjustUsage | SettleJob) -> None:
        if isinstance(command, AdjustUsage):
            row = self.state.rows.get(("events", account_id, command.key))
        else:
            row = self.state.rows.get(("jobs", account_id, command.job_id))
        run_id = getattr(row, "run_id", None)
        if run_id is not None:
            self._runs(run_id, account_id)

    def account(self, account_id: int) -> None:
        """Load an account with its live lots, everything of it that is due, and the holds of its loaded runs."""
        if ("accounts", account_id) in self.state.rows:
            return
        self._put("load_account", (account_id,), Account)
        self._put("load_grants", (account_id,), Grant)
        self._put("load_due_runs", (account_id, self._now_us), Run)
        for job in self._put("load_due_jobs", (account_id, self._now_us), Job):
            if job.run_id is not None and ("runs", account_id, job.run_id) not in self.state.rows:
                self._put("load_run", (account_id, job.run_id), Run)
        for table in ("runs", "jobs"):
            for pk in self.state.walked.get((table, account_id), ()):
                row: Any = self.state.rows[pk]
                if row.status == "open":
                    self._put("load_holds", (account_id, row.run_id), Hold)
                elif row.status == "pending":
                    self._put("load_holds", (account_id, hold_id(row.job_id)), Hold)
        for sale in withholding(self.state, account_id):
            self._put("load_holds", (account_id, dispute_hold(sale.sale_id)), Hold)
