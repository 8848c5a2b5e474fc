"""Many questions to PostgreSQL at once: those that are alike, and name a row each, are one statement."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict, astuple

from callfare.store import protocol as ask
from callfare.store.answers import ANSWERS, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from callfare.ledger.rows import Row
    from callfare.store.protocol import Query

# Which statement answers several of a kind; what a query names are columns of the rows that answer it.
_AMONG: dict[type[Query], str] = {
    ask.OrderNamed: "orders_among",
    ask.SaleNamed: "sales_among",
    ask.UserOf: "users_among",
}
_encode = msgspec.json.Encoder().encode


def answers_to(connection: psycopg.Connection[Any], sql: dict[str, Any], queries: Sequence[Query]) -> list[list[Row]]:
    """Return the rows that each query asks for, sent together."""
    places: defaultdict[type[Query], list[int]] = defaultdict(list)
    for place, query in enumerate(queries):
        places[type(query)].append(place)
    together = {kind: found for kind, found in places.items() if kind in _AMONG and len(found) > 1}
    alone = [place for kind, found in places.items() if kind not in together for place in found]
    with connection.pipeline():
        sets = {
            kind: _set_asked(connection, sql, {queries[place] for place in found}) for kind, found in together.items()
        }
        singles = {place: _asked(connection, sql, queries[place]) for place in alone}
    answers: list[list[Row]] = [[] for _ in queries]
    for place, cursor in singles.items():
        answers[place] = rows_of(cursor, ANSWERS[type(queries[place])][1])
    for kind, cursor in sets.items():
        _share(rows_of(cursor, ANSWERS[kind][1]), kind, queries, together[kind], answers)
    return answers


def _set_asked(connection: psycopg.Connection[Any], sql: dict[str, Any], alike: set[Query]) -> psycopg.Cursor[Any]:
    name = _AMONG[type(next(iter(alike)))]
    return connection.execute(sql[name], {"pairs": _encode([astuple(query) for query in alike]).decode()})


def _asked(connection: psycopg.Connection[Any], sql: dict[str, Any], query: Query) -> psycopg.Cursor[Any]:
    return connection.execute(sql[ANSWERS[type(query)][0]], asdict(query))


def _share(
    rows: list[Row], kind: type[Query], queries: Sequence[Query], places: list[int], answers: list[list[Row]]
) -> None:
    """Give each query the rows that have what it names."""
    names = attrgetter(*kind.__struct_fields__)
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[names(row)].append(row)
    for place in places:
        answers[place] = list(found.get(names(queries[place]), ()))
