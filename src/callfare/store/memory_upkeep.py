"""The operator's side of the memory store: the oracle for the others."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from callfare.ledger.rows import RawUsage, Retention
from callfare.store import upkeep
from callfare.store.upkeep import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callfare.ledger.rows import Pk, Row
    from callfare.store.memory import MemoryStore
    from callfare.store.protocol import R


class MemoryUpkeep:
    """What is done to a memory store as a whole."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @contextmanager
    def fill(self, source: str, *, is_anew: bool = False) -> Iterator[MemoryFilling]:
        """Give an empty ledger to fill, or the one that this source has begun to fill."""
        store = self._store
        with store.gate:
            if store.filling is not None and is_anew:
                store.drop_rows()
            if store.filling is None:
                if store.has_rows():
                    raise upkeep.not_empty()
                store.filling = (source, "")
            if store.filling[0] != source:
                raise upkeep.other_source()
            filling = MemoryFilling(store, store.filling[1])
        yield filling

    def schema(self) -> Schema:
        """Return a schema that is always the newest."""
        return Schema(0, 0)

    def migrate(self) -> Schema:
        """Return a schema that is always the newest."""
        return self.schema()

    def raw_times(self, after: tuple[int, str] | None = None) -> list[tuple[int, str, int]]:
        """Return when raw usage was recorded, after a key."""
        pk = None if after is None else (RawUsage.table, *after)
        return [(row.account_id, row.key, row.recorded_at_us) for row, _ in self._store.scan(RawUsage, pk)]

    def drop_raw(self, keys: Sequence[tuple[int, str]], *, before_us: int, now_us: int) -> int:
        """Remove raw usage recorded before an instant, and note that it may be missing."""
        with self._store.gate:
            noted = [row for row, _ in self._store.scan(Retention)]
            self._store.take([upkeep.retained(noted[0] if noted else None, before_us, now_us)])
            return self._store.drop_raw(keys, before_us)


class MemoryFilling:
    """A memory store that takes rows as they are. It keeps no seals: it makes them anew for whoever reads."""

    def __init__(self, store: MemoryStore, mark: str) -> None:
        self._store = store
        self.mark = mark

    def put(self, rows: Sequence[tuple[Row, int]], *, mark: str) -> None:
        """Add rows and note how far this has come."""
        with self._store.gate:
            source = self._source()
            self._store.take(row for row, _ in rows)
            self._store.filling = (source, mark)
            self.mark = mark

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield the rows that have been put."""
        return self._store.scan_filled(table, after)

    def finish(self) -> None:
        """Open the ledger to everyone."""
        with self._store.gate:
            self._source()
            self._store.filling = None

    def _source(self) -> str:
        filling = self._store.filling
        if filling is None or filling[1] != self.mark:
            raise upkeep.overtaken()
        return filling[0]
