"""Loads what a batch touches from Convex in few calls: the look-ups of the loader for SQL, asked together.

The loader is played again and again. What it asks and nobody knows yet is noted and answered by nothing; then all that
was noted is asked in one call. It is done when a play asks nothing new: mostly after one call, since what a batch will
ask next can be told from the numbers of accounts that this process has seen. Pages of one play may come from different
instants; whoever writes says what was read, and the write compares it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from callfare.ledger.rows import ApiKey, Row, Run, User
from callfare.store.convex_questions import Range, load, named, spent
from callfare.store.convex_tables import size_of
from callfare.store.protocol import Seen, Snapshot
from callfare.store.sqlite_load import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callfare.clock import Clock
    from callfare.ledger.commands import Command
    from callfare.ledger.rows import Pk
    from callfare.ledger.state import State
    from callfare.store.protocol import Look, R

_ACCOUNTS_MAX = 50_000
Found: TypeAlias = list[list[Any]]
"""The rows of a range, each with its seal at the end."""
Pages: TypeAlias = list[tuple[Range, Found]]
"""What was read for one range: as one page, or as several where it is long."""
Ask: TypeAlias = "Callable[[Sequence[Range], int | None], tuple[int, list[Pages]]]"
"""Asks several ranges, as of an instant or as of now; returns that instant and the rows."""


class Play(Loader):
    """One play of the loader on what is known; it notes what is not."""

    def __init__(self, known: dict[Range, Pages], guesses: dict[str, int], now_us: int, *, is_careful: bool) -> None:
        super().__init__(None, {}, now_us, is_careful=is_careful)  # type: ignore[arg-type]  # `_put` asks, not SQL
        self._known = known
        self._guesses = guesses
        self.used: dict[Range, None] = {}
        self.missing: dict[Range, None] = {}
        self.seals: dict[Pk, int] = {}

    def _put(self, name: str, values: tuple[Any, ...], table: type[R]) -> list[R]:
        return self.rows(load(name, values), table)

    def rows(self, wanted: Range, table: type[R]) -> list[R]:
        """Return the rows of a range, none where they are not known yet."""
        pages = self.pages(wanted)
        if pages is None:
            return self._guessed(wanted, table)
        found = []
        for _, page in pages:
            for *columns, seal in page:
                row = table(*columns)
                found.append(row)
                self.state.find(row)
                self.seals[row.pk] = seal
        return found

    def pages(self, wanted: Range) -> Pages | None:
        """Return what is known of a range, None where nothing is yet."""
        self.used[wanted] = None
        pages = self._known.get(wanted)
        if pages is None:
            self.missing[wanted] = None
        return pages

    def _guessed(self, wanted: Range, table: type[R]) -> list[R]:
        """Return a user as far as one can be told, so that what hangs on the account is asked in the same call."""
        name = wanted.eq[0]
        if table is not User or not isinstance(name, str) or name not in self._guesses:
            return []
        guess: Any = User(name, self._guesses[name], None, None, 0)
        self.state.find(guess)
        return [guess]


class ConvexLoader:
    """Fills a State with what commands touch.

    ask: asks several ranges at one instant. accounts: numbers of accounts by their users, as far as they are known.
    """

    def __init__(self, ask: Ask, clock: Clock | None, accounts: dict[str, int], *, is_careful: bool = True) -> None:
        self._ask = ask
        self._is_careful = is_careful
        self._accounts = accounts
        self._clock_us = clock.now_us() if clock else None
        self._known: dict[Range, Pages] = {}
        self.now_us = self._clock_us or 0
        self.calls = 0
        self.play: Play

    def load(self, commands: Sequence[Command]) -> State:
        """Return the state that the commands are decided on."""
        self._run(lambda play: play.load(commands))
        return self.play.state

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Return what each asks about, accounts with everything due, all read at one instant."""
        found: list[tuple[ApiKey | None, int | None, Found]] = []

        def load_all(play: Play) -> None:
            found.clear()
            found.extend(_looked(play, one) for one in asked)

        self._run(load_all, is_at_once=True)
        return [Seen(key=key, account=self._snapshot(account_id, drawn)) for key, account_id, drawn in found]

    def _snapshot(self, account_id: int | None, drawn: Found) -> Snapshot | None:
        if account_id is None:
            return None
        spent_nanocredits = sum(Run(*columns).used_nanocredits for *columns, _ in drawn)
        return Snapshot(
            account_id=account_id, state=self.play.state, spent_nanocredits=spent_nanocredits, now_us=self.now_us
        )

    def _run(self, script: Callable[[Play], object], *, is_at_once: bool = False) -> None:
        """Play until nothing is missing. is_at_once: the last call asks everything, so that it is of one instant."""
        while True:
            guesses = {} if self.calls else self._accounts
            play = Play(self._known, guesses, self.now_us, is_careful=self._is_careful)
            script(play)
            if self.calls and not play.missing:
                break
            if is_at_once:
                self._known.clear()
            self._fetch(list(play.used if is_at_once else play.missing))
        self.play = play
        if len(self._accounts) > _ACCOUNTS_MAX:
            self._accounts.clear()
        for row in play.state.rows.values():
            if isinstance(row, User):
                self._accounts[row.user] = row.account_id

    def _fetch(self, wanted: list[Range]) -> None:
        self.calls += 1
        now_us, answers = self._ask(wanted, self.now_us or None)
        self.now_us = self.now_us or now_us
        self._known.update(zip(wanted, answers, strict=True))

    def more(self, wanted: list[Range], table: type[R]) -> list[R]:
        """Return the rows of more ranges, which count as read for the batch."""
        missing = [found for found in wanted if found not in self._known]
        if missing:
            self._fetch(missing)
        return [row for found in wanted for row in self.play.rows(found, table)]

    def checks(self) -> list[dict[str, Any]]:
        """Return what the last play has read, for the write to compare: ranges with the seals that were found."""
        return [
            {"range": page.at(self.now_us).told(), "seals": [row[-1] for row in rows]}
            for wanted in self.play.used
            for page, rows in self._known[wanted]
        ]

    def read_bytes(self) -> int:
        """Return how many bytes the last play has read, which the write reads once more to compare."""
        return sum(size_of(row) for wanted in self.play.used for _, rows in self._known[wanted] for row in rows)

    def seal_of(self, row: Row) -> int | None:
        """Return the seal under which a row was found, None where it was not."""
        return self.play.seals.get(row.pk)


def _looked(play: Play, asked: Look) -> tuple[ApiKey | None, int | None, Found]:
    """Load a key, the account it may see of those that are asked for, and what the open runs of that have drawn."""
    keys = play.rows(named(ApiKey, asked.key_id), ApiKey) if asked.key_id is not None else []
    key = keys[0] if keys else None
    user = asked.user if asked.user is not None or key is None else key.user
    is_hidden = (asked.key_id is not None and key is None) or (key is not None and key.user not in {None, user})
    account_id = None if user is None else play.user(user)
    if account_id is None or is_hidden:
        return key, None, []
    play.account(account_id)
    return key, account_id, [row for _, page in play.pages(spent(account_id)) or [] for row in page]
