"""One SQLite ledger file: finding, making, checking and connecting to it. Knows nothing of what is kept inside.

Reached through apsw alone: the standard library's sqlite3 on the same file in the same process would drop its locks.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from pathlib import Path
from urllib.parse import quote

import apsw

from callfare.errors import LedgerCorrupt, LedgerNotFound, LedgerUnavailable, Misconfigured, SchemaNewer, SchemaOlder
from callfare.store.statements import load_migrations
from callfare.store.upkeep import incomplete

APPLICATION_ID = 0x63666172
# Of a file that is being filled, so that nobody takes it for a ledger: not even a connection that was open before.
FILLING_ID = 0x63666173
_OURS = frozenset({APPLICATION_ID, FILLING_ID})
_OLDEST_SQLITE = (3, 51, 3)
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "s3fs", "gcsfuse", "rclone", "ceph-fuse")}
)
# How mountinfo writes a space, a tab, a line break and a backslash.
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNTS = Path("/proc/self/mountinfo")
_BUSY_TIMEOUT_MS = 5000
_LOG_WAIT_MS = 20
_PAGES_PER_CHECKPOINT = 4000
# No SQLite database that holds anything is smaller: it is the least page size.
_SMALLEST = 512
_UNUSABLE = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}
)


def fault_of(error: apsw.Error, path: Path) -> Exception:
    """Return what a driver error means to a caller."""
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return LedgerCorrupt(f"{path} is damaged or not a callfare ledger: {error}")
    if isinstance(error, apsw.ConstraintError | apsw.MismatchError):
        return LedgerCorrupt(f"a rule of the ledger was broken, and nothing was written: {error}")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return LedgerUnavailable(f"{path} is in use by another process; retry with the same key")
    return LedgerUnavailable(f"{path} cannot be used: {error}; retry with the same key")


def _refusal_of(error: OSError, path: Path) -> Exception:
    """Return what it means to a caller that the system does not let a file be reached."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in _UNUSABLE:
        return Misconfigured(f"{path} cannot be a ledger: {reason}; give another address or change its rights")
    return LedgerUnavailable(f"{path} cannot be reached: {reason}; retry with the same key")


class SqliteFile:
    """A ledger file and the connections to it. Opens nothing until asked."""

    def __init__(self, path: str, *, is_readonly: bool = False, is_filling: bool = False) -> None:
        try:
            self.path = Path(path).absolute()
        except FileNotFoundError:
            raise Misconfigured(f"{path} lies in a working directory that has gone; give an absolute path") from None
        self.is_readonly = is_readonly
        self._is_filling = is_filling
        # The schema that this one brought up to date; None while it has had nothing to do.
        self.migrated_from: int | None = None
        self._identity: tuple[int, int] | None = None
        self._is_local = False

    @property
    def address(self) -> str:
        """The address that opens this file."""
        return "sqlite:///" + "".join(quote(letter) if letter in "%#?" else letter for letter in str(self.path))

    def exists(self) -> bool:
        """Return whether there is a file with something in it."""
        found = self._found()
        return found is not None and found.st_size > 0

    def _found(self) -> os.stat_result | None:
        """Return what the system knows of the file, None when there is none.

        Raises LedgerCorrupt for a file that is too small for a database, Misconfigured for what is no file.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refusal_of(error, self.path) from None
        if not stat.S_ISREG(found.st_mode):
            raise Misconfigured(f"{self.path} is no file; give another address")
        # SQLite takes a file of one byte for an empty one, and would write over it.
        if 0 < found.st_size < _SMALLEST:
            raise LedgerCorrupt(f"{self.path} is damaged or not a callfare ledger: it has {found.st_size} bytes")
        return found

    def is_still(self) -> bool:
        """Return whether a file opened for reading lies where no log can be made, and none is in use.

        SQLite then reads it only when told that it does not change, so such a connection is good for one question.
        """
        has_log = os.path.exists(f"{self.path}-wal")  # noqa: PTH110 - a Path raises where the name is too long
        return self.is_readonly and not has_log and not os.access(self.path.parent, os.W_OK)

    def check_same(self) -> None:
        """Return when the file is still the one that was opened.

        Raises LedgerUnavailable when it was moved, replaced or deleted meanwhile.
        """
        found = self._found()
        if found is None:
            raise LedgerUnavailable(f"{self.path} has gone; put it back or open another ledger")
        if self._identity is None:
            self._identity = (found.st_dev, found.st_ino)
        elif self._identity != (found.st_dev, found.st_ino):
            raise LedgerUnavailable(f"{self.path} was replaced while it was open; restart to use the new file")

    def check_whole(self, connection: apsw.Connection) -> None:
        """Return when the ledger is not being filled. Raises LedgerIncomplete when it is."""
        if not self._is_filling and connection.pragma("application_id") == FILLING_ID:
            raise incomplete()

    def create(self) -> bool:
        """Make the file and its schema where they are missing; return whether the ledger is new.

        Raises Misconfigured on a network file system, SchemaNewer when a newer callfare wrote the file.
        """
        self._refuse_network()
        if not self.exists():
            if not self.path.parent.is_dir():
                raise Misconfigured(f"there is no directory {self.path.parent}; make it, or give another address")
            self._make()
        connection, is_new = self._open(is_making=True)
        connection.close()
        return is_new

    def _make(self) -> None:
        """Make an empty file that only its owner may read, unless there is one.

        One that is there is not opened: to close it again would drop the locks that this process has on it.
        """
        target = os.path.realpath(self.path)
        try:
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise _refusal_of(error, self.path) from None

    def connect(self) -> apsw.Connection:
        """Return a new connection to the ledger at the newest schema.

        Raises LedgerNotFound when there is no file, or one with nothing in it.
        """
        return self._open(is_making=False)[0]

    def _open(self, *, is_making: bool) -> tuple[apsw.Connection, bool]:
        """Return a new connection, and whether it was the one that made the ledger."""
        if self._identity is not None:
            self.check_same()
        if self._found() is None:
            raise LedgerNotFound(
                f"there is no ledger at {self.path}; `callfare init` makes one, and so does the first grant",
            )
        if not self.is_readonly:
            self._refuse_network()
        if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < _OLDEST_SQLITE:
            raise Misconfigured(f"SQLite {apsw.sqlite_lib_version()} can lose writes; upgrade apsw to 3.51.3 or newer")
        flags = apsw.SQLITE_OPEN_READONLY if self.is_readonly else apsw.SQLITE_OPEN_READWRITE
        name = str(self.path)
        if self.is_still():
            flags |= apsw.SQLITE_OPEN_URI
            name = f"{self.path.as_uri()}?immutable=1"
        try:
            connection = apsw.Connection(name, flags=flags, statementcachesize=200)
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            return connection, self._prepare(connection, is_making=is_making)
        except apsw.Error as error:
            raise fault_of(error, self.path) from error

    def _prepare(self, connection: apsw.Connection, *, is_making: bool) -> bool:
        newest = load_migrations("sqlite")[-1].number
        # Read in this order: a schema that another process makes meanwhile brings its application id along.
        version = connection.pragma("user_version")
        is_empty = not version and not connection.pragma("schema_version")
        self.check_whole(connection)
        if connection.pragma("application_id") not in ({0, *_OURS} if is_empty else _OURS):
            raise Misconfigured(f"{self.path} is a database of another program")
        if version > newest:
            raise SchemaNewer(f"{self.path} has schema {version}, this callfare knows {newest}; upgrade callfare")
        if not version and (self.is_readonly or not is_making):
            raise LedgerNotFound(f"{self.path} holds no ledger; `callfare init` makes one, and so does the first grant")
        if self.is_readonly:
            if version < newest:
                raise SchemaOlder(str(self.path), found=version, newest=newest)
            return False
        self._use_log(connection)
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", _PAGES_PER_CHECKPOINT)
        if version < newest:
            self.migrated_from = migrate(connection)
            return self.migrated_from == 0
        return False

    def _use_log(self, connection: apsw.Connection) -> None:
        """Have the file keep a write-ahead log. Several processes may do so at once.

        SQLite does not always wait for others here, as it does everywhere else, so the waiting is ours.
        """
        connection.set_busy_timeout(0)
        for _ in range(_BUSY_TIMEOUT_MS // _LOG_WAIT_MS):
            try:
                mode = connection.pragma("journal_mode", "wal")
            except apsw.BusyError:
                _wait_a_little()
                continue
            if mode != "wal":
                raise Misconfigured(f"{self.path} lies where SQLite cannot keep a write-ahead log; use a local disk")
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            return
        raise LedgerUnavailable(f"{self.path} is in use by another process; retry with the same key")

    def _refuse_network(self) -> None:
        if not self._is_local:
            kind = _file_system_of(Path(os.path.realpath(self.path)).parent)
            if kind in _NETWORK_FILE_SYSTEMS:
                raise Misconfigured(
                    f"{self.path} lies on {kind}, where SQLite cannot lock; use a local disk or PostgreSQL"
                )
            self._is_local = True


def migrate(connection: apsw.Connection) -> int:
    """Bring a file to the newest schema in one transaction, and return the number of the schema it had before.

    Any number of processes may do so at once: the first holds the write lock, the others find nothing left to do.
    """
    steps = load_migrations("sqlite")
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.pragma("user_version")
        _refuse_foreign(connection, version)
        for step in steps:
            if step.number > version:
                connection.execute(step.sql)
        if not version:
            connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", steps[-1].number)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return int(version)


def _refuse_foreign(connection: apsw.Connection, version: int) -> None:
    if not version and connection.pragma("schema_version"):
        raise Misconfigured(f"{connection.filename} is a database of another program")


def _wait_a_little() -> None:
    threading.Event().wait(_LOG_WAIT_MS / 1000)


def _file_system_of(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, empty where the system does not tell."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields = line.split()
        mounted_at = _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        lies_below = mounted_at == "/" or str(folder) == mounted_at or str(folder).startswith(mounted_at + "/")
        if lies_below and len(mounted_at) >= len(best):
            best, kind = mounted_at, fields[fields.index("-") + 1]
    return kind
