"""A disk that loses power: only what was fsynced is there afterwards, names and contents each by their own fsync."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """What of some folders would survive power loss at this moment."""

    def __init__(self) -> None:
        self._names: dict[int, dict[str, int]] = {}
        self._contents: dict[int, bytes] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note every fsync of this process while the block lasts."""
        fsync = os.fsync

        def noted(fd: int) -> None:
            fsync(fd)
            self._note(fd)

        os.fsync = noted  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync = fsync

    def _note(self, fd: int) -> None:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(fd) as entries:
                self._names[found.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self._contents[found.st_ino] = os.pread(fd, found.st_size, 0)

    def after_power_loss(self, folder: Path, into: Path) -> Path:
        """Return a copy of a folder as it would be found again, empty where its name was not synced either."""
        into.mkdir()
        inode = folder.stat().st_ino
        if self._names.get(folder.parent.stat().st_ino, {}).get(folder.name) == inode:
            for name, file in self._names.get(inode, {}).items():
                (into / name).write_bytes(self._contents.get(file, b""))
        return into
