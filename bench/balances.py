"""Balance reads of a sync caller, beside a bare SELECT of one row by its key on a connection that stays open."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import ExitStack

import apsw
import psycopg

from bench.ledgers import CREDITS, quiet, zipf
from bench.machine import used
from bench.rounds import Stage
from bench.table import Figure, Row
from callfare import Callfare

_BY_KEY = "SELECT posted_nanocredits, held_nanocredits, debt_nanocredits FROM {}accounts WHERE account_id = {}"


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of balance reads."""
    return await asyncio.to_thread(_rows, stage)


def _rows(stage: Stage) -> list[Row]:
    users = min(stage.size.users, 1000)
    found = []
    with ExitStack() as stack:
        path = stage.folder / "balances.db"
        fare = stack.enter_context(Callfare(f"sqlite:///{path}"))
        accounts = _fill(fare, users)
        file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        stack.callback(file.close)
        by_key = _BY_KEY.format("", "?")
        found.append(_row("SQLite", fare, accounts, lambda account: file.execute(by_key, (account,)).get, stage, None))

        url = stage.server.new_database()
        fare = stack.enter_context(Callfare(url))
        accounts = _fill(fare, users)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=0))
        sql = _BY_KEY.format("callfare.", "%s").encode()
        found.append(
            _row("PostgreSQL", fare, accounts, lambda account: connection.execute(sql, (account,)).fetchone(), stage,
                 stage.server.pid)
        )  # fmt: skip
    return found


def _fill(fare: Callfare, users: int) -> list[int]:
    """Give every user credit, and return the numbers of their accounts."""
    with quiet():
        for number in range(users):
            fare.grant(f"user-{number}", CREDITS, key="k")
    return [fare._engine.reports.account_of(f"user-{number}") for number in range(users)]


def _row(
    name: str,
    fare: Callfare,
    accounts: list[int],
    select: Callable[[int], object],
    stage: Stage,
    server_pid: int | None,
) -> Row:
    count = stage.size.of(1000)
    picks = zipf(len(accounts))[:count]
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    spent = used()
    for number in range(stage.size.rounds + 1):
        gc.collect()
        before, begin = used(server_pid), time.perf_counter()
        for pick in picks:
            assert fare.balance(f"user-{pick}").posted.nanocredits == CREDITS * 10**9
        ours_s = time.perf_counter() - begin
        spent = used(server_pid).since(before)
        begin = time.perf_counter()
        for pick in picks:
            assert select(accounts[pick]) == (CREDITS * 10**9, 0, 0)
        bare_s = time.perf_counter() - begin
        if number:
            rates["ours"].append(len(picks) / ours_s)
            rates["bare"].append(len(picks) / bare_s)
    assert fare.verify().is_clean
    return Row(
        work=f"{name}, balance read",
        figure=Figure("/s", tuple(rates["ours"])),
        against="SELECT by key",
        peer=Figure("/s", tuple(rates["bare"])),
        client_us=spent.client_s / len(picks) * 1e6,
        server_us=spent.server_s / len(picks) * 1e6 if server_pid else None,
    )
