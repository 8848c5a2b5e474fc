"""Connections to a PostgreSQL server: opening, deadlines, and bringing the schema up to date."""

from __future__ import annotations

import math
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from typing_extensions import override

from callfare.clock import elapsed_s
from callfare.errors import LedgerUnavailable, SchemaNewer, SchemaOlder
from callfare.store.statements import load_migrations, load_named_statements
from callfare.store.upkeep import incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQL: dict[str, Any] = load_named_statements("postgres")
# How often a wait looks whether it was interrupted.
_POLL_S = 0.1
# Every statement finds its rows by key. A plan that reads a whole table was made before the table grew.
_PLANS = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
_OPTIONS = f"-c search_path=callfare -c synchronous_commit=on -c timezone=UTC {_PLANS}"
# Left to itself, the server makes a new plan for each look, which takes four times as long as the look.
_PLANNED_ONCE = "-c plan_cache_mode=force_generic_plan"
# Any number that no other program is likely to lock: the letters of "callfare" on a telephone.
_MIGRATION_LOCK = 22553273
# What a person must do where waiting does not help, by SQLSTATE or, before there is a connection, by what is said.
_NEXT_STEPS = {
    "42501": "grant the role what it lacks; to make the ledger, CREATE on the database",
    "22": "give shorter or plainer values",
    "54": "give shorter values",
    "does not exist": "make it on the server, or correct the address",
    "password authentication failed": "correct the user or the password in the address",
    "failed to resolve host": "correct the host; in a user or a password write @ as %40, / as %2F and # as %23",
    "invalid": "correct the address",
}
# Connections inherited over a fork. Closing them would end the parent's session; they are kept, unused.
_INHERITED: list[Any] = []


def told(error: psycopg.Error) -> str:
    """Return what a server or its driver says, in one line, and the next step."""
    said = " ".join(str(error).split())
    for begin, step in _NEXT_STEPS.items():
        if error.sqlstate.startswith(begin) if error.sqlstate else begin in said and not begin.isdigit():
            return f"{said}; {step}"
    return f"{said}; retry with the same key"


def connect(url: str, deadline_s: float, *, is_planned_once: bool = False) -> BoundedConnection:
    """Return a connection that works in schema callfare and waits for its commits.

    is_planned_once: a statement keeps its plan, whatever it is asked with. Several hosts in the address are tried in
    turn until one takes writes, and share the time. Raises LedgerUnavailable.
    """
    try:
        connection = BoundedConnection.connect(
            url,
            connect_timeout=max(1, math.ceil(deadline_s / _count_hosts(url))),
            target_session_attrs="read-write",
            application_name="callfare",
            options=f"{_OPTIONS} {_PLANNED_ONCE}" if is_planned_once else _OPTIONS,
            prepare_threshold=2,
        )
    except psycopg.Error as error:
        raise LedgerUnavailable(f"PostgreSQL cannot be reached: {told(error)}") from error
    connection.prepared_max = 200
    return connection


def _count_hosts(url: str) -> int:
    found = conninfo_to_dict(url)
    return str(found.get("host") or found.get("hostaddr") or "").count(",") + 1


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits for its server no longer than it was told, and is closed when that was too short."""

    _ends_at_s = 0.0

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound what is asked inside by a time, all of it together; outside, nothing may be asked.

        Whatever waits longer gets an OperationalError, and the connection is closed: a frozen server still holds it.
        """
        self._ends_at_s = elapsed_s() + seconds
        try:
            yield
        finally:
            self._ends_at_s = 0.0

    def was_ended(self) -> bool:
        """Return whether the server has something to say although nothing was asked: that it has ended this."""
        try:
            return bool(select.select([self.fileno()], [], [], 0)[0])
        except (OSError, ValueError, psycopg.Error):
            return True

    @override
    def wait(self, gen: Any, interval: float = _POLL_S, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, max(0.0, self._ends_at_s - elapsed_s()))
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - the driver names it nowhere else
            self.close()
            raise psycopg.OperationalError("the server did not answer in time") from error


def schema_version(connection: psycopg.Connection[Any]) -> int | None:
    """Return the number of the ledger's schema, None when there is none.

    Raises SchemaNewer when a newer callfare wrote it, SchemaOlder when an older one did.
    """
    [[found]] = connection.execute(_SQL["schema_versions"]).fetchall()
    if found is None:
        refuse_incomplete(connection)
    version = None
    if found is not None:
        [[version]] = connection.execute(_SQL["newest_version"]).fetchall()
    connection.rollback()
    newest = load_migrations("postgres")[-1].number
    if version is not None and version > newest:
        raise SchemaNewer(f"the database has schema {version}, this callfare knows {newest}; upgrade callfare")
    if version is not None and version < newest:
        raise SchemaOlder("the database", found=version, newest=newest)
    return None if version is None else int(version)


def migrate(connection: psycopg.Connection[Any]) -> bool:
    """Bring the schema to the newest version in one transaction, and return whether the ledger is new.

    Any number of processes may do so at once: the first holds a lock, the others find nothing left to do.
    """
    with connection.transaction():
        lock_schema(connection)
        refuse_incomplete(connection)
        return apply_steps(connection) is None


def lock_schema(connection: psycopg.Connection[Any]) -> None:
    """Have nobody else make, migrate or fill a ledger in this database until the transaction ends."""
    connection.execute(_SQL["lock_migrations"], {"number": _MIGRATION_LOCK})


def apply_steps(connection: psycopg.Connection[Any]) -> int | None:
    """Bring the schema to the newest version in the transaction under way; return the one before, None for none."""
    connection.execute(_SQL["make_schema"])
    connection.execute(_SQL["make_versions"])
    [[version]] = connection.execute(_SQL["newest_version"]).fetchall()
    for step in load_migrations("postgres"):
        if step.number > (version or 0):
            connection.execute(step.sql.encode())
            connection.execute(_SQL["note_version"], {"number": step.number})
    return None if version is None else int(version)


def refuse_incomplete(connection: psycopg.Connection[Any]) -> None:
    """Return when no ledger is being filled in this database. Raises LedgerIncomplete."""
    if connection.execute(_SQL["find_filling"]).fetchall() != [(None,)]:
        raise incomplete()


def keep_inherited(*connections: object) -> None:
    """Set connections aside that were opened before a fork."""
    _INHERITED.extend(connections)
