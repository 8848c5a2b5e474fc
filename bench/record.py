"""Durable records by so many callers, spread over users and all in one run, beside the app written by hand."""

from __future__ import annotations

from bench.ledgers import NANOCREDITS, USAGE, Ledger, count_all, postgres_ledger, sqlite_ledger, zipf
from bench.naive import NaivePostgres, NaiveSqlite, naive_postgres
from bench.rounds import Size, Stage, Variant, interleave
from bench.table import Row, at_least, rate_row

CALLERS = (1, 32, 256, 1024)
_OPERATIONS = {1: 200, 32: 3200, 256: 6144, 1024: 6144}
_NAIVE_OPERATIONS = {1: 200, 32: 640, 256: 768, 1024: 1024}


class NaiveSide:
    """The naive app under the same load, and the count of what it acknowledged."""

    def __init__(self, app: NaivePostgres | NaiveSqlite, users: int) -> None:
        self._app = app
        self._picks = zipf(users)
        self._recorded = 0

    async def record_spread(self, index: int) -> None:
        """Record a call of one of many users."""
        assert await self._app.record(self._picks[index % len(self._picks)], USAGE) == NANOCREDITS
        self._recorded += 1

    async def record_in_one(self, _: int) -> None:
        """Record a call of the first user's run."""
        assert await self._app.record(0, USAGE) == NANOCREDITS
        self._recorded += 1

    async def check(self) -> None:
        """Assert that what was acknowledged is present, and in the runs' sums."""
        assert await self._app.events_and_calls() == (self._recorded, self._recorded)


def _variants(name: str, side: Ledger | NaiveSide, operations: dict[int, int], size: Size) -> dict[str, Variant]:
    found = {}
    for kind, call in (("spread", side.record_spread), ("one run", side.record_in_one)):
        for callers in CALLERS:
            tasks = size.callers(callers)
            variant = Variant(
                f"{name}, {kind}, {callers:,}", tasks, size.of(operations[callers], tasks), call, side.check
            )
            found[f"{kind} {callers}"] = variant
    return found


def _rows(name: str, ours: dict[str, Variant], naive: dict[str, Variant]) -> list[Row]:
    rows = []
    for kind in ("spread", "one run"):
        for callers in CALLERS:
            bar = at_least(6, 12, 30) if (name, kind, callers) == ("PostgreSQL", "spread", 256) else None
            variant = ours[f"{kind} {callers}"]
            rows.append(rate_row(variant, peer=naive[f"{kind} {callers}"], bar=bar, against="naive"))
    rows.append(
        rate_row(
            ours["one run 256"], peer=ours["spread 256"], bar=at_least(1),
            work=f"{name}, one run, 256", against="spread",
        )
    )  # fmt: skip
    rows += [rate_row(variant) for variant in naive.values()]
    return rows


async def postgres_rows(stage: Stage) -> list[Row]:
    """Return the rows of records on PostgreSQL."""
    size, server = stage.size, stage.server
    async with (
        postgres_ledger(server, size.users) as ledger,
        naive_postgres(server.new_database(), users=size.users) as app,
    ):
        ours = _variants("PostgreSQL", ledger, _OPERATIONS, size)
        naive = _variants("naive on PostgreSQL", NaiveSide(app, size.users), _NAIVE_OPERATIONS, size)
        await interleave([*ours.values(), *naive.values()], size.rounds, server.pid)
        await count_all(ours.values(), ledger)
    return _rows("PostgreSQL", ours, naive)


async def sqlite_rows(stage: Stage) -> list[Row]:
    """Return the rows of records on SQLite."""
    size = stage.size
    app = NaiveSqlite(stage.folder / "naive.db", users=size.users)
    async with sqlite_ledger(stage.folder / "record.db", size.users) as ledger:
        ours = _variants("SQLite", ledger, _OPERATIONS, size)
        naive = _variants("naive on SQLite", NaiveSide(app, size.users), _NAIVE_OPERATIONS, size)
        await interleave([*ours.values(), *naive.values()], size.rounds)
        await count_all(ours.values(), ledger)
    app.close()
    return _rows("SQLite", ours, naive)
