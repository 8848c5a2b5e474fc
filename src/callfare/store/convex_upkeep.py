"""The operator's side of the Convex store. Whether a ledger is being filled stands in one document."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from callfare.errors import LedgerNotFound, LedgerUnavailable
from callfare.ids import new_id
from callfare.ledger.rows import RAW_USAGE, RawUsage, Retention, Row, seal_of
from callfare.store import upkeep
from callfare.store.convex_pages import pages_of
from callfare.store.convex_questions import Range, named
from callfare.store.convex_tables import layout_of, schema_number, size_of
from callfare.store.upkeep import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callfare.ledger.rows import Pk
    from callfare.store.convex_load import Ask
    from callfare.store.protocol import R

# What one transaction takes with room: 16,000 documents, 16 MiB, and one second of its own.
_ROWS_PER_PUT, _BYTES_PER_PUT = 500, 4 * 1024 * 1024
_RAW_PER_DROP = 500
_TIMES_PAGE = 500
_TRIES = 8
_PART = "\n+"


class ConvexUpkeep:
    """What is done to a Convex ledger as a whole."""

    def __init__(self, read: Callable[..., Any], write: Callable[..., Any], *, ask: Ask, ask_filling: Ask) -> None:
        self._read = read
        self._write = write
        self._ask = ask
        self._ask_filling = ask_filling

    @contextmanager
    def fill(self, source: str, *, is_anew: bool = False) -> Iterator[ConvexFilling]:
        """Give an empty ledger to fill, or the one that this source has begun to fill."""
        while is_anew and self._write("dropFilling", {}):
            pass
        yield ConvexFilling(self._write, self._ask_filling, self._write("beginFilling", {"source": source}))

    def wipe(self) -> None:
        """Drop everything, of a deployment that says of itself that it is there to be thrown away."""
        while self._write("wipe", {}):
            pass

    def schema(self) -> Schema:
        """Return the ledger's schema, and the newest. Changes nothing."""
        number = self._read("schema", {})
        if number is None:
            raise LedgerNotFound("the deployment holds no ledger; `callfare init` makes it")
        return Schema(number, schema_number())

    def migrate(self) -> Schema:
        """Bring the schema up to date: the documents have it since the functions were deployed."""
        return Schema(self._write("migrate", {}), schema_number())

    def raw_times(self, after: tuple[int, str] | None = None) -> list[tuple[int, str, int]]:
        """Return when raw usage was recorded, a page after a key."""
        wanted = Range(table=RawUsage, low=after or (), limit=_TIMES_PAGE)
        [pages] = self._ask([wanted], None)[1]
        return [(account_id, key, at_us) for _, rows in pages for account_id, key, at_us, *_ in rows]

    def drop_raw(self, keys: Sequence[tuple[int, str]], *, before_us: int, now_us: int) -> int:
        """Remove raw usage recorded before an instant, and note that it may be missing."""
        dropped = 0
        for start in range(0, max(1, len(keys)), _RAW_PER_DROP):
            dropped += self._drop(keys[start : start + _RAW_PER_DROP], before_us, now_us)
        return dropped

    def _drop(self, keys: Sequence[tuple[int, str]], before_us: int, now_us: int) -> int:
        for _ in range(_TRIES):
            [pages] = self._ask([named(Retention, RAW_USAGE)], None)[1]
            noted = [row for _, rows in pages for row in rows]
            row = upkeep.retained(Retention(*noted[0][:-1]) if noted else None, before_us, now_us)
            dropped = self._write(
                "dropRaw",
                {
                    "keys": [list(key) for key in keys],
                    "beforeUs": before_us,
                    "noted": [*astuple(row), seal_of(row)],
                    "was": noted[0][-1] if noted else None,
                },
            )
            if dropped is not None:
                return int(dropped)
        raise LedgerUnavailable("others set the retention under every attempt; retry")


class ConvexFilling:
    """A Convex ledger that takes rows as they are.

    One `put` may be more than one transaction takes. Then the mark says how many of its rows are there, and whoever
    goes on from the mark before, with the same rows in the same order, puts the others.
    """

    def __init__(self, write: Callable[..., Any], ask: Ask, mark: str) -> None:
        self._write = write
        self._ask = ask
        self._noted = mark
        self.mark, _, parts = mark.partition(_PART)
        self._left_out = int(parts or 0)
        self._name = new_id("filling")

    def put(self, rows: Sequence[tuple[Row, int]], *, mark: str) -> None:
        """Add rows with their seals and note how far this has come."""
        parts = list(_parts([_told(row, seal) for row, seal in rows[self._left_out :]]))
        done = self._left_out
        for part in parts[:-1]:
            done += len(part)
            self._move(part, f"{self.mark}{_PART}{done}")
        self._move(parts[-1], mark)
        self.mark, self._left_out = mark, 0

    def _move(self, rows: list[dict[str, Any]], mark: str) -> None:
        self._write("put", {"rows": rows, "mark": self._noted, "next": mark, "by": self._name})
        self._noted = mark

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows that have been put."""
        return pages_of(table, after, self._ask)

    def finish(self) -> None:
        """Open the ledger to everyone."""
        self._write("finishFilling", {"mark": self._noted, "by": self._name})


def _told(row: Row, seal: int) -> dict[str, Any]:
    return {"table": layout_of(type(row)).name, "values": [*astuple(row), seal]}


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in parts that one transaction takes; at least one part, and none that is larger than it must be."""
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        of_row = size_of(row["values"])
        if part and (len(part) == _ROWS_PER_PUT or size + of_row > _BYTES_PER_PUT):
            yield part
            part, size = [], 0
        part.append(row)
        size += of_row
    yield part
