"""Ledgers that can go away and come back: a SQLite file that is moved, a PostgreSQL server that is stopped."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL, SCOPES
from callfare.engine.engine import Engine
from callfare.ledger.receipts import KeyReceipt
from tests.support.postgres import Server
from tests.support.serving import engine_on, served


class Away(Protocol):
    """A ledger's address, and its outages."""

    url: str
    # Where the ledger itself is, whatever stands before it.
    ledger: str

    def begin(self) -> None:
        """Take the ledger away."""
        ...

    def end(self) -> None:
        """Bring it back as it was."""
        ...


class MovedFile:
    """A SQLite file that is moved elsewhere."""

    def __init__(self, path: Path) -> None:
        self.url = self.ledger = f"sqlite:///{path}"
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
        self.url = self.ledger = server.new_database()
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


class StoppedCallfare:
    """A callfare server in front of a SQLite file, which is stopped and comes back under the same address and key."""

    def __init__(self, path: Path) -> None:
        self.ledger = f"sqlite:///{path}"
        self._running = ExitStack()
        self._port = 0
        self.key = ""
        self.end()
        self.url = f"http://127.0.0.1:{self._port}"

    def begin(self) -> None:
        """Stop the server."""
        self._running.close()

    def end(self) -> None:
        """Start the server again, unless it runs."""
        if self._running._exit_callbacks:  # type: ignore[attr-defined]  # there is no other way to ask
            return
        serving = served(engine_on(self.ledger), port=self._port, shown=self._key_of)
        self._port = self._running.enter_context(serving).port

    def _key_of(self, engine: Engine, _: str) -> dict[str, str]:
        if not self.key:
            command, text = KeyRequests(engine.secrets, engine.clock).make("app", scopes=SCOPES, by=LOCAL_PRINCIPAL)
            engine.commit(command, KeyReceipt)
            self.key = os.environ["CALLFARE_API_KEY"] = text.written
        return {"app": self.key}
