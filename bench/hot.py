"""Runs opened and closed on one account, beside the textbook transaction that locks the account's row."""

from __future__ import annotations

from bench.ledgers import count_all, postgres_ledger, sqlite_ledger
from bench.naive import CONNECTIONS, NaivePostgres, naive_postgres
from bench.rounds import Stage, Variant, interleave
from bench.table import Row, at_least, rate_row

_CALLERS = (32, 256)


class TextbookSide:
    """The textbook transaction, and the count of the runs that it has ended."""

    def __init__(self, app: NaivePostgres) -> None:
        self._app = app
        self._ended = 0

    async def open_and_close(self, _: int) -> None:
        """Open a run of the first account, and close it."""
        await self._app.open_and_close(0)
        self._ended += 1

    async def check(self) -> None:
        """Assert that every run that was ended has its transfer, and that nothing is held any more."""
        assert await self._app.closed_and_held() == (self._ended, 0)


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of open + close on one account."""
    size, server = stage.size, stage.server
    async with (
        postgres_ledger(server, 1) as ledger,
        sqlite_ledger(stage.folder / "hot.db", 1) as file,
        naive_postgres(server.new_database(), users=1) as app,
    ):
        ours = [
            Variant(
                f"{name}, open + close, one account, {callers}",
                size.callers(callers),
                size.of(1536, size.callers(callers)),
                side.open_and_close,
                side.check,
            )
            for name, side in (("PostgreSQL", ledger), ("SQLite", file))
            for callers in _CALLERS
        ]
        side = TextbookSide(app)
        textbook = Variant(
            f"textbook on PostgreSQL, {CONNECTIONS}",
            size.callers(CONNECTIONS),
            size.of(256, size.callers(CONNECTIONS)),
            side.open_and_close,
            side.check,
        )
        await interleave([*ours, textbook], size.rounds, server.pid)
        await count_all(ours[:2], ledger)
        await count_all(ours[2:], file)
    at_32, at_256, *on_file = ours
    return [
        rate_row(at_32, peer=textbook, against="textbook, 32"),
        rate_row(at_256, peer=textbook, against="textbook, 32", bar=at_least(20, 40, 100)),
        *(rate_row(variant) for variant in on_file),
        rate_row(textbook),
    ]
