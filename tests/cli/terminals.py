"""The console script as people start it: with its output in a pipe, or on a terminal of so many columns."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

SCRIPT = str(Path(sys.executable).with_name("callfare"))


class Script:
    """The console script in a folder."""

    def __init__(self, folder):
        self._folder = folder

    def run(self, *words, **environment):
        """Return the finished process of a command whose output goes to pipes."""
        return subprocess.run(
            [SCRIPT, *words],
            cwd=self._folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def on_terminal(self, *words, columns=100, **environment):
        """Return all that a command writes to a terminal, and its exit code."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = os.environ | {"TERM": "xterm"} | environment
        with subprocess.Popen(
            [SCRIPT, *words], cwd=self._folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            said = b""
            # Linux ends a terminal whose last writer has gone with an error instead of an end of file.
            with suppress(OSError):
                while part := os.read(ours, 65536):
                    said += part
        os.close(ours)
        return said.decode().replace("\r\n", "\n"), process.returncode
