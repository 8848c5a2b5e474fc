"""What every row of the ledger is: immutable, of one table, under one primary key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import msgspec

Pk: TypeAlias = tuple[str | int, ...]


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of one table; the first `pk_columns` fields are its primary key."""

    table: ClassVar[str]
    pk_columns: ClassVar[int] = 2
    is_history: ClassVar[bool] = False

    @property
    def pk(self) -> Pk:
        """The table's name, then the values of the primary key."""
        return PK_OF[type(self)](self)


# Filled where the tables are listed.
PK_OF: dict[type[Row], Callable[[Any], Pk]] = {}
