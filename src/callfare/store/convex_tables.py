"""How the rows of the ledger stand in Convex: the names of its tables, fields and indexes, all from rows.py.

`convex/callfare/tables.ts` is written from here by `python -m callfare.devtools.convex_schema`. Four tables have the
names of the specification: users, workflowRuns, usageEvents and transactions.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from callfare.ledger.rows import TABLES, Row
from callfare.store.statements import load_migrations

if TYPE_CHECKING:
    from collections.abc import Iterable

BY_KEY = "byKey"
_NUMBER_BYTES = 9

_TABLE_NAMES = {"identities": "users", "runs": "workflowRuns", "events": "usageEvents", "transfers": "transactions"}
_FIELD_NAMES = {("identities", "user"): "externalId", ("runs", "workflow"): "workflowType"}
# Besides the primary key, by columns. Each ends in the primary key, so that a page can go on after its last row.
_INDEXES: dict[str, dict[str, tuple[str, ...]]] = {
    "identities": {"byAccount": ("account_id",)},
    "grants": {"byRemaining": ("account_id", "remaining_nanocredits")},
    "runs": {
        "byName": ("run_id",),
        "byOpening": ("account_id", "opened_at_us"),
        "byStatus": ("account_id", "status", "expires_at_us"),
    },
    "jobs": {"byName": ("job_id",), "byStatus": ("account_id", "status", "expires_at_us")},
    "events": {
        "byTime": ("account_id", "at_us"),
        "byRun": ("account_id", "run_id", "call_number"),
        "byStatus": ("status", "kind"),
    },
    "audit": {"byId": ("audit_id",)},
    "orders": {"byCreation": ("account_id", "created_at_us"), "byState": ("state",)},
    "sales": {"byPayment": ("payment",)},
    "subscriptions": {"byCreation": ("account_id", "created_at_us"), "byEnd": ("ended_at_us",)},
    "inbox": {"byClaim": ("account_id", "state", "claimed_until_us")},
}


class Field(NamedTuple):
    """A field of a document: its name, and whether it is an integer and may be null."""

    name: str
    is_integer: bool
    is_nullable: bool


class Layout(NamedTuple):
    """How one table stands in Convex. Values come in the order of the fields; the seal comes after them."""

    name: str
    fields: tuple[Field, ...]
    key_size: int
    is_history: bool
    indexes: dict[str, tuple[str, ...]]

    def places(self, index: str) -> list[int]:
        """Return where the fields of an index stand among the values of a row."""
        names = [field.name for field in self.fields]
        return [names.index(name) for name in self.indexes[index]]


@cache
def layout_of(table: type[Row]) -> Layout:
    """Return how a table stands in Convex."""
    columns = table.__struct_fields__
    names = {column: _FIELD_NAMES.get((table.table, column)) or _camel(column) for column in columns}
    key = columns[: table.pk_columns]
    indexes = {BY_KEY: key}
    for name, leading in _INDEXES.get(table.table, {}).items():
        indexes[name] = (*leading, *(column for column in key if column not in leading))
    return Layout(
        name=_TABLE_NAMES.get(table.table) or _camel(table.table),
        fields=tuple(_field(names[column], table.__annotations__[column]) for column in columns),
        key_size=table.pk_columns,
        is_history=table.is_history,
        indexes={name: tuple(names[column] for column in columns) for name, columns in indexes.items()},
    )


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _field(name: str, annotation: object) -> Field:
    words = set(str(annotation).replace(" ", "").split("|"))
    assert words <= {"int", "str", "None"}, f"{name} is {annotation}, which Convex is not told how to hold"
    return Field(name=name, is_integer="int" in words, is_nullable="None" in words)


@cache
def fingerprint() -> str:
    """Return what names this layout: functions that were deployed from another one are refused."""
    told = [schema_number(), *(layout_of(table) for table in TABLES)]
    return blake2b(msgspec.json.encode(told), digest_size=8).hexdigest()


def schema_number() -> int:
    """Return the number of the newest schema; it is one for all stores."""
    return load_migrations("sqlite")[-1].number


def size_of(values: Iterable[object]) -> int:
    """Return how many bytes the values of a row take in Convex, names of fields left out."""
    return sum(_bytes_of(value) if isinstance(value, str) else _NUMBER_BYTES for value in values)


def _bytes_of(text: str) -> int:
    return _NUMBER_BYTES + (len(text) if text.isascii() else len(text.encode()))
