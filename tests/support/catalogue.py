"""What the catalogues of both databases say of keys: the account leads each of them, or it is a stated exception."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import apsw
import psycopg

LEADER = "account_id"
# Keys that do not start with the account, and why.
EXCEPTIONS = {
    "identities (user)": "a name is looked up before its account is known, and the row is the one that is forgotten",
    "retention (kind)": "how long rows of a kind are kept is one rule for all accounts",
    "api_keys (key_id)": "a key is looked up before anything is known of who shows it",
    "key_days (family, day_us)": "what a key may grant in a day is one bound for all accounts",
    "schema_versions (number)": "says which schema this is; belongs to nobody",
}

_UNIQUE = """
    SELECT
        c.relname,
        array(SELECT pg_get_indexdef(i.indexrelid, place, TRUE) FROM generate_series(1, i.indnkeyatts) AS place)
    FROM pg_index AS i
    INNER JOIN pg_class AS c ON i.indrelid = c.oid
    WHERE c.relnamespace = 'callfare'::REGNAMESPACE AND i.indisunique
    ORDER BY c.relname, i.indexrelid
"""
_FOREIGN = """
    SELECT
        c.conrelid::REGCLASS::TEXT,
        array(SELECT a.attname::TEXT FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
              INNER JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place),
        array(SELECT a.attname::TEXT FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
              INNER JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place)
    FROM pg_constraint AS c
    WHERE c.connamespace = 'callfare'::REGNAMESPACE AND c.contype = 'f'
"""


def postgres_keys_without_the_account(
    connection: psycopg.Connection[tuple[str, ...]], exceptions: Collection[str] = EXCEPTIONS
) -> list[str]:
    """Return the keys of schema callfare that the account does not lead, but for the exceptions."""
    found = [_named(table, columns) for table, columns in connection.execute(_UNIQUE) if columns[0] != LEADER]
    for table, here, there in connection.execute(_FOREIGN).fetchall():
        if not here[0] == there[0] == LEADER:
            found.append(_named(table, here))
    return [name for name in found if name not in exceptions]


def sqlite_keys_without_the_account(connection: apsw.Connection) -> list[str]:
    """Return the keys of a ledger's file that the account does not lead, but for the exceptions."""
    return [name for name in _sqlite_keys(connection) if name not in EXCEPTIONS]


def _sqlite_keys(connection: apsw.Connection) -> Iterator[str]:
    tables = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in connection.execute(tables).fetchall():
        primary = "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk"
        unique = "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk'"
        keys = [[column for (column,) in connection.execute(primary, (table,)).fetchall()]]
        for (index,) in connection.execute(unique, (table,)).fetchall():
            columns = connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)).fetchall()
            keys.append([column for (column,) in columns])
        yield from (_named(table, columns) for columns in keys if columns[:1] != [LEADER])
        foreign = 'SELECT "from", "to" FROM pragma_foreign_key_list(?) WHERE seq = 0'
        for here, there in connection.execute(foreign, (table,)).fetchall():
            if not here == there == LEADER:
                yield _named(table, [here])


def _named(table: str, columns: list[str]) -> str:
    return f"{table} ({', '.join(columns)})".replace('"', "").removeprefix("callfare.")
