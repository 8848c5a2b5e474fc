"""One file of the spool: a header, then a line for each call, every line with a checksum.

Refuses nothing that it can read: what a crash has torn or a disk has damaged is passed over and counted.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from callfare.finished import Kept
from callfare.ledger.commands import ClaimBatch, PendJob, RecordUsage

try:
    import fcntl
except ImportError:  # a system without these locks; there, no ledger has a spool
    fcntl = None  # type: ignore[assignment]  # Windows has none, and so no spool

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("callfare")

ONLY_LOOKED_AT = -1


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished call as it waits. A field added later needs a default, so that older lines stay readable.

    estimate: the call that an adjustment corrects, where the ledger had not taken that one either. claim: whose batch
    it is a line or the end of, where the ledger could not be asked.
    counts_nanocredits: what it counts for in its run's local view. refusal: the ledger's reason, empty while it waits.
    """

    command: Kept
    at_us: int
    estimate: RecordUsage | None = None
    claim: ClaimBatch | None = None
    counts_nanocredits: int = 0
    refusal: str = ""

    @property
    def first(self) -> RecordUsage | ClaimBatch | None:
        """What the ledger must have answered before it can be asked for this; None for nothing."""
        return self.estimate or self.claim

    @property
    def usage(self) -> RecordUsage | None:
        """The call that this brings along, None for what only ends something or corrects what the ledger has."""
        if isinstance(self.command, RecordUsage):
            return self.command
        return self.command.charge if isinstance(self.command, PendJob) else self.estimate


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of every file: the ledger that its calls are for."""

    ledger: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_decode_header = msgspec.json.Decoder(Header).decode


def line_of(value: msgspec.Struct) -> bytes:
    """Return a header or a call as its line, with its checksum."""
    text = _encode(value)
    return b"%08x %s\n" % (crc32(text), text)


def _text_of(line: bytes) -> bytes | None:
    """Return what a line says, None when it is not as it was written."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return text if checksum == b"%08x" % crc32(text) else None


class SpoolFile:
    """One file with calls, and the lock that makes it ours.

    size: how much of it was acknowledged. answered: how many of its calls the ledger has answered this process.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        # Ours are read by it, whatever becomes of their names.
        self.fd = fd
        self.size = self.begins = 0
        self.answered = 0
        self.damaged = 0

    def entries(self) -> Iterator[Entry]:
        """Yield the calls in their order, and count the lines that cannot be read; a torn last one was never kept."""
        self.damaged = 0
        with self.path.open("rb") if self.fd == ONLY_LOOKED_AT else os.fdopen(os.dup(self.fd), "rb") as lines:
            lines.seek(0)
            has_header = _text_of(next(lines, b"")) is not None
            for line in lines:
                text = _text_of(line)
                if has_header and text is not None:
                    with suppress(msgspec.MsgspecError):
                        yield _decode(text)
                        continue
                if line.endswith(b"\n"):
                    self.damaged += 1
                else:
                    _log.warning("the last line of %s is torn: it was being written when its process ended", self.path)

    def close(self) -> None:
        """Give the file up, and its lock with it."""
        os.close(self.fd)


def write(fd: int, text: bytes) -> None:
    """Write all of a text."""
    while text:
        text = text[os.write(fd, text) :]


def sync_folder(folder: Path) -> None:
    """Make what was added to a folder, or taken from it, survive power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def taken(path: Path) -> SpoolFile | None:
    """Return a file that is ours from now on, None when another process has it or it has gone."""
    try:
        file = SpoolFile(path, os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return None
    except PermissionError:
        _log.warning("%s is another user's, who must deliver it", path)
        return None
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if not is_still(file):
        file.close()
        return None
    return file


def is_still(file: SpoolFile) -> bool:
    """Return whether a file that was opened still stands under its name, now that it is locked."""
    try:
        return os.path.samestat(os.fstat(file.fd), file.path.stat())
    except FileNotFoundError:
        return False


def ledger_of(path: Path) -> str | None:
    """Return the ledger that a file's calls are for, None when its header cannot be read."""
    with suppress(FileNotFoundError, msgspec.MsgspecError), path.open("rb") as lines:
        text = _text_of(next(lines, b""))
        return None if text is None else _decode_header(text).ledger
    return None
