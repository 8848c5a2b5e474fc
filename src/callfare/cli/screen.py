"""Where answers go: one JSON document, or text; ruled and coloured on a terminal, bare lines anywhere else."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sys
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, TextIO

from callfare.cli import show
from callfare.cli.exits import OUTPUT_LOST, READER_GONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from callfare.cli.show import Table

_WIDTH_MIN = 40
_LOST_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_STYLES = {"head": "bold", "rule": "dim", "below": "dim", "ok": "green", "warn": "yellow", "fail": "bold red"}


class Screen:
    """One output stream. Never fails on text that its encoding cannot show: that stands as escapes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    @property
    def binary(self) -> BinaryIO:
        """The bytes below, for what is no text of ours."""
        return self._stream.buffer

    @property
    def width(self) -> int:
        """How many characters fit in a line."""
        return max(_WIDTH_MIN, shutil.get_terminal_size().columns)

    @property
    def has_blocks(self) -> bool:
        """Whether bars can be drawn from blocks."""
        return (self._stream.encoding or "").lower().replace("-", "") == "utf8"

    @cached_property
    def _console(self) -> Console | None:
        """What styles lines; None where there is no terminal, or its user wants no colour."""
        if not self.is_terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return None
        from rich.console import Console

        return Console(file=self._stream, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def line(self, text: str = "", kind: str = "") -> None:
        """Write a line."""
        if kind in _STYLES and self._console is not None:
            self._console.print(text, style=_STYLES[kind])
        else:
            print(text, file=self._stream)

    def pairs(self, pairs: dict[str, str]) -> None:
        """Write names with what they say, aligned; what says nothing is left out."""
        said = {name: text for name, text in pairs.items() if text}
        width = max(map(len, said), default=0)
        for name, text in said.items():
            self.line(f"  {name:<{width}}  {show.clean(text)}")

    def table(self, table: Table) -> None:
        """Write a table, no wider than a terminal where that can be; one without rows is not written."""
        if not table.rows:
            return
        if not self.is_terminal:
            for text in show.plain_lines(table):
                self.line(text)
            return
        from rich.cells import cell_len

        for kind, text in show.screen_lines(table, self.width, cell_len):
            self.line(text if self.has_blocks else text.replace("─", "-"), kind)

    def clear(self) -> None:
        """Begin the terminal anew at its top, where it can; elsewhere what comes stands below what was."""
        if self.is_terminal and os.environ.get("TERM") != "dumb":
            print("\x1b[H\x1b[2J", end="", file=self._stream)

    def flush(self) -> None:
        """Let go of what was written, for whoever waits for it while the command goes on."""
        self._stream.flush()

    def document(self, value: object) -> None:
        """Write one JSON document, in ASCII so that every reader takes it."""
        print(json.dumps(value, indent=2), file=self._stream)


def standard() -> Screen:
    """Return the screen that answers go to.

    Raises OSError when this process was started without a standard output.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return Screen(sys.stdout)


def aside() -> Screen:
    """Return the screen for errors and for what is said beside an answer."""
    return Screen(sys.stderr)


def leave_quietly() -> int:
    """Point the output nowhere, so that Python's last flush says nothing either, and return the exit code."""
    _point_nowhere(sys.stdout)
    return READER_GONE


def is_lost_output(error: OSError) -> bool:
    """Return whether an error is that of a stream that takes no more, and not that of a named file."""
    return error.filename is None and error.errno in _LOST_OUTPUT


def leave_unheard(error: OSError) -> int:
    """Say in one line that the answer could not be written, and return the exit code."""
    _point_nowhere(sys.stdout)
    told = f"error: the answer could not be written: {error.strerror}; what the command changed stands"
    complain(lambda screen: screen.line(told))
    return OUTPUT_LOST


def complain(tell: Callable[[Screen], None]) -> None:
    """Have an error told where errors go; one that nobody can be told changes no exit code."""
    try:
        tell(aside())
        sys.stderr.flush()
    except OSError:
        _point_nowhere(sys.stderr)


def _point_nowhere(stream: TextIO | None) -> None:
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
