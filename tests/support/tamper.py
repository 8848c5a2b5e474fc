"""A program that tampers with copies of a ledger file from outside: no trigger, no check and no code of ours asked.

    python tamper.py LEDGER FOLDER < wishes.json > done.json

A wish is {"table", "column", "how"}: `alter` changes the column of one row, `reseal` does so and seals the row again,
`garble` puts bytes there that are no text, `delete` takes the row away. What was done says in which copy, and under
which key the row stands now.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import apsw

from callfare.ledger.rows import TABLES, seal_of

_ROWS = {table.table: table for table in TABLES}


def main() -> None:
    """Do everything that was wished for, each in a copy of its own."""
    ledger, folder = Path(sys.argv[1]), Path(sys.argv[2])
    done = []
    for number, wish in enumerate(json.load(sys.stdin)):
        copy = folder / f"{number}.db"
        shutil.copyfile(ledger, copy)
        done.append({"file": str(copy), "key": tamper(copy, **wish)})
    json.dump(done, sys.stdout)


# ruff: noqa: S608 - tables and columns are those of the schema


def tamper(copy: Path, table: str, column: str, how: str) -> list[str]:
    """Tamper with the middle row of a table, and return its key as it is afterwards."""
    connection = apsw.Connection(str(copy))
    connection.pragma("ignore_check_constraints", True)  # noqa: FBT003 - the value of a pragma
    for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    row = _ROWS[table]
    names = row.__struct_fields__[: row.pk_columns]
    where = " AND ".join(f"{name} IS ?" for name in names)
    order = ", ".join(names)
    count = connection.execute(f"SELECT count(*) FROM {table}").get
    old = connection.execute(f"SELECT * FROM {table} ORDER BY {order} LIMIT 1 OFFSET ?", (count // 2,)).get
    key: tuple[Any, ...] = old[: row.pk_columns]
    if how == "garble":
        connection.execute(f"UPDATE {table} SET {column} = CAST(x'ff' AS TEXT) WHERE {where}", key)
    elif how == "delete":
        connection.execute(f"DELETE FROM {table} WHERE {where}", key)
    else:
        fields = (*row.__struct_fields__, "seal")
        new = list(old)
        at = fields.index(column)
        new[at] = _another(old[at], _type_of(connection, table, column))
        if how == "reseal":
            new[-1] = seal_of(row(*new[:-1]))
        assignments = ", ".join(f"{name} = ?" for name in fields)
        connection.execute(f"UPDATE {table} SET {assignments} WHERE {where}", (*new, *key))
        assert connection.changes() == 1, (table, column)
        key = tuple(new[: row.pk_columns])
    connection.close()
    return [str(part) for part in key]


def _type_of(connection: apsw.Connection, table: str, column: str) -> str:
    return connection.execute("SELECT type FROM pragma_table_info(?) WHERE name = ?", (table, column)).get


def _another(value: Any, kind: str) -> Any:
    """Return another value that fits the column. A number far from its neighbours, so that no key collides."""
    if kind == "INTEGER":
        return (value or 0) + 1_000_003
    return f"{value or ''}~"


if __name__ == "__main__":
    main()
