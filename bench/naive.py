"""The baseline: what an ordinary app writes with asyncpg, and with SQLite, when it bills AI calls by hand.

It is a peer, not a straw man: prepared statements (asyncpg keeps them by itself, apsw too), 32 open connections that
are handed out without the extra round trip of a pool's reset, narrow rows, integer money, two indexes, no triggers, no
roll-ups, no seals, no idempotency beyond a primary key. It does less than callfare does.

A call is four round trips, one after another, and two commits:

    BALANCE  the account's balance, to refuse who has nothing left
    PRICE    the run's state and the rates of its model
    EVENT    inserts the usage event of twelve columns; a commit of its own
    TOTALS   adds cost and call to the run; a commit of its own

A run is the textbook transaction, one for its opening and one for its end, each holding the account's row lock from
SELECT … FOR UPDATE until its commit is on the disk:

    open     LOCK_ACCOUNT, HOLD (account), OPEN (run), inside BEGIN and COMMIT
    close    LOCK_ACCOUNT, RUN, RELEASE (account), END (run), MOVE (transfer), inside BEGIN and COMMIT
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import asyncpg

CONNECTIONS = 32
MODEL = "gpt-5-mini"
CREDIT = 1_000_000_000

SCHEMA = """
CREATE TABLE accounts (
    account_id BIGINT PRIMARY KEY, balance BIGINT NOT NULL, held BIGINT NOT NULL
);
CREATE TABLE prices (
    model TEXT PRIMARY KEY, input_rate BIGINT NOT NULL, output_rate BIGINT NOT NULL, per BIGINT NOT NULL
);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, account_id BIGINT NOT NULL, status TEXT NOT NULL, held BIGINT NOT NULL,
    calls BIGINT NOT NULL, cost BIGINT NOT NULL
);
CREATE TABLE events (
    event_id TEXT PRIMARY KEY, account_id BIGINT NOT NULL, run_id TEXT NOT NULL, provider TEXT NOT NULL,
    model TEXT NOT NULL, operation TEXT NOT NULL, input_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL, cost BIGINT NOT NULL, status TEXT NOT NULL, at_us BIGINT NOT NULL
);
CREATE INDEX events_by_time ON events (account_id, at_us);
CREATE TABLE transfers (
    account_id BIGINT NOT NULL, run_id TEXT NOT NULL, amount BIGINT NOT NULL, at_us BIGINT NOT NULL,
    PRIMARY KEY (account_id, run_id)
);
INSERT INTO prices VALUES ('gpt-5-mini', 15000000000, 60000000000, 1000000);
"""
BALANCE = "SELECT balance - held FROM accounts WHERE account_id = $1"
PRICE = """
SELECT r.status, p.input_rate, p.output_rate, p.per FROM runs AS r CROSS JOIN prices AS p
WHERE r.run_id = $1 AND p.model = $2
"""
EVENT = "INSERT INTO events VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
TOTALS = "UPDATE runs SET calls = calls + 1, cost = cost + $2 WHERE run_id = $1"
LOCK_ACCOUNT = "SELECT balance, held FROM accounts WHERE account_id = $1 FOR UPDATE"
HOLD = "UPDATE accounts SET held = held + $2 WHERE account_id = $1"
OPEN = "INSERT INTO runs VALUES ($1, $2, 'open', $3, 0, 0)"
RUN = "SELECT status, held, cost FROM runs WHERE run_id = $1"
RELEASE = "UPDATE accounts SET balance = balance - $2, held = held - $3 WHERE account_id = $1"
END = "UPDATE runs SET status = 'completed', held = 0 WHERE run_id = $1"
MOVE = "INSERT INTO transfers VALUES ($1, $2, $3, $4)"


class OutOfCreditError(Exception):
    """The account has nothing left."""


def cost_of(usage: dict[str, int], *, input_rate: int, output_rate: int, per: int) -> int:
    """Return the cost of a call in billionths of a credit."""
    return (usage["input_tokens"] * input_rate + usage["output_tokens"] * output_rate) // per


class NaivePostgres:
    """The app on PostgreSQL. One account and one run for each user: account n has run `run-n`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()
        self._ids = itertools.count()

    async def open(self) -> None:
        """Open the connections."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await asyncpg.connect(self._url))

    async def close(self) -> None:
        """Close the connections."""
        while not self._free.empty():
            await self._free.get_nowait().close()

    async def fill(self, users: int) -> None:
        """Make the tables, and an account and a run for each user."""
        async with self._connection() as connection:
            await connection.execute(SCHEMA)
            await connection.executemany(
                "INSERT INTO accounts VALUES ($1, $2, 0)", [(number, 1_000_000 * CREDIT) for number in range(users)]
            )
            await connection.executemany(
                "INSERT INTO runs VALUES ($1, $2, 'open', 0, 0, 0)",
                [(f"run-{number}", number) for number in range(users)],
            )
            await connection.execute("ANALYZE")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def record(self, account_id: int, usage: dict[str, int]) -> int:
        """Record one call of an account's run, and return its cost."""
        run_id, event_id = f"run-{account_id}", f"call-{next(self._ids):012}"
        async with self._connection() as connection:
            if await connection.fetchval(BALANCE, account_id) <= 0:
                raise OutOfCreditError(account_id)
            status, input_rate, output_rate, per = await connection.fetchrow(PRICE, run_id, MODEL)
            cost = cost_of(usage, input_rate=input_rate, output_rate=output_rate, per=per)
            await connection.execute(
                EVENT, event_id, account_id, run_id, "openai", MODEL, "chat", usage["input_tokens"],
                usage["cached_input_tokens"], usage["output_tokens"], cost, status, time.time_ns() // 1000,
            )  # fmt: skip
            await connection.execute(TOTALS, run_id, cost)
        return cost

    async def open_and_close(self, account_id: int) -> None:
        """Open a run of ten credits on an account, and close it."""
        run_id, amount = f"hot-{next(self._ids):012}", 10 * CREDIT
        async with self._connection() as connection, connection.transaction():
            balance, held = await connection.fetchrow(LOCK_ACCOUNT, account_id)
            if balance - held < amount:
                raise OutOfCreditError(account_id)
            await connection.execute(HOLD, account_id, amount)
            await connection.execute(OPEN, run_id, account_id, amount)
        async with self._connection() as connection, connection.transaction():
            await connection.fetchrow(LOCK_ACCOUNT, account_id)
            _, held, cost = await connection.fetchrow(RUN, run_id)
            await connection.execute(RELEASE, account_id, cost, held)
            await connection.execute(END, run_id)
            await connection.execute(MOVE, account_id, run_id, cost, time.time_ns() // 1000)

    async def events_and_calls(self) -> tuple[int, int]:
        """Return how many events there are, and how many calls the runs have counted."""
        async with self._connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM events"), int(
                await connection.fetchval("SELECT sum(calls) FROM runs")
            )

    async def closed_and_held(self) -> tuple[int, int]:
        """Return how many transfers of ended runs there are, and what is held on all accounts."""
        async with self._connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM transfers"), int(
                await connection.fetchval("SELECT sum(held) FROM accounts")
            )


@asynccontextmanager
async def naive_postgres(url: str, *, users: int) -> AsyncIterator[NaivePostgres]:
    """Yield the app, with its tables made in an empty database, on open connections."""
    app = NaivePostgres(url)
    await app.open()
    try:
        await app.fill(users)
        yield app
    finally:
        await app.close()


# SQLite numbers a parameter that begins with a dollar by where it first stands, not by its digit.
_FOR_SQLITE = [sql.replace("$", "?") for sql in (BALANCE, PRICE, EVENT, TOTALS)]


class NaiveSqlite:
    """The app on SQLite: one connection, WAL, synchronous FULL; each call in a thread of asyncio's pool."""

    def __init__(self, path: Path, *, users: int) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._turn = asyncio.Lock()
        self._ids = itertools.count()
        with self._connection:
            self._connection.execute(SCHEMA)
            self._connection.executemany(
                "INSERT INTO accounts VALUES (?, ?, 0)", [(number, 1_000_000 * CREDIT) for number in range(users)]
            )
            self._connection.executemany(
                "INSERT INTO runs VALUES (?, ?, 'open', 0, 0, 0)",
                [(f"run-{number}", number) for number in range(users)],
            )

    async def record(self, account_id: int, usage: dict[str, int]) -> int:
        """Record one call of an account's run, and return its cost."""
        async with self._turn:
            return await asyncio.to_thread(self._record, account_id, usage)

    def _record(self, account_id: int, usage: dict[str, int]) -> int:
        execute = self._connection.execute
        balance, price, event, totals = _FOR_SQLITE
        run_id, event_id = f"run-{account_id}", f"call-{next(self._ids):012}"
        if execute(balance, (account_id,)).get <= 0:
            raise OutOfCreditError(account_id)
        status, input_rate, output_rate, per = execute(price, (run_id, MODEL)).get
        cost = cost_of(usage, input_rate=input_rate, output_rate=output_rate, per=per)
        execute(
            event,
            (event_id, account_id, run_id, "openai", MODEL, "chat", usage["input_tokens"],
             usage["cached_input_tokens"], usage["output_tokens"], cost, status, time.time_ns() // 1000),
        )  # fmt: skip
        execute(totals, (run_id, cost))
        return cost

    async def events_and_calls(self) -> tuple[int, int]:
        """Return how many events there are, and how many calls the runs have counted."""
        return self._connection.execute("SELECT (SELECT count(*) FROM events), (SELECT sum(calls) FROM runs)").get

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
