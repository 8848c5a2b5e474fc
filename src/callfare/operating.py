"""The operator's methods of both façades: what is done to a ledger as a whole. The work is done in engine/."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from callfare.answers import Backup, Delivered, Exported, Migrated, Pruned, Restored, SpoolReport
from callfare.engine import operations, spooling
from callfare.engine.exporting import Export, export_file
from callfare.facade import Facade


class Operating(Facade):
    """What programs that wait do to a whole ledger."""

    def backup(self, path: str | Path, *, progress: Callable[[str, str, int], None] | None = None) -> Backup:
        """Write the ledger, as it stands at one instant, to a new file that any store can be restored from.

        Others go on writing meanwhile. The file is there once it is whole and on the disk; until then it has another
        name. progress: called with what is done, a table's name and how many of its rows were.

        Raises LedgerNotFound, LedgerUnavailable, Misconfigured.
        """
        return operations.backup(self._engine.store, self._engine.clock, path, progress)

    def restore(
        self,
        path: str | Path,
        *,
        anew: bool = False,
        with_faults: bool = False,
        progress: Callable[[str, str, int], None] | None = None,
    ) -> Restored:
        """Fill an empty ledger, made where there is none, from a backup of any store; verify it, then open it.

        Until then everyone else gets LedgerIncomplete. One that was killed is gone on with by the same call. anew: drop
        first what an unfinished restore left. with_faults: open it though `verify` finds what was wrong before.

        Raises BackupInvalid, LedgerNotEmpty, LedgerIncomplete, LedgerCorrupt, LedgerUnavailable, Misconfigured.
        """
        return operations.restore(self._engine.store, path, is_anew=anew, with_faults=with_faults, progress=progress)

    def spool(self) -> SpoolReport:
        """Return what waits in the spool because the ledger could not take it, and what it has refused since."""
        return spooling.report(self._engine)

    def drain_spool(self, progress: Callable[[int], None] | None = None, *, refused: bool = False) -> Delivered:
        """Deliver now what waits in the spool: of this process, and of those that have ended.

        It happens by itself once the ledger is back. progress: called with the number of calls that were answered.
        refused: try again what the ledger has refused before.

        Raises LedgerUnavailable.
        """
        return spooling.drain(self._engine, progress, refused=refused)

    def prune_raw(
        self, before: str, *, dry_run: bool = False, progress: Callable[[str, str, int], None] | None = None
    ) -> Pruned:
        """Remove the providers' raw usage objects that were recorded before a month, and note it in the ledger.

        before: such as "2026-08", in UTC. Charges, entries and keys stay; `verify` stays clean, and `explain` says that
        the object was removed. dry_run: only count them. Interrupted, the same call removes the rest.

        Raises InvalidTime, LedgerNotFound, LedgerUnavailable.
        """
        engine = self._engine
        return operations.prune_raw(engine.store, engine.clock, before, is_dry_run=dry_run, progress=progress)

    def migrate(self, *, check: bool = False) -> Migrated:
        """Bring the ledger's schema up to date; any number of processes may do so at once. check: only look.

        Raises LedgerNotFound, LedgerIncomplete, LedgerUnavailable, SchemaNewer.
        """
        return operations.migrate(self._engine.store, is_check=check)

    def export(
        self,
        kind: str,
        path: str | Path,
        *,
        format: str = "csv",
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        resume: bool = False,
        progress: Callable[[str, str, int], None] | None = None,
    ) -> Exported:
        """Write the rows of a kind to a new file, as CSV or JSON Lines, in the order of their keys.

        kind: users, accounts, grants, runs, jobs, transfers, entries, events or raw_usage. format: csv or jsonl.
        user: only theirs; all when None. since, until: only what was written, or for calls made, from then and before
        then. resume: go on with a file that was cut off, after its last whole line.

        Raises InvalidInput, InvalidTime, InvalidUser, LedgerNotFound, LedgerUnavailable, Misconfigured.
        """
        wanted = Export(kind, format=format, user=user, since=since, until=until)
        store = self._engine.store
        return export_file(path, store, wanted, is_resumed=resume, progress=progress)


class AsyncOperating(Facade):
    """What asyncio programs do to a whole ledger."""

    async def backup(self, path: str | Path, *, progress: Callable[[str, str, int], None] | None = None) -> Backup:
        """Write the ledger, as it stands at one instant, to a new file that any store can be restored from.

        Others go on writing meanwhile. The file is there once it is whole and on the disk; until then it has another
        name. progress: called with what is done, a table's name and how many of its rows were.

        Raises LedgerNotFound, LedgerUnavailable, Misconfigured.
        """
        engine = self._engine
        return await engine.read_async(lambda: operations.backup(engine.store, engine.clock, path, progress))

    async def restore(
        self,
        path: str | Path,
        *,
        anew: bool = False,
        with_faults: bool = False,
        progress: Callable[[str, str, int], None] | None = None,
    ) -> Restored:
        """Fill an empty ledger, made where there is none, from a backup of any store; verify it, then open it.

        Until then everyone else gets LedgerIncomplete. One that was killed is gone on with by the same call. anew: drop
        first what an unfinished restore left. with_faults: open it though `verify` finds what was wrong before.

        Raises BackupInvalid, LedgerNotEmpty, LedgerIncomplete, LedgerCorrupt, LedgerUnavailable, Misconfigured.
        """
        store = self._engine.store
        return await self._engine.read_async(
            lambda: operations.restore(store, path, is_anew=anew, with_faults=with_faults, progress=progress)
        )

    async def spool(self) -> SpoolReport:
        """Return what waits in the spool because the ledger could not take it, and what it has refused since."""
        return await self._engine.read_async(lambda: spooling.report(self._engine))

    async def drain_spool(self, progress: Callable[[int], None] | None = None, *, refused: bool = False) -> Delivered:
        """Deliver now what waits in the spool: of this process, and of those that have ended.

        It happens by itself once the ledger is back. progress: called with the number of calls that were answered.
        refused: try again what the ledger has refused before.

        Raises LedgerUnavailable.
        """
        return await self._engine.read_async(lambda: spooling.drain(self._engine, progress, refused=refused))

    async def prune_raw(
        self, before: str, *, dry_run: bool = False, progress: Callable[[str, str, int], None] | None = None
    ) -> Pruned:
        """Remove the providers' raw usage objects that were recorded before a month, and note it in the ledger.

        before: such as "2026-08", in UTC. Charges, entries and keys stay; `verify` stays clean, and `explain` says that
        the object was removed. dry_run: only count them. Interrupted, the same call removes the rest.

        Raises InvalidTime, LedgerNotFound, LedgerUnavailable.
        """
        engine = self._engine
        return await engine.read_async(
            lambda: operations.prune_raw(engine.store, engine.clock, before, is_dry_run=dry_run, progress=progress)
        )

    async def migrate(self, *, check: bool = False) -> Migrated:
        """Bring the ledger's schema up to date; any number of processes may do so at once. check: only look.

        Raises LedgerNotFound, LedgerIncomplete, LedgerUnavailable, SchemaNewer.
        """
        store = self._engine.store
        return await self._engine.read_async(lambda: operations.migrate(store, is_check=check))

    async def export(
        self,
        kind: str,
        path: str | Path,
        *,
        format: str = "csv",
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        resume: bool = False,
        progress: Callable[[str, str, int], None] | None = None,
    ) -> Exported:
        """Write the rows of a kind to a new file, as CSV or JSON Lines, in the order of their keys.

        kind: users, accounts, grants, runs, jobs, transfers, entries, events or raw_usage. format: csv or jsonl.
        user: only theirs; all when None. since, until: only what was written, or for calls made, from then and before
        then. resume: go on with a file that was cut off, after its last whole line.

        Raises InvalidInput, InvalidTime, InvalidUser, LedgerNotFound, LedgerUnavailable, Misconfigured.
        """
        wanted = Export(kind, format=format, user=user, since=since, until=until)
        store = self._engine.store
        return await self._engine.read_async(
            lambda: export_file(path, store, wanted, is_resumed=resume, progress=progress)
        )
