"""Files that are written for good: they are there once they are whole and on the disk, and not before."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from callfare.errors import Misconfigured
from callfare.ids import new_id

try:
    import fcntl
except ImportError:  # a system without these locks
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def new_file(path: Path, *, replaces: bool = False) -> Iterator[BinaryIO]:
    """Give a file to write, which only its owner may read, and have it stand under its name once the block has ended.

    Until then it stands beside it as `<name>.part_…`; only a killed process leaves that behind. replaces: a file that
    has the name already gives way, and who may read it may read the new one.

    Raises Misconfigured when something has the name, and when it cannot be written.
    """
    part = path.with_name(f"{path.name}.{new_id('part')}")
    try:
        _refuse_taken(path, replaces=replaces)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if replaces and path.exists():
                    part.chmod(stat.S_IMODE(path.stat().st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            _refuse_taken(path, replaces=replaces)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise unusable(error, path, "written") from error


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Have whoever else changes a file of this folder within such a block wait: what one reads, it writes.

    Where the system has no such locks, nobody waits. Raises Misconfigured when there is no such folder.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise unusable(error, path, "written") from error
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_taken(path: Path, *, replaces: bool) -> None:
    if os.path.lexists(path) and not (replaces and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unusable(error: OSError, path: Path, what: str) -> Misconfigured:
    """Return what it means to a caller that a file cannot be read or written."""
    reason = (error.strerror or str(error)).lower()
    return Misconfigured(f"{path} cannot be {what}: {reason}; name another file", param="file")
