"""Loads what a batch touches from PostgreSQL: a few statements for the whole batch, locks in one order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from callfare.ledger.access import day_of
from callfare.ledger.commands import AdjustUsage, ExtendRun, OpenRun, RecordUsage, RefundGrant
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
from callfare.ledger.rows import Account, ApiKey, Event, Grant, Hold, Job, Key, KeyDay, Row, Run, User
from callfare.ledger.sale_commands import SettleSale
from callfare.ledger.sales import dispute_hold
from callfare.ledger.state import State
from callfare.store.answers import rows_of
from callfare.store.protocol import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.store.protocol import R

Pairs = set[tuple[int, Any]]
_encode = msgspec.json.Encoder().encode


class Loader:
    """Fills a State with what commands touch, in as few round trips as the order of locks allows."""

    def __init__(
        self, connection: psycopg.Connection[Any], sql: dict[str, Any], clock: Clock | None, *, is_careful: bool = True
    ) -> None:
        self._is_careful = is_careful
        self.state = State()
        self._connection = connection
        self._sql = sql
        self._clock = clock
        self.now_us = 0
        self._accounts: set[int] = set()

    def _ask(self, *questions: tuple[str, dict[str, Any]] | None) -> list[list[tuple[Any, ...]]]:
        """Return the answers to several statements, sent together; None asks nothing, and is answered by no rows."""
        wanted = [question for question in questions if question]
        if not self.now_us:
            wanted.append(("now", {}))
        if not wanted:
            return [[] for _ in questions]
        with self._connection.pipeline():
            cursors = [self._connection.execute(self._sql[name], values) for name, values in wanted]
        # Fetched afterwards: inside, each answer would be waited for by itself.
        answers = [cursor.fetchall() for cursor in cursors]
        if not self.now_us:
            [[server_now_us]] = answers.pop()
            self.now_us = self._clock.now_us() if self._clock else server_now_us
        found = iter(answers)
        return [next(found) if question else [] for question in questions]

    def _find(self, values: Iterable[tuple[Any, ...]], table: type[R]) -> list[R]:
        rows = rows_of(values, table)
        for row in rows:
            self.state.find(row)
        return rows

    def load(self, commands: Sequence[Command]) -> State:
        """Return the state that the commands are decided on."""
        plain, others = parted(commands)
        subjects = [subject_of(command) for command in others]
        runs: Pairs = {(s.account_id, s.run_id) for s in subjects if s.account_id is not None and s.run_id}
        jobs: Pairs = {(s.account_id, s.job_id) for s in subjects if s.account_id is not None and s.job_id}
        unknown = [subject for subject in subjects if subject.account_id is None]
        names = (
            _about("load_identities", users=sorted({s.user for s in subjects if s.user})),
            _about("owners_of_runs", run_ids=sorted({s.run_id for s in unknown if s.run_id})),
            _about("owners_of_jobs", job_ids=sorted({s.job_id for s in unknown if s.job_id})),
        )
        if any(names) or any(_asks(command) for command in others):
            # Usage of runs whose account is known needs none of this, not even the time before its locks.
            identities, run_owners, job_owners = self._ask(*names)
            self._find(identities, User)
            runs |= set(run_owners)
            jobs |= set(job_owners)
        self._lock_runs(plain, others, runs, jobs)
        self._lock_accounts(commands)
        self._lock_api_keys(others)
        return self.state

    def _lock_api_keys(self, commands: Sequence[Command]) -> None:
        """Lock the API keys that are named, then what their families have granted in this day: after all else."""
        key_ids = sorted({key_id for command in commands for key_id in api_keys_named(command)})
        if key_ids:
            [found] = self._ask(("lock_api_keys", {"key_ids": key_ids}))
            families = sorted({row.family for row in self._find(found, ApiKey)})
            [days] = self._ask(("lock_key_days", {"families": families, "day_us": day_of(self.now_us)}))
            self._find(days, KeyDay)

    def _named(self, others: Sequence[Command], pairs: Pairs) -> list[set[int]]:
        """Return the accounts that each command names, its runs and jobs being these."""
        owners: defaultdict[str, set[int]] = defaultdict(set)
        for account_id, name in pairs:
            owners[name].add(account_id)
        named: list[set[int]] = []
        for command in others:
            subject = subject_of(command)
            here = accounts_named(subject, self.state)
            if subject.account_id is None:
                here = here | owners[subject.run_id or ""] | owners[subject.job_id or ""]
            expect(command, here, self.state)
            named.append(here)
        return named

    def _lock_runs(self, plain: list[RecordUsage], others: list[Command], runs: Pairs, jobs: Pairs) -> None:
        """Lock runs and jobs that are named, and those that are due on accounts whose totals a command asks about."""
        named = self._named(others, runs | jobs)
        asked = {account for command, here in zip(others, named, strict=True) if _asks(command) for account in here}
        runs |= {(command.account_id, command.run_id) for command in plain}  # type: ignore[misc]  # a plain one has both
        keys: Pairs = set()
        event_keys: Pairs = {(command.account_id, command.key) for command in plain if self._is_careful}  # type: ignore[misc]
        for command, here in zip(others, named, strict=True):
            event_names, names = events_and_keys(command)
            event_keys |= {(account, name) for account in here for name in event_names}
            keys |= {(account, name) for account in here for name in names}
            if isinstance(command, OpenRun) and command.parent is not None:
                runs |= {(account, command.parent) for account in here}
        found_runs, found_jobs, found_keys, found_events = self._ask(
            self._locking("runs", runs, asked),
            self._locking("jobs", jobs, asked),
            _about("load_keys", pairs=keys),
            _about("load_events", pairs=event_keys),
        )
        self._find(found_runs, Run)
        due = self._find(found_jobs, Job)
        known = self._find(found_keys, Key)
        self._find(found_events, Event)
        self._second_look(others, named, known, due)
        self._lock_sales(others, named)

    def _lock_sales(self, commands: Sequence[Command], named: list[set[int]]) -> None:
        """Lock what is named about buying credits, table by table and each in the order of its keys."""
        wanted: defaultdict[type[Row], Pairs] = defaultdict(set)
        for command, here in zip(commands, named, strict=True):
            for table, account_id, name in sale_rows_named(command, here):
                wanted[table].add((account_id, name))
        if wanted:
            tables = sorted(wanted, key=lambda table: table.table)
            answers = self._ask(*(_about(f"lock_{table.table}", pairs=wanted[table]) for table in tables))
            for table, rows in zip(tables, answers, strict=True):
                self._find(rows, table)

    def _second_look(
        self, commands: Sequence[Command], named: list[set[int]], known: list[Key], jobs: list[Job]
    ) -> None:
        """Load what the first look pointed at: events behind responses, runs behind events and jobs, names."""
        behind: Pairs = {(row.account_id, row.receipt) for row in known if row.kind == "response"}
        runs: Pairs = {(job.account_id, job.run_id) for job in jobs if job.run_id is not None}
        nameless: set[int] = set()
        for command, here in zip(commands, named, strict=True):
            if isinstance(command, AdjustUsage):
                event: Any = self.state.rows.get(("events", command.account_id, command.key))
                runs |= {(command.account_id, event.run_id)} if event and event.run_id else set()
            elif isinstance(command, ExtendRun):
                nameless |= here
        runs = {pair for pair in runs if ("runs", *pair) not in self.state.rows}
        if behind or runs or nameless:
            events, more_runs, names = self._ask(
                _about("load_events", pairs=behind),
                self._locking("runs", runs, set()),
                _about("load_identities_of", accounts=sorted(nameless)),
            )
            self._find(events, Event)
            self._find(more_runs, Run)
            self._find(names, User)

    def _locking(self, table: str, pairs: Pairs, accounts: set[int]) -> tuple[str, dict[str, Any]] | None:
        """Return the question that locks named rows, and with them those that are due on some accounts."""
        self._accounts |= accounts
        if not accounts:
            return _about(f"lock_{table}", pairs=pairs)
        due = {"pairs": _text(sorted(pairs)), "accounts": _numbers(accounts), "now_us": self.now_us}
        return f"lock_{table}_and_due", due

    def _lock_accounts(self, commands: Sequence[Command]) -> None:
        touched = accounts_touched(commands, self.state, self.now_us)
        late = touched - self._accounts
        if late:
            # Usage that outgrew its hold: what is due on its account was not locked with the named runs.
            more_runs, more_jobs = self._ask(self._locking("runs", set(), late), self._locking("jobs", set(), late))
            self._find(more_runs, Run)
            jobs = self._find(more_jobs, Job)
            self._second_look((), [], [], jobs)
        lots: Pairs = set()
        for command in commands:
            if isinstance(command, RefundGrant | SettleSale):
                for account_id in accounts_named(subject_of(command), self.state):
                    lot = lot_named(command, account_id, self.state)
                    lots |= {(account_id, lot)} if lot is not None else set()
        if touched:
            self._load_totals(touched, lots)

    def _load_totals(self, accounts: set[int], lots: Pairs) -> None:
        held: Pairs = set()
        for account_id in accounts:
            for table in ("runs", "jobs"):
                for pk in self.state.walked.get((table, account_id), ()):
                    row: Any = self.state.rows[pk]
                    if row.status == "open":
                        held.add((account_id, row.run_id))
                    elif row.status == "pending":
                        held.add((account_id, hold_id(row.job_id)))
            held |= {(account_id, dispute_hold(sale.sale_id)) for sale in withholding(self.state, account_id)}
        found_accounts, grants, holds = self._ask(
            ("lock_accounts", {"accounts": _numbers(accounts)}),
            ("load_grants", {"accounts": _numbers(accounts), "pairs": _text(sorted(lots))}),
            _about("load_holds", pairs=held),
        )
        self._find(found_accounts, Account)
        self._find(grants, Grant)
        self._find(holds, Hold)

    def load_account_of(self, user: str) -> Snapshot | None:
        """Return a user's account with everything due, read without locks in as few round trips as there can be."""
        rows = self._find(self._ask(("load_identities", {"users": [user]}))[0], User)
        if not rows:
            return None
        account_id = rows[0].account_id
        due = {"account_id": account_id, "now_us": self.now_us}
        found, grants, runs, jobs, [[spent]] = self._ask(
            ("load_account", {"account_id": account_id}),
            ("load_grants", {"accounts": [account_id], "pairs": "[]"}),
            ("load_due_runs", due),
            ("load_due_jobs", due),
            ("spent_in_open_runs", due),
        )
        self._find(found, Account)
        self._find(grants, Grant)
        self._find(runs, Run)
        behind = {(job.account_id, job.run_id) for job in self._find(jobs, Job) if job.run_id is not None}
        for owner, run_id in sorted(behind):
            if ("runs", owner, run_id) not in self.state.rows:
                values = {"account_id": owner, "run_id": run_id}
                self._find(self._ask(("load_run", values))[0], Run)
        held = {(account_id, run.run_id) for run in self.state_rows(Run) if run.status == "open"}
        held |= {(account_id, hold_id(job.job_id)) for job in self.state_rows(Job) if job.status == "pending"}
        self._find(self._ask(_about("load_holds", pairs=held))[0], Hold)
        return Snapshot(account_id=account_id, state=self.state, spent_nanocredits=int(spent), now_us=self.now_us)

    def state_rows(self, table: type[R]) -> list[R]:
        """Return the loaded rows of one table."""
        return [row for row in self.state.rows.values() if isinstance(row, table)]


def _asks(command: Command) -> bool:
    """Tell whether a command always asks about its account's totals; usage in a run asks only beyond its hold."""
    subject = subject_of(command)
    return subject.run_id is None or not isinstance(command, RecordUsage)


def _about(name: str, **values: Any) -> tuple[str, dict[str, Any]] | None:
    """Return a question about some values, pairs as one JSON text; None when there are none to ask about."""
    [(what, asked)] = values.items()
    if not asked:
        return None
    return name, {what: _text(sorted(asked)) if what == "pairs" else asked}


def _numbers(numbers: Iterable[int]) -> str:
    """Return numbers as PostgreSQL writes an array of them: the driver would look at each for what it is."""
    return "{" + ",".join(map(str, sorted(numbers))) + "}"


def _text(pairs: Sequence[tuple[int, Any]]) -> str:
    return _encode(pairs).decode()
