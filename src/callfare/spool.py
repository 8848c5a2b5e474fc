"""The spool: finished calls that the ledger could not take, kept in local files until it can.

A file holds a header and a line for each call, every line with a checksum, and only ever grows. Whoever keeps a call
goes on once file and folder are fsynced; those who wait together share one fsync. A file belongs to the process that
has its lock; one whose process has ended is free for anybody to deliver. A file goes when the ledger has answered all
of its calls, never before, so a crash repeats calls and loses none: their keys make each count once.

Refuses to know when the ledger is back, and what its answers mean: that is delivery.py.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from errno import EAGAIN
from pathlib import Path
from typing import TYPE_CHECKING

from callfare.errors import Misconfigured
from callfare.ids import new_id
from callfare.spool_file import (
    ONLY_LOOKED_AT,
    Entry,
    Header,
    SpoolFile,
    is_still,
    ledger_of,
    line_of,
    sync_folder,
    taken,
    write,
)
from callfare.store.gate import Gate

try:
    import fcntl
except ImportError:  # a system without these locks; there, no ledger has a spool
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callfare.spool_place import Place

_log = logging.getLogger("callfare")

FILES = "spool_*.jsonl"
REFUSED = "refused.jsonl"
DAMAGED = "*.damaged"
_FILE_BYTES_MAX = 1 << 20
_TRIES = 5
_HELD_UP_BYTES_MAX = 1 << 18
_OURS_ALONE, _OURS_ALONE_FOLDER = 0o600, 0o700


class _Lines:
    """Lines that wait to be written together, and what became of them."""

    __slots__ = ("error", "is_behind", "is_done", "is_written", "text")

    def __init__(self, entries: Sequence[Entry], *, is_behind: bool) -> None:
        self.text = b"".join(line_of(entry) for entry in entries)
        # Only wanted behind others that wait: where none does any more, the ledger is there to be asked.
        self.is_behind = is_behind
        self.is_done = self.is_written = False
        self.error: OSError | None = None


class Spool:
    """The spool of one ledger in a folder that any number of processes share. Makes nothing until a call is kept."""

    def __init__(self, place: Place) -> None:
        self.folder, self._ledger, self._is_beside = place
        self._start_afresh()
        _SPOOLS.add(self)

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._name = new_id("spool")
        self._count = 0
        self._gate = Gate()
        self._queue: deque[_Lines] = deque()
        self._own: deque[SpoolFile] = deque()
        self._current: SpoolFile | None = None

    def restart(self) -> None:
        """Begin with no file in a forked child: those that are open are its parent's, who keeps the locks."""
        for file in self._own:
            with suppress(OSError):
                file.close()
        self._start_afresh()

    # Keeping

    @property
    def has_waiting(self) -> bool:
        """Whether calls of this process wait, so that what comes after them must wait behind them."""
        return bool(self._own) and os.getpid() == self._pid

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep calls: they are durable when this returns.

        Raises OSError when they could not be written.
        """
        self.write(self.hand_in(entries, is_behind=False))

    def hand_in(self, entries: Sequence[Entry], *, is_behind: bool) -> _Lines:
        """Put calls in line for `write`, without waiting."""
        if os.getpid() != self._pid:
            self.restart()
        kept = _Lines(entries, is_behind=is_behind)
        self._queue.append(kept)
        return kept

    def write(self, kept: _Lines) -> bool:
        """Wait until calls are durable, and return whether they were written: not when none wait to stand behind.

        Raises OSError when they could not be written, LedgerUnavailable in the middle of a write of this thread.
        """
        with self._gate.passed():
            if not kept.is_done:
                self._write_all()
        if kept.error is not None:
            raise kept.error
        return kept.is_written

    def _write_all(self) -> None:
        """Write what stands in line with one fsync. Called by whoever holds the gate, for all who wait at it."""
        waiting: list[_Lines] = []
        while self._queue:
            waiting.append(self._queue.popleft())
        error: OSError | None = OSError("the write was interrupted")
        must_write = bool(self._own) or not all(kept.is_behind for kept in waiting)
        try:
            if must_write:
                self._append(b"".join(kept.text for kept in waiting))
            error = None
        except OSError as failure:
            error = failure
        finally:
            for kept in waiting:
                kept.error, kept.is_written, kept.is_done = error, must_write, True

    def _append(self, lines: bytes) -> None:
        if self._current is None or not os.fstat(self._current.fd).st_nlink:
            # Also when somebody has removed the file: what is written to it would go with this process.
            self._current = self._begin_file()
        file = self._current
        try:
            write(file.fd, lines)
            os.fsync(file.fd)
        except BaseException:
            # After a failed or interrupted fsync nobody knows what a file holds. What was acknowledged stays; nothing
            # more comes.
            self._current = None
            with suppress(OSError):
                if file.size == file.begins:
                    self.done(file)
                else:
                    os.ftruncate(file.fd, file.size)
            raise
        file.size += len(lines)
        if file.size >= _FILE_BYTES_MAX:
            self._current = None

    def _begin_file(self) -> SpoolFile:
        """Return a new file that is this process's own, with its header, durable in its folder."""
        for _ in range(_TRIES - 1):
            # Somebody who looks for left-overs may take a file between its making and its lock, and removes it.
            with suppress(BlockingIOError):
                return self._make_file()
        return self._make_file()

    def _make_file(self) -> SpoolFile:
        _make_folder(self.folder, is_last=self._is_beside)
        self._count += 1
        path = self.folder / f"{self._name}-{self._count:06}.jsonl"
        file = SpoolFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, _OURS_ALONE))
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_still(file):
                raise BlockingIOError(EAGAIN, "taken for a left-over, and removed, before its lock")
            header = line_of(Header(ledger=self._ledger))
            write(file.fd, header)
            file.size = file.begins = len(header)
            sync_folder(self.folder)
        except OSError:
            with suppress(OSError):
                path.unlink()
            file.close()
            raise
        self._own.append(file)
        return file

    # Delivering

    def first_waiting(self) -> Entry | None:
        """Return the oldest call of this process that waits, to ask the ledger with; None when there is none."""
        with self._gate.passed():
            return next(self._own[0].entries(), None) if self._own else None

    def first_own(self) -> SpoolFile | None:
        """Return the oldest file of this process, to which nothing more will be added; None when there is none."""
        with self._gate.passed():
            if not self._own:
                return None
            if self._own[0] is self._current:
                self._current = None
            return self._own[0]

    @contextmanager
    def held_up(self) -> Iterator[SpoolFile | None]:
        """Hold up those who keep calls, and give the last file of this process if it is soon delivered.

        Without that, calls that finish while others are delivered would stand behind each other for ever.
        """
        with self._gate.passed():
            is_last = len(self._own) == 1 and self._own[0].size <= _HELD_UP_BYTES_MAX
            if is_last:
                self._current = None
            yield self._own[0] if is_last else None

    def left_over(self) -> Iterator[SpoolFile]:
        """Yield, oldest first, the files of processes that have ended, each ours until it is done or let go."""
        own = {file.path for file in tuple(self._own)}
        for path in sorted(self.folder.glob(FILES)):
            if path in own or ledger_of(path) not in {self._ledger, None}:
                continue
            if (file := taken(path)) is not None:
                yield file

    def done(self, file: SpoolFile) -> None:
        """Remove a file whose calls have all been answered. One with unreadable lines is kept under another name."""
        with suppress(FileNotFoundError):
            if file.damaged:
                file.path.rename(file.path.with_suffix(".damaged"))
                _log.error("%s: %d lines are damaged and kept as .damaged", file.path, file.damaged)
            else:
                file.path.unlink()
            with suppress(OSError):
                # A name that comes back after power loss has its calls repeated, which is harmless.
                sync_folder(self.folder)
        if file is self._current:
            self._current = None
        with suppress(ValueError):
            self._own.remove(file)
        file.close()

    def refuse(self, entries: Sequence[Entry]) -> None:
        """Keep calls that the ledger has refused, each with its `refusal`, for a person to look at."""
        path = self.folder / REFUSED
        while True:
            file = SpoolFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OURS_ALONE))
            try:
                fcntl.flock(file.fd, fcntl.LOCK_EX)
                if not is_still(file):
                    continue
                size = os.fstat(file.fd).st_size
                begins = b"" if size else line_of(Header(ledger=self._ledger))
                # What a crash has torn off ends here.
                begins += b"\n" if size and os.pread(file.fd, 1, size - 1) != b"\n" else b""
                write(file.fd, begins + b"".join(line_of(entry) for entry in entries))
                os.fsync(file.fd)
                sync_folder(self.folder)
                return
            finally:
                file.close()

    def try_refused_again(self) -> None:
        """Put all refused calls back in line, to be delivered with the next left-over files."""
        path = self.folder / REFUSED
        with suppress(FileNotFoundError):
            file = SpoolFile(path, os.open(path, os.O_RDWR))
            try:
                fcntl.flock(file.fd, fcntl.LOCK_EX)
                if is_still(file):
                    path.rename(self.folder / f"{new_id('spool')}-000000.jsonl")
                    sync_folder(self.folder)
            finally:
                file.close()

    # Looking

    def check(self) -> None:
        """Return when the folder holds calls of this ledger only.

        Raises Misconfigured when it holds another ledger's.
        """
        for path in sorted(self.folder.glob(FILES)):
            ledger = ledger_of(path)
            if ledger not in {self._ledger, None}:
                raise Misconfigured(
                    f"the spool {self.folder} holds calls for {ledger}, and this ledger is {self._ledger}; "
                    "open that one to deliver them, or set CALLFARE_SPOOL_DIR to another folder",
                    param="spool",
                )

    def has_files(self) -> bool:
        """Return whether any file with calls is there, of this process or another."""
        return next(self.folder.glob(FILES), None) is not None

    def is_writable(self) -> bool:
        """Return whether a call could be kept here, as far as rights tell."""
        nearest = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)

    def waiting(self) -> Iterator[Entry]:
        """Yield the calls that wait in all files, of living processes as well. They go on meanwhile.

        Raises Misconfigured when the folder is another user's.
        """
        above = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        if not above.is_dir():
            raise Misconfigured(
                f"the spool cannot lie in {self.folder}: {above} is no folder; give another", param="spool"
            )
        if self.folder.exists() and not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise Misconfigured(f"the spool {self.folder} is another user's; look at it as that user", param="spool")
        for path in sorted(self.folder.glob(FILES)):
            with suppress(FileNotFoundError):
                yield from SpoolFile(path, ONLY_LOOKED_AT).entries()

    def refused(self) -> Iterator[Entry]:
        """Yield the calls that the ledger has refused, each once."""
        seen: set[int] = set()
        with suppress(FileNotFoundError):
            for entry in SpoolFile(self.folder / REFUSED, ONLY_LOOKED_AT).entries():
                digest = hash(line_of(entry.command))
                if digest not in seen:
                    seen.add(digest)
                    yield entry

    def damaged(self) -> list[Path]:
        """Return the files that hold lines which cannot be read."""
        return sorted(self.folder.glob(DAMAGED))

    def close(self) -> None:
        """Give all files up; what waits in them is for whoever opens the ledger next."""
        with self._gate.passed():
            self._current = None
            while self._own:
                self._own.popleft().close()


def _make_folder(folder: Path, *, is_last: bool) -> None:
    """Make a folder that only its owner may enter, with those above it unless it is the last that may be missing."""
    if folder.is_dir():
        return
    if not is_last:
        _make_folder(folder.parent, is_last=False)
    with suppress(FileExistsError):
        folder.mkdir(mode=_OURS_ALONE_FOLDER)
    sync_folder(folder.parent)


_SPOOLS: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for spool in list(_SPOOLS):
        spool.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
