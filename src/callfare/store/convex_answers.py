"""What our functions in Convex may answer, name by name. An answer of another shape is none: nothing is read from it.

A deployment that is half deployed, a proxy between, or another server at the address must never be taken for a ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import msgspec

from callfare.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callfare.ledger.rows import Row
    from callfare.store.convex_http import Wire

Values: TypeAlias = list[int | str | None]


class Stretch(TypedDict):
    """Rows of a range, each with its seal at the end; done when there are no more of it."""

    rows: list[Values]
    isDone: bool


class Selected(TypedDict):
    """The rows of several ranges, as of one instant."""

    nowUs: int
    answers: list[Stretch]


class Kept(TypedDict):
    """A row as it stood when a reading began; no values for one that was not there."""

    key: list[int | str]
    values: Values | None


class Page(TypedDict):
    """A page of a table, with the rows of the same stretch as they stood before."""

    rows: list[Values]
    earlier: list[Kept]
    end: list[int | str] | None


class Counted(TypedDict):
    """How many rows a stretch of a table has, and where it ends."""

    count: int
    end: list[int | str] | None


_ANSWERS: dict[str, Any] = {
    "select": Selected,
    "schema": int | None,
    "page": Page,
    "count": Counted,
    "emptiness": bool,
    "apply": bool,
    "create": bool,
    "migrate": int,
    "beginReading": None,
    "renewReading": None,
    "endReading": bool,
    "beginFilling": str,
    "put": None,
    "finishFilling": None,
    "dropFilling": bool,
    "wipe": bool,
    "dropRaw": int | None,
}


def checked(name: str, answer: Wire) -> Wire:
    """Return the answer of a function when it can be one. Raises LedgerUnavailable."""
    try:
        return msgspec.convert(answer, _ANSWERS[name])
    except msgspec.ValidationError as error:
        raise unreadable() from error


def check_rows(table: type[Row], rows: Sequence[Sequence[Any]], limit: int = 0) -> None:
    """Return when all values are rows of a table with their seals. limit: how many there may be, 0 for any number.

    Raises LedgerUnavailable.
    """
    width = len(table.__struct_fields__) + 1
    if limit and len(rows) > limit:
        raise unreadable()
    for row in rows:
        if len(row) != width or not isinstance(row[-1], int):
            raise unreadable()
        try:
            msgspec.convert(row[:-1], table)
        except msgspec.ValidationError as error:
            raise unreadable() from error


def unreadable() -> LedgerUnavailable:
    """Return what is raised for an answer that cannot be one."""
    return LedgerUnavailable("Convex gave an answer that cannot be read; retry with the same key")
