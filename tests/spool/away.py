"""Ledgers that can go away and come back: a SQLite file that is moved, a PostgreSQL server that is stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Protocol

from tests.support.postgres import Server


class Away(Protocol):
    """A ledger's address, and its outages."""

    url: str

    def begin(self) -> None:
        """Take the ledger away."""
        ...

    def end(self) -> None:
        """Bring it back as it was."""
        ...


class MovedFile:
    """A SQLite file that is moved elsewhere."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path
        self._elsewhere = path.with_name("elsewhere.db")

    def begin(self) -> None:
        """Move the file and its log."""
        for suffix in ("", "-wal", "-shm"):
            if Path(f"{self._path}{suffix}").exists():
                Path(f"{self._path}{suffix}").rename(f"{self._elsewhere}{suffix}")

    def end(self) -> None:
        """Move them back, the log first: without it, the file would be an older ledger."""
        for suffix in ("-wal", "-shm", ""):
            if Path(f"{self._elsewhere}{suffix}").exists():
                Path(f"{self._elsewhere}{suffix}").rename(f"{self._path}{suffix}")


class StoppedServer:
    """A database on a PostgreSQL server that is stopped."""

    def __init__(self, server: Server) -> None:
        self.url = server.new_database()
        self._server = server
        self._is_away = False

    def begin(self) -> None:
        """Stop the server as a crash would."""
        self._server.stop(signal.SIGQUIT)
        self._is_away = True

    def end(self) -> None:
        """Start the server again, unless it runs."""
        if self._is_away:
            self._server.start()
            self._is_away = False
