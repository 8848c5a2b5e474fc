"""What a batch of commands touches, and a draft over it that one command may throw away.

A store fills a State, decisions read it through a Draft, and what a Draft wrote is merged when its command is
accepted. Rows that were not loaded do not exist for a decision, so `needs.py` must name everything it reads.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from callfare.ledger.rows import Account, ApiKey, Event, Grant, Hold, Job, Key, KeyDay, Pk, Row, Run, User
from callfare.ledger.sale_rows import Sale

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

R = TypeVar("R", bound=Row)
# Tables whose rows a decision walks through for one account.
_WALKED = frozenset({"grants", "runs", "jobs"})


class State:
    """The loaded rows, as they stand after the commands decided so far."""

    def __init__(self) -> None:
        self.rows: dict[Pk, Row] = {}
        # The rows as they were found, so that a store knows which of those it must write are there already.
        self.found: dict[Pk, Row] = {}
        self.walked: defaultdict[tuple[str, int], dict[Pk, None]] = defaultdict(dict)
        # An instant for each account before which nothing of it is due; it may be earlier than need be.
        self.due_us: dict[int, int] = {}
        self.holds: defaultdict[tuple[int, str], dict[int, Hold]] = defaultdict(dict)
        self.owners: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self.names: dict[int, str] = {}
        self.expected: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    def find(self, row: Row) -> None:
        """Take in a row that the store holds."""
        pk = row.pk
        self.found[pk] = row
        self._keep(pk, row)

    def put(self, row: Row) -> None:
        """Take a row in, or a newer version of it."""
        self._keep(row.pk, row)

    def put_all(self, rows: Iterable[Row]) -> None:
        """Take rows in, or newer versions of them."""
        for row in rows:
            self.put(row)

    def _keep(self, pk: Pk, row: Row) -> None:
        if type(row) is Hold:
            self.holds[row.account_id, row.hold_id][row.grant_id] = row
            return
        self.rows[pk] = row
        if type(row) is Run or type(row) is Grant or type(row) is Job:
            self.walked[row.table, row.account_id][pk] = None
            self._keep_due(row)
        if type(row) is Run:
            self.owners["runs", row.run_id].add(row.account_id)
        elif type(row) is Job:
            self.owners["jobs", row.job_id].add(row.account_id)
        elif type(row) is Sale:
            self.walked["sales", row.account_id][pk] = None
        elif type(row) is User:
            self.names[row.account_id] = row.user

    def _keep_due(self, row: Grant | Run | Job) -> None:
        """Note when a run, a job or a lot is due."""
        if row.expires_at_us is not None:
            self.due_us[row.account_id] = min(row.expires_at_us, self.due_us.get(row.account_id, row.expires_at_us))

    def merge(self, changes: dict[Pk, Row]) -> None:
        """Take in what an accepted command wrote."""
        for pk, row in changes.items():
            self._keep(pk, row)


class Draft:
    """A command's view of the state: reads through it, writes beside it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.changed: dict[Pk, Row] = {}
        self._new: defaultdict[tuple[str, int], list[Pk]] = defaultdict(list)
        self._has_walked = False

    def put(self, row: Row) -> None:
        """Write a row, or a newer version of it."""
        pk = row.pk
        if row.table in _WALKED:
            self._has_walked = True
            if pk not in self.changed and pk not in self._state.rows:
                self._new[row.table, pk[1]].append(pk)  # type: ignore[index]  # the account leads every walked key
        self.changed[pk] = row

    def _get(self, pk: Pk) -> Row | None:
        return self.changed.get(pk) or self._state.rows.get(pk)

    def _walk(self, table: str, account_id: int) -> Iterator[Row]:
        seen = self._state.walked.get((table, account_id))
        if seen:
            for pk in seen:
                yield self.changed.get(pk) or self._state.rows[pk]
        for pk in self._new.get((table, account_id), ()):
            yield self.changed[pk]

    def user(self, user: str) -> User | None:
        """Return the row of a user, if there is one."""
        row = self._get(("identities", user))
        return row if isinstance(row, User) else None

    def name_of(self, account_id: int) -> str:
        """Return the name of an account's user, where it was loaded."""
        return self._state.names.get(account_id, f"account {account_id}")

    def knows(self, account_id: int) -> bool:
        """Return whether there is such an account among what was loaded."""
        return self._get(("accounts", account_id)) is not None

    def account(self, account_id: int) -> Account:
        """Return an account; asking for one that was not loaded is a fault in `needs.py`."""
        row = self._get(("accounts", account_id))
        assert isinstance(row, Account), f"account {account_id} was not loaded"
        return row

    def run(self, account_id: int, run_id: str) -> Run | None:
        """Return a run of the account, if there is one."""
        row = self._get(("runs", account_id, run_id))
        return row if isinstance(row, Run) else None

    def job(self, account_id: int, job_id: str) -> Job | None:
        """Return a job of the account, if there is one."""
        row = self._get(("jobs", account_id, job_id))
        return row if isinstance(row, Job) else None

    def event(self, account_id: int, key: str) -> Event | None:
        """Return the usage event under a key, if there is one."""
        row = self._get(("events", account_id, key))
        return row if isinstance(row, Event) else None

    def key(self, account_id: int, key: str) -> Key | None:
        """Return what is recorded under an idempotency key, if anything."""
        row = self._get(("keys", account_id, key))
        return row if isinstance(row, Key) else None

    def api_key(self, key_id: str) -> ApiKey | None:
        """Return an API key, if there is one."""
        row = self._get(("api_keys", key_id))
        return row if isinstance(row, ApiKey) else None

    def key_day(self, family: str, day_us: int) -> KeyDay | None:
        """Return what a family of keys has granted in a UTC day, if anything."""
        row = self._get(("key_days", family, day_us))
        return row if isinstance(row, KeyDay) else None

    def row(self, table: type[R], *key: str | int) -> R | None:
        """Return the row of a table under a primary key, if there is one."""
        row = self._get((table.table, *key))
        return row if isinstance(row, table) else None

    def has(self, pk: Pk) -> bool:
        """Return whether a row is loaded or written."""
        return self._get(pk) is not None

    def grant(self, account_id: int, grant_id: int) -> Grant:
        """Return a lot that still has credit; one that was not loaded is a fault in `needs.py`."""
        row = self._get(("grants", account_id, grant_id))
        assert isinstance(row, Grant), f"grant {grant_id} of account {account_id} was not loaded"
        return row

    def grants(self, account_id: int) -> list[Grant]:
        """Return the account's lots that still have credit."""
        rows = self._walk("grants", account_id)
        return [row for row in rows if isinstance(row, Grant) and row.remaining_nanocredits]

    def may_be_due(self, account_id: int, now_us: int) -> bool:
        """Tell whether anything of the account may be past its time; false only when nothing is."""
        return self._has_walked or self._state.due_us.get(account_id, now_us + 1) <= now_us

    def open_runs(self, account_id: int) -> list[Run]:
        """Return the loaded runs of the account that are open."""
        rows = self._walk("runs", account_id)
        return [row for row in rows if isinstance(row, Run) and row.status == "open"]

    def pending_jobs(self, account_id: int) -> list[Job]:
        """Return the loaded jobs of the account that are pending."""
        rows = self._walk("jobs", account_id)
        return [row for row in rows if isinstance(row, Job) and row.status == "pending"]

    def owners_of(self, table: str, name: str) -> list[int]:
        """Return the accounts that have a loaded run (`runs`) or job (`jobs`) of this id, in order."""
        return sorted(self._state.owners.get((table, name), ()))

    def holds(self, account_id: int, hold_id: str) -> list[Hold]:
        """Return what a run or a job has reserved, lot by lot."""
        loaded = self._state.holds.get((account_id, hold_id), {})
        latest = dict(loaded)
        for pk, row in self.changed.items():
            if pk[0] == "holds" and pk[1] == account_id and pk[2] == hold_id and isinstance(row, Hold):
                latest[row.grant_id] = row
        return [hold for hold in latest.values() if hold.amount_nanocredits]
